"""The command line. Every heavy import waits until its command runs."""

from __future__ import annotations

import argparse
import io
import os
import shlex
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

if __name__ == "__main__":  # `python -m` puts the current folder before installed packages
    sys.path[:] = [entry for entry in sys.path if entry not in ("", os.getcwd())]

from raycl import __version__
from raycl.errors import UserError, redacted, screen_line
from raycl.filenames import file_name
from raycl.terminal.ending import LINE, ended, open_streams
from raycl.terminal.listing import benchmarks, methods
from raycl.terminal.places import folder_name, free_port, out_file, store_folder, write_out

GONE = {  # commands that there were: what to type instead
    "bench": "the benchmarks of speed are no part of the package: in a clone of the repository, type "
    "`python -m bench` or `make bench`"
}

_Commands: TypeAlias = "argparse._SubParsersAction[_Parser]"


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, without the list of all options above it."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{screen_line(message, LINE)} ({self.prog} --help lists what there is)")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; the exit code: 0 complete, 1 blocked or failed cells, 2 bad input, 3 the cluster is
    gone, 130 interrupted.
    """
    open_streams()
    _write_anything()
    arguments = argparse.Namespace(verbose=False, call=None)
    try:
        _refuse_gone(sys.argv[1:] if argv is None else argv)
        parser().parse_args(argv, arguments)
    except UserError as error:
        return ended(error)
    except SystemExit:  # --help, --version
        try:
            sys.stdout.flush()
        except OSError as error:
            return ended(error)
        raise
    if not arguments.verbose:
        warnings.simplefilter("ignore")  # of the libraries below; tests turn them into errors
    try:
        code: int = arguments.call(arguments)
        sys.stdout.flush()
        return code
    except BaseException as error:  # SystemExit too: nothing but a stranger's code ends us in this way
        return ended(error, arguments.verbose, lasting=arguments.call in (_run, _data))


def _refuse_gone(words: Sequence[str]) -> None:
    """Say where a command went that there was once.

    Raises:
        UserError: it is one of `GONE`.
    """
    command = next((word for word in words if not word.startswith("-")), "")
    if command in GONE:
        raise UserError(f"raycl {command}: {GONE[command]}")


def _write_anything() -> None:
    """What a locale cannot write comes out as ``\\xe9``, so that different names stay different."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def parser() -> argparse.ArgumentParser:
    """All commands."""
    top = _Parser(
        prog="raycl", description="Continual learning with masks, searched on a laptop or a Ray cluster."
    )
    top.add_argument("--version", action="version", version=f"raycl {__version__}")
    top.add_argument("--verbose", action="store_true", help="show warnings of the libraries below")
    commands = top.add_subparsers(metavar="COMMAND", required=True)
    _add_lists(commands)
    _add_plays(commands)
    _add_rest(commands)
    return top


def _add_lists(commands: _Commands) -> None:
    """What there is."""
    shown = _command(commands, "methods", methods, "list the methods, and what each needs")
    shown.add_argument("name", nargs="?")
    shown = _command(commands, "benchmarks", benchmarks, "list the benchmarks, or one in detail")
    shown.add_argument("names", nargs="*", metavar="NAME")
    shown.add_argument("--show", action="store_true", help="write a picture of its tasks, ./NAME.png")
    shown.add_argument("--out", metavar="FILE", help="write the picture there")
    data = _command(commands, "data", _data, "list, prepare or verify data sets")
    data.add_argument("action", choices=("list", "prepare", "verify"))
    data.add_argument("name", nargs="?")
    data.add_argument("--from", dest="source", metavar="DIR", help="read a folder instead of downloading")


def _add_plays(commands: _Commands) -> None:
    """What is done with a study."""
    _of_a_study(_command(commands, "plan", _plan, "what a study will run, what is done; starts nothing"))
    run = _of_a_study(_command(commands, "run", _run, "play what a study lacks"))
    run.add_argument("--address", help="of a Ray cluster; 'auto' is the one this machine belongs to")
    run.add_argument("--local", action="store_true", help="in this process, without Ray: a debugger works")
    run.add_argument("--fresh", action="store_true", help="compute again what the store has")
    _report_options(_of_a_study(_command(commands, "report", _report, "the results of a study")))
    _of_a_study(_command(commands, "sync", _sync, "project the store into MLflow again"))


def _add_rest(commands: _Commands) -> None:
    """What is done with a store, or a machine."""
    ui = _with_store(_command(commands, "ui", _ui, "MLflow's pages for the store, on loopback"))
    ui.add_argument("--port", type=int, default=5000)
    gc = _with_store(_command(commands, "gc", _gc, "list what no study needs; delete it with --yes"))
    gc.add_argument("studies", nargs="*", metavar="STUDY", help="studies to keep (all below ./studies)")
    gc.add_argument("--yes", action="store_true", help="delete it")
    about = "is this machine, is a cluster fit to play studies"
    doctor = _with_store(_command(commands, "doctor", _doctor, about))
    doctor.add_argument("--address", help="of a Ray cluster, all of whose nodes are to be asked")


def _command(
    commands: _Commands, name: str, call: Callable[[Any], int], text: str
) -> argparse.ArgumentParser:
    made = commands.add_parser(name, help=text, description=text)
    made.set_defaults(call=call)
    return made


def _of_a_study(command: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Let a command take a study, the changes to it, and a store."""
    command.add_argument("study", metavar="STUDY", help="a Python file that defines STUDY = Study(...)")
    command.add_argument(
        "--small",
        action="store_true",
        help="take the file's SMALL, the form that one machine finishes",
    )
    command.add_argument("--desk", dest="small", action="store_true", help=argparse.SUPPRESS)  # of raycl 0.1
    command.add_argument("--only", metavar="PATTERN", help="cells to take, such as 'hat/*'")
    command.add_argument(
        "--set",
        metavar="FIELD=VALUE",
        action="append",
        default=[],
        help="change a field of the study, such as search.trials=4",
    )
    return _with_store(command)


def _with_store(command: argparse.ArgumentParser) -> argparse.ArgumentParser:
    command.add_argument("--store", metavar="DIR", default="results", help="folder of results (./results)")
    return command


def _report_options(report: argparse.ArgumentParser) -> None:
    """In which form, and of what."""
    report.add_argument(
        "--format",
        choices=("table", "csv", "html", "latex"),
        help="latex: all tables as booktabs, to be read in with \\input",
    )
    report.add_argument("--no-times", action="store_true", help="csv without its time columns")
    report.add_argument("--claims", action="store_true", help="what the results say of the paper's claims")
    report.add_argument("--points", action="store_true", help="csv of the raw numbers behind the views")
    report.add_argument(
        "--tables",
        action="store_true",
        help="csv of the paper's tables: a line per cell, ours and the printed",
    )
    report.add_argument("--out", metavar="FILE", help="write it there")


def _data(arguments: Any) -> int:
    from raycl.benchmarks import sources
    from raycl.terminal import datasets

    console = _console(stderr=True)
    if arguments.action == "list":
        print(datasets.sources_text())
        return 0
    if arguments.action == "prepare":
        if not arguments.name:
            known = ", ".join(sources.sources())
            raise UserError(f"raycl data prepare NAME: which data set? (known: {known})")
        given = Path(arguments.source) if arguments.source else None
        print(datasets.prepare(arguments.name, given, console))
        return 0
    bad = 0
    for name in [arguments.name] if arguments.name else list(sources.sources()):
        if sources.status(name) == "absent":
            print(f"{name}: not here")
            continue
        wrong = datasets.verify(name, console)
        bad += len(wrong)
        print(
            "\n".join([f"{name}: {'every file is as it was prepared' if not wrong else 'damaged'}", *wrong])
        )
    return 1 if bad else 0


def _study(arguments: Any) -> Any:
    """The study that is meant, once it is clear that the store can be one."""
    from raycl.study.file import read_study

    store_folder(arguments.store)
    return read_study(arguments.study, arguments.set, arguments.small)


def _agenda(arguments: Any, study: Any, everything: bool = False) -> Any:
    """The study's cells against the store, read only; `everything`: also those that --only leaves out."""
    from raycl.runs.store import Store
    from raycl.study.agenda import Agenda
    from raycl.study.expand import cells_of, references_left_out

    def warn(line: str) -> None:
        print(f"raycl: {line}", file=sys.stderr)

    cells = cells_of(study, None if everything else arguments.only)
    store = Store(arguments.store, warn, wait=False).look()
    return Agenda(cells, store, references=references_left_out(study, cells))


def _console(**options: Any) -> Any:
    """A console that leaves it to `main` what is done where nobody reads; rich would end with SystemExit."""
    from rich.console import Console

    class Plain(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError

    return Plain(**options)


def _plan(arguments: Any) -> int:
    from raycl.terminal.plan import plan_text

    study = _study(arguments)
    print(plan_text(study, _agenda(arguments, study), Path(arguments.store), float(os.cpu_count() or 1)))
    return 0


def _run(arguments: Any) -> int:
    from raycl.api import INTERRUPTED, run_study
    from raycl.reporting import render
    from raycl.terminal.words import closing_text, interrupted_text

    if arguments.local and arguments.address is not None:
        raise UserError(
            "--local and --address: it is either this process or a cluster; leave one of them out"
        )
    study = _study(arguments)
    console = _console()
    played = run_study(
        study,
        arguments.store,
        only=arguments.only,
        address=arguments.address,
        local=arguments.local,
        fresh=arguments.fresh,
        console=console,
    )
    command = _again(arguments)
    if played.code == INTERRUPTED:
        print(interrupted_text(played.agenda, played.cut_off, command))
        return played.code
    print(render(study, played.agenda, "table"))
    page = Path(arguments.store) / f"{file_name(study.name)}.html"
    whole = played.agenda if not arguments.only else _agenda(arguments, study, everything=True)
    render(study, whole, "html", path=page, command=_again(arguments, everything=True))
    print(closing_text(Path(arguments.store), page, _linked(played, console)))
    for problem in played.problems:
        print(f"raycl: {problem}", file=sys.stderr)
    return played.code


def _linked(played: Any, console: Any) -> str:
    """Where the methods stand side by side: the whole address, or a link where a terminal can follow it."""
    if not (played.compare and console.is_terminal):
        return str(played.compare)
    return f"\x1b]8;;{played.compare}\x1b\\side by side in MLflow\x1b]8;;\x1b\\, or {played.runs}"


def _again(arguments: Any, everything: bool = False) -> str:
    """The command that makes it again; `everything`: without --only."""
    words = ["raycl", "run", arguments.study, *(["--small"] if arguments.small else [])]
    for option in ("only", "address"):
        if getattr(arguments, option, None) and not (everything and option == "only"):
            words += [f"--{option}", getattr(arguments, option)]
    words += [word for text in arguments.set for word in ("--set", text)]
    words += ["--local"] if getattr(arguments, "local", False) else []
    words += ["--store", arguments.store] if arguments.store != "results" else []
    return shlex.join(words)


def _report(arguments: Any) -> int:
    from raycl.reporting import render

    format = _format(arguments)
    out = None if arguments.out is None else out_file(arguments.out)
    study = _study(arguments)
    agenda = _agenda(arguments, study)
    if format == "html":
        page = out or Path(arguments.store) / f"{file_name(study.name)}.html"
        text = render(study, agenda, "html", command=_again(arguments), claims=arguments.claims)
        write_out(page, text)
        print(page)
        return 0
    chosen = {"claims": arguments.claims, "points": arguments.points, "tables": arguments.tables}
    text = render(study, agenda, format, times=not arguments.no_times, **chosen)
    if out:
        write_out(out, text)
    else:
        sys.stdout.write(text if text.endswith("\n") else text + "\n")
    return 0


def _format(arguments: Any) -> str:
    """The form of a report; numbers for other programs are csv."""
    csv = [f"--{name}" for name in ("points", "tables") if getattr(arguments, name)]
    if csv and arguments.format not in (None, "csv"):
        raise UserError(f"{csv[0]} is csv; leave --format {arguments.format} out")
    return "csv" if csv else arguments.format or "table"


def _sync(arguments: Any) -> int:
    from raycl.api import require_tune

    study = _study(arguments)
    agenda = _agenda(arguments, study)
    require_tune("mlflow", "and give the command again")
    from raycl.tune.tracking import Tracking

    tracking = Tracking.open(study, agenda)
    runs, compare = tracking.show()
    print(f"{study.name}: {redacted(tracking.uri)}")
    print(f"runs     {runs}\ncompare  {compare}")
    return 0


def _ui(arguments: Any) -> int:
    from raycl.tune.database import database_uri

    store = store_folder(arguments.store).resolve()
    given = os.environ.get("MLFLOW_TRACKING_URI", "")
    if given.startswith("http"):
        print(f"MLFLOW_TRACKING_URI is a server with pages of its own: {redacted(given)}")
        return 0
    if not given and not (store / "mlflow.db").exists():
        raise UserError(f"{store} holds no mlflow.db yet; `raycl run` or `raycl sync` makes it")
    uri = given or database_uri(store / "mlflow.db")
    port = free_port(arguments.port)
    print(f"http://127.0.0.1:{port} (Ctrl-C ends it)", flush=True)
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1"]
    command += ["--port", str(port), "--workers", "1"]
    environment = os.environ | {
        "MLFLOW_BACKEND_STORE_URI": uri,  # a password in it is for no list of processes
        "PYTHONSAFEPATH": "1",  # a file mlflow.py in the current folder is not MLflow
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # eight processes that nothing here needs
    }
    os.execve(sys.executable, command, environment)  # so that whoever ends this command ends the server


def _gc(arguments: Any) -> int:
    from raycl.study.gc import collect_garbage

    return collect_garbage(store_folder(arguments.store), [Path(s) for s in arguments.studies], arguments.yes)


def _doctor(arguments: Any) -> int:
    from raycl.tune.doctor import DoctorReport, examine, verdict

    reports: list[DoctorReport] = []
    for report in examine(arguments.address, folder_name(arguments.store)):
        print("\n" * bool(reports) + str(report), flush=True)
        reports.append(report)
    print(verdict(reports))
    return 1 if any(report.misses for report in reports) else 0


if __name__ == "__main__":
    sys.exit(main())

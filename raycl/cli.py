"""The command line, whose heavy imports wait until their command runs."""

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

from raycl import __version__, remembering
from raycl.errors import UserError, redacted, screen_line
from raycl.filenames import file_name
from raycl.terminal.ending import LINE, ended, open_streams
from raycl.terminal.listing import benchmarks, methods
from raycl.terminal.places import folder_name, free_port, out_file, store_folder, write_out

GONE = {  # commands that were removed, and what to type instead
    "bench": "speed measurements are not part of the package: in a clone of the repository, type "
    "`python -m bench` or `make bench`"
}

_Commands: TypeAlias = "argparse._SubParsersAction[_Parser]"


class _Parser(argparse.ArgumentParser):
    """Parser that reports an error in one line, without the list of all options above it."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{screen_line(message, LINE)} ({self.prog} --help lists the options)")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code.

    The code is 0 if all is complete, 1 if cells are blocked or failed, 2 for wrong input, 3 if the cluster is
    gone, and 130 if the command was interrupted.
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
        warnings.simplefilter("ignore")  # warnings of libraries; in the tests they are errors
    try:
        code: int = arguments.call(arguments)
        sys.stdout.flush()
        return code
    except BaseException as error:  # SystemExit as well, which only a user's or a library's code raises here
        return ended(error, arguments.verbose, lasting=arguments.call in (_run, _data))


def _refuse_gone(words: Sequence[str]) -> None:
    """Refuse commands that were removed.

    Raises:
        UserError: If the command is one of `GONE`; the message says what to type instead.
    """
    command = next((word for word in words if not word.startswith("-")), "")
    if command in GONE:
        raise UserError(f"raycl {command}: {GONE[command]}")


def _write_anything() -> None:
    """Print characters that the locale cannot write as ``\\xe9``, so that different names stay different."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    top = _Parser(
        prog="raycl", description="Continual learning with masks, searched on a laptop or a Ray cluster."
    )
    top.add_argument("--version", action="version", version=f"raycl {__version__}")
    top.add_argument("--verbose", action="store_true", help="show warnings of libraries, and tracebacks")
    commands = top.add_subparsers(metavar="COMMAND", required=True)
    _add_lists(commands)
    _add_studies(commands)
    _add_rest(commands)
    return top


def _add_lists(commands: _Commands) -> None:
    """Add the commands that list methods, benchmarks and data."""
    shown = _command(commands, "methods", methods, "list the methods, or show one in detail")
    shown.add_argument("name", nargs="?")
    shown = _command(commands, "benchmarks", benchmarks, "list the benchmarks, or show one in detail")
    shown.add_argument("names", nargs="*", metavar="NAME")
    shown.add_argument("--show", action="store_true", help="write a picture of its tasks to ./NAME.png")
    shown.add_argument("--out", metavar="FILE", help="write the picture to this file")
    data = _command(commands, "data", _data, "list, prepare or verify data sets")
    data.add_argument("action", choices=("list", "prepare", "verify"))
    data.add_argument("name", nargs="?")
    data.add_argument("--from", dest="source", metavar="DIR", help="read a folder instead of downloading")


def _add_studies(commands: _Commands) -> None:
    """Add the commands that work on a study."""
    _of_a_study(_command(commands, "plan", _plan, "show what a study will run and what is done"))
    run = _of_a_study(_command(commands, "run", _run, "execute the missing runs of a study"))
    run.add_argument("--address", help="address of a Ray cluster; 'auto': the one this machine belongs to")
    run.add_argument("--local", action="store_true", help="run in this process, without Ray (for debugging)")
    run.add_argument("--fresh", action="store_true", help="recompute what the store contains")
    _report_options(_of_a_study(_command(commands, "report", _report, "show the results of a study")))
    _of_a_study(_command(commands, "sync", _sync, "write the results of a study to MLflow again"))


def _add_rest(commands: _Commands) -> None:
    """Add the commands that work on a store or a machine."""
    ui = _with_store(_command(commands, "ui", _ui, "show MLflow's pages for the store on this machine"))
    ui.add_argument("--port", type=int, default=5000, help="port of the pages (5000)")
    gc = _with_store(_command(commands, "gc", _gc, "list what no study needs, or delete it with --yes"))
    gc.add_argument("studies", nargs="*", metavar="STUDY", help="studies to keep (all below ./studies)")
    gc.add_argument("--yes", action="store_true", help="delete what is listed")
    about = "check whether this machine or a cluster is ready to run studies"
    doctor = _with_store(_command(commands, "doctor", _doctor, about))
    doctor.add_argument("--address", help="address of a Ray cluster, all nodes of which are checked")


def _command(
    commands: _Commands, name: str, call: Callable[[Any], int], text: str
) -> argparse.ArgumentParser:
    made = commands.add_parser(name, help=text, description=text)
    made.set_defaults(call=call)
    return made


def _of_a_study(command: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Add the arguments for a study, changes to it, and a store."""
    command.add_argument("study", metavar="STUDY", help="a Python file that defines STUDY = Study(...)")
    command.add_argument(
        "--small",
        action="store_true",
        help="use the file's SMALL, the form of the study that one machine can finish",
    )
    command.add_argument("--desk", dest="small", action="store_true", help=argparse.SUPPRESS)  # old name
    command.add_argument("--only", metavar="PATTERN", help="use only these cells, such as 'hat/*'")
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
    """Add the options that choose the format and content of a report."""
    report.add_argument(
        "--format",
        choices=("table", "csv", "html", "latex"),
        help="format of the report; latex gives booktabs tables to include with \\input",
    )
    report.add_argument("--no-times", action="store_true", help="leave the time columns out of the csv")
    report.add_argument("--claims", action="store_true", help="compare the results with the paper's claims")
    report.add_argument("--points", action="store_true", help="csv of the raw numbers behind the views")
    report.add_argument(
        "--tables",
        action="store_true",
        help="csv of the paper's tables: one line per entry, with our number and the printed one",
    )
    report.add_argument("--out", metavar="FILE", help="write the report to this file")


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
            raise UserError(f"raycl data prepare: name a data set (known: {known})")
        given = Path(arguments.source) if arguments.source else None
        print(datasets.prepare(arguments.name, given, console))
        return 0
    bad = 0
    for name in [arguments.name] if arguments.name else list(sources.sources()):
        if sources.status(name) == "absent":
            print(f"{name}: not prepared")
            continue
        wrong = datasets.verify(name, console)
        bad += len(wrong)
        print("\n".join([f"{name}: {'all checksums match' if not wrong else 'damaged'}", *wrong]))
    return 1 if bad else 0


def _study(arguments: Any) -> Any:
    """Return the study, after checking that the folder of the store can be used."""
    from raycl.study.file import read_study

    store_folder(arguments.store)
    return read_study(arguments.study, arguments.set, arguments.small)


def _agenda(arguments: Any, study: Any, everything: bool = False) -> Any:
    """Return a read-only agenda of the study; `everything` includes the cells that --only leaves out."""
    from raycl.runs.store import Store
    from raycl.study.agenda import Agenda
    from raycl.study.expand import cells_of, references_left_out

    def warn(line: str) -> None:
        print(f"raycl: {line}", file=sys.stderr)

    cells = cells_of(study, None if everything else arguments.only)
    store = Store(arguments.store, warn, wait=False).look()
    return Agenda(cells, store, references=references_left_out(study, cells))


def _console(**options: Any) -> Any:
    """Return a console that leaves closed output to `main`, where rich itself would raise SystemExit."""
    from rich.console import Console

    class Plain(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError

    return Plain(**options)


def _plan(arguments: Any) -> int:
    from raycl.terminal.plan import plan_text

    study = _study(arguments)
    print(plan_text(study, _agenda(arguments, study), Path(arguments.store), float(os.cpu_count() or 1)))
    remembering.save()
    return 0


def _run(arguments: Any) -> int:
    from raycl.api import INTERRUPTED, run_study
    from raycl.reporting import render
    from raycl.reporting.pages import publish_page
    from raycl.terminal.words import closing_text, interrupted_text

    if arguments.local and arguments.address is not None:
        raise UserError("--local and --address cannot be combined: use either this process or a cluster")
    study = _study(arguments)
    console = _console()
    outcome = run_study(
        study,
        arguments.store,
        only=arguments.only,
        address=arguments.address,
        local=arguments.local,
        fresh=arguments.fresh,
        console=console,
    )
    command = _again(arguments)
    if outcome.code == INTERRUPTED:
        print(interrupted_text(outcome.agenda, outcome.cut_off, command))
        return outcome.code
    print(render(study, outcome.agenda, "table"))
    page = Path(arguments.store) / f"{file_name(study.name)}.html"
    whole = outcome.agenda if not arguments.only else _agenda(arguments, study, everything=True)
    publish_page(study, whole, page, _again(arguments, everything=True))
    remembering.save()
    print(closing_text(Path(arguments.store), page, _linked(outcome, console)))
    for problem in outcome.problems:
        print(f"raycl: {problem}", file=sys.stderr)
    return outcome.code


def _linked(outcome: Any, console: Any) -> str:
    """Return the address of MLflow's comparison page, on a terminal as a short link."""
    if not (outcome.compare and console.is_terminal):
        return str(outcome.compare)
    return f"\x1b]8;;{outcome.compare}\x1b\\side by side in MLflow\x1b]8;;\x1b\\, or {outcome.runs}"


def _again(arguments: Any, everything: bool = False) -> str:
    """Return the command line that repeats this run; `everything` leaves out --only."""
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
    """Return the format of a report; --points and --tables imply csv."""
    csv = [f"--{name}" for name in ("points", "tables") if getattr(arguments, name)]
    if csv and arguments.format not in (None, "csv"):
        raise UserError(f"{csv[0]} writes csv; leave out --format {arguments.format}")
    return "csv" if csv else arguments.format or "table"


def _sync(arguments: Any) -> int:
    from raycl.api import require_tune

    study = _study(arguments)
    agenda = _agenda(arguments, study)
    require_tune("mlflow", "and run the command again")
    from raycl.tune.tracking import Tracking

    tracking = Tracking.open(study, agenda)
    if tracking.notice:
        print(f"raycl: {tracking.notice}", file=sys.stderr)
    runs, compare = tracking.show()
    print(f"{study.name}: {redacted(tracking.uri)}")
    print(f"runs     {runs}\ncompare  {compare}")
    return 0


def _ui(arguments: Any) -> int:
    from raycl.tune.database import database_uri

    store = store_folder(arguments.store).resolve()
    given = os.environ.get("MLFLOW_TRACKING_URI", "")
    if given.startswith("http"):
        print(f"MLFLOW_TRACKING_URI is a server that has its own pages: {redacted(given)}")
        return 0
    if not given and not (store / "mlflow.db").exists():
        raise UserError(f"{store} does not contain mlflow.db yet; make it with `raycl run` or `raycl sync`")
    uri = given or database_uri(store / "mlflow.db")
    port = free_port(arguments.port)
    print(f"http://127.0.0.1:{port} (Ctrl-C ends it)", flush=True)
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1"]
    command += ["--port", str(port), "--workers", "1"]
    environment = os.environ | {
        "MLFLOW_BACKEND_STORE_URI": uri,  # not an argument: it may hold a password, and arguments are public
        "PYTHONSAFEPATH": "1",  # a file mlflow.py in the current folder is not MLflow
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # saves eight processes that are not needed here
    }
    os.execve(sys.executable, command, environment)  # so that ending this process ends the server


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

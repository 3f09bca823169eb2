"""The command line, whose heavy imports wait until their command runs."""

from __future__ import annotations

import argparse
import io
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

if __name__ == "__main__":  # `python -m` puts the current folder before installed packages
    sys.path[:] = [entry for entry in sys.path if entry not in ("", os.getcwd())]

from raycl import __version__, remembering
from raycl.errors import UserError, nearest, redacted, screen_line, typed_path
from raycl.filenames import file_name
from raycl.terminal.commandline import again, of_the_job
from raycl.terminal.ending import LINE, ended, open_streams, say
from raycl.terminal.listing import benchmarks, methods, metrics, networks, presets
from raycl.terminal.places import cannot_be_written, folder_name, free_port, out_file, store_folder, write_out

GONE = {  # commands that were removed, and what to type instead
    "bench": "speed measurements are not part of the package: in a clone of the repository, type "
    "`python -m bench` or `make bench`"
}

SUBMIT = "run a study as a job of a Ray cluster, from a machine outside it, and follow the job"
STORE_THERE = "folder of results on the cluster, an absolute path that all its nodes share"

_Commands: TypeAlias = "argparse._SubParsersAction[_Parser]"


class _Parser(argparse.ArgumentParser):
    """Parser that reports an error in one line, without the list of all options above it."""

    def error(self, message: str) -> NoReturn:
        unknown = message.partition("unrecognized arguments: ")[2].partition(" ")[0].partition("=")[0]
        near = ""
        if unknown.startswith("--"):
            known = self.options()
            near = ": other commands have it" if unknown in known else nearest(unknown, known)
        raise UserError(f"{screen_line(message, LINE)}{near} ({self.prog} --help lists the options)")

    def options(self) -> list[str]:
        """Return the options of this command, or of all commands below it."""
        found = set(self._option_string_actions)
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):
                found |= {option for command in action.choices.values() for option in command.options()}
        return sorted(found)


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
        return ended(error, arguments.verbose, lasting=arguments.call in (_run, _submit, _data, _export))


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
        prog="raycl",
        description="Continual learning with masks, searched on a laptop or a Ray cluster.",
        allow_abbrev=False,
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
    lists = {"methods": methods, "networks": networks, "presets": presets, "metrics": metrics}
    for name, call in lists.items():
        shown = _command(commands, name, call, f"list the {name}, or show one in detail")
        shown.add_argument("name", nargs="?", metavar="NAME")
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
    plan = _of_a_study(_command(commands, "plan", _plan, "show what a study will run and what is done"))
    plan.add_argument(
        "--measure", action="store_true", help="time one epoch of each method first, to estimate the hours"
    )
    run = _of_a_study(_command(commands, "run", _run, "execute the missing runs of a study"))
    run.add_argument("--address", help="address of a Ray cluster; 'auto': the one this machine belongs to")
    run.add_argument("--local", action="store_true", help="run in this process, without Ray (for debugging)")
    run.add_argument("--fresh", action="store_true", help="recompute what the store contains")
    # what the user typed for raycl submit: STUDY, --address, --runtime-env; for the command that is printed
    run.add_argument("--submitted", nargs="+", help=argparse.SUPPRESS)
    submit = _of_a_study(_command(commands, "submit", _submit, SUBMIT), STORE_THERE)
    submit.add_argument("--fresh", action="store_true", help="recompute what the store contains")
    about = "YAML or JSON file with Ray's runtime environment, such as env_vars"
    submit.add_argument("--runtime-env", metavar="FILE", help=about)
    attach = _command(commands, "attach", _attach, "follow a job of raycl submit again, to its end")
    attach.add_argument("job", metavar="JOB_ID", help="Ray's submission id, which raycl submit prints")
    for command in (submit, attach):
        about = "address of the cluster's dashboard, such as http://HEAD:8265"
        command.add_argument("--address", required=True, help=about)
    for command in (plan, run, submit):
        about = "keep the trained weights of the final runs, or of all trials as well"
        command.add_argument("--keep", choices=("none", "final", "trials"), help=about)
    about = "write a folder with a study, a method and data of your own, and tests"
    init = _command(commands, "init", _init, about)
    init.add_argument("folder", metavar="NAME", help="the folder to write")
    _report_options(_of_a_study(_command(commands, "report", _report, "show the results of a study")))
    sync = _of_a_study(_command(commands, "sync", _sync, "write the results of a study to MLflow again"))
    about = "also log the kept weights of the final runs as models of MLflow"
    sync.add_argument("--models", action="store_true", help=about)


def _add_rest(commands: _Commands) -> None:
    """Add the commands that work on a store or a machine."""
    about = "write the trained model of a run to a folder"
    export = _with_store(_command(commands, "export", _export, about))
    export.add_argument("key", metavar="KEY", help="key of the run, or its first digits")
    export.add_argument("folder", metavar="DIR", help="the folder to write")
    export.add_argument("--study", metavar="STUDY", help="its study, if it uses classes of your own")
    ui = _with_store(_command(commands, "ui", _ui, "show MLflow's pages for the store on this machine"))
    ui.add_argument("--port", type=int, default=5000, help="port of the pages (5000)")
    gc = _with_store(_command(commands, "gc", _gc, "list what no study needs, or delete it with --yes"))
    gc.add_argument("studies", nargs="*", metavar="STUDY", help="studies to keep (all below ./studies)")
    gc.add_argument("--yes", action="store_true", help="delete what is listed")
    about = "check whether this machine or a cluster is ready to run studies"
    doctor = _with_store(_command(commands, "doctor", _doctor, about))
    doctor.add_argument("--address", help="address of a Ray cluster, all nodes of which are checked")
    about = "print a script with which the shell completes commands, options and names"
    completion = _command(commands, "completion", _completion, about)
    completion.add_argument("shell", choices=("bash", "zsh"))


def _command(
    commands: _Commands, name: str, call: Callable[[Any], int], text: str
) -> argparse.ArgumentParser:
    made = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
    made.set_defaults(call=call)
    return made


def _of_a_study(command: argparse.ArgumentParser, there: str = "") -> argparse.ArgumentParser:
    """Add the arguments for a study, changes to it, and a store; `there` describes one on a cluster."""
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
    if there:
        command.add_argument("--store", metavar="DIR", help=there)
        return command
    return _with_store(command)


def _with_store(command: argparse.ArgumentParser) -> argparse.ArgumentParser:
    command.add_argument("--store", metavar="DIR", default="results", help="folder of results (./results)")
    return command


def _report_options(report: argparse.ArgumentParser) -> None:
    """Add the options that choose the format and content of a report."""
    report.add_argument(
        "--format",
        choices=("table", "csv", "html", "latex", "markdown"),
        help="format of the report; latex gives booktabs tables to include with \\input; markdown writes its "
        "figures to a folder beside --out",
    )
    report.add_argument("--no-times", action="store_true", help="leave the time columns out of the csv")
    report.add_argument("--claims", action="store_true", help="compare the results with the paper's claims")
    report.add_argument("--curves", action="store_true", help="show training curves in the html report")
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


def _init(arguments: Any) -> int:
    from raycl.terminal.starter import write_starter

    print(write_starter(Path(arguments.folder)))
    return 0


def _completion(arguments: Any) -> int:
    from raycl.terminal.completion import completion_script

    print(completion_script(parser(), arguments.shell))
    return 0


def _study(arguments: Any) -> Any:
    """Return the study, after checking that the folder of the store can be used."""
    from raycl.study.file import read_study

    store_folder(arguments.store)
    study = read_study(arguments.study, arguments.set, arguments.small)
    keep = getattr(arguments, "keep", None)
    return study if keep is None else study.with_(keep=keep)


def _agenda(arguments: Any, study: Any, everything: bool = False) -> Any:
    """Return a read-only agenda of the study; `everything` includes the cells that --only leaves out."""
    from raycl.runs.store import Store
    from raycl.study.agenda import Agenda
    from raycl.study.expand import cells_of, references_left_out

    only = None if everything else arguments.only
    cells = cells_of(study, only)
    store = Store(arguments.store, _noted, wait=False).look()
    return Agenda(cells, store, references=references_left_out(study, cells, only))


def _noted(line: str) -> None:
    """Print a message to the error stream."""
    print(f"raycl: {line}", file=sys.stderr)


def _console(**options: Any) -> Any:
    """Return a console that leaves closed output to `main`, where rich itself would raise SystemExit."""
    from rich.console import Console

    class Plain(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError

    return Plain(**options)


def _plan(arguments: Any) -> int:
    from raycl.study.measuring import measured
    from raycl.terminal.plan import plan_text

    study = _study(arguments)
    agenda = _agenda(arguments, study)
    guesses = measured(agenda, _noted) if arguments.measure else {}
    print(plan_text(study, agenda, Path(arguments.store), float(os.cpu_count() or 1), guesses))
    remembering.save()
    return 0


def _run(arguments: Any) -> int:
    from raycl.api import INTERRUPTED, run_study
    from raycl.reporting import render
    from raycl.reporting.pages import publish_page
    from raycl.terminal.words import again_text, announcing, closing_text, interrupted_text

    if arguments.local and arguments.address is not None:
        raise UserError("--local and --address cannot be combined: use either this process or a cluster")
    console = _console()
    with announcing(console):
        study = _study(arguments)
        outcome = run_study(
            study,
            arguments.store,
            only=arguments.only,
            address=arguments.address,
            local=arguments.local,
            fresh=arguments.fresh,
            console=console,
        )
    command = again(arguments)
    if outcome.code == INTERRUPTED:
        print(interrupted_text(outcome.agenda, outcome.cut_off, command))
        return outcome.code
    print(render(study, outcome.agenda, "table"))
    page = Path(arguments.store) / f"{file_name(study.name)}.html"
    whole = outcome.agenda if not arguments.only else _agenda(arguments, study, everything=True)
    publish_page(study, whole, page, again(arguments, everything=True))
    remembering.save()
    said = again_text(outcome.agenda, arguments.fresh)
    print(closing_text(Path(arguments.store), page, _linked(outcome, console), said))
    for problem in outcome.problems:
        print(f"raycl: {problem}", file=sys.stderr)
    return outcome.code


def _linked(outcome: Any, console: Any) -> dict[str, str]:
    """Return by benchmark the address of MLflow's comparison page, on a terminal as a short link."""
    found: dict[str, str] = outcome.compared
    if not console.is_terminal:
        return found
    return {
        name: f"\x1b]8;;{link}\x1b\\side by side in MLflow\x1b]8;;\x1b\\, or {outcome.runs}"
        for name, link in found.items()
    }


def _submit(arguments: Any) -> int:
    from raycl.api import require_tune
    from raycl.study.expand import cells_of
    from raycl.study.file import read_study
    from raycl.tune import submission

    address = submission.check_dashboard_address(arguments.address)
    store = submission.cluster_folder(arguments.store)
    environment = submission.environment_of(arguments.runtime_env)
    study = read_study(arguments.study, arguments.set, arguments.small)
    cells_of(study, arguments.only)  # refuses a wrong study; data that are missing here may be there
    remembering.save()
    require_tune("ray", "or use raycl run --address auto on the head", "cluster")
    request = submission.Request(
        study.name, Path(arguments.study), store, of_the_job(arguments), again(arguments), environment
    )
    client = submission.connect(address)
    job = submission.submit(request, client, say)
    return submission.follow(client, job, address, say)


def _attach(arguments: Any) -> int:
    from raycl.api import require_tune
    from raycl.tune import submission

    address = submission.check_dashboard_address(arguments.address)
    require_tune("ray", "or look at the job on a machine that has it", "cluster")
    return submission.follow(submission.connect(address), arguments.job, address, say)


def _report(arguments: Any) -> int:
    from raycl.reporting import render

    format = _format(arguments)
    out = None if arguments.out is None else out_file(arguments.out)
    study = _study(arguments)
    missing = arguments.store != "results" and not Path(arguments.store).exists()
    agenda = _agenda(arguments, study)
    if missing:
        print(
            f"raycl: there is no folder {typed_path(arguments.store)}; name it with --store", file=sys.stderr
        )
    if format == "html":
        page = out or Path(arguments.store) / f"{file_name(study.name)}.html"
        shown = {"claims": arguments.claims, "curves": arguments.curves}
        text = render(study, agenda, "html", command=again(arguments), **shown)
        write_out(page, text)
        print(page)
        return 0
    chosen = {"claims": arguments.claims, "points": arguments.points, "tables": arguments.tables}
    if out and format == "markdown":
        with cannot_be_written(out):
            render(study, agenda, format, path=out, command=again(arguments), claims=arguments.claims)
        print(out)
        return 0
    text = render(study, agenda, format, times=not arguments.no_times, command=again(arguments), **chosen)
    if out:
        write_out(out, text)
    else:
        sys.stdout.write(text if text.endswith("\n") else text + "\n")
    return 0


def _format(arguments: Any) -> str:
    """Return the format of a report; --points and --tables imply csv."""
    csv = [f"--{name}" for name in ("points", "tables") if getattr(arguments, name)]
    if arguments.curves and (csv or arguments.format not in (None, "html")):
        raise UserError("--curves adds training curves to the html report; leave out the other format")
    if arguments.curves:
        return "html"
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
    runs, compared = tracking.show()
    print(f"{study.name}: {redacted(tracking.uri)}\nruns     {runs}")
    for name, link in compared.items():
        print(f"compare  {name}  {link}")
    if arguments.models:
        from raycl.tune.models import log_models

        print(f"models   {log_models(tracking, _noted)}")
    return 0


def _export(arguments: Any) -> int:
    from raycl.api import export

    store_folder(arguments.store)
    for path in export(arguments.key, arguments.folder, arguments.store, arguments.study, say=_noted):
        print(path)
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
    base = f"http://127.0.0.1:{port}"
    print(f"{base} (Ctrl-C ends it)", flush=True)
    _print_addresses(store, uri, base)
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1"]
    command += ["--port", str(port), "--workers", "1"]
    environment = os.environ | {
        "MLFLOW_BACKEND_STORE_URI": uri,  # not an argument: it may hold a password, and arguments are public
        "PYTHONSAFEPATH": "1",  # a file mlflow.py in the current folder is not MLflow
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # saves eight processes that are not needed here
    }
    os.execve(sys.executable, command, environment)  # so that ending this process ends the server


def _print_addresses(store: Path, uri: str, base: str) -> None:
    """Print the addresses of each experiment's pages; MLflow's home page leads to other ones."""
    from raycl.tune.links import addresses
    from raycl.tune.moving import mend_artefacts

    try:
        mend_artefacts(store)
        for found in addresses(uri, base):
            print(f"\n{found.name}\n  runs     {found.runs}\n  all columns  {found.wide}")
            for name, link in found.compared.items():
                print(f"  compare  {name}  {link}")
    except Exception as error:  # the pages are shown in any case
        print(
            f"raycl: the experiments cannot be listed ({screen_line(redacted(str(error)))})", file=sys.stderr
        )
    sys.stdout.flush()


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

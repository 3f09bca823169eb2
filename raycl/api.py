"""The Python interface to what the command line does: `run_study`, `report` and `load`."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rich.console import Console

from raycl import userfiles
from raycl.errors import UserError, fault_of, screen_line, typed_path
from raycl.reporting import render
from raycl.runs.store import Store
from raycl.study.agenda import Agenda
from raycl.study.cells import Cell
from raycl.study.driver_notice import present
from raycl.study.expand import cells_of, references_left_out
from raycl.study.file import read_study
from raycl.study.notelines import lines_of
from raycl.study.proposer import Proposer, nothing_to_propose
from raycl.study.values import Search, Study
from raycl.terminal import words
from raycl.terminal.view import LiveView

# Ray, Optuna, MLflow and torch are imported where they are needed, because their import takes seconds; the
# first three need not be installed.

if TYPE_CHECKING:
    from raycl import metrics
    from raycl.method import Method
    from raycl.tune.recorder import Recorder
    from raycl.tune.tracking import Tracking

INTERRUPTED, INCOMPLETE, COMPLETE = 130, 1, 0


@dataclass
class StudyResult:
    """Outcome of `run_study`.

    Attributes:
        study: The study.
        agenda: Its agenda, which holds the results.
        code: Exit code: 0 if the study is complete, 1 if cells are blocked or failed, 130 if interrupted.
        cut_off: Number of runs that were live when the study was interrupted.
        problems: One line for each cell that is not complete, with the reason.
        compare, runs: Links to MLflow's pages, or "".
    """

    study: Study
    agenda: Agenda
    code: int
    cut_off: int = 0
    problems: list[str] = field(default_factory=list)
    compare: str = ""
    runs: str = ""


def run_study(
    study: Study | str | Path,
    store: str | Path = "results",
    *,
    only: str | None = None,
    address: str | None = None,
    local: bool = False,
    fresh: bool = False,
    console: Console | None = None,
) -> StudyResult:
    """Execute the runs of a study that the store does not contain yet.

    Args:
        study: A Study, or the file that defines one.
        store: Folder of results, which all nodes must see.
        only: Pattern over ``label/benchmark`` that selects cells; None takes all of them.
        address: Address of a Ray cluster ("auto" is the one this machine belongs to); None starts Ray here.
        local: Whether to execute one run at a time in this process, without Ray.
        fresh: Whether to recompute what the store already contains.
        console: Where to print; by default the standard output.

    Returns:
        The outcome of the study.

    Raises:
        UserError: If the study, the store, the cluster or MLflow cannot be used; nothing was started then.
    """
    study, console = _read(study), console or Console()
    say = _sayer(console)
    cells = cells_of(study, only)
    runnable = _runnable(study, cells)
    place = Store(store, warn=say).open()
    for note in lines_of(cells):
        say(f"note: {note}")
    with contextlib.ExitStack() as stack:

        @functools.cache
        def begin() -> float:
            """Join or start the cluster when the first job or trial is asked for, and return its CPUs."""
            stack.enter_context(present(place.root, study.name, say))
            if local:
                return 1.0
            return stack.enter_context(_cluster(study, runnable, address, place.root, say))

        agenda = Agenda(cells, place, _proposer(cells, begin), fresh, references_left_out(study, cells))
        outcome = StudyResult(study, agenda, COMPLETE)
        slots = 1.0 if agenda.over else begin()
        recorder = _recorder(outcome, console) if cells else None
        try:
            _execute(outcome, runnable, slots, local, address, console)
        finally:
            if recorder is not None:
                _finish_tracking(recorder, outcome, console)
    if outcome.code != INTERRUPTED and (found := problems(agenda)):
        outcome.problems, outcome.code = found, INCOMPLETE
    return outcome


def _runnable(study: Study, cells: list[Cell]) -> list[Cell]:
    """Return the cells that are not blocked; raise UserError if all of them are."""
    runnable = [cell for cell in cells if not cell.blocked]
    if cells and not runnable:
        raise UserError(f"{study.file}: {cells[0].name}: {cells[0].blocked}")
    return runnable


def _execute(
    outcome: StudyResult, cells: list[Cell], slots: float, local: bool, address: str | None, console: Console
) -> None:
    if outcome.agenda.over:
        return
    try:
        with _terminated_as_interrupted(), LiveView(outcome.study, outcome.agenda, slots, console):
            if local:
                from raycl.study import local as in_process

                in_process.run_locally(outcome.agenda, _sayer(console))
            else:
                from raycl.tune.launch import run_on_ray

                shipped, say = address is not None, _sayer(console)
                run_on_ray(outcome.study, outcome.agenda, cells, shipped=shipped, say=say)
    except KeyboardInterrupt:
        outcome.code, outcome.cut_off = INTERRUPTED, len(outcome.agenda.live)


@contextlib.contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """Let SIGTERM end a study as Ctrl-C does, with a message on how to resume it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    interrupt: Callable[..., Any] | int | None = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
        signal.signal(signal.SIGINT, interrupt)


@contextlib.contextmanager
def _cluster(
    study: Study, cells: list[Cell], address: str | None, store: Path, say: Callable[[str], None]
) -> Iterator[float]:
    require_tune("ray", "run it in this process with --local")
    from raycl.tune.launch import check_resources, cluster, feasible

    with cluster(address, study.folder) as cpus:
        if address:
            feasible(cells, store, address, say)
        else:
            check_resources(cells)
        yield cpus


def _proposer(cells: list[Cell], begin: Callable[[], object]) -> Proposer:
    """Return TPE if any cell is searched with it.

    Args:
        cells: The cells.
        begin: Called before the first proposal, because a cluster starts while Optuna is imported.
    """

    def propose(cell: Cell, n: int, history: Any, running: Any) -> dict[str, Any]:
        begin()
        from raycl.tune.proposals import tpe

        return tpe(cell, n, history, running)

    if any(isinstance(cell.search, Search) for cell in cells):
        require_tune("optuna", "or write search=None in the study")
        return propose
    return nothing_to_propose


def _recorder(outcome: StudyResult, console: Console) -> Recorder | None:
    """Return a recorder of the study's runs; None without MLflow, or if MLflow has all of them already."""
    from raycl.tune import written

    study, agenda, say = outcome.study, outcome.agenda, _sayer(console)
    if agenda.over and (links := written.links(study, agenda)) is not None:
        outcome.compare, outcome.runs = links
        return None
    try:
        from raycl.tune.recorder import Recorder
        from raycl.tune.tracking import Tracking
    except Exception as error:
        lacking = isinstance(error, ModuleNotFoundError) and error.name == "mlflow"
        broken = f"cannot be loaded ({screen_line(f'{type(error).__name__}: {error}')})"
        remedy = "pip install 'raycl[tune]'"
        say(f"MLflow {'is not installed' if lacking else broken}; {remedy}; results are in the store")
        return None
    tracking: Tracking = Tracking.open(study, agenda)
    if tracking.notice:
        say(tracking.notice)
    return Recorder(tracking, say)


def _sayer(console: Console) -> Callable[[str], None]:
    """Return a function that prints a message above the live view."""
    return lambda line: words.say(console, f"raycl: {line}")


def _finish_tracking(recorder: Recorder, outcome: StudyResult, console: Console) -> None:
    from raycl.tune import written

    if recorder.close():
        # Where another driver locks the database there are no links, but nothing is lost.
        with contextlib.suppress(Exception):
            outcome.compare = recorder.tracking.compare_link()
            outcome.runs = recorder.tracking.runs_link()
            written.note(outcome.study, outcome.agenda, outcome.compare, outcome.runs)


def require_tune(package: str, otherwise: str) -> None:
    """Check that a package of the extra `tune` is installed.

    Args:
        package: Name of the package.
        otherwise: What to do without it, for the message.

    Raises:
        UserError: If the package is not installed.
    """
    if importlib.util.find_spec(package) is None:
        raise UserError(f"{package} is not installed: pip install 'raycl[tune]', {otherwise}")


def problems(agenda: Agenda) -> list[str]:
    """Return one line for each cell that is not complete, with the reason."""
    lines = []
    for state in agenda.states:
        if state.complete:
            continue
        name = state.cell.title
        if state.cell.blocked:
            lines.append(f"{name}: blocked: {state.cell.blocked}")
        elif state.failed:
            key, message = next(iter(state.failed.items()))
            lines.append(f"{name}: failed: {fault_of(message)}{_whole(agenda.store.root, key)}")
        elif state.searched and state.best is None and state.cell.search:
            lines.append(f"{name}: no trial was completed, all {len(state.trials)} diverged")
        else:
            lines.append(f"{name}: {state.done} of {state.total} runs are done")
    return lines


def _whole(store: Path, key: str) -> str:
    """Return a note on the file that holds the whole of a failure's message; "" if there is none."""
    file = store / "failures" / f"{key}.json"
    return f" (traceback in {typed_path(file)})" if file.is_file() else ""


def _read(study: Study | str | Path) -> Study:
    """Return the study, with a name; the user's own files are read again in case they have changed."""
    if not isinstance(study, Study):
        study = read_study(study)
    else:
        userfiles.refresh()
    return study if study.name else replace(study, name="study")


def report(
    study: Study | str | Path,
    store: str | Path = "results",
    format: Literal["table", "csv", "html", "latex"] = "table",
    only: str | None = None,
    **options: Any,
) -> str:
    """Return the report of a study as text, from the results in the store.

    Args:
        study: A Study, or the file that defines one.
        store: Folder of results.
        format: Format of the report.
        only: Pattern over ``label/benchmark`` that selects cells.
        options: Further options of `raycl.reporting.render`.

    Raises:
        UserError: If the study or the store cannot be read.
    """
    study = _read(study)
    cells = cells_of(study, only)
    place = Store(store, _sayer(Console(stderr=True)), wait=False).look()
    agenda = Agenda(cells, place, references=references_left_out(study, cells))
    return str(render(study, agenda, format, **options))


def load(
    key: str, store: str | Path = "results", study: Study | str | Path | None = None
) -> tuple[Method, metrics.Matrix]:
    """Return the trained method of a finished run, ready to predict, and its matrix of test accuracies.

    The store does not keep the weights of a method, so the run is executed again, which gives the same bits
    on the same machine. Basis masks and backbones are kept in the store and read from there.

    Args:
        key: The run's key of 64 hexadecimal digits, or a prefix of it that is unique.
        store: Folder of results.
        study: The study, or its file, in whose folder the run's own classes are defined. It is required for
            a run with a user's own method, network or benchmark, because a store alone never causes a file
            to be imported.

    Returns:
        The trained method, and its accuracies [tasks learnt, task tested].

    Raises:
        UserError: If there is no such run, or more than one; if it has own classes and no study is given; or
            if the code of these classes has changed.
    """
    from raycl.runs import execution

    place = Store(store, _sayer(Console(stderr=True)), wait=False).look()
    found = [known for known in place.finished() if known.startswith(key)]
    if len(found) != 1:
        which = "no run" if not found else f"{len(found)} runs"
        remedy = ": give more digits" if found else ""
        raise UserError(f"{place.root} contains {which} whose key starts with {key!r}{remedy}")
    result = place.get(found[0])
    if result is None:
        raise UserError(f"run {found[0]} in {place.root} cannot be read; run its study again")
    spec = result.spec
    own = [text for text in (spec.method, spec.network, spec.benchmark) if ":" in text.partition("(")[0]]
    if own and study is None:
        raise UserError(
            f"run {found[0][:12]} uses {own[0]}, a class of your own; name its study, as in "
            f"load({found[0][:12]!r}, study='FILE.py')"
        )
    if study is not None and not isinstance(study, Study):
        study = read_study(study)
    spec = replace(spec, home=study.folder if study else None)
    threads = int(result.provenance.get("threads", 1))
    method, _ = execution.trained(spec, place.root, threads=threads)
    return method, result.matrix()

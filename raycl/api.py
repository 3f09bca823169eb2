"""What the command line does, from Python: `run_study`, `report`, `load`."""

from __future__ import annotations

import contextlib
import importlib.util
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rich.console import Console

from raycl import metrics, userfiles
from raycl.errors import UserError, fault_of, screen_line, typed_path
from raycl.method import Method
from raycl.reporting import render
from raycl.runs import execution
from raycl.runs.store import Store
from raycl.study import local as in_process
from raycl.study.agenda import Agenda
from raycl.study.cells import Cell
from raycl.study.driver_notice import present
from raycl.study.expand import cells_of, references_left_out
from raycl.study.file import read_study
from raycl.study.notes import lines_of
from raycl.study.proposer import Proposer, nothing_to_propose
from raycl.study.values import Search, Study
from raycl.terminal import words
from raycl.terminal.view import LiveView

# Ray, Optuna and MLflow are imported where they are needed: they take seconds, and need not be installed.

if TYPE_CHECKING:
    from raycl.tune.recorder import Recorder
    from raycl.tune.tracking import Tracking

INTERRUPTED, INCOMPLETE, COMPLETE = 130, 1, 0


@dataclass
class StudyResult:
    """How a study came out.

    Attributes:
        code: 0 complete, 1 some cells blocked or failed, 130 interrupted.
        cut_off: runs that were live when the study was interrupted.
        problems: a line for each cell that is not complete, and why.
        compare, runs: links to MLflow's pages, or "".
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
    """Play what a study lacks.

    Args:
        study: a Study, or the file that defines one.
        store: folder of results; all nodes must see it.
        only: pattern over ``label/benchmark``.
        address: of a Ray cluster ("auto": the one this machine belongs to); None starts Ray here.
        local: run by run in this process, without Ray.
        fresh: compute again what the store already has.

    Raises:
        UserError: the study, the store, the cluster or MLflow is not as it must be; nothing was started.
    """
    study = _read(study)
    console = console or Console()
    say = _sayer(console)
    cells = cells_of(study, only)
    playable = _playable(study, cells)
    place = Store(store, warn=say).open()
    for note in lines_of(cells):
        say(f"note: {note}")
    agenda = Agenda(cells, place, _proposer(cells), fresh, references_left_out(study, cells))
    played = StudyResult(study, agenda, COMPLETE)
    with contextlib.ExitStack() as stack:
        if not agenda.over:
            stack.enter_context(present(place.root, study.name, say))
        slots = 1.0
        if not (local or agenda.over):
            slots = stack.enter_context(_cluster(study, playable, address, place.root, say))
        recorder = _recorder(study, agenda, console) if cells else None
        try:
            _play(played, playable, slots, local, address, console)
        finally:
            if recorder is not None:
                _finish_tracking(recorder, played, console)
    if played.code != INTERRUPTED:
        played.problems = problems(agenda)
    if played.problems:
        played.code = INCOMPLETE
    return played


def _playable(study: Study, cells: list[Cell]) -> list[Cell]:
    """Cells that are not blocked; a study in which all are is refused."""
    playable = [cell for cell in cells if not cell.blocked]
    if cells and not playable:
        raise UserError(f"{study.file}: {cells[0].name}: {cells[0].blocked}")
    return playable


def _play(
    played: StudyResult, cells: list[Cell], slots: float, local: bool, address: str | None, console: Console
) -> None:
    if played.agenda.over:
        return
    try:
        with _terminated_as_interrupted(), LiveView(played.study, played.agenda, slots, console):
            if local:
                in_process.run_locally(played.agenda, _sayer(console))
            else:
                from raycl.tune.launch import run_on_ray

                shipped, say = address is not None, _sayer(console)
                run_on_ray(played.study, played.agenda, cells, shipped=shipped, say=say)
    except KeyboardInterrupt:
        played.code, played.cut_off = INTERRUPTED, len(played.agenda.live)


@contextlib.contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """SIGTERM ends a study as Ctrl-C does, with a word on how to go on."""
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


def _proposer(cells: list[Cell]) -> Proposer:
    """TPE, where anything is searched."""
    if any(isinstance(cell.search, Search) for cell in cells):
        require_tune("optuna", "or write search=None in the study")
        from raycl.tune.proposals import tpe

        return tpe

    return nothing_to_propose


def _recorder(study: Study, agenda: Agenda, console: Console) -> Recorder | None:
    say = _sayer(console)
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
    return Recorder(tracking, say)


def _sayer(console: Console) -> Callable[[str], None]:
    """Says a line above the live view."""
    return lambda line: words.say(console, f"raycl: {line}")


def _finish_tracking(recorder: Recorder, played: StudyResult, console: Console) -> None:
    if recorder.close():
        with contextlib.suppress(Exception):  # another driver holds the database: no link, and nothing lost
            played.compare = recorder.tracking.compare_link()
            played.runs = recorder.tracking.runs_link()


def require_tune(package: str, otherwise: str) -> None:
    """See that a package of the extra `tune` is there.

    Args:
        otherwise: what one does without it.

    Raises:
        UserError: it is not.
    """
    if importlib.util.find_spec(package) is None:
        raise UserError(f"{package} is not installed: pip install 'raycl[tune]', {otherwise}")


def problems(agenda: Agenda) -> list[str]:
    """A line for each cell that is not complete."""
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
            lines.append(f"{name}: no trial came to an end, all {len(state.trials)} diverged")
        else:
            lines.append(f"{name}: {state.done} of {state.total} runs are done")
    return lines


def _whole(store: Path, key: str) -> str:
    """Where the whole of a message is, as one types it."""
    file = store / "failures" / f"{key}.json"
    return f" (traceback in {typed_path(file)})" if file.is_file() else ""


def _read(study: Study | str | Path) -> Study:
    """The study that is meant, under a name, and the present content of the files beside it."""
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
    """The report of a study as text, from what the store has."""
    study = _read(study)
    cells = cells_of(study, only)
    place = Store(store, _sayer(Console(stderr=True)), wait=False).look()
    agenda = Agenda(cells, place, references=references_left_out(study, cells))
    return str(render(study, agenda, format, **options))


def load(
    key: str, store: str | Path = "results", study: Study | str | Path | None = None
) -> tuple[Method, metrics.Matrix]:
    """The trained method of a finished run, ready to predict, and its test accuracies [learnt, tested].

    Weights are not kept in the store: the run is played again, and gives the same bits on the same machine.
    Basis masks and backbones are, and are taken from there.

    Args:
        key: 64 hexadecimal digits, or as many of the first as are unique.
        study: the study, or its file, beside which the run's own classes lie. A store alone makes no file
            be imported: a run of a user's own method, network or benchmark needs it.

    Raises:
        UserError: no such run, or several; one of own classes without their study, or of other code.
    """
    place = Store(store, _sayer(Console(stderr=True)), wait=False).look()
    found = [known for known in place.finished() if known.startswith(key)]
    if len(found) != 1:
        which = "no run" if not found else f"{len(found)} runs"
        raise UserError(f"{which} in {place.root} with a key that starts with {key!r}")
    result = place.get(found[0])
    if result is None:
        raise UserError(f"run {found[0]} in {place.root} cannot be read: run its study again")
    spec = result.spec
    own = [text for text in (spec.method, spec.network, spec.benchmark) if ":" in text.partition("(")[0]]
    if own and study is None:
        raise UserError(
            f"run {found[0][:12]} is of {own[0]}, a class of your own: name its study, as in "
            f"load({found[0][:12]!r}, study='FILE.py')"
        )
    if study is not None and not isinstance(study, Study):
        study = read_study(study)
    spec = replace(spec, home=study.folder if study else None)
    threads = int(result.provenance.get("threads", 1))
    method, _ = execution.trained(spec, place.root, threads=threads)
    return method, result.matrix()

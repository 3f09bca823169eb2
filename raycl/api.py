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
from raycl.errors import UserError, screen_line, typed_path
from raycl.installed import install_command
from raycl.reporting import render
from raycl.results.collect import lost_of
from raycl.results.watching import Watching
from raycl.runs.result import Result
from raycl.runs.store import Store, model_path, trace_path
from raycl.study.agenda import Agenda
from raycl.study.cells import Cell
from raycl.study.driver_notice import present
from raycl.study.expand import cells_of, references_left_out
from raycl.study.file import read_study
from raycl.study.given import with_names
from raycl.study.notelines import lines_of
from raycl.study.progress import CellState
from raycl.study.proposer import Proposer, nothing_to_propose
from raycl.study.values import Keep, Search, Study
from raycl.terminal import words
from raycl.terminal.plan import again_line, reason_lines
from raycl.terminal.view import LiveView

# Ray, Optuna, MLflow and torch are imported where they are needed, because their import takes seconds; the
# first three need not be installed.

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from raycl import metrics
    from raycl.reporting.notebook import Frame
    from raycl.runs.model import Model
    from raycl.specs import RunSpec
    from raycl.tune.recorder import Recorder
    from raycl.tune.tracking import Tracking

INTERRUPTED, INCOMPLETE, COMPLETE = 130, 1, 0


@dataclass(repr=False)
class StudyResult:
    """Outcome of `run_study`.

    Attributes:
        study: The study.
        agenda: Its agenda, which holds the results.
        code: Exit code: 0 if the study is complete, 1 if cells are blocked or failed, 130 if interrupted.
        cut_off: Number of runs that were live when the study was interrupted.
        problems: One line for each cell that is not complete, with the reason.
        runs: Link to MLflow's table of the runs, or "".
        compared: By benchmark, the link to the page on which MLflow compares its methods.
    """

    study: Study
    agenda: Agenda
    code: int
    cut_off: int = 0
    problems: list[str] = field(default_factory=list)
    runs: str = ""
    compared: dict[str, str] = field(default_factory=dict)

    @property
    def compare(self) -> str:
        """The first of the links in `compared`, or ""."""
        return next(iter(self.compared.values()), "")

    def frame(self, kind: Frame = "runs") -> pd.DataFrame:
        """Return the results as a data frame; `kind` is that of `raycl.frame`."""
        from raycl.reporting import notebook

        return notebook.frame(self.study, self.agenda, kind)

    def figures(self, benchmark: str | None = None) -> dict[str, Figure]:
        """Return the report's figures of a benchmark by name, as figures of matplotlib.

        Args:
            benchmark: The benchmark, as tables print it or as the study writes it; None takes the first one.
        """
        from raycl.reporting import notebook

        return notebook.figures(self.study, self.agenda, benchmark)

    def __repr__(self) -> str:
        done, runs = (sum(getattr(s, name) for s in self.agenda.states) for name in ("done", "total"))
        return f"StudyResult({self.study.name}: {done} of {runs} runs are done, code {self.code})"

    def _repr_html_(self) -> str:
        from raycl.reporting import notebook

        return notebook.summary_html(self.study, self.agenda)


def run_study(
    study: Study | str | Path,
    store: str | Path = "results",
    *,
    only: str | None = None,
    address: str | None = None,
    local: bool = False,
    fresh: bool = False,
    keep: Keep | None = None,
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
        keep: Which trained methods to keep, instead of `Study.keep`.
        console: Where to print; by default the standard output.

    Returns:
        The outcome of the study.

    Raises:
        UserError: If the study, the store, the cluster or MLflow cannot be used; nothing was started then.
    """
    study, console = _read(study), console or Console()
    study = study if keep is None else study.with_(keep=keep)
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
            return stack.enter_context(_cluster(study, runnable, address, place.root, say, console))

        references = references_left_out(study, cells, only)
        agenda = Agenda(cells, place, _proposer(cells, begin), fresh, references)
        outcome = StudyResult(study, agenda, COMPLETE)
        if study.callbacks:
            agenda.listeners.append(Watching(study.callbacks, agenda.runs_of, study.metrics, say))
        if line := again_line(agenda.keeping.again):
            say(line)
        slots = 1.0 if agenda.over else begin()
        recorder = _recorder(outcome, console) if cells else None
        try:
            _execute(outcome, runnable, slots, local, address, console)
        finally:
            if recorder is not None:
                _finish_tracking(recorder, outcome, console)
    for line in reason_lines(agenda):
        say(line)
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
    study: Study,
    cells: list[Cell],
    address: str | None,
    store: Path,
    say: Callable[[str], None],
    console: Console,
) -> Iterator[float]:
    require_tune("ray", "run it in this process with --local")
    if console.is_terminal:  # elsewhere nobody waits for it, and errors stay alone
        what = f"joining the Ray cluster at {address}" if address else "starting Ray on this machine"
        say(f"{what}, which takes some seconds")
    from raycl.tune.launch import check_resources, cluster, feasible, wait_for_nodes

    with cluster(address, study.folder) as cpus:
        if address:
            cpus = wait_for_nodes(say)
            feasible(cells, store, address, say)
        else:
            check_resources(cells)
        yield cpus


def _proposer(cells: list[Cell], begin: Callable[[], object]) -> Proposer:
    """Return the function that asks Optuna's samplers, if any cell is searched with one.

    Args:
        cells: The cells.
        begin: Called before the first proposal, because a cluster starts while Optuna is imported.
    """

    def asked(cell: Cell, n: int, history: Any, running: Any) -> dict[str, Any]:
        begin()
        from raycl.tune.proposals import propose

        return propose(cell, n, history, running)

    searches = [cell.search for cell in cells if isinstance(cell.search, Search)]
    if searches:
        require_tune("optuna", "or write search=None in the study")
        if any(search.sampler == "cmaes" for search in searches):
            require_tune("cmaes", "or write another sampler in the study's search", "samplers")
        return asked
    return nothing_to_propose


def _recorder(outcome: StudyResult, console: Console) -> Recorder | None:
    """Return a recorder of the study's runs; None without MLflow, or if MLflow has all of them already."""
    from raycl.tune import written

    study, agenda, say = outcome.study, outcome.agenda, _sayer(console)
    if agenda.over and (links := written.links(study, agenda)) is not None:
        outcome.compared, outcome.runs = links
        return None
    try:
        from raycl.tune.recorder import Recorder
        from raycl.tune.tracking import Tracking
    except Exception as error:
        lacking = isinstance(error, ModuleNotFoundError) and error.name == "mlflow"
        broken = f"cannot be loaded ({screen_line(f'{type(error).__name__}: {error}')})"
        remedy = install_command("tune")
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
            outcome.compared = recorder.tracking.compare_links()
            outcome.runs = recorder.tracking.runs_link()
            written.note(outcome.study, outcome.agenda, outcome.compared, outcome.runs)


def require_tune(package: str, otherwise: str, extra: str = "tune") -> None:
    """Check that a package of the extra `tune` is installed, or of another extra.

    Args:
        package: Name of the package.
        otherwise: What to do without it, for the message.
        extra: Name of the extra.

    Raises:
        UserError: If the package is not installed.
    """
    if importlib.util.find_spec(package) is None:
        raise UserError(f"{package} is not installed: {install_command(extra)}, {otherwise}")


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
            lines.append(f"{name}: failed: {userfiles.located(message)}{_whole(agenda.store.root, key)}")
        elif state.searched and state.best is None and state.cell.search:
            lines.append(f"{name}: no trial was completed, {_lost(state)}")
        else:
            lines.append(f"{name}: {state.done} of {state.total} runs are done")
    return lines


def _lost(state: CellState) -> str:
    """Return how the trials of a cell that has no value were lost, with the first reason of a refusal."""
    text = lost_of(state)
    results = [trial.result for trial in state.trials if trial.result is not None]
    why = next((screen_line(result.message) for result in results if result.status == "invalid"), "")
    return f"{text} ({why})" if why else text


def _whole(store: Path, key: str) -> str:
    """Return a note on the text file that holds the traceback of a failure; "" if there is none."""
    file = trace_path(store, key)
    return f" (traceback in {typed_path(words.shown(file))})" if file.is_file() else ""


def _read(study: Study | str | Path) -> Study:
    """Return the study, with a name; the user's own files are read again in case they have changed."""
    if not isinstance(study, Study):
        study = read_study(study)
    else:
        userfiles.refresh()
    study = with_names(study)
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
    study, agenda = _looked_at(study, store, only)
    return str(render(study, agenda, format, **options))


def frame(
    study: Study | str | Path | None = None,
    store: str | Path = "results",
    kind: Frame = "runs",
    only: str | None = None,
) -> pd.DataFrame:
    """Return the results of a study in the store as a pandas data frame.

    Args:
        study: A Study, or the file that defines one. Without it, every finished run of the store has a row,
            as for a store whose study you do not have: which of them were trials, the store does not know.
        store: Folder of results.
        kind: "runs" has a row per final run, "trials" one per trial of a search, "tasks" one per final run
            and task, "matrix" one per entry of the matrices of test accuracies, and "curves" one per point of
            the training curves of final runs: losses and learning rate by epoch.
        only: Pattern over ``label/benchmark`` that selects cells.

    Raises:
        UserError: If pandas is not installed, the study or the store cannot be read, or `kind` or `only` is
            given without a study.
    """
    from raycl.reporting import notebook

    if study is None:
        place = Store(store, _sayer(Console(stderr=True)), wait=False).look()
        if not place.root.is_dir():
            raise UserError(f"frame: there is no folder {place.root}; name the store with store=")
        if kind != "runs" or only is not None:
            raise UserError("frame: without a study there is kind='runs' alone, of the whole store")
        return notebook.stored(place)
    study, agenda = _looked_at(study, store, only)
    return notebook.frame(study, agenda, kind)


def _looked_at(study: Study | str | Path, store: str | Path, only: str | None) -> tuple[Study, Agenda]:
    """Return a study and an agenda that only reads what the store contains."""
    study = _read(study)
    cells = cells_of(study, only)
    place = Store(store, _sayer(Console(stderr=True)), wait=False).look()
    return study, Agenda(cells, place, references=references_left_out(study, cells, only))


def load(
    key: str,
    store: str | Path = "results",
    study: Study | str | Path | None = None,
    *,
    say: Callable[[str], None] | None = None,
) -> tuple[Model, metrics.Matrix]:
    """Return the trained method of a finished run, ready to predict, and its matrix of test accuracies.

    If the store has kept the method (`Study.keep`), it is read from there. Otherwise the run is executed
    again, which gives the same bits on the same machine. ``model.origin`` says which it was, and so does a
    message.

    Args:
        key: The run's key of 64 hexadecimal digits, or a prefix of it that is unique.
        store: Folder of results.
        study: The study, or its file, in whose folder the run's own classes are defined. It is required for
            a run with a user's own method, network or benchmark, because a store alone never causes a file
            to be imported.
        say: Receives each message as one line; by default it is printed to the standard error.

    Returns:
        The model, and its accuracies [tasks learnt, task tested].

    Raises:
        UserError: If there is no such run, or more than one; if it has own classes and no study is given; or
            if the code of these classes has changed.
    """
    from raycl.runs import execution, kept
    from raycl.runs.model import Model

    say = say or _sayer(Console(stderr=True))
    place = Store(store, say, wait=False).look()
    result, spec = _finished(place, key, study)
    named = f"run {spec.key[:12]}"
    try:
        found = execution.recalled(spec, model_path(place.root, spec.key))
    except FileNotFoundError:
        say(f"{typed_path(place.root)} has not kept the weights of {named}; it is trained again")
    except kept.Unusable as error:
        say(f"the weights that were kept of {named} cannot be used ({error}); it is trained again")
    else:
        say(f"weights of {named} read from {typed_path(model_path(place.root, spec.key))}")
        model = Model(found.method, spec, found.reports, "kept", found.ports)
        return model, _compared(model, result, say)
    threads = int(result.provenance.get("threads", 1))
    method, reports = execution.trained(spec, place.root, threads=threads)
    model = Model(method, spec, reports, "trained again")
    return model, _compared(model, result, say)


def export(
    key: str,
    folder: str | Path,
    store: str | Path = "results",
    study: Study | str | Path | None = None,
    *,
    say: Callable[[str], None] | None = None,
) -> list[Path]:
    """Write the trained method of a finished run to a folder that is used without the store.

    ``load.py`` in the folder loads the model; `raycl.load_exported` does the same.

    Args:
        key: As in `load`.
        folder: The folder; it is created, and may hold an earlier export.
        store: As in `load`.
        study: As in `load`.
        say: As in `load`.

    Returns:
        The paths of the files.

    Raises:
        UserError: As `load`; or if the folder contains other files.
    """
    from raycl.runs.export import write

    model, _ = load(key, store, study, say=say)
    return write(model, Path(folder))


_UNFINISHED = {
    "paused": "has paused after some of its tasks, as trials do that a search prunes",
    "failed": "has failed",
}


def _finished(place: Store, key: str, study: Study | str | Path | None) -> tuple[Result, RunSpec]:
    """Return the result of a finished run, and its spec with the folder of the user's own classes.

    Args:
        place: The store.
        key: The beginning of the run's key.
        study: As in `load`.

    Raises:
        UserError: If there is no such run, or more than one, or own classes and no study.
    """
    if not place.root.is_dir():
        raise UserError(f"there is no folder {place.root}; name the store with store=, or --store")
    found = [known for known in place.finished() if known.startswith(key)]
    if not found and (begun := next(((k, s) for k, s in place.unfinished() if k.startswith(key)), None)):
        raise UserError(
            f"run {begun[0][:12]} in {place.root} {_UNFINISHED[begun[1]]}, so it has no trained method; "
            "only finished runs have one"
        )
    if len(found) != 1:
        which = "no run" if not found else f"{len(found)} runs"
        remedy = ": give more digits" if found else "; raycl report STUDY --format csv lists keys"
        raise UserError(f"{place.root} contains {which} whose key starts with {key!r}{remedy}")
    result = place.get(found[0])
    if result is None:
        raise UserError(f"run {found[0]} in {place.root} cannot be read; run its study again")
    if result.status != "done":
        raise UserError(
            f"run {found[0][:12]} {result.status} ({result.message}), so it has no trained method"
        )
    spec = result.spec
    own = [text for text in (spec.method, spec.network, spec.benchmark) if ":" in text.partition("(")[0]]
    if own and study is None:
        raise UserError(
            f"run {found[0][:12]} uses {own[0]}, a class of your own; name its study, as in "
            f"load({found[0][:12]!r}, study='FILE.py') or raycl export --study FILE.py"
        )
    return result, replace(spec, home=_read(study).folder if study is not None else None)


def _compared(model: Model, result: Result, say: Callable[[str], None]) -> metrics.Matrix:
    """Return a model's matrix, and say so if it is not that of the result in the store."""
    import numpy as np

    if not np.array_equal(model.matrix, result.matrix(), equal_nan=True):
        say(
            f"the accuracies of this model differ from the result of run {model.spec.key[:12]} in the store, "
            "as it was trained on another machine or with another torch; its own are returned"
        )
    return model.matrix

"""Stores made by hand: results that no training produced, so that every printed number is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from raycl.method import Method
from raycl.runs.reports import TaskReport
from raycl.runs.result import Result
from raycl.runs.store import Store
from raycl.space import Float
from raycl.specs import RunSpec
from raycl.study.agenda import Agenda
from raycl.study.cells import Cell
from raycl.study.expand import cells_of
from raycl.study.values import Search, Seeds, Study

MiB = 2**20


class Alone(Method):
    """Stands in for the reference of forward transfer."""

    is_reference: ClassVar[bool] = True


class Other(Method):
    """Another method, with nothing of its own."""


BENCHMARK = "digits_permuted(tasks=2)"
ALONE, OTHER = f"{__name__}:Alone", f"{__name__}:Other"


def reports(
    test: Sequence[Sequence[float]],
    val: Sequence[Sequence[float]] | None = None,
    *,
    main: float = 1.0,
    extra: Mapping[str, float] | None = None,
    epochs: int = 4,
    parameters: int = 9000,
    stored: int = 37_000,
    cpu: float | None = None,
) -> tuple[TaskReport, ...]:
    """One report per row of the accuracy matrix; a row may be shorter than there are tasks.

    Args:
        main: seconds per task of the main fit.
        extra: seconds per task of other streams, such as "method".
        cpu: processor time per task as a share of these seconds; None as in reports of earlier versions.
    """
    val = test if val is None else val
    return tuple(
        TaskReport(
            task=t,
            val=dict(enumerate(val[t])),
            test=dict(enumerate(test[t])),
            epochs={"main": epochs + t},
            updates=10,
            seconds={"main": main, **(extra or {})},
            evaluation_seconds=100.0,
            peak_bytes=MiB,
            parameters=parameters,
            stored_bytes=stored,
            ended=1_700_000_000.0 + t,
            cpu_seconds={n: s * cpu for n, s in {"main": main, **(extra or {})}.items()} if cpu else {},
        )
        for t in range(len(test))
    )


def put(
    store: Store, spec: RunSpec, rows: Sequence[TaskReport], status: Any = "done", **provenance: Any
) -> Result:
    """A result in the store."""
    about = {"started": 1_700_000_000.0, "seconds": 2.0, "torch": "2.9", "device": "cpu", **provenance}
    message = "" if status == "done" else f"{status}: the loss is nan"
    result = Result(spec, status, tuple(rows), message, about)
    store.put(result)
    return result


def put_trials(
    store: Store, cell: Cell, trials: Sequence[tuple[dict[str, Any], Sequence[TaskReport] | None]]
) -> None:
    """Proposals and their results; None instead of reports is a diverged one."""
    for n, (params, rows) in enumerate(trials):
        store.propose(cell.key, n, params, {})
        put(store, cell.spec(params, cell.trial_seed), rows or (), "done" if rows else "diverged")


def two_tasks(diagonal: float, second: float, end: float) -> list[list[float]]:
    """A[1, 1], A[2, 2] and A[2, 1] of two tasks."""
    return [[diagonal], [end, second]]


def study(**changes: Any) -> Study:
    """The reference and finetuning on two tasks, no search, two seeds."""
    base: dict[str, Any] = {
        "name": "small",
        "methods": {"one": {"method": ALONE}, "finetune": {}},
        "benchmarks": [BENCHMARK],
        "network": "mlp(hidden=64, drop1=0.0, drop2=0.0)",
        "search": None,
        "final": Seeds(1, 2),
    }
    return Study(**(base | changes))


def cells(of: Study) -> dict[str, Cell]:
    """By name."""
    return {cell.name: cell for cell in cells_of(of)}


SEARCH = Search(trials=3, concurrency=1, startup_trials=2)
RATE = Float(0.001, 1.0, log=True)

ONE = {1: two_tasks(0.90, 0.80, 0.90), 2: two_tasks(0.92, 0.82, 0.92)}
TUNED = {1: two_tasks(0.88, 0.84, 0.60), 2: two_tasks(0.90, 0.80, 0.66)}


def filled(store: Store, of: Study) -> Agenda:
    """The two matrices above as final runs of the two cells of `study()`."""
    for name, matrices, extra in (("one", ONE, {}), ("finetune", TUNED, {"method": 0.5})):
        for seed, matrix in matrices.items():
            put(store, cells(of)[f"{name}/{BENCHMARK}"].spec({}, seed), reports(matrix, extra=extra))
    return read(store, of)


def read(store: Store, of: Study) -> Agenda:
    """What `plan` and `report` see; from disk."""
    return Agenda(cells_of(of), Store(store.root))

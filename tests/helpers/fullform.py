"""The full form of a shipped study as if it had been run: rows whose numbers no training produced."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from raycl import registry, userfiles
from raycl.results.collect import row_of
from raycl.results.rows import CellRow
from raycl.runs.result import Result
from raycl.specs import CORE_VERSION, RunSpec
from raycl.study.agenda import Agenda
from raycl.study.cells import Cell
from raycl.study.expand import cells_of
from raycl.study.progress import CellState, Trial
from raycl.study.values import Grid, Search, Seeds, Study
from tests.helpers import hand

HOME = Path(__file__).parents[2] / "studies"
FIGURES = Path(__file__).parents[1] / "golden" / "figures.json"
TASKS = 6  # No claim names a later task.


def full_studies() -> dict[str, Path]:
    """The files of all papers' studies, by paper and stem."""
    found = {f"{path.parent.name}/{path.stem}": path for path in sorted(HOME.glob("*/*.py"))}
    return {name: path for name, path in found.items() if "\nSTUDY" in path.read_text()}


@functools.cache
def diagnostics_of(method: str) -> dict[str, Any]:
    """What a method with its default settings reports of itself, as a test has recorded it."""
    version = f"{CORE_VERSION}.{registry.method(method).version}"
    recorded: dict[str, Any] = json.loads(FIGURES.read_text())
    return dict(recorded.get(method, {}).get(version, {}).get("figures", {}))


def asked_for(cell: Cell) -> dict[str, Any]:
    """What some settings of a method add to what it reports; `supsup` and `impresslearn` say so."""
    settings = {key: setting.value for key, setting in cell.settings.items()}
    found: dict[str, Any] = {}
    if settings.get("method.probes"):
        found |= {"x_acc": 0.1, "task_overlap_ratio": 1.0}
    if settings.get("method.inference", "given") != "given":
        steps = (1, 2, 3, 5, 10) if settings["method.inference"] == "gradient" else (1,)
        found |= {"task_inference_acc": {str(step): 0.5 for step in steps}}
    return found


def small_search(study: Study) -> Study:
    """The study with two trials of every search that draws its proposals; a grid is left as it is."""
    two = Search(trials=2, startup_trials=2)

    def short(search: Any) -> Any:
        return two if isinstance(search, Search) else search

    methods = {
        label: {**keys, "search": short(keys["search"])} if "search" in keys else keys
        for label, keys in study.methods.items()
    }
    return study.with_(methods=methods, search=short(study.search))


def runs_of(cell: Cell) -> Iterator[Trial]:
    """The trials and the final runs of a cell. Their specs only tell them apart: nobody looks up a key."""
    search = cell.search
    points = search.points() if isinstance(search, Grid) else [{"n": 1}, {"n": 2}] if search else []
    seeds = cell.final if isinstance(cell.final, Seeds) else () if search else (cell.trial_seed,)
    best = points[0] if points else {}

    def spec(point: dict[str, Any], seed: int) -> RunSpec:
        kinds = cell.kinds
        return RunSpec(
            method=kinds.method, network=kinds.network, benchmark=cell.benchmark, config=point, seed=seed
        )

    yield from (Trial(n, point, spec(point, cell.trial_seed)) for n, point in enumerate(points))
    yield from (Trial(n, best, spec(best, seed), seed=seed) for n, seed in enumerate(seeds))


def finished(cell: Cell, run: Trial) -> Result:
    """The result of a run; all accuracies are equal."""
    with userfiles.importing_from(cell.home):  # a study may have classes of its own
        tasks = min(getattr(registry.recipe(cell.benchmark), "tasks", TASKS), TASKS)
        own = diagnostics_of(cell.kinds.method) | asked_for(cell)
    made = hand.reports([[0.5] * (t + 1) for t in range(tasks)])
    rows = tuple(dataclasses.replace(report, diagnostics=own) for report in made)
    return Result(run.spec, "done", rows, "", {"seconds": 2.0})


def rows_of(study: Study) -> list[CellRow]:
    """A row for each cell of a study all of whose runs are finished."""
    states = []
    for cell in cells_of(small_search(study), check=False):
        state = CellState(dataclasses.replace(cell, blocked=None))
        for run in runs_of(cell):
            state.add(run)
            state.settle(run, finished(cell, run))
        states.append(state)
    references: dict[tuple[str, int], list[CellState]] = {}
    for state in states:
        if state.cell.kinds.is_reference:
            references.setdefault((state.cell.benchmark, state.cell.order), []).append(state)
    agenda = SimpleNamespace(
        states=states,
        reference_states=references,
        store=SimpleNamespace(unsealed=frozenset(), failure=lambda key: None),
    )
    return [row_of(state, cast(Agenda, agenda), study.metrics) for state in states]

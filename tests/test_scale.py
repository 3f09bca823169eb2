"""What an event costs a driver does not grow with the study: counted in calls and reads, never in seconds."""

from __future__ import annotations

import dataclasses
import gc
import io
import itertools
import json
import random
import shutil
import sys
import tracemalloc
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from bench import scale
from bench.scale import Searcher, play, stretch, study
from raycl import Float, Grid, Search, Seeds, Study
from raycl.results.collect import collect
from raycl.runs.result import Result
from raycl.runs.store import Store
from raycl.study.agenda import Agenda
from raycl.study.estimate import Estimate, _Amounts
from raycl.study.expand import cells_of, references_left_out
from raycl.study.jobs import Event, Finished, Job, Role
from raycl.terminal.view import LiveView
from raycl.tune.proposals import propose
from raycl.tune.search import StudySearch

PLAIN = "raycl.method:Method"


def driver(store: Path, wanted: Study) -> StudySearch:
    agenda = Agenda(cells_of(wanted, check=False), Store(store).open(), propose)
    agenda.masks.slots = 4
    return StudySearch(agenda, {"store": str(store), "data": "", "home": ""})


def grid(points: int) -> Study:
    """A cell of so many points, and one of so many final seeds."""
    rates = [0.001 * (i + 1) for i in range(points)]
    return Study(
        name="grid",
        methods={"grid": {"method": PLAIN, "fit.epochs": 3, "search": Grid({"fit.lr": rates})},
                 "seeds": {"method": PLAIN, "fit.epochs": 4, "search": None}},
        benchmarks=["digits_split"],
        network="mlp(hidden=64)",
        final=Seeds(*range(1, points + 1)),
    )  # fmt: skip


def cells(labels: int) -> Study:
    """So many small searches."""
    wide = {"method": PLAIN, "fit.lr": Float(0.01, 1, log=True)}
    return Study(
        name="cells",
        methods={f"searched-{i}": wide | {"fit.epochs": 5 + i} for i in range(labels)},
        benchmarks=["digits_split"],
        network="mlp(hidden=64, drop1=0.0, drop2=0.0)",
        search=Search(trials=5, concurrency=2, startup_trials=2),
        final=Seeds(1, 2),
    )


def parts(labels: int) -> Study:
    """Runs that are made of parts, on one backbone for all."""
    return Study(
        name="parts",
        methods={f"parts-{i}": {"method": "piggyback", "search": None, "fit.weight_decay": 0.0001 * i}
                 for i in range(labels)},
        benchmarks=["digits_split"],
        network="mlp(hidden=64)",
        final=Seeds(1),
    )  # fmt: skip


def masks(labels: int) -> Study:
    """Runs on basis masks, each on its own."""
    masked = {"method": "impresslearn", "search": None, "method.basis": "homogeneous", "method.k": 16}
    return Study(
        name="masks",
        methods={f"masked-{i}": masked | {"fit.lr": 0.001 * (i + 1)} for i in range(labels)},
        benchmarks=["digits_permuted(first=1)"],
        network="mlp(hidden=64)",
        final=Seeds(1),
    )


class Count:
    """Calls of raycl's functions, and files that are looked for, while it is on."""

    def __init__(self) -> None:
        self.calls = 0
        self.opened: Counter[str] = Counter()
        self._on = False
        sys.addaudithook(self._heard)  # it cannot be taken away again

    def _heard(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self._on and event in ("open", "os.listdir", "os.scandir"):
            self.opened[str(arguments[0])] += 1

    def _called(self, frame: Any, event: str, _: Any) -> None:
        self.calls += event == "call" and "raycl/" in frame.f_code.co_filename

    def __enter__(self) -> Count:
        self._on = True
        sys.setprofile(self._called)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)
        self._on = False


@pytest.fixture(scope="module")
def count() -> Count:
    return Count()


def cost(count: Count, store: Path, wanted: Study) -> tuple[int, int]:
    """Calls, and files looked for, of a driver with its view, from its start to the end."""
    calls, opened = count.calls, count.opened.total()
    with count:
        search = driver(store, wanted)
        with LiveView(wanted, search.agenda, 4, Console(file=io.StringIO(), width=80)):
            play(search, slots=4)
    assert all(state.complete for state in search.agenda.states)
    return count.calls - calls, count.opened.total() - opened


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "few", "many"), [(grid, 20, 80), (cells, 4, 16), (parts, 3, 12), (masks, 3, 12)]
)
def test_four_times_as_much_to_play_costs_four_times_as_much(
    tmp_path: Path, count: Count, make: Callable[[int], Study], few: int, many: int
) -> None:
    cost(count, tmp_path / "first", make(many))  # what is worked out once and kept
    small, large = cost(count, tmp_path / "few", make(few)), cost(count, tmp_path / "many", make(many))
    assert large[0] < 1.15 * 4 * small[0], "calls a job grow with the study"
    assert large[1] < 1.05 * 4 * small[1], "files looked for a job grow with the study"


def test_500_jobs_of_all_kinds_and_a_start_that_reads_each_file_once(tmp_path: Path, count: Count) -> None:
    (tmp_path / "mine.py").write_text("from bench.scale import study\nSTUDY = study(500)\n")

    def stretched(jobs: int | None) -> dict[str, float]:
        store = str(tmp_path / "results")
        return stretch(str(tmp_path / "mine.py"), store, jobs, StudySearch, propose, terminal=False)

    half = stretched(250)
    assert half["ended"] == 250 and half["found"] == 0
    rest = stretched(None)
    assert rest["found"] == half["runs"] < rest["runs"] and rest["ended"] >= 250
    count.opened.clear()
    with count:
        again = stretched(None)
    assert again["ended"] == 0 and again["found"] == rest["runs"]
    assert not any("/results/runs/" in name for name in count.opened), "files are read despite summaries"
    shutil.rmtree(tmp_path / "results" / "summaries")
    count.opened.clear()
    with count:
        again = stretched(None)
    assert again["ended"] == 0 and again["found"] == rest["runs"]
    read = {name: times for name, times in count.opened.items() if name.endswith(".json")}
    results = {str(path) for path in (tmp_path / "results" / "runs").glob("??/*.json")}
    runs = {name for name in read if "/runs/" in name}
    assert runs < results  # backbones are not asked for where all that builds on them is done
    assert len(runs) == rest["runs"]
    assert max(times for name, times in read.items() if "/results/" in name) == 1


def everything(agenda: Agenda) -> list[Any]:
    return [
        (
            state.done,
            state.total,
            state.missing,
            state.complete,
            state.searched,
            state.best and state.best.n,
            [(trial.n, trial.params, trial.result and trial.result.status) for trial in state.trials],
            sorted(state.results),
            state.seconds_per_run and round(state.seconds_per_run, 6),
        )
        for state in agenda.states
    ]


def step(search: Searcher, live: list[tuple[str, dict[str, Any]]], rng: random.Random, slots: int) -> bool:
    """Let one job end, others having begun; False at the end."""
    while len(live) < slots:
        config = search.suggest(trial := f"{rng.random()}")
        if not isinstance(config, dict):
            break
        live.append((trial, config))
    if not live:
        return False
    trial, config = live.pop(rng.randrange(len(live)))
    *signs, last = scale.worked(config)
    for sign in [*signs, last]:
        search.on_trial_result(trial, sign)
    search.on_trial_complete(trial, last)
    return True


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_what_a_driver_has_counted_is_what_the_store_says(tmp_path: Path, seed: int) -> None:
    """A driver looks only at what an event touches; one that starts afresh looks at all."""
    wanted, rng = study(100), random.Random(seed)
    search, live = driver(tmp_path, wanted), []
    found = [state.cell for state in search.agenda.states]
    while step(search, live, rng, slots=rng.randrange(1, 9)):
        if rng.random() < 0.05:
            assert everything(search.agenda) == everything(Agenda(found, Store(tmp_path)))
    assert everything(search.agenda) == everything(Agenda(found, Store(tmp_path)))
    assert all(state.complete for state in search.agenda.states) and search.agenda.over


@pytest.mark.slow
def test_the_view_recomposes_what_an_event_touches_and_nothing_is_left_out(tmp_path: Path) -> None:
    wanted, rng = study(100), random.Random(4)
    search, live = driver(tmp_path, wanted), []
    agenda, composed = search.agenda, 0
    with LiveView(wanted, agenda, 4, Console(file=io.StringIO(), width=80), clock=lambda: 0.0) as view:
        compose, inner = view._compose, []

        def counting(index: int, *more: Any, **named: Any) -> None:
            inner.append(index)
            compose(index, *more, **named)

        def listen(event: Event) -> None:
            """After the view: its table is as if it had looked at every cell."""
            nonlocal composed
            composed += len(inner)
            shown, counts = [line.text for line in view._lines], (view._counts.done, view._counts.total)
            for index in range(len(agenda.states)):
                compose(index, finished=event.job.key if isinstance(event, Finished) else "")
            assert shown == [line.text for line in view._lines]
            view._count(estimate=False)
            assert counts == (view._counts.done, view._counts.total)
            inner.clear()

        view._compose = counting  # type: ignore[method-assign,assignment]
        agenda.listeners.append(listen)
        events = 0
        while step(search, live, rng, slots=4):
            events += 1
        agenda.listeners.remove(listen)
    assert 0 < composed < 10 * events < len(agenda.states) * events


def test_a_failure_shows_in_every_cell_that_it_stops(tmp_path: Path) -> None:
    """The backbone of three cells fails: the view hears of a job of the first alone."""
    wanted = parts(3)
    agenda = driver(tmp_path, wanted).agenda
    with LiveView(wanted, agenda, 4, Console(file=io.StringIO(), width=80), clock=lambda: 0.0) as view:
        job = agenda.next()
        assert isinstance(job, Job) and job.role == Role(seed=1, steps=("backbone",))
        agenda.finish(job.key, Result(job.spec, "failed", message="out of memory"))
        assert agenda.over
        said = f"  failed: {job.name}: out of memory"
        assert [line.text.endswith(said) for line in view._lines] == [True] * 3


def test_what_a_driver_keeps_of_a_job_is_small(tmp_path: Path) -> None:
    """1.2 kB a job of five tasks, results and all; their reports stay in the files of the store."""
    search = driver(tmp_path, grid(60))
    play(search, jobs=20, slots=4)
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        ended, *_ = play(search, slots=4)
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert ended >= 90 and grown / ended < 1_200


def test_a_report_of_one_cell_reads_its_runs_and_those_of_its_own_reference(
    tmp_path: Path, count: Count
) -> None:
    """The reference of another order or benchmark is not read, of which a large study has thousands."""
    wanted = Study(
        name="orders",
        methods={"alone": {"method": "raycl.methods.one:One"}, "plain": {"method": PLAIN}},
        benchmarks=["digits_split", "digits_rotated"],
        network="mlp(hidden=64)",
        search=None,
        orders=3,
        final=Seeds(1, 2),
    )
    play(driver(tmp_path, wanted), slots=4)
    shutil.rmtree(tmp_path / "summaries")
    only = "plain/digits_split/order 1"
    one = cells_of(wanted, only, check=False)
    count.opened.clear()
    with count:
        agenda = Agenda(one, Store(tmp_path), references=references_left_out(wanted, one, only))
    rows = collect(wanted, agenda)
    assert [row.status for row in rows] == ["complete"] and rows[0].mean("fwt_vs_one") is not None
    assert sum("/runs/" in name for name in count.opened) == 2 + 2
    everyone = Agenda(cells_of(wanted, check=False), Store(tmp_path))
    assert {place: len(found) for place, found in everyone.reference_states.items()} == {
        (benchmark, order): 1 for benchmark in wanted.benchmarks for order in range(3)
    }


def test_a_report_is_stored_in_the_order_of_its_fields_and_is_no_part_of_what_is_stored() -> None:
    spec = cells_of(grid(2), check=False)[0].spec({}, 1)
    for report in scale.reports(spec):
        copied, plain = dataclasses.asdict(report), report.to_json()
        copied["figures"] = copied.pop("diagnostics")
        assert json.dumps(plain) == json.dumps(copied)  # int keys become strings in JSON
        plain["val"].clear()
        plain["seconds"]["main"] = plain["figures"]["used"] = -1.0
        assert json.dumps(report.to_json()) == json.dumps(copied)


def test_a_grid_is_its_points() -> None:
    axes = {"a": (1, 2), "b": ("x", "y", "z"), "c": (0.5,)}
    wanted = Grid(axes)
    product = [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]
    assert wanted.points() == product == [wanted.point(n) for n in range(len(wanted))]
    assert len(wanted) == 6


def test_jobs_of_the_study_that_is_measured() -> None:
    found = cells_of(study(2000), check=False)
    kinds = {type(cell.search).__name__ for cell in found}
    assert kinds == {"Grid", "Search", "NoneType"}
    assert 40 < len(found) < 100 and any(cell.method.independent for cell in found)


def test_an_event_costs_the_view_the_same_however_many_cells_there_are(tmp_path: Path) -> None:
    """Calls cannot tell a sum over all cells from one number, so that the numbers are counted instead."""
    search = driver(tmp_path, cells(12))
    agenda, seen = search.agenda, 0

    class Watched(list[Any]):
        def __iter__(self) -> Any:
            nonlocal seen
            seen += len(self)
            return super().__iter__()

    with LiveView(cells(12), agenda, 2, Console(file=io.StringIO(), width=80), clock=lambda: 0.0) as view:
        view._done, view._total = Watched(view._done), Watched(view._total)
        play(search, jobs=10, slots=2)
        assert seen == 0
        assert view._counts.done == sum(view._done) == sum(state.done for state in agenda.states)
        assert view._counts.total == sum(view._total) == sum(state.total for state in agenda.states)


def test_the_estimate_is_that_of_one_who_looks_at_every_cell(tmp_path: Path) -> None:
    search, live, rng = driver(tmp_path, cells(6)), [], random.Random(3)
    kept = Estimate(search.agenda)
    while step(search, live, rng, slots=3):
        left, afresh = kept.left(2), Estimate(search.agenda).left(2)
        assert left and afresh and left.rough == afresh.rough
        assert left.seconds == pytest.approx(afresh.seconds, abs=1e-6)


def test_amounts_are_added_up_and_forgotten() -> None:
    amounts, known, rng = _Amounts(), {}, random.Random(5)
    for _ in range(3000):
        index = rng.randrange(10)
        amounts.drop(index)
        known.pop(index, None)
        if rng.random() < 0.8:
            known[index] = rng.randrange(100)
            amounts.put(index, known[index])
        assert len(amounts) == len(known) and amounts.total == sum(known.values())
        if rng.random() < 0.01:  # in between, outdated entries pile up
            assert amounts.largest == max(known.values(), default=0)
        assert len(amounts._largest) <= 121

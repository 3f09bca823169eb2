"""Searches with several objectives: the front, the knee, final runs, and that the ledger decides alone."""

from __future__ import annotations

import itertools
import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest

from raycl import Float, Int, Search, Seeds, Study, cli
from raycl.errors import UserError
from raycl.runs.reports import TaskReport
from raycl.runs.result import Result
from raycl.runs.store import Store
from raycl.specs import RunSpec
from raycl.study.agenda import Agenda
from raycl.study.cells import Cell
from raycl.study.expand import cells_of
from raycl.study.jobs import Job
from raycl.study.objectives import NAMES, Objective, Point, beats, checked, knee, oriented, parsed, with_point
from raycl.study.progress import CellState
from raycl.study.proposer import Values
from raycl.tune import proposals
from raycl.tune.replay import Replays
from tests import test_agenda
from tests.test_agenda import hash_of, ledger

BOTH = ("acc", "-bytes_total")


@pytest.fixture(autouse=True)
def _a_new_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proposals, "_REPLAYS", Replays())


# The numbers.


def report(t: int, test: dict[int, float], val: dict[int, float], **changes: Any) -> TaskReport:
    base = TaskReport(t, val, test, {"main": 1}, 1, {"main": 2.0}, 0.5, 10, 20, 30, {}, 5.0)
    return replace(base, **changes)


def result_of(spec: RunSpec) -> Result:
    reports = (
        report(0, {0: 0.9}, {0: 0.8}, stored_bytes=100, peak_bytes=70, cpu_seconds={"main": 1.5}),
        report(1, {0: 0.7, 1: 0.6}, {0: 0.6, 1: 0.5}, stored_bytes=130, parameters=11, peak_bytes=60,
               cpu_seconds={"main": 1.0, "method": 0.25}),
    )  # fmt: skip
    return Result(spec, "done", reports, "", {"seconds": 6.0, "started": 1.0})


def cells(methods: Any = None, **search: Any) -> list[Cell]:
    space = {"fit.lr": Float(1e-3, 1, log=True), "net.hidden": Int(2, 64)}
    keys: dict[str, Any] = {"trials": 14, "concurrency": 3, "startup_trials": 4, "objectives": BOTH}
    study = Study(
        methods=methods or {"finetune": space},
        benchmarks=["digits_split"],
        network="mlp(hidden=8, drop1=0.0, drop2=0.0)",
        search=Search(**(keys | search)),
        final=Seeds(1, 2),
    )
    return cells_of(study, check=False)


def test_each_objective_is_the_number_that_reports_have() -> None:
    """Worked by hand from the two reports; accuracies are those of the split that is asked for."""
    result = result_of(cells()[0].spec({}, 1))
    wanted = {
        "acc": ((0.6 + 0.5) / 2, (0.7 + 0.6) / 2),
        "bwt": (-0.2, -0.2),
        "bwt_T": (-0.1, -0.1),
        "forgetting": (0.2, 0.2),
        "acc_just": ((0.8 + 0.5) / 2, (0.9 + 0.6) / 2),
        "ct": (2.75, 2.75),
        "ct_wall": (4.0, 4.0),
        "ct_cpu": (2.75, 2.75),
        "params": (11, 11),
        "bytes_total": (130, 130),
        "peak_bytes": (70, 70),
    }
    assert set(wanted) == set(NAMES)
    for name, (val, test) in wanted.items():
        assert Objective(name).value(result, "val") == pytest.approx(val), name
        assert Objective(name).value(result, "test") == pytest.approx(test), name
    for status in ("diverged", "failed"):
        lost = replace(result, status=status)  # type: ignore[arg-type]
        assert all(Objective(name).value(lost, "val") is None for name in NAMES)
    untimed = replace(result, reports=tuple(replace(r, cpu_seconds={}) for r in result.reports))
    assert Objective("ct_cpu").value(untimed, "val") is None


def test_the_sign_makes_larger_points_the_better_ones() -> None:
    objectives = parsed(("acc", "-forgetting", "-bytes_total"))
    assert oriented(objectives, (0.5, 0.125, 10.0)) == (0.5, -0.125, -10.0)
    assert oriented(objectives, (0.5, None, 10.0)) is None


def test_the_front_is_what_no_trial_beats_in_any_order_of_arrival() -> None:
    rng = random.Random(0)
    for many in (1, 2, 3):
        points: list[tuple[Point, int]] = [
            (tuple(float(rng.randrange(5)) for _ in range(many)), n) for n in range(30)
        ]
        wanted = [
            (point, n)
            for point, n in points
            if not any(beats(other, point) or (other == point and m < n) for other, m in points)
        ]
        for _ in range(5):
            front: list[tuple[Point, int]] = []
            for new in rng.sample(points, len(points)):
                front = with_point(front, new)
            assert front == wanted
        assert many > 1 or len(wanted) == 1


def test_the_knee_is_closest_to_the_best_of_everything() -> None:
    front = [((1.0, -100.0), 0), ((0.9, -20.0), 3), ((0.5, -10.0), 5)]
    # Scaled: (1, 0), (0.8, 0.889), (0, 1); their distances from (1, 1) are 1, 0.229 and 1.
    assert knee(front) == 3
    assert knee([((point[0], 1e6 * point[1]), n) for point, n in front]) == 3  # units do not matter
    assert knee(front[:1]) == 0
    assert knee([((1.0, 0.0), 4), ((0.0, 1.0), 7)]) == 4  # of equals, the earliest
    assert knee([((1.0, 2.0, 0.0), 4), ((0.0, 2.0, 1.0), 7), ((0.75, 2.0, 0.5), 9)]) == 9


# What a search does with them.


def reports_for(spec: RunSpec) -> tuple[TaskReport, ...]:
    """Wide networks are accurate and large; the rate moves the accuracy alone."""
    hidden = int(spec.network.partition("hidden=")[2].partition(",")[0].rstrip(")") or 8)
    lr = dict(spec.fit).get("lr", 0.05)
    acc = 0.4 + 0.08 * min(hidden, 30) ** 0.5 - 0.1 * abs(lr - 0.2) + (hash_of(spec.key) % 100) / 1e4
    return (report(0, {0: acc}, {0: acc - 0.01}, stored_bytes=100 * hidden, cpu_seconds={"main": 1.0}),)


def outcome(job: Job, status: str) -> Result:
    about = {"seconds": 2.0, "started": 1.0}
    return Result(job.spec, status, reports_for(job.spec), "", about)  # type: ignore[arg-type]


def diverges(job: Job) -> bool:
    return job.role.seed is None and hash_of(job.key) % 6 == 0


def play(agenda: Agenda, slots: int, seed: int, stop_after: int = 10**9) -> int:
    return test_agenda.play(agenda, slots, seed, diverges, stop_after, outcome)


SEARCHES = [
    pytest.param({}, id="tpe"),
    pytest.param({"multivariate": True, "group": True}, id="group"),
    pytest.param({"sampler": "random"}, id="random"),
    pytest.param({"sampler": "qmc"}, id="qmc"),
    pytest.param({"sampler": "nsgaii"}, id="nsgaii"),
    pytest.param({"sampler": "gp", "trials": 6}, id="gp", marks=pytest.mark.slow),  # seconds per proposal
    pytest.param({"pick": "front"}, id="front"),
    pytest.param({"objectives": ("acc", "-bytes_total", "-forgetting")}, id="without-a-value"),
    pytest.param({"objectives": "-bytes_total"}, id="one"),
]


@pytest.mark.parametrize("search", SEARCHES)
def test_the_ledger_and_the_front_are_the_same_with_any_number_of_workers_and_after_kills(
    tmp_path: Path, search: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    if search.get("sampler") == "gp":
        pytest.importorskip("scipy")
    planned, fronts = cells(**search), []
    for n, slots in enumerate([1, 2, 4, 4]):
        while True:
            monkeypatch.setattr(proposals, "_REPLAYS", Replays())
            agenda = Agenda(planned, Store(tmp_path / f"{n}"), proposals.propose)
            # The last one is interrupted after every third run.
            if not play(agenda, slots, seed=n, stop_after=3 if n == 3 else 10**9) or n < 3:
                break
        (state,) = agenda.states
        assert agenda.over and not state.failed
        fronts.append([trial.n for trial in state.front])
    first, *others = (ledger(path) for path in sorted(tmp_path.glob("?")))
    assert first and all(other == first for other in others)
    assert fronts.count(fronts[0]) == 4
    if "-forgetting" in search.get("objectives", ()):  # one task has none, so that no trial has all values
        assert not fronts[0] and state.best is None
    else:
        assert len(fronts[0]) == 1 if search.get("objectives") == "-bytes_total" else len(fronts[0]) > 1


def finished(tmp_path: Path, **search: Any) -> CellState:
    agenda = Agenda(cells(**search), Store(tmp_path / "store"), proposals.propose)
    play(agenda, 4, seed=0)
    (state,) = agenda.states
    assert state.complete
    return state


def test_final_runs_have_the_settings_of_the_knee(tmp_path: Path) -> None:
    state = finished(tmp_path)
    done = [trial for trial in state.trials if trial.result is not None and trial.result.status == "done"]
    points = {trial.n: trial.point(state.cell) for trial in done}
    beaten = {n for n, p in points.items() for q in points.values() if p and q and beats(q, p)}
    assert [trial.n for trial in state.front] == sorted(set(points) - beaten)
    assert state.best is not None and state.best.n == knee(
        [(t.point(state.cell) or (), t.n) for t in state.front]
    )
    assert sorted(state.finals) == [1, 2] and not state.front_finals
    assert all(final.params == state.best.params for final in state.finals.values())
    assert state.total == state.done == len(state.trials) + 1


def test_final_runs_of_the_whole_front(tmp_path: Path) -> None:
    state, plain = finished(tmp_path, pick="front"), finished(tmp_path / "knee")
    members = [trial.n for trial in state.front]
    assert members == [trial.n for trial in plain.front]  # it is the same search
    assert state.best is not None and plain.best is not None and state.best.n == plain.best.n
    others = [n for n in members if n != state.best.n]
    assert sorted(state.front_finals) == sorted(itertools.product(others, (1, 2)))
    for (n, seed), final in state.front_finals.items():
        assert final.params == state.trials[n].params and final.seed == seed
        assert str(final.role) == f"seed {seed} of trial {n}"
    assert sorted(state.results) == [1, 2]
    assert {run.params == state.best.params for run in state.finals.values()} == {True}
    assert state.total == state.done == len(state.trials) + len(members)
    seen = json.dumps([dict(trial.params) for trial in state.chosen[1:]])
    assert seen == json.dumps([dict(state.trials[n].params) for n in others])


def test_one_objective_that_is_better_when_smaller(tmp_path: Path) -> None:
    state = finished(tmp_path, objectives=("-bytes_total",))
    values = {t.n: t.objective(state.cell) for t in state.trials}
    known = {n: value for n, value in values.items() if value is not None}
    assert state.best is not None and known[state.best.n] == min(known.values())
    assert state.best.n == min(n for n, value in known.items() if value == min(known.values()))


def test_several_objectives_are_learnt_by_tpe_and_nsgaii(tmp_path: Path) -> None:
    """They find more of the plane than random trials do: the area that the front dominates."""
    import numpy as np
    from optuna._hypervolume import compute_hypervolume

    def area(**search: Any) -> float:
        found = []
        for seed in (1, 2, 3):
            keys: dict[str, Any] = {"trials": 40, "concurrency": 1, "startup_trials": 8, "seed": seed}
            state = finished(tmp_path / f"{search} {seed}", **(keys | search))
            points = [trial.point(state.cell) for trial in state.front]
            costs = np.array([[-point[0], -point[1] / 6400] for point in points if point])
            found.append(float(compute_hypervolume(costs, np.array([0.0, 1.0]))))
        return sum(found) / 3

    random_ = area(sampler="random")
    assert area() > random_ + 0.01 and area(sampler="nsgaii") > random_ - 0.01


def test_optuna_is_told_directions_and_values(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[optuna.Study] = []
    ask = optuna.Study.ask
    monkeypatch.setattr(optuna.Study, "ask", lambda self, *rest: (seen.append(self), ask(self, *rest))[1])
    (cell,) = cells()
    history = [
        ({"fit.lr": 0.1, "net.hidden": 8}, Values((0.5, 800.0))),
        ({"fit.lr": 0.2, "net.hidden": 4}, None),
    ]
    proposals.propose(cell, 2, history, [])
    (study,) = seen
    assert [direction.name for direction in study.directions] == ["MAXIMIZE", "MINIMIZE"]
    first, second, *_ = study.trials
    assert first.values == [0.5, 800.0] and second.state.name == "FAIL"


def test_keys_change_with_the_objectives_alone() -> None:
    plain, both, front, turned = (
        cells(**search)[0]
        for search in (
            {"objectives": ("acc",)},
            {},
            {"pick": "front"},
            {"objectives": ("-bytes_total", "acc")},
        )
    )
    assert both.key == front.key and len({plain.key, both.key, turned.key}) == 3
    assert plain.key == cells(objectives="acc")[0].key
    assert cells(objectives=["acc", "-stored_bytes"])[0].key == both.key


# What is refused.


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (3, "search.objectives = 3 should be a tuple of names, such as ('acc', '-bytes_total')"),
        ((), "search.objectives = () should be a tuple of names"),
        (("acc", 3), "should be a tuple of names"),
        (("acd",), "'acd' is not an objective; did you mean 'acc'? (known: acc, bwt, bwt_T, -forgetting"),
        (("acc", "-ct_gpu"), "'-ct_gpu' is not an objective; did you mean '-ct_cpu'?"),
        (("acc", "bytes_total"), "bytes_total is better when it is smaller: write '-bytes_total'"),
        (("-acc",), "acc is better when it is larger: write 'acc'"),
        (("acc", "acc"), "'acc' is given twice: remove one of them"),
        (("acc", "-stored_bytes", "-bytes_total"), "'-bytes_total' is given twice"),
        (("acc", "bwt", "-forgetting", "-ct", "-params"), "5 objectives are too many; name at most 4"),
    ],
)
def test_objectives_that_are_none_are_refused(given: Any, message: str) -> None:
    with pytest.raises(UserError) as caught:
        checked(given, "search.objectives")
    assert message in str(caught.value)


STUDY = """
from raycl import *

STUDY = Study(
    methods={{"{method}": {{"fit.lr": Float(1e-3, 1, log=True), "fit.momentum": Float(0, 0.9)}}}},
    benchmarks=["{benchmark}"], network="mlp(hidden=8, drop1=0.0, drop2=0.0)",
    search=Search(trials=4, {search}), final=Seeds(1), {more}
)
"""


@pytest.mark.parametrize(
    ("search", "more", "message"),
    [
        (
            'objectives=("acc", "-ct"), prune=Median()',
            "",
            "search.prune compares trials by their accuracy alone",
        ),
        ('objectives=("acc", "-ct"), sampler="cmaes"', "", "search.sampler = 'cmaes' has one objective"),
        ('pick="front"', "", "search.pick = 'front' is for several objectives"),
        ('pick="all"', "", "search.pick = 'all' should be one of ('knee', 'front')"),
        ('sampler="nsgaii", startup_trials=1', "", "search.startup_trials = 1 is the population of 'nsgaii'"),
        (
            'objectives=("acc", "-forgetting")',
            'evaluate="ends"',
            "'-forgetting' needs the accuracy on all tasks learnt so far, but of 5 tasks only the latest is",
        ),
    ],
)
def test_searches_that_cannot_be_made_are_refused_in_a_line_when_planned(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], search: str, more: str, message: str
) -> None:
    text = STUDY.format(method="finetune", benchmark="digits_split", search=search, more=more)
    (tmp_path / "study.py").write_text(text)
    assert cli.main(["plan", str(tmp_path / "study.py"), "--store", str(tmp_path / "store")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


def test_objectives_that_no_run_of_a_method_has_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for method, benchmark, message in (
        ("mtl", "digits_split", "but mtl learns all tasks together"),
        ("finetune", "digits_rotated(tasks=1)", "needs several tasks, but there is one"),
    ):
        search = 'objectives=("acc", "bwt")'
        text = STUDY.format(method=method, benchmark=benchmark, search=search, more="")
        (tmp_path / "study.py").write_text(text)
        assert cli.main(["plan", str(tmp_path / "study.py"), "--store", str(tmp_path / "store")]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert message in line


def test_a_plan_names_what_is_sought(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = STUDY.format(method="finetune", benchmark="digits_split", more="",
                        search='objectives=("acc", "-ct"), pick="front"')  # fmt: skip
    (tmp_path / "study.py").write_text(text)
    assert cli.main(["plan", str(tmp_path / "study.py"), "--store", str(tmp_path / "store")]) == 0
    assert "objectives acc and -ct, of whose Pareto front all trials are chosen" in capsys.readouterr().out

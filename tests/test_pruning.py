"""Trials are pruned at the ends of tasks, and what is pruned depends on the ledger alone, never on timing."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from raycl import Float, Halving, Median, Search, Seeds, Study
from raycl.errors import UserError
from raycl.runs.pauses import Pauses, score_after
from raycl.runs.reports import TaskReport
from raycl.runs.result import Result
from raycl.runs.store import Store
from raycl.specs import RunSpec
from raycl.study.agenda import Agenda
from raycl.study.cells import Cell
from raycl.study.expand import cells_of
from raycl.study.jobs import Finished, Job
from raycl.study.pruners import ALWAYS, Course, Verdict
from raycl.study.values import SAMPLERS
from raycl.tune.proposals import propose
from tests.test_agenda import hash_of, ledger

TASKS = 5
PLAIN = "mlp(hidden=8, drop1=0.0, drop2=0.0)"  # with nothing to search
HALVING, MEDIAN = Halving(rungs=(1, 3), keep=1 / 3), Median(after=2, warmup=3)
RULES = [pytest.param(HALVING, id="halving"), pytest.param(MEDIAN, id="median")]


def cells(prune: Any, **search: Any) -> list[Cell]:
    """A search in two fields, with five tasks."""
    space = {"fit.lr": Float(1e-3, 1, log=True), "fit.momentum": Float(0, 0.9)}
    return cells_of(
        Study(
            methods={"finetune": space},
            benchmarks=["digits_split"],
            network="mlp(hidden=8)",
            search=Search(**({"trials": 14, "concurrency": 4, "startup_trials": 5, "prune": prune} | search)),
            final=Seeds(1, 2),
        ),
        check=False,
    )


def reports_of(spec: RunSpec, tasks: int = TASKS) -> list[TaskReport]:
    """The reports of a run, whose accuracies are a function of its hyperparameters with some noise."""
    fit = dict(spec.fit)
    best = 0.9 - 0.5 * abs(fit.get("lr", 0.05) - 0.2) - 0.2 * fit.get("momentum", 0.0)
    found = []
    for t in range(tasks):
        row = {i: best - 0.1 + (hash_of(f"{spec.key} {t} {i}") % 1000) / 5000 for i in range(t + 1)}
        row = {i: min(0.99, max(0.01, value)) for i, value in row.items()}
        spent: Any = ({"main": 1}, 1, {"main": 1.0}, 0.5)
        found.append(TaskReport(t, row, row, *spent, 1, 1, 1, {}, 5.0 + t))
    return found


def diverges(spec: RunSpec) -> bool:
    return hash_of(spec.key) % 6 == 0


def outcome(job: Job, far: int = 0) -> Result:
    """The result of a job, whose run has a checkpoint after `far` tasks; some diverge in the third task."""
    reports, status = reports_of(job.spec), "done"
    if diverges(job.spec):
        reports, status = reports[:2], "diverged"
    seen = max(far, 1)
    while seen <= len(reports):
        learnt = None if job.pauses is None else job.pauses.first(reports[:seen], TASKS)
        if learnt is not None:
            reports, status = reports[:learnt], "paused"
            break
        seen += 1
    about = {"seconds": 1.5 * len(reports), "started": 1.0}
    return Result(job.spec, status, tuple(reports), "", about)  # type: ignore[arg-type]


def play(agenda: Agenda, slots: int, seed: int, stop_after: int = 10**9) -> list[tuple[str, int]]:
    """Play with workers that take random times, and return the key and the tasks of each job that ended."""
    rng, live = random.Random(seed), list[Job]()
    ended: list[tuple[str, int]] = []
    while len(ended) < stop_after:
        while len(live) < slots and isinstance(job := agenda.next(), Job):
            live.append(job)
        if not live:
            assert agenda.over
            break
        job = live.pop(rng.randrange(len(live)))
        result = outcome(job)
        ended.append((job.key, len(result.reports)))
        agenda.finish(job.key, result)
    return ended


def outcomes(agenda: Agenda) -> list[tuple[str, int]]:
    (state,) = agenda.states
    return [(t.result.status, len(t.result.reports)) for t in state.trials if t.result is not None]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_ledger_is_the_same_with_any_number_of_workers_and_after_kills(
    tmp_path: Path, rule: Any, sampler: str
) -> None:
    if sampler in ("gp", "cmaes"):
        pytest.importorskip({"gp": "torch", "cmaes": "cmaes"}[sampler])
    few = {"trials": 8} if sampler == "gp" else {}  # a proposal takes a second
    planned, told = cells(rule, sampler=sampler, **few), []
    for n, slots in enumerate([1, 2, 4, 4]):
        agenda = Agenda(planned, Store(tmp_path / f"{n}").open(), propose)
        play(agenda, slots, seed=n)
        (state,) = agenda.states
        assert state.complete and not state.failed
        told.append(outcomes(agenda))
    starts = 0
    while play(Agenda(planned, Store(tmp_path / "cut").open(), propose), 3, seed=starts, stop_after=3):
        starts += 1
    read = Agenda(planned, Store(tmp_path / "cut"))
    assert starts > 2 and read.states[0].complete
    assert all(other == told[0] for other in [*told, outcomes(read)])
    ledgers = [ledger(path) for path in sorted(tmp_path.glob("*/"))]
    assert len(ledgers) == 5 and all(other == ledgers[0] for other in ledgers)
    status = [status for status, _ in told[0]]
    assert status.count("pruned") >= (3 if sampler != "gp" else 1)
    assert len(status) == planned[0].search.trials + status.count("diverged")  # type: ignore[union-attr]


@pytest.mark.parametrize("rule", RULES)
def test_a_search_that_finds_runs_of_an_unpruned_one_prunes_all_the_same(tmp_path: Path, rule: Any) -> None:
    """Its runs are the same runs, so that they are not executed again, and those it prunes have gone on."""
    alone, shared = Store(tmp_path / "alone").open(), Store(tmp_path / "shared").open()
    first = Agenda(cells(rule), alone, propose)
    play(first, 2, 0)
    for spec in {trial.spec.key: trial.spec for trial in first.states[0].trials}.values():
        shared.put(outcome(Job(spec, first.states[0].cell, first.states[0].trials[0].role)))
    second = Agenda(cells(rule), shared, propose)
    assert play(second, 2, 0) == [(key, TASKS) for key, _ in play_finals(first)]
    assert outcomes(second) == outcomes(first)
    assert ledger(tmp_path / "shared") == ledger(tmp_path / "alone")
    seconds = [[t.result.provenance["seconds"] for t in a.states[0].trials] for a in (first, second)]  # type: ignore[union-attr]
    assert seconds[0] == pytest.approx(seconds[1])


def play_finals(agenda: Agenda) -> list[tuple[str, int]]:
    """The final runs that are not a trial as well."""
    (state,) = agenda.states
    trials = {trial.spec.key for trial in state.trials}
    return [(t.spec.key, TASKS) for t in state.finals.values() if t.spec.key not in trials]


def test_two_searches_of_one_study_share_runs_of_which_only_one_prunes(tmp_path: Path) -> None:
    both = [
        *cells(HALVING, sampler="random"),
        *(replace(c, label="all") for c in cells(None, sampler="random")),
    ]
    store = Store(tmp_path).open()
    agenda = Agenda(both, store, propose)
    play(agenda, 4, 3)
    pruning, other = agenda.states
    assert pruning.complete and other.complete and not other.lost("pruned")
    ends = [[(t.n, t.result.status) for t in state.trials] for state in agenda.states]  # type: ignore[union-attr]
    assert ends[0] != ends[1] and pruning.lost("pruned") >= 6
    alone = Agenda(both[:1], Store(tmp_path / "alone").open(), propose)
    play(alone, 1, 0)
    assert [(t.n, t.result.status) for t in alone.states[0].trials] == ends[0]  # type: ignore[union-attr]


def test_a_generation_waits_at_a_rung_and_its_workers_are_free(tmp_path: Path) -> None:
    agenda = Agenda(cells(HALVING, trials=4, sampler="random", seed=5), Store(tmp_path).open(), propose)
    jobs = [job for job in iter(agenda.next, None) if isinstance(job, Job)]
    assert len(jobs) == 4 and all(job.pauses == Pauses({1: ALWAYS}) for job in jobs)
    for job in jobs[:3]:
        agenda.finish(job.key, outcome(job))
        assert agenda.next() is None and not agenda.over  # nothing goes on before the fourth has come
    agenda.finish(jobs[3].key, outcome(jobs[3]))
    scores = {job.key: score_after(reports_of(job.spec), 1, "val") or 0 for job in jobs}
    going = [job for job in iter(agenda.next, None) if isinstance(job, Job)]
    assert {job.key for job in going} == set(sorted(scores, key=lambda key: -scores[key])[:2])
    assert all(job.pauses == Pauses({3: ALWAYS}) for job in going)


def test_a_pruned_trial_is_never_the_best_and_keeps_its_reports(tmp_path: Path) -> None:
    planned, store = cells(HALVING, sampler="random"), Store(tmp_path).open()
    events: list[Any] = []
    agenda = Agenda(planned, store, propose)
    agenda.listeners.append(events.append)
    ended = play(agenda, 2, 1)
    (state,) = agenda.states
    pruned = [t for t in state.trials if t.result is not None and t.result.status == "pruned"]
    assert pruned and state.best is not None and state.best.result.status == "done"  # type: ignore[union-attr]
    assert {len(t.result.reports) for t in pruned} == {1, 3}  # type: ignore[union-attr]
    for trial in pruned:
        assert trial.result is not None and trial.objective(planned[0]) is None
        learnt = len(trial.result.reports)
        assert list(trial.result.reports) == reports_of(trial.spec)[:learnt]
        assert trial.result.message.startswith(f"after task {learnt}, val .")
        assert store.paused(trial.spec.key) is not None and store.get(trial.spec.key) is None
    told = [e for e in events if isinstance(e, Finished) and e.outcome.status == "pruned"]
    assert sorted(e.job.role.trial for e in told) == [t.n for t in pruned]  # type: ignore[union-attr, misc]
    whole = sum(len(outcome(Job(t.spec, planned[0], t.role)).reports) for t in state.trials)
    longest: dict[str, int] = {}
    for key, learnt in ended:
        longest[key] = max(longest.get(key, 0), learnt)
    assert sum(longest[t.spec.key] for t in state.trials) < 0.7 * whole  # what it is for


def test_reports_that_are_lost_are_made_again_and_the_decision_stands(tmp_path: Path) -> None:
    planned = cells(HALVING)
    play(Agenda(planned, Store(tmp_path).open(), propose), 2, 1)
    before = ledger(tmp_path)
    files = list(tmp_path.glob("paused/*/*.json"))
    for path in files:
        path.unlink()
    agenda = Agenda(planned, Store(tmp_path).open(), propose)
    assert not agenda.states[0].complete and len(play(agenda, 2, 0)) == len(files) > 3
    assert agenda.states[0].complete and ledger(tmp_path) == before


def test_a_decision_that_was_altered_is_made_again(tmp_path: Path) -> None:
    planned = cells(HALVING)
    play(Agenda(planned, Store(tmp_path).open(), propose), 2, 1)
    before = ledger(tmp_path)
    path = sorted(tmp_path.glob("searches/*/*/*-pruned.json"))[0]
    plain = json.loads(path.read_text())
    path.write_text(json.dumps(plain | {"scores": [0.99]}))
    said: list[str] = []
    agenda = Agenda(planned, Store(tmp_path, said.append).open(), propose)
    assert agenda.over and ledger(tmp_path) == before and "digest does not match" in said[0]


def test_fresh_forgets_decisions_and_comes_to_them_again(tmp_path: Path) -> None:
    planned = cells(HALVING)
    first = play(Agenda(planned, Store(tmp_path).open(), propose), 1, 1)
    before = ledger(tmp_path)
    again = play(Agenda(planned, Store(tmp_path).open(), propose, fresh=True), 1, 1)
    assert again == first and ledger(tmp_path) == before


def test_without_pruning_keys_are_what_they_were() -> None:
    (plain,), (pruning,), (other,) = cells(None), cells(HALVING), cells(MEDIAN)
    assert len({plain.key, pruning.key, other.key}) == 3 and plain.drawing == pruning.drawing
    assert plain.spec({}, 1).key == pruning.spec({}, 1).key


def scored(*scores: float, over: bool = False, pruned: int = 0) -> Course:
    return Course(scores, over, pruned)


def test_halving_lets_the_best_go_on_and_counts_the_lost_among_the_others() -> None:
    rule, away = Halving(rungs=(1, 2), keep=0.5), Verdict(below={1: ALWAYS})
    assert rule.judge([scored(0.5), Course()]) == [Verdict(waits=True), away]
    assert rule.judge([scored(0.5), scored(0.6)]) == [Verdict(pruned=1), Verdict(below={2: ALWAYS})]
    tied = rule.judge([scored(0.5), scored(0.5), scored(0.5, over=True), Course(over=True)])
    assert tied[:2] == [Verdict(below={2: ALWAYS})] * 2  # of equal ones the earlier
    assert tied[2:] == [Verdict(pruned=1), Verdict()]  # the last one diverged in the first task
    assert rule.judge([Course((None,)), scored(0.1)])[0] == Verdict(pruned=1)
    assert rule.judge([scored(0.5, 0.2), scored(0.4, 0.9)])[1] == Verdict(pruned=1)  # the later is not known
    recorded = rule.judge([scored(0.9, pruned=1), scored(0.1), scored(0.3), scored(0.2)])
    assert [v.pruned for v in recorded] == [1, 1, 0, 0]


@pytest.mark.parametrize(
    ("many", "keep", "wanted"), [(4, 1 / 3, 2), (3, 1 / 3, 1), (10, 0.1, 1), (1, 0.5, 1)]
)
def test_the_share_that_goes_on_is_rounded_up(many: int, keep: float, wanted: int) -> None:
    assert Halving(rungs=(1,), keep=keep).many(many) == wanted


def test_generations_make_up_for_lost_trials_in_the_next() -> None:
    of: Callable[..., range] = Halving(rungs=(1,), keep=0.5).generation
    assert of(3, [False] * 3, 6, 4) == range(4) and of(5, [False] * 5, 6, 4) == range(4, 6)
    assert not of(6, [False] * 6, 6, 4)
    assert of(5, [True, *[False] * 4], 6, 4) == range(4, 7)  # trial 6 replaces trial 0
    assert of(6, [False] * 4 + [True, False], 6, 4) == range(6, 7)  # and here trial 4
    assert not of(12, [True] * 12, 6, 4)  # never more than twice as many


def test_the_median_is_that_of_all_trials_that_came_as_far() -> None:
    rule = Median(after=2, warmup=3)
    earlier = [
        scored(0.1, 0.5, 0.4),
        scored(0.9, 0.3, pruned=2),
        scored(0.1, 0.7, 0.6),
        scored(0.5, over=True),
    ]
    assert rule.medians(earlier[:2]) == {} and rule.medians(earlier) == {2: 0.5}
    medians = rule.medians([*earlier, scored(0.1, 0.9, 0.8)])
    assert medians == {2: pytest.approx(0.6), 3: pytest.approx(0.6)}
    assert rule.judge(scored(0.0), medians) == Verdict(below=medians)
    assert rule.judge(scored(0.0, 0.59), medians) == Verdict(pruned=2)
    assert rule.judge(scored(0.0, 0.6, 0.1), medians) == Verdict(pruned=3)  # one that is equal goes on


def test_a_run_pauses_below_a_score_and_never_after_its_last_task() -> None:
    reports = reports_of(cells(None)[0].spec({}, 1))
    scores = [score_after(reports, learnt, "val") or 0 for learnt in range(1, TASKS + 1)]
    assert scores[1] == pytest.approx((reports[1].val[0] + reports[1].val[1]) / 2)
    assert Pauses({1: 0.0, 2: scores[1], 3: scores[2] + 1e-9}).first(reports, TASKS) == 3
    assert Pauses({TASKS: ALWAYS}).first(reports, TASKS) is None
    assert Pauses({2: ALWAYS}).first(reports[:1], TASKS) is None
    assert Pauses({1: 0.0}).first([replace(reports[0], val={})], TASKS) == 1  # nothing was measured
    plain = Pauses({1: ALWAYS, 2: 0.25}, "test")
    assert Pauses.from_plain(plain.to_plain()) == plain


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Halving(rungs=()), "Halving(rungs=()) must be numbers of learnt tasks, such as"),
        (lambda: Halving(rungs=3), "Halving(rungs=3) must be numbers"),  # type: ignore[arg-type]
        (lambda: Halving(rungs=(3, 1)), "Halving(rungs=(3, 1)): rungs must increase"),
        (lambda: Halving(rungs=(1, 1)), "Halving(rungs=(1, 1)): rungs must increase"),
        (lambda: Halving(rungs=(0, 1)), "Halving: a rung = 0 must be an integer of at least 1"),
        (lambda: Halving(rungs=(1,), keep=1.0), "Halving(keep=1.0) must be a share above 0 and below 1"),
        (lambda: Halving(rungs=(1,), keep=0), "Halving(keep=0) must be a share"),
        (lambda: Halving(rungs=(1,), keep="a"), "Halving(keep='a') must be a share"),  # type: ignore[arg-type]
        (lambda: Median(after=0), "Median: after = 0 must be an integer of at least 1"),
        (lambda: Median(warmup=0.5), "Median: warmup = 0.5 must be"),  # type: ignore[arg-type]
        (lambda: Search(prune="median"), "search.prune = 'median' must be Halving(rungs="),  # type: ignore[arg-type]
        (
            lambda: Search(prune=HALVING, concurrency=1),
            "would prune nothing, because trials are proposed one at a time: set concurrency to at least 2",
        ),
        (lambda: Search(prune=Halving(rungs=(1,), keep=0.9)), "all of the 4 proposed together would go on"),
    ],
)  # fmt: skip
def test_values_that_make_no_sense_are_told_in_a_line(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(UserError) as error:
        make()
    assert message in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"search": Search(prune=Halving(rungs=(1, 5)))},
            "digits_split: search.prune = Halving(rungs=(1, 5), ",
        ),
        (
            {"search": Search(prune=Halving(rungs=(1, 5)))},
            "judges trials after task 5, but there are 5 tasks",
        ),
        ({"search": Search(prune=Median(after=7))}, "judges trials after task 7, but there are 5 tasks"),
        (
            {"search": Search(prune=MEDIAN), "evaluate": "ends"},
            "write evaluate='learnt' in the study, or remove",
        ),
        ({"methods": {"finetune": {}}}, "search.prune = Median(after=2, warmup=3), but nothing is searched"),
        (
            {"methods": {"hat": {}, "finetune": {"search": Search(prune=MEDIAN)}}},
            "methods['finetune']: search.prune = Median(after=2, warmup=3), but nothing is searched",
        ),
    ],
)
def test_a_plan_tells_what_cannot_be_pruned(changes: dict[str, Any], message: str) -> None:
    base: dict[str, Any] = {"methods": {"hat": {}}, "search": Search(prune=MEDIAN), "file": "mine.py"}
    with pytest.raises(UserError) as error:
        cells_of(Study(benchmarks=["digits_split"], network=PLAIN, **(base | changes)))
    assert message in str(error.value) and str(error.value).startswith("mine.py: ")
    assert "\n" not in str(error.value)


def test_a_plan_notes_what_is_not_pruned() -> None:
    study = Study(
        methods={"mtl": {"fit.lr": Float(0.01, 1)}, "hat": {}}, benchmarks=["digits_split"],
        network="mlp(hidden=8)", search=Search(trials=6, prune=MEDIAN),
    )  # fmt: skip
    mtl, hat = cells_of(study)
    assert isinstance(mtl.search, Search) and mtl.search.prune is None
    assert mtl.notes == ("mtl learns all tasks together, so its trials are not pruned",)
    assert "would know 2 earlier ones, and warmup = 3" in hat.notes[-1]

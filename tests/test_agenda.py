"""What is played next depends on the store alone, never on timing."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from raycl import Float, Grid, Search, Seeds, Study
from raycl.runs.reports import TaskReport
from raycl.runs.result import Result
from raycl.runs.store import Store
from raycl.specs import RunSpec
from raycl.study.agenda import Agenda
from raycl.study.estimate import Estimate, Left
from raycl.study.expand import cells_of
from raycl.study.jobs import Job
from raycl.tune.proposals import propose

METHODS = {"finetune": {"fit.lr": Float(1e-3, 1, log=True)}, "plain": {"method": "finetune"}}


def study(**changes: Any) -> Study:
    base: dict[str, Any] = {
        "methods": METHODS,
        "benchmarks": ["digits_split", "digits_rotated(tasks=2)"],
        "network": "mlp(hidden=8)",
        "search": Search(trials=7, concurrency=4, startup_trials=3),
        "final": Seeds(1, 2, 3),
    }
    return Study(**(base | changes))


def value_of(spec: RunSpec) -> float:
    """A smooth function of the hyperparameters, so that TPE has something to climb."""
    text = json.dumps(spec.to_json(), sort_keys=True)
    lr = dict(spec.fit).get("lr", 0.05)
    return 0.9 - abs(lr - 0.2) + (hash_of(text) % 1000) / 1e6


def hash_of(text: str) -> int:
    import zlib

    return zlib.crc32(text.encode())


def outcome(job: Job, status: str = "done") -> Result:
    accuracy = value_of(job.spec)
    report = TaskReport(
        0, {0: accuracy}, {0: accuracy - 0.01}, {"main": 1}, 1, {"main": 1.0}, 0.0, 1, 1, 1, {}, 5.0
    )
    return Result(job.spec, status, (report,), "boom", {"seconds": 2.0, "started": 1.0})  # type: ignore[arg-type]


def play(
    agenda: Agenda,
    slots: int,
    seed: int,
    diverges: Any = lambda job: False,
    stop_after: int = 10**9,
    outcome: Any = outcome,
) -> int:
    """Play with `slots` workers that finish in random order; returns how many runs were finished."""
    rng, live, finished = random.Random(seed), [], 0
    while finished < stop_after:
        while len(live) < slots and (job := agenda.next()) is not None:
            live.append(job)
        if not live:
            assert agenda.over
            break
        job = live.pop(rng.randrange(len(live)))
        agenda.finish(job.key, outcome(job, "diverged" if diverges(job) else "done"))
        finished += 1
    return finished


def ledger(store: Path) -> dict[str, str]:
    return {p.relative_to(store).as_posix(): p.read_text() for p in store.glob("searches/**/*.json")}


@pytest.mark.parametrize("width", [1, 4])
def test_proposals_do_not_depend_on_timing_or_on_the_number_of_workers(tmp_path: Path, width: int) -> None:
    cells = cells_of(study(search=Search(trials=7, concurrency=width, startup_trials=3)))
    seen = []
    for i, slots in enumerate([1, 2, 4, 16, 4, 2]):
        store = tmp_path / f"{i}"
        agenda = Agenda(cells, Store(store), propose)
        play(agenda, slots, seed=i)
        assert all(state.complete for state in agenda.states)
        seen.append(ledger(store))
    assert len(seen[0]) == 7 * len(cells)
    assert all(other == seen[0] for other in seen)


def test_a_killed_study_goes_on_to_the_same_end(tmp_path: Path) -> None:
    cells = cells_of(study())
    whole = Agenda(cells, Store(tmp_path / "whole"), propose)
    total = play(whole, 3, seed=0)
    played, starts = 0, 0
    while True:
        agenda = Agenda(cells, Store(tmp_path / "cut"), propose)
        now = play(agenda, 3, seed=starts, stop_after=9)
        played, starts = played + now, starts + 1
        if agenda.over and now == 0:
            break
    assert starts > 4
    assert played == total  # no finished run is played twice
    assert ledger(tmp_path / "cut") == ledger(tmp_path / "whole")
    best = [[s.best and s.best.params for s in a.states] for a in (whole, agenda)]
    assert best[0] == best[1]


def test_the_best_trial_and_the_first_seed_are_one_run(tmp_path: Path) -> None:
    cells = cells_of(study(benchmarks=["digits_split"]), "plain/*")
    agenda = Agenda(cells, Store(tmp_path), propose)
    (state,) = agenda.states
    assert state.total == 7 + 3 - 1
    assert play(agenda, 2, 0) == 9 == state.done == state.total
    assert state.best is not None and state.results[1].key == state.best.spec.key


def test_of_equal_trials_the_earliest_is_the_best(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "value_of", lambda spec: 0.5)
    cells = cells_of(study(benchmarks=["digits_split"]), "plain/*")
    for seed in range(3):  # trials end in another order each time
        agenda = Agenda(cells, Store(tmp_path / f"{seed}"), propose)
        play(agenda, 4, seed)
        assert agenda.states[0].best is not None and agenda.states[0].best.n == 0


def test_trial_n_is_told_of_0_to_n_minus_width_and_no_more(tmp_path: Path) -> None:
    cells = cells_of(study(benchmarks=["digits_split"]), "plain/*")
    seen: list[tuple[int, int, int]] = []

    def spy(cell: Any, n: int, history: Any, running: Any) -> dict[str, Any]:
        seen.append((n, len(history), len(running)))
        return propose(cell, n, history, running)

    play(Agenda(cells, Store(tmp_path), spy), 4, 1)
    assert seen == [(0, 0, 0), (1, 0, 1), (2, 0, 2), (3, 0, 3), (4, 1, 3), (5, 2, 3), (6, 3, 3)]


def test_diverged_trials_are_replaced_up_to_twice_as_many(tmp_path: Path) -> None:
    cells = cells_of(study(benchmarks=["digits_split"]), "plain/*")
    some = Agenda(cells, Store(tmp_path / "some"), propose)
    play(some, 3, 0, diverges=lambda job: job.role.trial in (1, 5))
    (state,) = some.states
    assert len(state.trials) == 9 and len(state.completed) == 7 and state.complete
    assert [t.n for t in state.diverged] == [1, 5]
    every = Agenda(cells, Store(tmp_path / "all"), propose)
    assert play(every, 3, 0, diverges=lambda job: True) == 14
    (state,) = every.states
    assert state.searched and state.best is None and not state.complete


def test_replacing_does_not_depend_on_timing(tmp_path: Path) -> None:
    cells = cells_of(study(benchmarks=["digits_split"]))
    seen = []
    for i, slots in enumerate([1, 2, 4, 8]):
        agenda = Agenda(cells, Store(tmp_path / f"{i}"), propose)
        play(agenda, slots, i, diverges=lambda job: hash_of(job.key) % 3 == 0)
        seen.append(ledger(tmp_path / f"{i}"))
    assert all(other == seen[0] for other in seen) and len(seen[0]) > 14


def test_a_failure_blocks_its_cell_and_no_other(tmp_path: Path) -> None:
    cells = cells_of(study(benchmarks=["digits_split"]))
    agenda = Agenda(cells, Store(tmp_path), propose)
    live = [agenda.next()]
    assert live[0] is not None and live[0].cell is cells[0]
    agenda.finish(live[0].key, outcome(live[0], "failed"))
    play(agenda, 2, 0)
    first, second = agenda.states
    assert list(first.failed) == [live[0].key] and not first.complete
    assert second.complete and not second.failed
    again = Agenda(cells, Store(tmp_path), propose)  # the next start tries again
    play(again, 2, 0)
    assert all(state.complete for state in again.states)


def test_a_shared_run_is_played_once(tmp_path: Path) -> None:
    twins = {"a": {"method": "finetune"}, "b": {"method": "finetune"}}
    cells = cells_of(study(methods=twins, benchmarks=["digits_split"]))
    agenda = Agenda(cells, Store(tmp_path), propose)
    assert play(agenda, 4, 0) == 9
    assert all(state.complete for state in agenda.states)


def test_equal_proposals_never_run_beside_each_other(tmp_path: Path) -> None:
    from raycl import Choice

    few = {"a": {"method": "finetune", "fit.epochs": Choice(1, 2)}}
    cells = cells_of(
        study(methods=few, benchmarks=["digits_split"], network="mlp(hidden=8, drop1=0.0, drop2=0.0)")
    )
    agenda = Agenda(cells, Store(tmp_path), propose)
    assert play(agenda, 4, 0) == 2 + 2  # two distinct trials, then two further seeds
    (state,) = agenda.states
    assert state.complete and len(state.trials) == 7


def test_grid_and_no_search_and_best_trial(tmp_path: Path) -> None:
    base = {"benchmarks": ["digits_split"], "methods": {"finetune": {}}}
    grid = Agenda(
        cells_of(study(**base, search=Grid({"fit.lr": [0.1, 0.2, 0.3]}))), Store(tmp_path / "g"), propose
    )
    assert play(grid, 2, 0) == 3 + 2
    assert grid.states[0].best is not None and grid.states[0].best.params == {"fit.lr": 0.2}
    plain = Agenda(cells_of(study(**base, search=None)), Store(tmp_path / "n"), propose)
    assert play(plain, 2, 0) == 3 and plain.states[0].complete
    best = Agenda(cells_of(study(**base, final="best trial")), Store(tmp_path / "b"), propose)
    assert play(best, 2, 0) == 7 and list(best.states[0].results) == [1]


def test_fresh_computes_again_once(tmp_path: Path) -> None:
    cells = cells_of(study(benchmarks=["digits_split"]), "plain/*")
    assert play(Agenda(cells, Store(tmp_path), propose), 2, 0) == 9
    assert play(Agenda(cells, Store(tmp_path), propose), 2, 0) == 0
    assert play(Agenda(cells, Store(tmp_path), propose, fresh=True), 2, 0) == 9


def test_the_paper_protocol_searches_on_test(tmp_path: Path) -> None:
    for protocol in ("val", "paper"):
        cells = cells_of(study(benchmarks=["digits_split"], protocol=protocol), "plain/*")
        agenda = Agenda(cells, Store(tmp_path / protocol), propose)
        play(agenda, 1, 0)
        trial = agenda.states[0].trials[0]
        assert trial.objective(cells[0]) == pytest.approx(
            value_of(trial.spec) - (0.01 if protocol == "paper" else 0)
        )


def test_reading_proposes_and_writes_nothing(tmp_path: Path) -> None:
    agenda = Agenda(cells_of(study()), Store(tmp_path / "never"))
    assert agenda.next() is None and agenda.over
    assert not (tmp_path / "never").exists()
    assert [s.total for s in agenda.states] == [9] * 4 and [s.done for s in agenda.states] == [0] * 4


def test_an_estimate_needs_measured_seconds(tmp_path: Path) -> None:
    cells = cells_of(study(benchmarks=["digits_split"]), "plain/*")
    agenda = Agenda(cells, Store(tmp_path), propose)
    assert Estimate(agenda).left(2) is None
    guesses = {agenda.states[0].cell.name: 3.0}
    assert Estimate(agenda, guesses).left(1) == Left(9 * 3.0, rough=True)
    play(agenda, 1, 0, stop_after=1)
    assert Estimate(agenda).left(2) == Estimate(agenda, guesses).left(2) == Left(8 * 2.0 / 2)


def test_a_longer_search_goes_on_with_the_same_trials(tmp_path: Path) -> None:
    short = Agenda(cells_of(study(benchmarks=["digits_split"]), "plain/*"), Store(tmp_path), propose)
    play(short, 2, 0)
    longer = study(benchmarks=["digits_split"], search=Search(trials=9, concurrency=4, startup_trials=3))
    agenda = Agenda(cells_of(longer, "plain/*"), Store(tmp_path), propose)
    play(agenda, 2, 0)
    assert [t.params for t in agenda.states[0].trials[:7]] == [t.params for t in short.states[0].trials]
    assert len(agenda.states[0].trials) == 9


def test_choices_between_tuples_are_read_as_they_were_proposed(tmp_path: Path) -> None:
    """JSON has no tuples: a list would make another key, and every trial be played again."""
    wanted = study(
        methods={"hypernet": {}},
        benchmarks=["digits_split"],
        search=Search(trials=6, concurrency=2, startup_trials=4),
        final=Seeds(1),
    )
    agenda = Agenda(cells_of(wanted), Store(tmp_path), propose)
    play(agenda, 2, seed=0)
    assert {trial.params["method.hidden"] for trial in agenda.states[0].trials} == {(10, 10), (50, 50)}
    (state,) = Agenda(cells_of(wanted), Store(tmp_path)).states
    assert state.complete and len(state.completed) == 6
    assert [t.params for t in state.trials] == [t.params for t in agenda.states[0].trials]

"""What the recorder costs, counted in statements and requests, and that nothing that others do breaks it."""

from __future__ import annotations

import contextlib
import sqlite3
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow.entities import Run
from mlflow.tracking import MlflowClient
from sqlalchemy import event
from sqlalchemy.engine import Engine

from raycl import Search, Seeds, Study
from raycl.errors import UserError
from raycl.runs.store import Store
from raycl.study import limits
from raycl.study.checks import check_study
from raycl.study.jobs import Finished, Job
from raycl.tune import wholeruns
from raycl.tune.projection import PARENT
from raycl.tune.recorder import Recorder
from raycl.tune.tracking import Tracking
from tests.helpers import hand
from tests.helpers.hand import BENCHMARK, RATE

TABLES = ("runs", "tags", "params", "metrics", "latest_metrics")


def study(seeds: int, **changes: Any) -> Study:
    base = {"name": "counted", "methods": {"finetune": {}}, "final": Seeds(*range(1, seeds + 1))}
    return hand.study(**(base | changes))


def filled(root: Path, of: Study) -> Tracking:
    store = Store(root).open()
    for cell in hand.cells(of).values():
        for seed in of.final:
            hand.put(store, cell.spec({}, int(seed)), hand.reports(hand.two_tasks(0.9, 0.8, seed / 100)))
    return Tracking.open(of, hand.read(store, of))


def searched(root: Path, **changes: Any) -> Tracking:
    """A search of four trials that the second wins, and two final runs, of which one is that trial."""
    wanted = Search(trials=4, concurrency=1, startup_trials=4)
    of = study(2, methods={"finetune": {"fit.lr": RATE}}, search=wanted, **changes)
    store = Store(root).open()
    cell = hand.cells(of)[f"finetune/{BENCHMARK}"]
    params = [{"fit.lr": lr} for lr in (0.1, 0.2, 0.3, 0.4)]
    rows = [hand.reports([[acc], [acc, acc]]) for acc in (0.5, 0.9, 0.6, 0.7)]
    hand.put_trials(store, cell, list(zip(params, rows, strict=True)))
    hand.put(store, cell.spec(params[1], 2), rows[1])
    return Tracking.open(of, hand.read(store, of))


def runs(tracking: Tracking) -> list[Run]:
    return list(tracking.experiment.runs())


def names(tracking: Tracking) -> list[str]:
    return sorted(run.info.run_name.replace(f"finetune / {BENCHMARK}", "cell") for run in runs(tracking))


def keys_of(tracking: Tracking) -> list[tuple[int, str]]:
    return [(n, final.spec.key)
            for n, state in enumerate(tracking.agenda.states) for final in state.finals.values()]  # fmt: skip


@contextlib.contextmanager
def statements() -> Iterator[Counter[str]]:
    """Statements of MLflow's client by their first word, without the settings of connections."""
    found: Counter[str] = Counter()

    def count(_: Any, __: Any, text: str, *___: Any) -> None:
        found[text.split()[0]] += not text.startswith("PRAGMA")

    event.listen(Engine, "before_cursor_execute", count)
    try:
        yield found
    finally:
        event.remove(Engine, "before_cursor_execute", count)


@contextlib.contextmanager
def requests(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[str]]:
    """Requests of MLflow's client by name."""
    found: Counter[str] = Counter()
    with monkeypatch.context() as patch:
        for name in ("create_run", "log_batch", "set_terminated", "update_run", "get_run", "search_runs"):
            patch.setattr(MlflowClient, name, _counted(found, name))
        yield found


def _counted(found: Counter[str], name: str) -> Any:
    real = getattr(MlflowClient, name)

    def called(*args: Any, **more: Any) -> Any:
        found[name] += 1
        return real(*args, **more)

    return called


def recorded(tracking: Tracking, keys: list[tuple[int, str]]) -> None:
    """What the recorder's thread does when these runs end, without what `close` adds."""
    recorder = Recorder(tracking, pytest.fail, every=1e9)
    for index, key in keys:
        state = tracking.agenda.states[index]
        (trial, *_) = state.runs_of(key)
        assert trial.result is not None
        recorder._listen(Finished(Job(trial.spec, state.cell, trial.role), trial.result))
    recorder._queue.put(None)
    recorder._thread.join(120)
    assert not recorder._thread.is_alive()


def test_a_run_costs_mlflows_client_nothing_however_many_there_are(tmp_path: Path) -> None:
    """The client writes the cell alone; each run is one transaction of its own."""
    costs = []
    for seeds in (4, 24):
        tracking = filled(tmp_path / str(seeds), study(seeds))
        with statements() as found:
            recorded(tracking, keys_of(tracking))
        assert len(runs(tracking)) == 1 + seeds
        costs.append(found)
    assert costs[0] == costs[1]
    with statements() as found:  # again: nothing but the one query that reads what is there
        recorded(Tracking.open(study(24), tracking.agenda), keys_of(tracking))
    assert found["INSERT"] == found["UPDATE"] == 0


def test_a_server_gets_three_requests_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    costs = []
    for seeds in (4, 14):
        tracking = filled(tmp_path / str(seeds), study(seeds))
        tracking.experiment._whole = None  # as with a server
        with requests(monkeypatch) as found:
            recorded(tracking, keys_of(tracking))
        costs.append(found)
    assert costs[1] - costs[0] == Counter(create_run=10, log_batch=10, set_terminated=10)
    assert costs[1]["search_runs"] <= 2 and costs[1]["get_run"] <= 1


def rows_of(path: Path, run_id: str) -> dict[str, list[tuple[Any, ...]]]:
    """All that the database has of a run, without its id."""
    found = {}
    with contextlib.closing(sqlite3.connect(path)) as database:
        for table in TABLES:
            columns = [row[1] for row in database.execute(f"PRAGMA table_info({table})")]
            named = ", ".join(sorted(columns))
            rows = database.execute(f"SELECT {named} FROM {table} WHERE run_uuid = ?", (run_id,)).fetchall()
            found[table] = sorted(tuple(str(v).replace(run_id, "ID") for v in row) for row in rows)
    return found


def test_a_whole_run_has_the_rows_that_mlflows_client_writes(tmp_path: Path) -> None:
    """Were MLflow to store anything else one day, this test would fail."""
    both = []
    for whole in (True, False):
        tracking = filled(tmp_path / "store", study(2))
        if not whole:
            tracking.experiment._whole = None
        (_, key), *_ = keys_of(tracking)
        tracking.one(tracking.agenda.states[0], key)
        (child,) = [run for run in runs(tracking) if PARENT in run.data.tags]
        (parent,) = [run for run in runs(tracking) if PARENT not in run.data.tags]
        found = rows_of(tmp_path / "store" / "mlflow.db", child.info.run_id)
        tags = [tuple(v.replace(parent.info.run_id, "PARENT") for v in row) for row in found["tags"]]
        content = [row for row in tags if "raycl.content" in row]
        assert len(content) == 1
        both.append(found | {"tags": sorted(set(tags) - set(content))})
        for run in (child, parent):
            tracking.experiment.client.delete_run(run.info.run_id)
    assert both[0] == both[1]
    assert all(both[0][table] for table in TABLES)


def test_tables_of_another_mlflow_are_left_to_its_client(tmp_path: Path) -> None:
    tracking = filled(tmp_path / "store", study(2))
    with contextlib.closing(sqlite3.connect(tmp_path / "store" / "mlflow.db")) as database:
        database.execute("ALTER TABLE params ADD COLUMN unit VARCHAR(10)")
        database.commit()
    tracking.sync()
    assert names(tracking) == ["cell", "cell / seed 1", "cell / seed 2"]
    assert all(run.data.params for run in runs(tracking))


def test_a_cells_summary_is_written_when_it_begins_and_when_it_is_complete(tmp_path: Path) -> None:
    tracking, written = filled(tmp_path / "store", study(9)), []
    real = tracking._cell
    tracking._cell = lambda *args: written.append(1) or real(*args)  # type: ignore[method-assign,func-returns-value]
    recorded(tracking, keys_of(tracking))
    assert len(written) == 1  # the store had all results before, so the cell was complete at once
    (cell,) = [run for run in runs(tracking) if PARENT not in run.data.tags]
    assert cell.info.status == "FINISHED" and cell.data.metrics["acc"] == pytest.approx((0.05 + 0.8) / 2)


def test_a_run_that_somebody_deletes_is_written_again(tmp_path: Path) -> None:
    tracking = filled(tmp_path / "store", study(3))
    (index, first), (_, second), _ = keys_of(tracking)
    state = tracking.agenda.states[index]
    tracking.one(state, first)
    (parent,) = [run for run in runs(tracking) if PARENT not in run.data.tags]
    tracking.experiment.client.delete_run(parent.info.run_id)
    tracking.experiment.known["", f"cell {state.cell.name}"].content = "another"  # the cell has changed
    tracking.one(state, second)
    cells = [run for run in runs(tracking) if PARENT not in run.data.tags]
    assert len(cells) == 1 and cells[0].info.run_id != parent.info.run_id
    tracking.sync()
    found = runs(tracking)
    assert names(tracking) == ["cell", "cell / seed 1", "cell / seed 2", "cell / seed 3"]
    assert {run.data.tags.get(PARENT) for run in found} == {None, cells[0].info.run_id}
    (gone, *_) = [run for run in found if PARENT in run.data.tags]
    tracking.experiment.client.delete_run(gone.info.run_id)
    tracking.sync()
    assert len(runs(tracking)) == 4


def test_a_driver_finds_the_cell_that_another_has_begun_since(tmp_path: Path) -> None:
    of = study(2, methods={'it\'s "x"': {"method": "finetune"}})
    one = filled(tmp_path / "store", of)
    other = Tracking.open(of, one.agenda)
    assert not one.experiment.known and not other.experiment.known  # both have read MLflow, which is empty
    (index, first), (_, second) = keys_of(one)
    one.one(one.agenda.states[index], first)
    other.one(one.agenda.states[index], second)
    assert len([run for run in runs(one) if PARENT not in run.data.tags]) == 1
    other.one(one.agenda.states[index], first)  # which both have run
    one.sync()
    assert len(runs(one)) == 1 + 2


@pytest.mark.slow
def test_beyond_a_number_of_runs_trials_are_left_out_and_a_line_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    everything = ["cell", "cell / seed 2", *(f"cell / trial {n}" for n in range(4))]
    tracking = searched(tmp_path / "few")
    tracking.sync()
    assert names(tracking) == everything and not tracking.notice
    monkeypatch.setattr(limits, "TRACKED", 4)
    tracking = searched(tmp_path / "many")
    tracking.sync()
    assert names(tracking) == ["cell", "cell / seed 2", "cell / trial 1"]  # trial 1 is seed 1
    assert "more than 4 runs" in tracking.notice and "track_trials=True" in tracking.notice
    (cell,) = [run for run in runs(tracking) if PARENT not in run.data.tags]
    assert "ps" in cell.data.metrics  # the summary knows the trials
    asked = searched(tmp_path / "asked", track_trials=True)
    asked.sync()
    assert names(asked) == everything and not asked.notice


def test_the_best_trial_is_a_final_run_if_there_are_no_seeds(tmp_path: Path) -> None:
    tracking = searched(tmp_path / "store", track_trials=False, final="best trial")
    recorded(tracking, [(0, trial.spec.key) for trial in tracking.agenda.states[0].trials])
    assert names(tracking) == ["cell", "cell / trial 1"]


def test_track_trials_is_checked() -> None:
    with pytest.raises(UserError, match=r"track_trials = 'some' should be one of \(None, True, False\)"):
        check_study(study(1, track_trials="some"), "mine.py")


def test_tables_of_another_revision_are_left_to_mlflows_client(tmp_path: Path) -> None:
    tracking = filled(tmp_path, study(2))
    with contextlib.closing(sqlite3.connect(tmp_path / "mlflow.db")) as database:
        assert wholeruns._known_tables(database)
        database.execute("UPDATE alembic_version SET version_num = 'later'")
        assert not wholeruns._known_tables(database)
        database.rollback()
        database.execute("ALTER TABLE tags ADD COLUMN more TEXT")
        assert not wholeruns._known_tables(database)
        database.rollback()
    tracking.experiment.close()


def test_a_database_that_is_locked_at_first_is_looked_at_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wholeruns, "BUSY", 0.01)
    filled(tmp_path, study(2)).experiment.close()
    with contextlib.closing(sqlite3.connect(tmp_path / "mlflow.db", isolation_level=None)) as other:
        other.execute("UPDATE alembic_version SET version_num = 'later'")
        one = wholeruns.WholeRuns(tmp_path / "mlflow.db", "1")
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            one.tags(["raycl.key"])
        other.execute("ROLLBACK")
        assert one.tags(["raycl.key"]) is None, "its tables may be others"


def test_a_database_that_is_gone_is_not_begun_anew(tmp_path: Path) -> None:
    with pytest.raises(sqlite3.OperationalError, match="unable to open"):
        wholeruns.WholeRuns(tmp_path / "a b#?%20é.db", "1").tags(["raycl.key"])
    assert not list(tmp_path.iterdir())

"""What the terminal shows, to the character; never wider than 80 columns."""

from __future__ import annotations

import dataclasses
import io
import re
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from raycl.errors import Obstacle
from raycl.runs.result import Result
from raycl.runs.store import Store
from raycl.study.agenda import Agenda
from raycl.study.expand import cells_of
from raycl.study.values import Search, Seeds
from raycl.terminal.plan import plan_text
from raycl.terminal.view import LiveView
from raycl.terminal.words import closing_text, interrupted_text, shown
from raycl.training.fit import Pulse
from tests.helpers import hand
from tests.helpers.hand import ALONE, BENCHMARK, RATE

METHODS: dict[str, Any] = {
    "one": {"method": ALONE},
    "finetune": {"fit.lr": RATE},
    "slow": {"method": hand.OTHER},
}
STUDY = hand.study(
    methods=METHODS, search=Search(trials=3, concurrency=2, startup_trials=2), network="mlp(64, 0.0, 0.0)"
)

EMPTY = """\
small: 3 methods x 1 benchmark, network mlp(64, 0.0, 0.0)        store ./results
cell                                 trials        final    runs  done   est.
one      / digits_permuted(tasks=2)  -             2 seeds     2     0      ?
finetune / digits_permuted(tasks=2)  3, 2 at once  2 seeds     4     0      ?
slow     / digits_permuted(tasks=2)  -             2 seeds     2     0      ?
8 runs, 0 done, 8 to do, time unknown: --measure times an epoch of each method"""

PARTLY = """\
small: 3 methods x 1 benchmark, network mlp(64, 0.0, 0.0)        store ./results
cell                                 trials        final    runs  done   est.
one      / digits_permuted(tasks=2)  -             2 seeds     2     2      -
finetune / digits_permuted(tasks=2)  3, 2 at once  2 seeds     4     1*  0:40
slow     / digits_permuted(tasks=2)  blocked: benchmark x needs CIFAR-100, which
                                     is not in data folder ~/data
                                     -> raycl data prepare cifar100  downloads
                                        161 MB
* 1 result of older source code; raycl run --fresh recomputes all
8 runs, 3 done, 3 to do, 2 blocked, about 40 s on 2 CPUs (longest cell 0:40)"""

BLOCKED = Obstacle.of("""benchmark x needs CIFAR-100, which is not in data folder ~/data
       raycl data prepare cifar100  downloads 161 MB""")


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.chdir(tmp_path)
    return Store("results")


def plan(store: Store, study: Any = STUDY, slots: float = 2.0) -> str:
    return plan_text(study, hand.read(store, study), Path("results"), slots)


def test_a_plan_of_an_empty_store(store):
    assert plan(store) == EMPTY


def test_a_plan_of_a_store_that_has_some(store):
    """Three missing runs of 20 s, two at a time: 40 s."""
    cells = hand.cells(STUDY)
    for seed in (1, 2):
        hand.put(store, cells[f"one/{BENCHMARK}"].spec({}, seed), hand.reports(hand.ONE[seed]))
    cell = cells[f"finetune/{BENCHMARK}"]
    store.propose(cell.key, 0, {"fit.lr": 0.1}, {})
    hand.put(store, cell.spec({"fit.lr": 0.1}, 1), hand.reports(hand.TUNED[1]), seconds=20.0, source="old")
    blocked = [
        dataclasses.replace(c, blocked=BLOCKED if c.label == "slow" else None) for c in cells_of(STUDY)
    ]
    assert plan_text(STUDY, Agenda(blocked, store), "results", 2.0) == PARTLY


def test_a_plan_with_nothing_to_do(store):
    study = hand.study()
    hand.filled(store, study)
    assert plan(store, study).endswith("\n4 runs, 4 done: nothing to do")


def test_cells_that_lack_the_same_data_say_it_once(store):
    blocked = [dataclasses.replace(cell, blocked=BLOCKED) for cell in cells_of(STUDY)]
    text = plan_text(STUDY, Agenda(blocked, store), "results", 2.0)
    assert text.count("raycl data prepare") == 1 and text.count("blocked: as above") == 2
    assert text.endswith("8 runs, 0 done, 8 blocked")


def test_a_failure_is_told_in_the_plan(store):
    hand.put(store, hand.cells(STUDY)[f"one/{BENCHMARK}"].spec({}, 2), (), "failed")
    assert "  failed last time and will be tried again: failed: the loss is nan" in plan(store).splitlines()


def test_a_plan_keeps_to_80_columns(store):
    methods = {
        f"a-method-with-a-very-long-name-{n}": {"method": "finetune", "fit.lr": RATE} for n in range(3)
    }
    study = hand.study(name="n" * 50, methods=methods, search=Search(trials=1000, concurrency=16), orders=2)
    cells = [
        dataclasses.replace(c, blocked=Obstacle("x" * 300) if c.label.endswith("2") else None)
        for c in cells_of(study)
    ]
    text = plan_text(study, Agenda(cells, store), "/a/" + "b" * 70, 2.0)
    assert max(map(len, text.splitlines())) <= 80
    assert "order 1" in text


class Clock:
    """Seconds that pass when told."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def proposer(cell: Any, n: int, told: Any, running: Any) -> dict[str, Any]:
    return {"fit.lr": 0.1 * (n + 1)}


def played(store: Store, agenda: Agenda, status: Any = "done", seconds: float = 1.2) -> Any:
    """Start the next job and finish it at once."""
    job = agenda.next()
    assert job is not None
    message = "" if status == "done" else "Traceback\nthe loss is nan"
    rows = hand.reports(hand.two_tasks(0.9, 0.934, 0.934), hand.two_tasks(0.9, 0.85, 0.834))
    result = Result(job.spec, status, rows if status == "done" else (), message, {"seconds": seconds})
    agenda.finish(job.key, result)
    return job


def view(
    store: Store, study: Any = STUDY, height: int = 25, **options: Any
) -> tuple[LiveView, Agenda, io.StringIO, Clock]:
    agenda, out, clock = Agenda(cells_of(study), store, proposer), io.StringIO(), Clock()
    console = Console(file=out, width=80, height=height, **options)
    return LiveView(study, agenda, 2.0, console, clock), agenda, out, clock


def test_without_a_terminal_each_finished_run_is_a_plain_line(store):
    live, agenda, out, _ = view(store)
    with live:
        for status in ("done", "done", "done", "diverged", "done", "failed", "done", "done", "done"):
            if agenda.over:
                break
            played(store, agenda, status)
    name = BENCHMARK.replace("(", r"\(").replace(")", r"\)")
    lines = out.getvalue().splitlines()
    assert lines[0] == f"1/8 one / {BENCHMARK} / seed 1 acc .934 1.2 s"
    assert lines[2] == f"3/8 finetune / {BENCHMARK} / trial 0 val .842 1.2 s"
    assert lines[3] == f"4/9 finetune / {BENCHMARK} / trial 1 diverged: Traceback"
    assert lines[5].endswith("failed: the loss is nan") and lines[5].startswith("5/9 ")
    assert all(
        re.fullmatch(rf"\d+/\d (one|finetune|slow) / {name} / (trial|seed) \d .*", line) for line in lines
    )
    assert "\x1b" not in out.getvalue() and agenda.listeners == []


def screen(live: LiveView) -> list[str]:
    return live.render().plain.splitlines()


def test_on_a_terminal_the_table_says_where_each_cell_stands(store):
    live, agenda, _, clock = view(store, force_terminal=True)
    with live:
        for _ in range(3):
            played(store, agenda, seconds=2.0)
        job = agenda.next()
        assert job is not None
        agenda.pulse(job.key, Pulse(task=1, stream="main", epoch=6, val_loss=0.5, seconds=3.0))
        clock.now = 84.0
        lines = screen(live)
        assert lines[0] == "small  3/8 runs   1 running   0 failed   1:24 elapsed, ~0:00 left"
        assert lines[1].endswith("final 2/2  acc .934")
        assert lines[2].endswith("search 1/3    best val .842    task 2/2, epoch 7")
        assert lines[3].endswith("final 0/2")
        assert max(map(len, lines)) <= 80
    assert live._live is None


def test_time_left_is_rough_until_each_method_was_measured(store):
    study = hand.study(final=Seeds(1, 2, 3))
    live, agenda, _, _ = view(store, study, force_terminal=True)
    with live:
        assert screen(live)[0].endswith("0:00 elapsed")
        played(store, agenda, seconds=60.0)  # the other method is taken to be as slow
        assert screen(live)[0].endswith("0:00 elapsed, ~2:30 left")
        assert plan(store, study).endswith("\n6 runs, 1 done, 5 to do, ~2 min on 2 CPUs (longest cell ~2:00)")
        for _ in range(3):
            played(store, agenda, seconds=30.0)
        assert screen(live)[0].endswith("0:00 elapsed, about 0:30 left")


def test_time_left_counts_down_between_events(store):
    study = hand.study(final=Seeds(1, 2, 3))
    live, agenda, _, clock = view(store, study, force_terminal=True)
    with live:
        for _ in range(4):  # three of the one, one of the other: both have been measured
            played(store, agenda, seconds=60.0)
        assert screen(live)[0].endswith("0:00 elapsed, about 1:00 left")  # two of 60 s on two slots
        clock.now = 25.0
        assert screen(live)[0].endswith("0:25 elapsed, about 0:35 left")
        clock.now = 100.0
        assert screen(live)[0].endswith("1:40 elapsed, about 0:00 left")


def test_where_cells_do_not_fit_the_live_ones_are_shown(store):
    methods = {f"m{n}": {"method": "finetune", "fit.lr": n / 100} for n in range(1, 21)}
    live, agenda, _, _ = view(
        store, hand.study(methods=methods, final=Seeds(1)), height=8, force_terminal=True
    )
    with live:
        for _ in range(3):
            played(store, agenda)
        agenda.next()
        lines = screen(live)
    assert len(lines) == 6 and lines[-1] == "... and 16 more cells"
    assert [line.split()[0] for line in lines[1:-1]] == ["m1", "m2", "m3", "m4"]
    assert lines[4].endswith("running")


def test_what_is_drawn_fits_80_columns_and_leaves_the_terminal_as_it_was(store):
    methods = {"m" * 60 + str(n): {"method": "finetune", "fit.lr": RATE} for n in range(2)}
    study = hand.study(name="s" * 60, methods=methods, search=Search(trials=200, concurrency=2))
    live, agenda, out, clock = view(store, study, force_terminal=True)

    def interrupted() -> None:
        with live:
            clock.now = 200_000.0
            played(store, agenda)
            job = agenda.next()
            assert job is not None
            agenda.pulse(job.key, Pulse(99, "main", 1000, 0.5, 3.0))
            assert max(map(len, screen(live))) <= 80
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    text = out.getvalue()
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h") == 1  # the cursor is back
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
    assert max(map(len, re.split(r"[\r\n]", plain))) <= 80
    assert agenda.listeners == []


def test_a_failure_shows_in_its_cell(store):
    live, agenda, _, _ = view(store, force_terminal=True)
    with live:
        played(store, agenda, "failed")
        assert "1 failed" in screen(live)[0] and "failed: the loss is nan" in screen(live)[1]


def test_closing_lines(store, tmp_path):
    assert closing_text(
        "results",
        tmp_path / "results" / "small.html",
        {"digits": "http://127.0.0.1:5000/#/compare"},
        "nothing",
    ) == (
        "results    ./results                      report  ./results/small.html\n"
        "compare    http://127.0.0.1:5000/#/compare   (raycl ui)\n"
        "again      nothing"
    )
    long = closing_text("/far/" + "x" * 60, "/far/" + "y" * 60, again="nothing")
    assert [line.split()[0] for line in long.splitlines()] == ["results", "report", "again"]


def test_each_benchmark_has_its_comparison(store):
    links = {f"digits {n}": f"http://there/{n}" for n in range(6)}
    assert closing_text("results", compare=links, again="nothing").splitlines()[1:] == [
        *(f"compare    digits {n}  http://there/{n}   (raycl ui)" for n in range(4)),
        "           raycl ui lists the other 2 benchmarks",
        "again      nothing",
    ]


def test_interrupted_says_what_is_done_and_how_to_go_on(store):
    agenda = hand.filled(store, hand.study())
    command = "raycl run studies/small.py"
    assert interrupted_text(agenda, 2, command) == (
        "stopped: 4 of 4 runs are done, 2 were cut off after their last finished task.\n"
        "resume with:  raycl run studies/small.py"
    )
    assert "done, 1 was cut off after its last finished task." in interrupted_text(agenda, 1, command)
    assert interrupted_text(agenda, 0, command).splitlines()[0] == "stopped: 4 of 4 runs are done."


def test_paths_are_shown_as_one_types_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/someone")
    given = ("results", "./x", "../x", tmp_path / "a", "/home/someone/r", "/data/r")
    assert [shown(path) for path in given] == ["./results", "./x", "../x", "./a", "~/r", "/data/r"]

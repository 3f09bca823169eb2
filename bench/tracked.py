"""Cost of MLflow for the driver of a large study, measured with the simulated runs of `bench.scale`."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from rich.console import Console

from bench.line import Line
from bench.processes import told
from bench.scale import SLOTS, play, resident
from raycl.runs.store import Store
from raycl.study.agenda import Agenda
from raycl.study.expand import cells_of
from raycl.study.file import read_study
from raycl.study.jobs import Event

SIZES = (500, 2_000)  # jobs; larger ones, up to 100,000, as arguments of `tracked`
BEHIND = 1_000  # runs that the simulation may be ahead of MLflow, as no real study is


def stretch(file: str, store: str) -> dict[str, float]:
    """Run what a study lacks with MLflow on, then write everything again, and return the costs."""
    from raycl.tune.proposals import propose
    from raycl.tune.recorder import Recorder
    from raycl.tune.search import StudySearch
    from raycl.tune.tracking import Tracking

    wanted = read_study(file)
    cells = cells_of(wanted)
    place = Store(store).open()
    started = time.perf_counter()
    agenda = Agenda(cells, place, propose)
    found = sum(state.done for state in agenda.states)
    tracking = Tracking.open(wanted, agenda)
    recorder = Recorder(tracking, Console(stderr=True).print)
    start, before = time.perf_counter() - started, resident()

    def wait(_: Event) -> None:
        while recorder.behind > BEHIND:
            time.sleep(0.01)

    agenda.listeners.append(wait)
    searcher = StudySearch(agenda, {"store": store, "data": "", "home": ""})
    agenda.masks.slots = SLOTS
    began, cpu = time.perf_counter(), time.process_time()
    play(searcher)
    while recorder.behind:
        time.sleep(0.01)
    cpu, took = time.process_time() - cpu, time.perf_counter() - began
    closing = time.perf_counter()
    assert recorder.close(600), "MLflow lacks runs"
    return {
        "start": start,
        "found": found,
        "took": took,
        "cpu": cpu,
        "close": time.perf_counter() - closing,
        "grown": resident() - before,
        "runs": sum(state.done for state in agenda.states),
        "trials": tracking.trials,
    }


_STRETCH = "import json, sys; from bench.tracked import stretch; print(json.dumps(stretch(*sys.argv[1:])))"


def tracked(*sizes: int) -> list[Line]:
    """Measure what MLflow costs the driver of studies of simulated jobs of several sizes; this takes minutes.

    Args:
        sizes: Approximate numbers of jobs; by default `SIZES`.
    """
    lines = []
    for jobs in sizes or SIZES:
        with tempfile.TemporaryDirectory(prefix="raycl-bench-") as name:
            folder = Path(name)
            text = f"from bench.scale import study\nSTUDY = study({jobs})\n"
            (folder / "scale.py").write_text(text, encoding="utf-8")
            first, again = _stretch(folder), _stretch(folder)
            database = (folder / "results" / "mlflow.db").stat().st_size
        runs = first["runs"]
        of = "" if first["trials"] else ", without trials in MLflow"
        lines += [
            Line(f"{runs:.0f} runs{of}: CPU time per run, MLflow and store", 1e3 * first["cpu"] / runs, "ms"),
            Line("  memory per run, at the end", first["grown"] / runs / 1e3, "kB"),
            Line("  database per run", database / runs / 1e3, "kB"),
            Line("  start with all of them finished", again["start"], "s", "under 60"),
            Line("  raycl sync of all of them", again["close"], "s", "under 300"),
        ]
    return lines


def _stretch(folder: Path) -> dict[str, float]:
    """Run `stretch` in a process of its own."""
    return told(_STRETCH, folder, str(folder / "scale.py"), str(folder / "results"))

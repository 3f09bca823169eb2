"""Cost of a study of many jobs for its driver, measured in a simulation in which nothing is trained.

Cells, agenda, store on disk, proposals by TPE, the methods of the Tune searcher and the live view are those
of a real study. The workers are replaced by a function that returns numbers derived from the run's key, as
the JSON that a worker would send. The overhead of Ray itself is measured by `trials`.
"""

from __future__ import annotations

import dataclasses
import io
import json
import math
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from rich.console import Console

from bench.line import Line
from bench.processes import environment
from raycl.archives import Artefact
from raycl.runs import provenance
from raycl.runs.reports import TaskReport, default_evaluate
from raycl.runs.result import Result, Trained
from raycl.runs.store import Store
from raycl.space import Float
from raycl.specs import MaskSpec, RunSpec
from raycl.study.agenda import Agenda
from raycl.study.expand import cells_of
from raycl.study.file import read_study
from raycl.study.limits import RUNS
from raycl.study.proposer import Proposer
from raycl.study.values import Grid, Search, Seeds, Study
from raycl.terminal.view import LiveView
from raycl.training.fit import Pulse
from raycl.wholefiles import publish

JOBS = 20_000
SLOTS = 16  # the number of concurrent runs
TASKS = {  # the number of tasks of each benchmark
    "digits_split": 5,
    "digits_rotated": 5,
    "digits_permuted(first=1)": 5,
    "digits_writers(tasks=5)": 5,
    "digits_mixed": 10,
    "digits_rotated(tasks=10)": 10,
    "digits_permuted(tasks=10, first=1)": 10,
    "digits_writers": 10,
}
FIRST = next(iter(TASKS))
PLAIN = "raycl.method:Method"
DOMAINS = {"method": PLAIN, "fit.lr": Float(1e-3, 1, log=True), "fit.weight_decay": Float(1e-6, 1e-2)}


class Searcher(Protocol):
    """Interface of Ray Tune's searchers, as far as it is used here."""

    def suggest(self, trial_id: str) -> Any: ...

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None: ...

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None) -> None: ...


def study(jobs: int = JOBS) -> Study:
    """Return a study of about `jobs` jobs of all kinds.

    One fifth of the jobs belongs to grids of at most 10,000 points, 3 % to searches of up to 100 trials, 5 %
    are runs on basis masks and the jobs that train these, and 15 % are runs that consist of parts on a
    backbone. The rest belongs to searches of 20 trials, as in papers. Every cell has five final seeds.
    """
    return Study(
        name="scale",
        methods={
            "alone": {"method": "raycl.methods.one:One", "search": None},
            **_grids(jobs),
            **_long_searches(jobs),
            **_masked(jobs),
            **_made_of_parts(jobs),
            **_searches(jobs),
        },
        benchmarks=list(TASKS),
        network="mlp(hidden=64)",
        search=Search(trials=20, concurrency=4),
        final=Seeds(1, 2, 3, 4, 5),
    )


def _grids(jobs: int) -> dict[str, dict[str, Any]]:
    many = max(1, math.ceil(0.2 * jobs / RUNS))
    side = min(math.isqrt(RUNS), max(2, int((0.2 * jobs / many) ** 0.5)))
    more = {f"grid-{i}": _grid(side) | {"fit.batch": 100 + i} for i in range(1, many)}
    return {"grid": _grid(side), **more}


def _grid(side: int) -> dict[str, Any]:
    axes = {
        "fit.lr": [0.001 * (i + 1) for i in range(side)],
        "fit.weight_decay": [1e-5 * (i + 1) for i in range(side)],
    }
    return {"method": PLAIN, "fit.epochs": 3, "benchmarks": [FIRST], "search": Grid(axes)}


def _long_searches(jobs: int) -> dict[str, dict[str, Any]]:
    trials = max(5, min(100, jobs // 30))
    search = Search(trials=trials, concurrency=8)
    return {
        f"long-{i}": DOMAINS | {"fit.batch": 10 + i, "benchmarks": [FIRST], "search": search}
        for i in range(max(1, int(0.03 * jobs / (trials + 4))))
    }


def _masked(jobs: int) -> dict[str, dict[str, Any]]:
    masked = {
        "method": "raycl.methods.impresslearn:ImpressLearn",
        "search": None,
        "benchmarks": [name for name in TASKS if "permuted" in name],
        "method.basis": "homogeneous",
        "method.k": 16,
    }
    return {
        f"masked-{i}": masked | {"fit.lr": 0.01 * (i + 1)} for i in range(max(1, int(0.05 * jobs / 15 / 2)))
    }


def _made_of_parts(jobs: int) -> dict[str, dict[str, Any]]:
    parts = {"method": "raycl.methods.piggyback:Piggyback", "search": None}
    return {
        f"parts-{i}": parts | {"fit.lr": 0.001 * (i + 1)}
        for i in range(max(1, int(0.15 * jobs / 42.5 / len(TASKS))))
    }


def _searches(jobs: int) -> dict[str, dict[str, Any]]:
    many = max(1, int(0.57 * jobs / 24 / len(TASKS)))
    return {f"searched-{i}": DOMAINS | {"fit.epochs": 5 + i} for i in range(many)}


def _of(*words: object) -> float:
    """Return a number from 0 to 1 that depends only on the arguments."""
    return zlib.crc32("/".join(map(str, words)).encode()) / 2**32


def reports(spec: RunSpec) -> tuple[TaskReport, ...]:
    """Return simulated reports of a run with this spec, which contain as much as those of a real run."""
    if spec.kind == "pretrain":
        return (_report(spec, 0, [0]),)
    if spec.part is not None:
        return (_report(spec, spec.part, [spec.part]),)
    tasks = TASKS[spec.benchmark]
    everything = default_evaluate(tasks) == "learnt"
    return tuple(_report(spec, t, list(range(t + 1)) if everything else [t]) for t in range(tasks))


def _report(spec: RunSpec, task: int, measured: list[int]) -> TaskReport:
    val = {t: 0.5 + 0.4 * _of(spec.key, task, t) for t in measured}
    return TaskReport(
        task=task,
        val=val,
        test={t: value - 0.05 * _of(spec.key, t) for t, value in val.items()},
        epochs={"main": 10},
        updates=1000 * (task + 1),
        seconds={"main": 2 + _of(spec.key, task), "method": 0.01},
        evaluation_seconds=0.1,
        peak_bytes=500_000_000 + task,
        parameters=123_456,
        stored_bytes=100_000 + 1000 * task,
        diagnostics={"used": _of(task, spec.key), "by_layer": {"fc1": 0.25, "fc2": _of(task)}},
        ended=1.7e9 + 60 * _of(spec.key) + task,
    )


def worked(config: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return what a worker reports about a job, ending with the outcome, and write its files to the store."""
    store = Path(config["store"])
    if "specs" in config:
        masks = [MaskSpec.from_json(plain) for plain in config["specs"]]
        for mask in masks:
            publish(Artefact.MASK.path(store, mask.key), archive())
        trained = Trained("done", "", 2.0 * len(masks))
        return [*({"mask": mask.key} for mask in masks), {"outcome": json.dumps(dataclasses.asdict(trained))}]
    result = result_of(RunSpec.from_json(config["spec"]), store, "/ trial" in config["name"])
    pulses = [{"pulse": json.dumps(dataclasses.asdict(Pulse(t, "main", 3, 0.5, 1.0)))} for t in (0, 1)]
    return [*pulses, {"outcome": json.dumps(result.to_json())}]


def result_of(spec: RunSpec, store: Path, trial: bool) -> Result:
    """Return the simulated result of a run, and write the files that its worker would write to the store."""
    about = provenance.provenance(spec, "cpu", 1, "strict") | {
        "started": 1.7e9,
        "seconds": 10 * _of(spec.key),
    }
    if trial and _of(spec.key, "diverged") < 0.01:
        return Result(spec, "diverged", (), "the loss is nan", about)
    if spec.kind == "pretrain":
        publish(Artefact.BACKBONE.path(store, spec.key), archive())
    return Result(spec, "done", reports(spec), "", about)


def archive() -> bytes:
    """Return the bytes of a valid zip file, which can be told from a truncated one."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("nothing", b"0" * 1000)
    return out.getvalue()


class _Watch:
    """Stopwatch that adds up the seconds spent inside its context."""

    def __init__(self) -> None:
        self.seconds = self.cpu = 0.0

    def __enter__(self) -> None:
        self.seconds -= time.perf_counter()
        self.cpu -= time.process_time()

    def __exit__(self, *_: object) -> None:
        self.seconds += time.perf_counter()
        self.cpu += time.process_time()


def play(
    search: Searcher, jobs: int | None = None, slots: int = SLOTS, seed: int = 0
) -> tuple[int, float, float]:
    """Run jobs as Ray Tune would with a number of slots; they end in random order.

    Args:
        search: The searcher that provides the jobs.
        jobs: Number of jobs to run; by default all.
        slots: Number of concurrent jobs.
        seed: Seed of the order in which jobs end.

    Returns:
        The number of jobs that ended, and the wall and CPU seconds that the driver took for them.
    """
    live: list[tuple[str, dict[str, Any]]] = []
    rng, ended, watch = random.Random(seed), 0, _Watch()
    while jobs is None or ended < jobs:
        while len(live) < slots:
            trial = f"{ended}-{len(live)}"
            with watch:
                config = search.suggest(trial)
            if not isinstance(config, dict):
                break
            live.append((trial, config))
        if not live:
            break
        trial, config = live.pop(rng.randrange(len(live)))
        *signs, last = worked(config)
        with watch:
            for sign in [*signs, last]:
                search.on_trial_result(trial, sign)
            search.on_trial_complete(trial, last)
        ended += 1
    return ended, watch.seconds, watch.cpu


def resident() -> int:
    """Return the resident bytes of this process, or their peak where the present value is not available."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return pages * os.sysconf("SC_PAGE_SIZE")


def stretch(
    file: str,
    store: str,
    jobs: int | None,
    search: Callable[..., Searcher],
    propose: Proposer,
    terminal: bool,
) -> dict[str, float]:
    """Start a driver on an existing store, run `jobs` jobs (or all), and return the costs."""
    wanted = read_study(file)
    cells = cells_of(wanted)
    place = Store(store).open()
    before, watch = resident(), _Watch()
    with watch:
        agenda = Agenda(cells, place, propose)
    found = sum(state.done for state in agenda.states)
    searcher = search(agenda, {"store": store, "data": "", "home": ""})
    agenda.masks.slots = SLOTS
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
        console = Console(file=nowhere, width=80, force_terminal=terminal)
        with LiveView(wanted, agenda, SLOTS, console):
            ended, took, cpu = play(searcher, jobs)
    return {
        "resumed": watch.seconds,
        "resumed_cpu": watch.cpu,
        "found": found,
        "ended": ended,
        "took": took,
        "cpu": cpu,
        "grown": resident() - before,
        "cells": len(cells),
        "runs": sum(state.done for state in agenda.states),
    }


_STRETCH = """
import json, sys
from bench.scale import stretch
from raycl.tune.proposals import propose
from raycl.tune.search import StudySearch
file, store, jobs, terminal = sys.argv[1:]
print(json.dumps(stretch(file, store, int(jobs) or None, StudySearch, propose, terminal == "yes")))
"""


def scale(jobs: int = JOBS) -> list[Line]:
    """Measure the cost of a study of 20,000 simulated jobs for its driver; this takes minutes.

    Each driver runs in a separate process, and the store is on disk.

    Args:
        jobs: Approximate number of jobs.
    """
    with tempfile.TemporaryDirectory(prefix="raycl-bench-") as name:
        folder = Path(name)
        text = f"from bench.scale import study\nSTUDY = study({jobs})\n"
        (folder / "scale.py").write_text(text, encoding="utf-8")
        empty = _seconds(folder, "plan")
        half = stretched(folder, jobs // 2, terminal=True)
        full = stretched(folder, 0, terminal=False)
        again = stretched(folder, 0, terminal=False)
        assert not again["ended"], "a finished study was run again"
        cells, ended = half["cells"], half["ended"] + full["ended"]
        share = ("--only", f"*/{FIRST}", "--format", "html")
        return [
            Line(f"jobs of {cells:.0f} cells, with {full['runs']:.0f} finished runs", ended, ""),
            *_costs("first half, table on a terminal", half, half["ended"]),
            *_costs("second half, plain lines", full, ended),
            Line("start of a driver, half of the jobs done", full["resumed"], "s", "under 60"),
            Line("start of a driver, all jobs done", again["resumed"], "s", "under 60"),
            Line("  CPU time in it", again["resumed_cpu"], "s"),
            Line("raycl plan, no jobs done", empty, "s"),
            Line("raycl plan, all jobs done", _seconds(folder, "plan"), "s"),
            Line("raycl report", _seconds(folder, "report"), "s"),
            Line("raycl report --format csv", _seconds(folder, "report", "--format", "csv"), "s"),
            Line("raycl report --format html, one benchmark", _seconds(folder, "report", *share), "s"),
        ]


def _costs(name: str, found: Mapping[str, float], in_memory: float) -> list[Line]:
    """Return the costs per job; `in_memory` is the number of jobs whose results the driver has in memory."""
    return [
        Line(f"{name}: time per job", 1e3 * found["took"] / found["ended"], "ms", "15"),
        Line("  CPU time in it", 1e3 * found["cpu"] / found["ended"], "ms"),
        Line("  memory per job", found["grown"] / in_memory / 1e3, "kB", "30"),
    ]


def stretched(folder: Path, jobs: int, terminal: bool) -> dict[str, float]:
    words = [str(folder / "scale.py"), str(folder / "results"), str(jobs), "yes" if terminal else "no"]
    found: dict[str, float] = json.loads(_printed(folder, "-c", _STRETCH, *words).splitlines()[-1])
    return found


def _seconds(folder: Path, command: str, *options: str) -> float:
    """Run a command of raycl, and return its wall seconds, including the start of Python."""
    words = [command, str(folder / "scale.py"), *options, "--store", str(folder / "results")]
    started = time.perf_counter()
    _printed(folder, "-m", "raycl.cli", *words)
    return time.perf_counter() - started


def _printed(folder: Path, *words: str) -> str:
    """Run Python in a folder, and return what it prints."""
    done = subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        encoding="utf-8",
        check=True,
    )
    return done.stdout

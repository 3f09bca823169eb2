"""What a study of many jobs costs its driver, played in simulation: everything is real but the training.

Cells, agenda, store on disk, proposals by TPE, the Tune searcher's methods as Tune calls them and the live
view are those of a study; a worker is replaced by a function that gives back numbers made up from the run's
key, as the JSON that a worker sends. Ray's own share of a trial is measured by `trials`.
"""

from __future__ import annotations

import dataclasses
import io
import json
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
from raycl.runs.result import Result, Trained
from raycl.runs.sequence import TaskReport, default_evaluate
from raycl.runs.store import Store
from raycl.space import Float
from raycl.specs import MaskSpec, RunSpec
from raycl.study.agenda import Agenda
from raycl.study.expand import cells_of, references_left_out
from raycl.study.file import read_study
from raycl.study.proposer import Proposer
from raycl.study.values import Grid, Search, Seeds, Study
from raycl.terminal.view import LiveView
from raycl.training.fit import Pulse
from raycl.wholefiles import publish

JOBS = 20_000
SLOTS = 16  # runs that are live at once
TASKS = {  # of each benchmark
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
    """What Tune calls, as far as it is called here."""

    def suggest(self, trial_id: str) -> Any: ...

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None: ...

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None) -> None: ...


def study(jobs: int = JOBS) -> Study:
    """About so many jobs of all kinds.

    A fifth is one grid, 3 % searches of up to 100 trials, 5 % runs on basis masks and the jobs of those, 15 %
    runs that are made of parts on a backbone; the rest searches of 20 trials as papers have them. Every cell
    has five final seeds.
    """
    return Study(
        name="scale",
        methods={
            "alone": {"method": "raycl.methods.one:One", "search": None},
            "grid": _grid(jobs),
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


def _grid(jobs: int) -> dict[str, Any]:
    side = max(2, int((0.2 * jobs) ** 0.5))
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
    """A number from 0 to 1, made up from words; always the same."""
    return zlib.crc32("/".join(map(str, words)).encode()) / 2**32


def reports(spec: RunSpec) -> tuple[TaskReport, ...]:
    """What a run of this spec might have measured, as much as a real one does."""
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
    """What a worker reports of a job, the outcome last; files that it leaves in the store are left there."""
    store = Path(config["store"])
    if "specs" in config:
        masks = [MaskSpec.from_json(plain) for plain in config["specs"]]
        for mask in masks:
            publish(Artefact.MASK.path(store, mask.key), _archive())
        trained = Trained("done", "", 2.0 * len(masks))
        return [*({"mask": mask.key} for mask in masks), {"outcome": json.dumps(dataclasses.asdict(trained))}]
    spec = RunSpec.from_json(config["spec"])
    about = provenance.provenance(spec, "cpu", 1, "strict") | {
        "started": 1.7e9,
        "seconds": 10 * _of(spec.key),
    }
    if "/ trial" in config["name"] and _of(spec.key, "diverged") < 0.01:
        result = Result(spec, "diverged", (), "the loss is nan", about)
    else:
        if spec.kind == "pretrain":
            publish(Artefact.BACKBONE.path(store, spec.key), _archive())
        result = Result(spec, "done", reports(spec), "", about)
    pulses = [{"pulse": json.dumps(dataclasses.asdict(Pulse(t, "main", 3, 0.5, 1.0)))} for t in (0, 1)]
    return [*pulses, {"outcome": json.dumps(result.to_json())}]


def _archive() -> bytes:
    """A file that can be told from a torn one."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("nothing", b"0" * 1000)
    return out.getvalue()


class _Watch:
    """Adds up the seconds that are spent within it."""

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
    """Play jobs, or all, as Tune would with so many slots; they end in random order.

    Returns:
        How many have ended, and the seconds that the driver took for them: by the clock, and of processors.
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
    """Bytes of this process that are in memory now, or at most were where the system does not say."""
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
    """Start a driver on a store as it is, play jobs, or all, and tell what that took."""
    wanted = read_study(file)
    cells = cells_of(wanted)
    place = Store(store).open()
    before, watch = resident(), _Watch()
    with watch:
        agenda = Agenda(cells, place, propose, references=references_left_out(wanted, cells))
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
from raycl.tune.proposals import tpe
from raycl.tune.search import StudySearch
file, store, jobs, terminal = sys.argv[1:]
print(json.dumps(stretch(file, store, int(jobs) or None, StudySearch, tpe, terminal == "yes")))
"""


def scale(jobs: int = JOBS) -> list[Line]:
    """What a study of 20,000 trivial jobs costs its driver; nothing is trained. Minutes.

    Drivers are processes of their own; the store is on disk.

    Args:
        jobs: about how many.
    """
    with tempfile.TemporaryDirectory(prefix="raycl-bench-") as name:
        folder = Path(name)
        text = f"from bench.scale import study\nSTUDY = study({jobs})\n"
        (folder / "scale.py").write_text(text, encoding="utf-8")
        empty = _seconds(folder, "plan")
        half = _stretch(folder, jobs // 2, terminal=True)
        full = _stretch(folder, 0, terminal=False)
        again = _stretch(folder, 0, terminal=False)
        assert not again["ended"], "a finished study was played again"
        cells, played = half["cells"], half["ended"] + full["ended"]
        share = ("--only", f"*/{FIRST}", "--format", "html")
        return [
            Line(f"jobs of {cells:.0f} cells, {full['runs']:.0f} runs of their own", played, ""),
            *_costs("first half, table on a terminal", half, half["ended"]),
            *_costs("second half, plain lines", full, played),
            Line("start of a driver, half is done", full["resumed"], "s", "under 60"),
            Line("start of a driver, all is done", again["resumed"], "s", "under 60"),
            Line("  of it on a processor", again["resumed_cpu"], "s"),
            Line("raycl plan, nothing is done", empty, "s"),
            Line("raycl plan, all is done", _seconds(folder, "plan"), "s"),
            Line("raycl report", _seconds(folder, "report"), "s"),
            Line("raycl report --format csv", _seconds(folder, "report", "--format", "csv"), "s"),
            Line("raycl report --format html, of one benchmark", _seconds(folder, "report", *share), "s"),
        ]


def _costs(name: str, of: Mapping[str, float], held: float) -> list[Line]:
    """What a job costs; `held`: jobs whose results the driver has in memory."""
    return [
        Line(f"{name}: time a job", 1e3 * of["took"] / of["ended"], "ms", "15"),
        Line("  of it on a processor", 1e3 * of["cpu"] / of["ended"], "ms"),
        Line("  memory a job", of["grown"] / held / 1e3, "kB", "30"),
    ]


def _stretch(folder: Path, jobs: int, terminal: bool) -> dict[str, float]:
    words = [str(folder / "scale.py"), str(folder / "results"), str(jobs), "yes" if terminal else "no"]
    found: dict[str, float] = json.loads(_printed(folder, "-c", _STRETCH, *words).splitlines()[-1])
    return found


def _seconds(folder: Path, command: str, *options: str) -> float:
    """Wall seconds of a command of raycl's, Python's start included."""
    words = [command, str(folder / "scale.py"), *options, "--store", str(folder / "results")]
    started = time.perf_counter()
    _printed(folder, "-m", "raycl.cli", *words)
    return time.perf_counter() - started


def _printed(folder: Path, *words: str) -> str:
    """What a process of Python's prints that is started in a folder."""
    done = subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        encoding="utf-8",
        check=True,
    )
    return done.stdout

"""Cost of a study for its driver, plan, report and disk as the number of its runs grows to a million.

Nothing is trained: the runs are those of `bench.scale`. Most of them are put into the store by an agenda
without Ray, Optuna and the live view, with values drawn by Python's generator, and without waiting for the
disk; the files are those that a driver would write. The last ones are played as in `bench.scale`.
"""

from __future__ import annotations

import math
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.line import Line
from bench.processes import environment, told
from bench.scale import FIRST, SLOTS, archive, resident, result_of, stretched
from raycl import wholefiles
from raycl.archives import Artefact
from raycl.domains import Choice, Int
from raycl.runs import summaries
from raycl.runs.result import Trained
from raycl.runs.store import Store
from raycl.study.agenda import Agenda
from raycl.study.cells import Cell
from raycl.study.expand import cells_of
from raycl.study.file import read_study
from raycl.study.jobs import Job

SIZES = (10_000, 100_000, 1_700_000)  # jobs; the largest study has a million runs
LAST = 500  # runs that are played at the end, to measure what one more run costs then
CELL = f"searched-0/{FIRST}"  # the cell of which a report is made


def drawn(cell: Cell, n: int, history: Sequence[Any], running: Sequence[Any]) -> dict[str, Any]:
    """Return random values of a trial, at a hundredth of the cost of a sampler's."""
    draw, values = random.Random(f"{cell.name} {n}"), {}
    for key, domain in cell.space.items():
        if isinstance(domain, Choice):
            values[key] = draw.choice(domain.options)
        elif isinstance(domain, Int):
            values[key] = draw.randint(domain.low, domain.high)
        elif domain.log:
            values[key] = math.exp(draw.uniform(math.log(domain.low), math.log(domain.high)))
        else:
            values[key] = draw.uniform(domain.low, domain.high)
    return values


def fill(file: str, store: str, jobs: int) -> dict[str, float]:
    """Put the results of so many jobs of a study into a store, and return what that cost per job.

    At least `LAST` runs are left to be played.
    """
    wholefiles.settle = lambda file: file.flush()
    place = Path(store)
    agenda = Agenda(cells_of(read_study(file), check=False), Store(place).open(), drawn)
    agenda.masks.slots, ended = SLOTS, 0
    jobs = min(
        jobs, sum(state.wanted for state in agenda.states) - LAST
    )  # a study has about as many as asked for
    before, cpu = resident(), time.process_time()
    while ended < jobs and (job := agenda.next()) is not None:
        if isinstance(job, Job):
            agenda.finish(job.key, result_of(job.spec, place, job.role.trial is not None))
        else:
            for mask in job.specs:
                wholefiles.publish(Artefact.MASK.path(place, mask.key), archive())
            agenda.finish_masks(job.key, Trained("done", "", 1.0))
        ended += 1
    return {
        "ended": ended,
        "cpu": time.process_time() - cpu,
        "grown": resident() - before,
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


_FILL = """
import json, sys
from bench.growth import fill
file, store, jobs = sys.argv[1:]
print(json.dumps(fill(file, store, int(jobs))))
"""


def growth(*sizes: int) -> list[Line]:
    """Measure studies of 5,000 to 1,000,000 simulated runs; this takes four hours and 10 GB of disk.

    Args:
        sizes: Approximate numbers of jobs, of which some train masks; by default `SIZES`.
    """
    lines: list[Line] = []
    for jobs in sizes or SIZES:
        with tempfile.TemporaryDirectory(prefix="raycl-bench-") as name:
            lines += _of_size(Path(name), jobs)
    return lines


def _of_size(folder: Path, jobs: int) -> list[Line]:
    """Return the costs of a study of about so many jobs."""
    text = f"from bench.scale import study\nSTUDY = study({jobs})\n"
    (folder / "scale.py").write_text(text, encoding="utf-8")
    empty = _command(folder, "plan")
    filled = _filled(folder, jobs - LAST)
    last = stretched(folder, LAST, terminal=False)
    planned, one = _command(folder, "plan"), _command(folder, "report", "--only", CELL)
    files, size, blocks = _on_disk(folder / "results")
    shutil.rmtree(folder / "results" / summaries.FOLDER)
    unsummed = _command(folder, "plan")
    runs = last["runs"]
    return [
        Line(f"finished runs of {last['cells']:.0f} cells", runs, ""),
        *_of_command("plan, no runs done", empty),
        Line("agenda and store, CPU time per job", 1e3 * filled["cpu"] / filled["ended"], "ms"),
        Line("  memory per job", filled["grown"] / filled["ended"] / 1e3, "kB"),
        Line("start of a driver, CPU time", last["resumed_cpu"], "s"),
        Line("  memory at its end, per run", last["grown"] / runs / 1e3, "kB"),
        Line(f"CPU time per job of the last {last['ended']:.0f}", 1e3 * last["cpu"] / last["ended"], "ms"),
        *_of_command("plan, runs done", planned),
        *_of_command("plan, runs done, without the summaries", unsummed),
        *_of_command("report of one cell", one),
        Line("files and folders per run", files / runs, ""),
        Line("  bytes per run", size / runs / 1e3, "kB"),
        Line("  disk per run, in blocks of the file system", blocks / runs / 1e3, "kB"),
    ]


def _of_command(what: str, spent: tuple[float, float, float]) -> list[Line]:
    wall, cpu, peak = spent
    return [
        Line(what, wall, "s"),
        Line("  CPU time", cpu, "s"),
        Line("  peak memory", peak / 1e6, "MB"),
    ]


def _filled(folder: Path, jobs: int) -> dict[str, float]:
    """Run `fill` in a process of its own."""
    return told(_FILL, folder, str(folder / "scale.py"), str(folder / "results"), str(jobs))


def _command(folder: Path, command: str, *options: str) -> tuple[float, float, float]:
    """Run a command of raycl, and return its wall seconds, CPU seconds and peak bytes."""
    words = [command, str(folder / "scale.py"), *options, "--store", str(folder / "results")]
    started = time.perf_counter()
    with (folder / "printed.txt").open("w") as out:
        running = subprocess.Popen(
            [sys.executable, "-m", "raycl.cli", *words], cwd=folder, env=environment(), stdout=out
        )
        _, status, spent = os.wait4(running.pid, 0)
    running.returncode = os.waitstatus_to_exitcode(status)
    assert running.returncode == 0, f"raycl {command} ended with code {running.returncode}"
    return time.perf_counter() - started, spent.ru_utime + spent.ru_stime, spent.ru_maxrss * 1024


def _on_disk(root: Path) -> tuple[int, int, int]:
    """Return the number of files and folders of a store, their bytes, and the bytes of their blocks."""
    many = size = blocks = 0
    for folder, inner, files in os.walk(root):
        many += len(inner) + len(files)
        for name in files:
            status = os.stat(os.path.join(folder, name))
            size += status.st_size
            blocks += 512 * status.st_blocks
    return many, size, blocks

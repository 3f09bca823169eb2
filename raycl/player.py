"""Plays one run in this process: from its spec, or from where it stood, to a result."""

from __future__ import annotations

import functools
import hashlib
import math
import os
import platform
import subprocess
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

import raycl
from raycl import names, sequence
from raycl.method import Method
from raycl.sequence import Report
from raycl.spec import RunSpec, set_numerics
from raycl.store import Result
from raycl.training import Diverged, Pulse


def play(
    spec: RunSpec,
    checkpoints: Path | None = None,
    *,
    device: str = "cpu",
    threads: int = 1,
    pulse: Callable[[Pulse], None] | None = None,
) -> Result:
    """Play a run to its end.

    What science can do wrong (a diverged loss, an exception of the method's) is an outcome with a status,
    never an exception. With `checkpoints`, a run that was cut off goes on after its last finished task.
    """
    torch.set_num_threads(threads)
    _warm()
    started = time.time()
    numerics = set_numerics(spec.numerics)
    where = checkpoints / spec.key / "state.pt" if checkpoints else None
    reports: list[Report] = []
    try:
        benchmark = spec.make_benchmark()
        method, reports = _resume(where) or (spec.make_method(benchmark, device), [])
        fit = spec.make_fit(device=device, pulse=pulse)
        keep = functools.partial(_save, where) if where else None
        with torch.device(device):
            for report in sequence.run(
                method, benchmark, fit, done=list(reports), evaluate=spec.evaluate, keep=keep
            ):
                reports.append(report)
        status, message = "done", ""
    except Diverged as error:
        status, message = "diverged", str(error)
    except Exception:
        status, message = "failed", traceback.format_exc()
    about = provenance(spec, device, threads, numerics) | {
        "started": started,
        "seconds": time.time() - started,
    }
    return Result(spec, status, tuple(map(_finite, reports)), message, about)  # type: ignore[arg-type]


@functools.cache
def _warm() -> None:
    """One step of an optimiser: torch's first takes seconds to import, which are no method's compute time."""
    p = torch.nn.Parameter(torch.zeros(1))
    p.grad = torch.zeros(1)
    torch.optim.SGD([p], lr=0.1).step()


def trained(spec: RunSpec, device: str = "cpu") -> tuple[Method, list[Report]]:
    """Train again and keep the method, for a notebook."""
    set_numerics(spec.numerics)
    benchmark = spec.make_benchmark()
    method = spec.make_method(benchmark, device)
    with torch.device(device):
        reports = list(sequence.run(method, benchmark, spec.make_fit(device=device), evaluate=spec.evaluate))
    return method, reports


def _save(where: Path, method: Method, reports: list[Report]) -> None:
    where.parent.mkdir(parents=True, exist_ok=True)
    temporary = where.with_name(f".{where.name}-{os.getpid()}")
    torch.save({"method": method, "reports": [report.to_json() for report in reports]}, temporary)
    os.replace(temporary, where)


def _resume(where: Path | None) -> tuple[Method, list[Report]] | None:
    """The method and its reports after the last finished task. The file is one that `_save` wrote."""
    if where is None or not where.exists():
        return None
    try:
        state = torch.load(where, weights_only=False)
        return state["method"], [Report.from_json(report) for report in state["reports"]]
    except Exception:  # half-written by a machine that died, or of older code: play from the start
        where.unlink(missing_ok=True)
        return None


def _finite(report: Report) -> Report:
    """A report that JSON can hold: a figure that is no number becomes None."""

    def clean(value: Any) -> Any:
        if isinstance(value, float) and not math.isfinite(value):
            return None
        if isinstance(value, dict):
            return {str(key): clean(item) for key, item in value.items()}
        return [clean(item) for item in value] if isinstance(value, list | tuple) else value

    return Report.from_json(clean(report.to_json()))


def provenance(spec: RunSpec, device: str, threads: int, numerics: str) -> dict[str, Any]:
    """Where and with what a run was played."""
    return {
        "raycl": raycl.__version__,
        "commit": _commit(),
        "source": fingerprint(spec.method),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "device": torch.cuda.get_device_name() if device.startswith("cuda") else device,
        "threads": threads,
        "numerics": numerics,
    }


@functools.cache
def fingerprint(method: str) -> str:
    """SHA-256 over the source that a run of `method` executes: the core, and the method's own file."""
    home = Path(raycl.__file__).parent
    files = [home / f"{name}.py" for name in
             ("masks", "method", "sequence", "space", "spec", "streams", "tasks", "training")]  # fmt: skip
    files += [
        path for room in ("networks", "benchmarks", "supermasks") for path in (home / room).glob("*.py")
    ]
    for kind in names.method(method).__mro__:
        module = kind.__module__
        if module.startswith("raycl.methods.") or not module.startswith(("raycl.", "torch.", "builtins")):
            files.append(Path(__import__(module, fromlist=["__file__"]).__file__ or home))
    digest = hashlib.sha256()
    for path in sorted(set(files)):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


@functools.cache
def _commit() -> str:
    """The commit of the working copy that raycl runs from, or ""."""
    here = Path(raycl.__file__).parent.parent
    if not (here / ".git").exists():
        return ""
    try:
        command = ["git", "-C", str(here), "rev-parse", "--short=12", "HEAD"]
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""

"""Provenance of a run: versions, machine, and the fingerprint of the source files that it depends on."""

from __future__ import annotations

import functools
import platform
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import torch

import raycl
from raycl import devices
from raycl.runs.fingerprint import fingerprint, roots_of
from raycl.runs.inputs import method_of
from raycl.specs import RunSpec


def provenance(spec: RunSpec, device: str, threads: int, numerics: str) -> dict[str, Any]:
    """Return the versions, the device and the settings with which a run was executed."""
    return {
        "raycl": raycl.__version__,
        "commit": _commit(),
        "source": fingerprint(roots_of(method_of(spec))),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "device": devices.title(device),
        "threads": threads,
        "numerics": numerics,
    }


@functools.cache
def _commit() -> str:
    """Return the commit of the Git working copy from which raycl is imported, or ""."""
    here = Path(raycl.__file__).parent.parent
    if not (here / ".git").exists():
        return ""
    try:
        command = ["git", "-C", str(here), "rev-parse", "--short=12", "HEAD"]
        return subprocess.run(
            command, capture_output=True, encoding="utf-8", timeout=10, check=True
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""

"""The largest memory that this process has used since a run began."""

from __future__ import annotations

import contextlib
import ctypes
import resource
import sys
from pathlib import Path

_HERE = Path("/proc/self")
_RESET = "5"  # what Linux takes in clear_refs(5) to let the peak begin at the present use


def begin_peak() -> bool:
    """Begin to measure the peak anew, so that it does not contain what earlier runs of the process needed.

    Memory that is free is given back first; the allocator would keep it.

    Returns:
        Whether the system could; only Linux with glibc can. Elsewhere the peak is that of the whole process.
    """
    with contextlib.suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)
        (_HERE / "clear_refs").write_text(_RESET, encoding="ascii")
        return True
    return False


def peak_bytes() -> int:
    """Return the largest number of resident bytes since `begin_peak`."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in (_HERE / "status").read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024

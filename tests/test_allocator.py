"""The C library keeps what is freed: the next batch gets the same pages."""

from __future__ import annotations

import platform
import resource
import subprocess
import sys

import pytest

SCRIPT = """
import resource, sys
from raycl.process.allocator import keep_freed_memory
if sys.argv[1] == "kept":
    assert keep_freed_memory() and keep_freed_memory()
import torch
torch.set_num_threads(1)
for _ in range(5):
    torch.ones(20_000_000)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    torch.ones(20_000_000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str) -> int:
    done = subprocess.run([sys.executable, "-c", SCRIPT, how], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have no such settings")
def test_a_large_tensor_costs_pages_once() -> None:
    pages = 20_000_000 * 4 // resource.getpagesize()
    mapped, kept = faults("mapped"), faults("kept")
    assert mapped > 10 * pages / 600  # the kernel may hand out 512 pages at a time
    assert kept < mapped / 2  # not 0: it may take idle pages away

"""The peak of memory is that of a run, not of all that its process did before."""

from __future__ import annotations

import sys

import pytest
import torch

from raycl.process import allocator
from raycl.process.peak import begin_peak, peak_bytes

MiB = 2**20


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a process reset its peak")
def test_what_an_earlier_run_needed_does_not_count() -> None:
    allocator.keep_freed_memory()  # freed memory stays in the process, as it does while runs are executed
    if not begin_peak():
        pytest.skip("this system does not let a process reset its peak")
    before = peak_bytes()
    large = [torch.ones(MiB) for _ in range(64)]  # 256 MiB
    assert peak_bytes() > before + 200 * MiB
    del large
    assert peak_bytes() > before + 200 * MiB
    assert begin_peak()
    assert peak_bytes() < before + 50 * MiB
    small = torch.ones(20 * MiB)  # 80 MiB
    assert before + 60 * MiB < peak_bytes() < before + 150 * MiB
    del small

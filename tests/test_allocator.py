"""The C library keeps what is freed: the next batch gets the same pages."""

from __future__ import annotations

import ctypes
import platform
import subprocess
import sys

import pytest

BYTES = 320_000_000  # of the tensor that the script makes: more than the heap that torch fills when imported

# The library's own account is read, since the kernel takes idle pages away whatever the library does.
SCRIPT = """
import ctypes, sys
from raycl.process.allocator import keep_freed_memory
if sys.argv[1] == "kept":
    assert keep_freed_memory() and keep_freed_memory()
import torch

class Account(ctypes.Structure):
    NAMES = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost".split()
    _fields_ = [(name, ctypes.c_size_t) for name in NAMES]

account = ctypes.CDLL(None).mallinfo2
account.restype = Account
tensor = torch.empty(80_000_000)
mapped = account().hblkhd
del tensor
print(mapped, account().arena)
"""


def has_account() -> bool:
    return platform.libc_ver()[0] == "glibc" and hasattr(ctypes.CDLL(None), "mallinfo2")


def mapped_and_kept(how: str) -> tuple[int, int]:
    """Return the bytes mapped for themselves while a large tensor lives, and the heap's bytes after it."""
    done = subprocess.run([sys.executable, "-c", SCRIPT, how], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    mapped, kept = done.stdout.split()
    return int(mapped), int(kept)


@pytest.mark.skipif(not has_account(), reason="only glibc from 2.33 on tells where its memory lies")
def test_a_large_tensor_comes_from_a_heap_that_is_kept() -> None:
    mapped, heap = mapped_and_kept("by default")
    assert mapped >= BYTES > heap
    mapped, heap = mapped_and_kept("kept")
    assert mapped < BYTES <= heap

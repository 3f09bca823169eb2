"""How the C library of this process hands memory out and takes it back."""

from __future__ import annotations

import ctypes
import functools

_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1  # of mallopt(3)
_LARGEST = 2**30  # bytes; up to there a block comes from the heap and is not mapped anew each time
_LARGEST_OF_OLD_VERSIONS = 32 * 2**20
_KEPT = 2**31 - 1  # bytes of free heap that are not given back to the system


@functools.cache
def keep_freed_memory() -> bool:
    """Let the C library keep freed memory for the next batch, once per process.

    By default glibc maps each large tensor anew and unmaps it when it is freed, so that the kernel fills the
    same pages with zeros at every training step. The peak of memory stays the same.

    Returns:
        Whether the library took the settings; only glibc has them.
    """
    try:
        library = ctypes.CDLL(None)
        library.gnu_get_libc_version  # noqa: B018 - other libraries have a mallopt that means something else
        mallopt = library.mallopt
    except (OSError, AttributeError, TypeError):
        return False
    mapped = mallopt(_MMAP_THRESHOLD, _LARGEST) or mallopt(_MMAP_THRESHOLD, _LARGEST_OF_OLD_VERSIONS)
    return bool(mapped and mallopt(_TRIM_THRESHOLD, _KEPT))

"""Waiting for a store that is temporarily unavailable."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal, TypeVar

from raycl.errors import UserError

PATIENCE = 3600.0  # Seconds that a store may be unavailable before a driver gives up.


_PASSING = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE,
            errno.ENOTCONN, errno.ETIMEDOUT, errno.EBUSY, errno.ENODEV, errno.EHOSTDOWN}  # fmt: skip


T = TypeVar("T")


def reason_of(error: Exception) -> str:
    """Return the operating system's description of an error, or the error's own message."""
    return getattr(error, "strerror", None) or str(error)


def patiently(
    act: Callable[[], T],
    where: Path,
    warn: Callable[[str], None] = lambda _: None,
    *,
    to: Literal["written", "read"] = "written",
    wait: float | None = None,
) -> T:
    """Call `act`, and repeat it while the disk is full, read-only or unavailable.

    Args:
        act: Reads or writes a file; its result is returned.
        where: The store, for messages.
        warn: Receives one message when waiting begins, and one when it ends.
        to: What `act` does with the store, for messages.
        wait: Longest time to wait in seconds; `PATIENCE` by default.

    Raises:
        UserError: If the store was unavailable for longer than `wait`.
        OSError: If `act` raises one of a kind that does not pass by itself.
    """
    wait = PATIENCE if wait is None else wait
    began, pause = time.monotonic(), 0.5
    warned = False
    while True:
        try:
            done = act()
        except OSError as error:
            if error.errno not in _PASSING:
                raise
            reason = error.strerror
            if time.monotonic() - began + pause > wait:
                raise UserError(
                    f"store {where} has been out of reach for {wait:.0f} s ({reason}); fix it and run the "
                    "same command again; finished runs are kept"
                ) from None
            if not warned:
                warn(f"store {where} cannot be {to} ({reason}); waiting until it can be, nothing is lost")
                warned = True
            time.sleep(pause)
            pause = min(2 * pause, 10.0)
            continue
        if warned:
            warn(f"store {where} can be {to} again after {time.monotonic() - began:.0f} s")
        return done

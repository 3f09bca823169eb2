"""A store that is out of reach is waited for."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal, TypeVar

from raycl.errors import UserError

PATIENCE = 3600.0  # seconds that a store may be out of reach before a driver gives up


_PASSING = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE,
            errno.ENOTCONN, errno.ETIMEDOUT, errno.EBUSY, errno.ENODEV, errno.EHOSTDOWN}  # fmt: skip


T = TypeVar("T")


def reason_of(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def patiently(
    act: Callable[[], T],
    where: Path,
    warn: Callable[[str], None] = lambda _: None,
    *,
    to: Literal["written", "read"] = "written",
    wait: float | None = None,
) -> T:
    """Do something with a file, and wait while its disk is full, read-only or out of reach.

    Args:
        warn: told once when waiting begins, and once when it ends.
        wait: seconds at most; `PATIENCE` by default.

    Raises:
        UserError: it took longer.
        OSError: of a kind that does not pass by itself.
    """
    wait = PATIENCE if wait is None else wait
    began, pause = time.monotonic(), 0.5
    said = False
    while True:
        try:
            done = act()
        except OSError as error:
            if error.errno not in _PASSING:
                raise
            reason = error.strerror
            if time.monotonic() - began + pause > wait:
                raise UserError(
                    f"store {where} has been out of reach for {wait:.0f} s ({reason}); mend it, then give "
                    "the same command again: what is finished stays"
                ) from None
            if not said:
                warn(f"store {where} cannot be {to} ({reason}); waiting until it can, nothing is lost")
                said = True
            time.sleep(pause)
            pause = min(2 * pause, 10.0)
            continue
        if said:
            warn(f"store {where} can be {to} again after {time.monotonic() - began:.0f} s")
        return done

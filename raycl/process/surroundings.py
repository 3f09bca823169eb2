"""The state of a process besides torch: directory, signals, generators, threads and interpreter settings."""

from __future__ import annotations

import contextlib
import decimal
import functools
import gc
import locale
import os
import random
import signal
import site
import sys
import sysconfig
import threading
import time
import warnings
from collections.abc import Iterable, Iterator
from types import FrameType
from typing import Any

import numpy as np

from raycl.process.parts import Left, Part

_LOCALES = [getattr(locale, name) for name in ("LC_NUMERIC", "LC_COLLATE", "LC_CTYPE", "LC_TIME")]
_NAMES = ("SIGINT", "SIGTERM", "SIGALRM", "SIGCHLD", "SIGHUP", "SIGPIPE", "SIGUSR1", "SIGUSR2", "SIGFPE")
_SIGNALS = [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]
_TIMERS = [getattr(signal, n) for n in ("ITIMER_REAL", "ITIMER_VIRTUAL", "ITIMER_PROF") if hasattr(signal, n)]
_DECIMAL = ("prec", "rounding", "Emin", "Emax", "capitals", "clamp")
GRACE = 0.5  # Seconds that threads have to end after their run.


@functools.cache
def parts() -> tuple[Part, ...]:
    """Return all parts that can be read and restored, except threads and generators."""
    return (
        Part("the working directory", _cwd, os.chdir),
        Part("environment variables", lambda: dict(os.environ), _put_environ, silent=_added_to),
        Part("sys.path", lambda: list(sys.path), _setter(sys.path), silent=_holds_all),
        Part(
            "the finders of modules", lambda: list(sys.meta_path), _setter(sys.meta_path), silent=_holds_all
        ),
        Part("the recursion limit", sys.getrecursionlimit, sys.setrecursionlimit),
        Part("a trace function", sys.gettrace, sys.settrace),
        Part("a profile function", sys.getprofile, sys.setprofile),
        Part("standard output", lambda: sys.stdout, lambda was: setattr(sys, "stdout", was)),
        Part("standard error", lambda: sys.stderr, lambda was: setattr(sys, "stderr", was)),
        Part("sys.excepthook", lambda: sys.excepthook, lambda was: setattr(sys, "excepthook", was)),
        Part("garbage collection", gc.isenabled, lambda was: gc.enable() if was else gc.disable()),
        Part("thresholds of garbage collection", gc.get_threshold, lambda was: gc.set_threshold(*was)),
        Part(
            "calls at garbage collection",
            lambda: list(gc.callbacks),
            _setter(gc.callbacks),
            silent=_holds_all,
        ),
        Part("the locale", _locale, _put_locale),
        Part("the decimal context", _decimal, _put_decimal),
        Part("handlers of signals", _handlers, _put_handlers),
        Part("a timer that sends a signal", _timers, _put_timers),
        Part("filters of warnings", lambda: list(warnings.filters), _put_filters, silent=lambda *_: True),
    )


def _added_to(wanted: dict[str, str], now: dict[str, str]) -> bool:
    """Return whether variables were only added, as libraries do when they are imported."""
    return wanted.items() <= now.items()


def _holds_all(wanted: list[Any], now: list[Any]) -> bool:
    """Return whether items were only added, with all others still there in their order."""
    rest = iter(now)
    return all(any(known is item for item in rest) for known in wanted)


def _setter(target: list[Any]) -> Any:
    def put(wanted: list[Any]) -> None:
        target[:] = wanted

    return put


def _cwd() -> str:
    try:
        return os.getcwd()
    except OSError:  # The directory was deleted.
        return ""


def _put_environ(wanted: dict[str, str]) -> None:
    for name in set(os.environ) - set(wanted):
        del os.environ[name]
    os.environ.update(wanted)


def _put_filters(wanted: list[Any]) -> None:
    warnings.filters[:] = wanted  # type: ignore[index]
    getattr(warnings, "_filters_mutated", lambda: None)()  # This drops the interpreter's cache of matches.


def _locale() -> tuple[str, ...]:
    return tuple(locale.setlocale(category) for category in _LOCALES)


def _put_locale(wanted: tuple[str, ...]) -> None:
    for category, name in zip(_LOCALES, wanted, strict=True):
        locale.setlocale(category, name)


def _decimal() -> tuple[Any, ...]:
    context = decimal.getcontext()
    return (*(getattr(context, name) for name in _DECIMAL), tuple(context.traps.items()))


def _put_decimal(wanted: tuple[Any, ...]) -> None:
    context = decimal.getcontext()
    for name, value in zip(_DECIMAL, wanted, strict=False):
        setattr(context, name, value)
    for trap, value in wanted[-1]:
        context.traps[trap] = value


def _handlers() -> dict[int, Any]:
    return {number: signal.getsignal(number) for number in _SIGNALS}


def _put_handlers(wanted: dict[int, Any]) -> None:
    for number, handler in wanted.items():
        if handler is not None and signal.getsignal(number) is not handler:
            signal.signal(number, handler)


def _timers() -> tuple[bool, ...]:
    return tuple(signal.getitimer(timer)[0] > 0 for timer in _TIMERS)


def _put_timers(wanted: tuple[bool, ...]) -> None:
    for timer, ran in zip(_TIMERS, wanted, strict=True):
        if not ran:
            signal.setitimer(timer, 0)


# Global generators: each run reseeds them.


def generators() -> tuple[Any, ...]:
    """Return the state of the global generators of Python, NumPy and torch."""
    import torch

    return random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002 - it is meant


def put_generators(state: tuple[Any, ...]) -> None:
    """Restore the state of the global generators."""
    import torch

    random.setstate(state[0])
    np.random.set_state(state[1])  # noqa: NPY002
    torch.set_rng_state(state[2])


@contextlib.contextmanager
def generators_kept() -> Iterator[None]:
    """Restore the global generators at the end of the context."""
    before = generators()
    try:
        yield
    finally:
        put_generators(before)


# Threads: Python cannot end one from outside, and it may change anything at any time.


def threads() -> frozenset[int | None]:
    """Return the identifiers of the running threads."""
    return frozenset(thread.ident for thread in threading.enumerate())


def threads_left(before: frozenset[int | None], grace: float = GRACE) -> list[Left]:
    """Return threads started since `before` that still run, or will run, code that is not a library's.

    Threads of a pool that waits for work, and those of libraries, are harmless and not reported.

    Args:
        before: Earlier result of `threads`.
        grace: Seconds to wait for such threads to end.
    """
    until = time.monotonic() + grace
    while True:
        new = [t for t in threading.enumerate() if t.ident not in before and t.is_alive()]
        bad = [thread for thread in new if _runs_strange_code(thread)]
        if not bad or time.monotonic() >= until:
            return [Left(f"a thread running ({thread.name})", back=False) for thread in bad]
        bad[0].join(0.02)


def _runs_strange_code(thread: threading.Thread) -> bool:
    if isinstance(thread, threading.Timer) or thread is threading.current_thread():
        return isinstance(thread, threading.Timer)
    frame = sys._current_frames().get(thread.ident or -1)
    files = [f.f_code.co_filename for f in _frames(frame)]
    target = getattr(getattr(thread, "_target", None), "__code__", None)
    return any(strange(file) for file in [*files, *([target.co_filename] if target is not None else [])])


def _frames(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


def strange(file: str) -> bool:
    """Return whether a source file is neither Python's, nor an installed package's, nor raycl's."""
    return bool(file) and not file.startswith(_KNOWN) and not file.startswith("<frozen")


def _known() -> Iterable[str]:
    paths = sysconfig.get_paths()
    folders = {paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    folders |= {*site.getsitepackages(), site.getusersitepackages()}
    folders.add(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    for folder in sorted(folders):
        yield os.path.join(folder, "")
        yield os.path.join(os.path.realpath(folder), "")


_KNOWN = tuple(_known())

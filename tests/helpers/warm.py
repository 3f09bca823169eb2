"""Commands typed into a process that is forked with everything imported: a tenth of a second each."""

from __future__ import annotations

import contextlib
import os
import resource
import select
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Said:
    """How a command came out.

    Attributes:
        code: its exit code; -9 where it took too long.
        out, err: what it printed.
        seconds: it took.
    """

    code: int
    out: str
    err: str
    seconds: float


def typed(
    words: Sequence[str],
    folder: Path,
    environment: Mapping[str, str] | None = None,
    out: str | int | None = None,
    limit: float = 60.0,
    memory: int = 0,
) -> Said:
    """Type a command in a folder.

    Args:
        environment: variables that are set besides.
        out: a file, or the number of a stream, that it prints to; -1 closes the stream.
        limit: seconds after which it is killed.
        memory: bytes of address space that it may have; 0 for as many as there are.
    """
    _warm()
    sys.stdout.flush()
    sys.stderr.flush()
    pipes = [os.pipe(), os.pipe()]
    began = time.monotonic()
    pid = os.fork()
    if pid == 0:
        if memory:
            resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
        _child(words, folder, environment or {}, out, pipes)
    for _, end in pipes:
        os.close(end)
    code, texts = _heard(pid, [start for start, _ in pipes], began + limit)
    return Said(code, texts[0], texts[1], time.monotonic() - began)


def started(words: Sequence[str], folder: Path, out: int | None = None, limit: float = 300.0) -> Said:
    """As `typed`, in a process of its own from the start: for what trains.

    A process that was forked while others of its threads held locks, as torch's do after some tests, may wait
    for them for ever.
    """
    began = time.monotonic()
    command = [sys.executable, "-m", "raycl.cli", *words]
    done = subprocess.run(
        command,
        cwd=folder,
        stdout=subprocess.PIPE if out is None else out,
        stderr=subprocess.PIPE,
        timeout=limit,
        encoding="utf-8",
        check=False,
    )
    return Said(done.returncode, done.stdout or "", done.stderr, time.monotonic() - began)


def _child(
    words: Sequence[str],
    folder: Path,
    environment: Mapping[str, str],
    out: str | int | None,
    pipes: Sequence[tuple[int, int]],
) -> None:
    code = 99
    try:
        os.setsid()
        os.dup2(pipes[0][1], 1)
        os.dup2(pipes[1][1], 2)
        if isinstance(out, str):
            os.dup2(os.open(out, os.O_WRONLY), 1)
        elif out == -1:
            os.close(1)
        elif out is not None:
            os.dup2(out, 1)
        for pair in pipes:
            for end in pair:
                os.close(end)
        # The streams of a test's own are files of pytest.
        sys.stdout = None if out == -1 else open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
        sys.stdin = open(os.devnull)  # noqa: SIM115
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE):
            signal.signal(number, signal.SIG_IGN if number == signal.SIGPIPE else signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.environ.update(environment)
        tempfile.tempdir = None  # that of the environment
        os.chdir(folder)
        sys.argv = ["raycl", *words]
        from raycl.cli import main

        code = main(words)
        if sys.stdout is not None:
            sys.stdout.flush()
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stderr.flush()
        os._exit(code)


def _heard(pid: int, streams: Sequence[int], until: float) -> tuple[int, list[str]]:
    heard = dict.fromkeys(streams, b"")
    open_ = set(streams)
    while open_ and time.monotonic() < until:
        for stream in select.select(open_, [], [], max(0.0, until - time.monotonic()))[0]:
            more = os.read(stream, 65536)
            heard[stream] += more
            if not more:
                open_.discard(stream)
    if open_:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
    for stream in streams:
        os.close(stream)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return code, [heard[stream].decode(errors="replace") for stream in streams]


def _warm() -> None:
    """Import what commands import, once."""
    from raycl import registry

    registry.recipes()
    for name in registry.method_names():
        registry.method(name)

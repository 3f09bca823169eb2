"""Commands typed into a process that is forked with everything imported: a tenth of a second each.

The process that is forked has one thread and does nothing else. A child of a test's own process, in which Ray
or torch may have started threads, could wait for ever for locks that those threads held.
Beside its one thread there is only that of pyarrow's allocator, which takes care of forks by itself.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib
import io
import json
import os
import resource
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.helpers.databases import copy_empty_databases
from tests.helpers.late import LATE


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
    user: int | None = None,
) -> Said:
    """Type a command in a folder.

    Args:
        environment: variables that are set besides.
        out: a file, or the number of a stream, that it prints to; -1 closes the stream.
        limit: seconds after which it is killed.
        memory: bytes of address space that it may have; 0 for as many as there are.
        user: number of the user who types it, where that is another. The command is typed first as ourselves,
            in silence, so that every module is loaded: the interpreter may lie where that user cannot go.
    """
    server = _server()
    pipes = [os.pipe(), os.pipe()]
    handed = [end for _, end in pipes]
    if isinstance(out, int) and out >= 0:
        handed.append(out)
    asked = {
        "words": list(words),
        "folder": str(folder),
        "environment": {**os.environ, **(environment or {})},
        "out": out,
        "memory": memory,
        "user": user,
    }
    began = time.monotonic()
    socket.send_fds(server, [json.dumps(asked).encode() + b"\n"], handed)
    for _, end in pipes:
        os.close(end)
    pid = int(_line(server))
    texts = _heard(pid, [start for start, _ in pipes], began + limit)
    if not select.select([server], [], [], max(1.0, began + limit - time.monotonic()))[0]:
        _kill(pid)  # it closed its streams, and goes on
    code = int(_line(server))
    return Said(code, texts[0], texts[1], time.monotonic() - began)


def started(
    words: Sequence[str],
    folder: Path,
    environment: Mapping[str, str] | None = None,
    out: int | None = None,
    limit: float = 300.0,
) -> Said:
    """As `typed`, in a process of its own from the start: for what starts Ray, or depends on the start."""
    began = time.monotonic()
    command = [sys.executable, "-m", "raycl.cli", *words]
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "PYTHONWARNINGS": "ignore", **(environment or {})},
        stdout=subprocess.PIPE if out is None else out,
        stderr=subprocess.PIPE,
        timeout=limit,
        encoding="utf-8",
        check=False,
    )
    return Said(done.returncode, done.stdout or "", done.stderr, time.monotonic() - began)


_servers: list[socket.socket] = []  # the one of this process, once a command was typed


def _server() -> socket.socket:
    if not _servers:
        ours, theirs = socket.socketpair()
        command = [sys.executable, "-m", "tests.helpers.warm", str(theirs.fileno())]
        root = Path(__file__).parents[2]
        alone = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        process = subprocess.Popen(  # a fork must find no pool of threads: it would wait for them for ever
            command,
            cwd=root,
            env=os.environ | alone,
            stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
        )
        theirs.close()
        _servers.append(ours)
        atexit.register(lambda: (ours.close(), process.wait()))
    return _servers[0]


def _line(stream: socket.socket) -> bytes:
    line = b""
    while not line.endswith(b"\n"):
        more = stream.recv(1)
        assert more, "the process that is forked has ended"
        line += more
    return line


def _heard(pid: int, streams: Sequence[int], until: float) -> list[str]:
    """What a process prints until it closes its streams; killed where that takes too long."""
    heard = dict.fromkeys(streams, b"")
    open_ = set(streams)
    while open_ and time.monotonic() < until:
        for stream in select.select(open_, [], [], max(0.0, until - time.monotonic()))[0]:
            more = os.read(stream, 65536)
            heard[stream] += more
            if not more:
                open_.discard(stream)
    if open_:
        _kill(pid)
    for stream in streams:
        os.close(stream)
    return [heard[stream].decode(errors="replace") for stream in streams]


def _kill(pid: int) -> None:
    for kill in (os.killpg, os.kill):  # it may not have a group of its own yet
        with contextlib.suppress(ProcessLookupError):
            kill(pid, signal.SIGKILL)


def _serve(stream: socket.socket) -> None:
    """Fork a process for each line that is asked; tell its number, and how it ended."""
    from raycl import process, registry

    for name in LATE:
        importlib.import_module(name)
    process.warm_up()
    copy_empty_databases()
    registry.recipes()
    for name in registry.method_names():
        registry.method(name)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the test that types ends it
    waiting = b""
    while True:
        handed: list[int] = []
        while b"\n" not in waiting:
            more, fds, _, _ = socket.recv_fds(stream, 65536, 3)
            if not more:
                return
            waiting += more
            handed += fds
        line, waiting = waiting.split(b"\n", 1)
        pid = os.fork()
        if pid == 0:
            stream.close()
            _child(json.loads(line), handed)
        for end in handed:
            os.close(end)
        stream.sendall(b"%d\n" % pid)
        stream.sendall(b"%d\n" % os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


def _child(asked: dict[str, Any], handed: Sequence[int]) -> None:
    code = 99
    out = asked["out"]
    try:
        os.setsid()
        if asked["memory"]:
            resource.setrlimit(resource.RLIMIT_AS, (asked["memory"], asked["memory"]))
        os.dup2(handed[0], 1)
        os.dup2(handed[1], 2)
        os.environ.clear()
        os.environ.update(asked["environment"])
        os.chdir(asked["folder"])
        if isinstance(out, str):
            os.dup2(os.open(out, os.O_WRONLY), 1)
        elif out == -1:
            os.close(1)
        elif out is not None:
            os.dup2(handed[2], 1)
        for end in handed:
            os.close(end)
        sys.stdout = None if out == -1 else open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        tempfile.tempdir = None  # that of the environment
        sys.argv = ["raycl", *asked["words"]]
        from raycl.cli import main

        if asked["user"] is not None:
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                main(asked["words"])
            os.setegid(asked["user"])
            os.seteuid(asked["user"])
        code = main(asked["words"])
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


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])))

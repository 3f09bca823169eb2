"""Following of a job: its log is printed until it ends, and its exit code returned."""

from __future__ import annotations

import asyncio
import contextlib
import shlex
import signal
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TextIO

from raycl.errors import UserError, screen_line
from raycl.terminal.ending import BAD_INPUT, DONE, FAILED, INTERRUPTED

if TYPE_CHECKING:
    from ray.job_submission import JobDetails

    from raycl.tune.submission.dashboard import Client

GONE = 3  # exit code of a study whose cluster is gone, see `cluster_watch`
PATIENCE = 45.0  # seconds without an answer after which the cluster is given up
SILENCE = 60.0  # seconds without a line after which the connection is opened again, as it may be dead
PAUSE = 1.0  # seconds between two attempts
NO_PROGRAM = 127  # exit code of a shell that does not find a program
_BEGINS = "Running entrypoint for job "  # what Ray writes above is about itself


def follow(
    client: Client, job: str, address: str, say: Callable[[str], None], out: TextIO | None = None
) -> int:
    """Print the log of a job until it ends or Ctrl-C is pressed, and return an exit code.

    Args:
        client: Client of the cluster.
        job: Ray's submission id of the job.
        address: Address of the cluster's dashboard, for messages.
        say: Function that receives messages, one line each.
        out: Where the log is printed; by default the standard output.

    Raises:
        UserError: If there is no such job.
    """
    try:
        _check_job(client, job, address)
        info = _followed(client, job, _Printed(sys.stdout if out is None else out))
    except KeyboardInterrupt:
        back = f"raycl attach {shlex.quote(job)} --address {address}"
        say(f"job {job} goes on; follow it again with: {back}")
        say(f"stop it with: ray job stop {shlex.quote(job)} --address {address}")
        return INTERRUPTED
    if info is None:
        say(
            f"the cluster at {address} does not answer any more, or has been restarted; finished runs are in "
            "the store: when it is there again, submit the study with the same command"
        )
        return GONE
    return _verdict(info, say)


def _check_job(client: Client, job: str, address: str) -> None:
    """Check that there is a job of this id.

    Raises:
        UserError: If there is none; the message names the jobs that there are.
    """
    found = [str(known.submission_id) for known in client.list_jobs() if known.submission_id]
    if job not in found:
        have = f"its last jobs are {', '.join(found[-5:])}" if found else "it has no jobs"
        raise UserError(f"there is no job {screen_line(job)!r} on the cluster at {address}; {have}")


class _Printed:
    """What has been printed of a log. A connection that is opened again sends the log from its beginning."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._seen = self._now = 0  # characters
        self._head: str | None = ""  # what came before the job's own output, until that begins

    def begin(self) -> None:
        """Note that the next text is the beginning of the log."""
        self._now = 0

    def add(self, text: str) -> None:
        """Print what is new of the next piece of the log."""
        new = text[max(0, self._seen - self._now) :]
        self._now += len(text)
        self._seen = max(self._seen, self._now)
        if self._head is not None:
            self._head += new
            start = self._head.find(_BEGINS)
            end = self._head.find("\n", start)
            if start < 0 or end < 0:
                return
            new, self._head = self._head[end + 1 :], None
        self._out.write(new)
        self._out.flush()


def _followed(client: Client, job: str, printed: _Printed) -> JobDetails | None:
    """Print a job's log to its end and return what is known of the job; None if the cluster is gone."""
    import aiohttp

    broken = (OSError, RuntimeError, aiohttp.ClientError)
    answered = time.monotonic()
    while True:
        # A connection that breaks is opened again, as long as the cluster knows the job.
        with contextlib.suppress(*broken):
            asyncio.run(_print(client, job, printed))
        try:
            info = client.get_job_info(job)
            answered = time.monotonic()
            if info.status.is_terminal():
                return info
        except broken as error:
            if "does not exist" in str(error) or time.monotonic() - answered > PATIENCE:
                return None
        time.sleep(PAUSE)


async def _print(client: Client, job: str, printed: _Printed) -> None:
    """Print a job's log until it ends.

    Raises:
        TimeoutError: If nothing came for a while.
    """
    printed.begin()
    now = asyncio.get_running_loop().time
    tail: Any = client.tail_job_logs(job)  # a generator, which Ray declares as an iterator
    async with contextlib.aclosing(tail) as pieces, asyncio.timeout(SILENCE) as limit:
        async for piece in pieces:
            printed.add(piece)
            limit.reschedule(now() + SILENCE)


def _verdict(info: JobDetails, say: Callable[[str], None]) -> int:
    """Say why a job ended, unless its own last lines do, and return its exit code."""
    from ray.job_submission import JobErrorType, JobStatus

    again = (info.metadata or {}).get("raycl_command")
    resume = f"; finished runs are in the store, resume with: {again}" if again else ""
    name, code = f"job {info.submission_id}", info.driver_exit_code
    if info.status == JobStatus.SUCCEEDED:
        return DONE
    if info.status == JobStatus.STOPPED:
        say(f"{name} was stopped{resume}")
        return INTERRUPTED
    if code is None:
        say(f"{name} failed: {screen_line(info.message or 'Ray gives no reason')}{resume}")
        return BAD_INPUT if info.error_type == JobErrorType.RUNTIME_ENV_SETUP_FAILURE else GONE
    if code < 0:
        say(f"{name} was killed by {_signal(-code)}{resume}")
        return 128 - code
    if code == NO_PROGRAM:
        say(f"{name}: there is no `python` on the PATH of Ray's head; start Ray in the environment of raycl")
        return BAD_INPUT
    return code or FAILED


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"

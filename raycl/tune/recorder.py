"""The recorder, which writes finished runs to MLflow from a thread of its own while a study runs."""

from __future__ import annotations

import functools
import queue
import threading
import time
from collections.abc import Callable

from raycl.errors import redacted
from raycl.study.jobs import Event, Finished, Job
from raycl.tune.experiment import reason_of, though_dropped
from raycl.tune.tracking import Tracking

EVERY = 10.0  # seconds between two summaries of a cell that is not complete


class Recorder:
    """Thread that writes finished runs to MLflow.

    A run is written when it ends. The summary of its cell costs more than a run, and is therefore written
    when the cell begins, when it is complete, and in between at a bounded rate.

    If MLflow cannot be reached, this is reported once and does not stop the study.

    Args:
        tracking: The tracking of the study, which writes to MLflow.
        warn: Function that receives messages, one line each.
        every: Seconds after which a cell that has changed gets a new summary.
    """

    def __init__(self, tracking: Tracking, warn: Callable[[str], None], every: float = EVERY) -> None:
        self.tracking, self._warn, self._every = tracking, warn, every
        self._queue: queue.Queue[tuple[int, str] | None] = queue.Queue(maxsize=10_000)
        self._down = False
        self._begun: set[int] = set()  # indices of the cells with a summary
        self._over: set[int] = set()  # indices of the cells whose summary was written when they were complete
        self._due: dict[int, float] = {}  # when a cell's next summary is written, the earliest first
        self._thread = threading.Thread(target=self._work, name="raycl-mlflow", daemon=True)
        self._thread.start()
        tracking.agenda.listeners.append(self._listen)

    @property
    def behind(self) -> int:
        """The number of finished runs that are not written yet, apart from the one being written."""
        return self._queue.qsize()

    def _listen(self, event: Event) -> None:
        if not isinstance(event, Finished) or not isinstance(event.job, Job):  # masks are not runs
            return
        if event.outcome.status not in ("failed", "paused") and not self._down:
            for index in self.tracking.agenda.cells_of_run(event.job.key):
                try:
                    self._queue.put_nowait((index, event.job.key))
                except queue.Full:
                    self._outage("its queue is full")

    def _work(self) -> None:
        while (item := self._next()) is not None:
            if self._down:
                continue
            try:
                self._write(*item)
            except Exception as error:
                self._outage(reason_of(error))

    def _next(self) -> tuple[int, str] | None:
        """Wait for the next finished run, or for a summary that is due, which has no key; None at the end."""
        while True:
            index, due = next(iter(self._due.items()), (-1, None))
            left = None if due is None else due - time.monotonic()
            if left is not None and left <= 0:
                del self._due[index]
                return index, ""
            try:
                return self._queue.get(timeout=left)
            except queue.Empty:
                continue

    def _write(self, index: int, key: str) -> None:
        """Write a run of a cell, and the summary of the cell if this is the time for it.

        Args:
            index: Index of the cell.
            key: Key of the run; "" if only the summary is due.
        """
        state = self.tracking.agenda.states[index]
        complete = state.complete
        summary = not key or index not in self._begun or (complete and index not in self._over)
        though_dropped(functools.partial(self.tracking.one, state, key, summary))
        if summary:
            self._begun.add(index)
            self._due.pop(index, None)
        elif not complete:
            self._due.setdefault(index, time.monotonic() + self._every)
        if complete:
            self._over.add(index)

    def _outage(self, reason: str) -> None:
        if not self._down:
            self._down = True
            self._warn(
                f"MLflow at {redacted(self.tracking.uri)} cannot be reached ({reason}); training continues, "
                "run `raycl sync` later"
            )

    def close(self, wait: float = 60.0) -> bool:
        """Let the thread finish, then write what is missing.

        Args:
            wait: Seconds to wait for the thread to write one more run.

        Returns:
            Whether MLflow has everything.
        """
        self._queue.put(None)
        while self._thread.is_alive():
            left = self._queue.qsize()
            self._thread.join(wait)
            if self._thread.is_alive() and self._queue.qsize() >= left:
                self._outage("it is slow")
                return False
        try:
            though_dropped(self.tracking.sync)
        except Exception as error:
            self._outage(reason_of(error))
            return False
        if self._down:
            self._warn("MLflow answers again and has everything now")
        return True

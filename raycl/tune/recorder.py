"""The recorder, which writes finished runs to MLflow from a thread of its own while a study runs."""

from __future__ import annotations

import functools
import queue
import threading
from collections.abc import Callable

from raycl.errors import redacted
from raycl.study.jobs import Event, Finished, Job
from raycl.study.progress import CellState
from raycl.tune.experiment import reason_of, though_dropped
from raycl.tune.tracking import Tracking


class Recorder:
    """Thread that writes finished runs to MLflow.

    If MLflow cannot be reached, this is reported once and does not stop the study.

    Args:
        tracking: The tracking of the study, which writes to MLflow.
        warn: Function that receives messages, one line each.
    """

    def __init__(self, tracking: Tracking, warn: Callable[[str], None]) -> None:
        self.tracking, self._warn = tracking, warn
        self._queue: queue.Queue[tuple[CellState, str] | None] = queue.Queue(maxsize=10_000)
        self._down = False
        self._thread = threading.Thread(target=self._work, name="raycl-mlflow", daemon=True)
        self._thread.start()
        tracking.agenda.listeners.append(self._listen)

    def _listen(self, event: Event) -> None:
        if not isinstance(event, Finished) or not isinstance(event.job, Job):  # masks are not runs
            return
        if event.outcome.status != "failed" and not self._down:
            for index in self.tracking.agenda.cells_of_run(event.job.key):
                try:
                    self._queue.put_nowait((self.tracking.agenda.states[index], event.job.key))
                except queue.Full:
                    self._outage("its queue is full")

    def _work(self) -> None:
        while (item := self._queue.get()) is not None:
            if self._down:
                continue
            try:
                though_dropped(functools.partial(self.tracking.one, *item))
            except Exception as error:
                self._outage(reason_of(error))

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
            wait: Seconds to wait for the thread.

        Returns:
            Whether MLflow has everything.
        """
        self._queue.put(None)
        self._thread.join(wait)
        if self._thread.is_alive():
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

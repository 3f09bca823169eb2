"""What ends a driver whose cluster is gone.

When a cluster's head dies, Tune waits in a call that no signal reaches: for a minute, until Ray ends the
process in its own way; for ever, where the head hangs or only the node of this machine died. A head that is
started anew knows nothing of what ran before, so that nothing could go on. What is finished is in the store.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import AuthenticationError, RayError

from raycl.study.agenda import Agenda

GONE = 3  # the exit code: nothing is wrong with the study, and the same command goes on with it
EVERY = 2.0  # seconds between two questions to the head
ANSWER = 5.0  # seconds that it has to answer one
PATIENCE = 45.0  # seconds without an answer; Ray itself gives up after 60


@contextlib.contextmanager
def bound_to_cluster(agenda: Agenda, scratch: Path) -> Iterator[None]:
    """End this process, with one line and the code `GONE`, as soon as the cluster that it joined is gone."""
    over, head = threading.Event(), _Head()

    def end(why: str) -> None:
        shutil.rmtree(scratch, ignore_errors=True)
        _last_words(agenda, head.address, why)
        os._exit(GONE)  # the main thread may be where no exception reaches it

    def watch() -> None:
        while not over.wait(EVERY):
            if (why := head.gone()) and not over.is_set():
                end(why)

    watcher = threading.Thread(target=watch, name="raycl-lifeline", daemon=True)
    watcher.start()
    try:
        yield
    except Exception:  # Tune has fallen over something: over this?
        over.set()
        watcher.join()
        while not (why := head.gone()) and head.silent:
            time.sleep(EVERY)
        if why:
            end(why)
        raise
    finally:
        over.set()
        watcher.join()


class _Head:
    """The head of the cluster that this process has joined.

    Attributes:
        silent: questions in a row that it left unanswered.
    """

    def __init__(self) -> None:
        worker: Any = ray._private.worker.global_worker
        self._client = worker.gcs_client  # what is public ends the process where it fails
        self.address = str(self._client.address)
        self._node = ray.NodeID.from_hex(ray.get_runtime_context().get_node_id())
        self._answered, self.silent = time.monotonic(), 0

    def gone(self) -> str:
        """Ask whether it, and this machine's node, are still those that they were; "" if so, or if unsure."""
        try:
            alive = self._client.check_alive([self._node], timeout=ANSWER)[0]
        except AuthenticationError:  # it belongs to another cluster now
            return "its head was started anew"
        except RayError:
            self.silent += 1
            seconds = time.monotonic() - self._answered
            # A machine that slept has not listened either: it asks again before it judges.
            return f"its head has not answered for {seconds:.0f} s" if self._lost(seconds) else ""
        self._answered, self.silent = time.monotonic(), 0
        return "" if alive else "the Ray node of this machine died"

    def _lost(self, seconds: float) -> bool:
        return seconds > PATIENCE and self.silent >= 3


def _last_words(agenda: Agenda, address: str, why: str) -> None:
    done, runs = sum(s.done for s in agenda.states), sum(s.total for s in agenda.states)
    if sys.stdout.isatty():
        sys.stdout.write("\x1b[?25h\n")  # the live view has hidden the cursor
    sys.stdout.flush()
    sys.stderr.write(
        f"raycl: the Ray cluster at {address} is gone ({why}); {done} of {runs} runs are in "
        f"{agenda.store.root}, the others go on after their last finished task: start the cluster again, "
        "then give the same command\n"
    )
    sys.stderr.flush()

"""The watch that ends a driver when its cluster is gone.

When a cluster's head dies, Tune waits in a call that no signal can interrupt: for a minute, until Ray ends
the process in its own way, or for ever, if the head hangs or only the node of this machine died. A restarted
head knows nothing of the runs before it, so the driver could not continue anyway. Finished runs are in the
store.
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

GONE = 3  # exit code; nothing is wrong with the study, and the same command resumes it
EVERY = 2.0  # seconds between two questions to the head
ANSWER = 5.0  # seconds that the head has to answer a question
PATIENCE = 45.0  # seconds without an answer after which the head is given up; Ray itself gives up after 60


@contextlib.contextmanager
def bound_to_cluster(agenda: Agenda, scratch: Path) -> Iterator[None]:
    """End this process, with one message and the exit code `GONE`, if the cluster that it joined is gone."""
    over, head = threading.Event(), _Head()

    def end(why: str) -> None:
        shutil.rmtree(scratch, ignore_errors=True)
        _last_words(agenda, head.address, why)
        os._exit(GONE)  # the main thread may be in a call that no exception can interrupt

    def watch() -> None:
        while not over.wait(EVERY):
            if (why := head.gone()) and not over.is_set():
                end(why)

    watcher = threading.Thread(target=watch, name="raycl-cluster-watch", daemon=True)
    watcher.start()
    try:
        yield
    except Exception:  # Tune failed; the reason may be that the cluster is gone
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


def client_of_head() -> Any:
    """Return the client that asks the head of the joined cluster.

    It is private to Ray, but the public functions end the process when they fail.
    """
    worker: Any = ray._private.worker.global_worker
    return worker.gcs_client


class _Head:
    """The head of the cluster that this process has joined.

    Attributes:
        address: Address of the head.
        silent: Number of questions in a row that it did not answer.
    """

    def __init__(self) -> None:
        self._client = client_of_head()
        self.address = str(self._client.address)
        self._node = ray.NodeID.from_hex(ray.get_runtime_context().get_node_id())
        self._answered, self.silent = time.monotonic(), 0

    def gone(self) -> str:
        """Ask the head, and return why the cluster is gone; "" if it is not, or if this is uncertain."""
        try:
            alive = self._client.check_alive([self._node], timeout=ANSWER)[0]
        except AuthenticationError:  # the head belongs to another cluster now
            return "its head was restarted"
        except RayError:
            self.silent += 1
            seconds = time.monotonic() - self._answered
            # A machine that slept has heard no answers either, so several questions must fail in a row.
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
        f"{agenda.store.root}, the others resume after their last finished task: start the cluster again, "
        "then run the same command\n"
    )
    sys.stderr.flush()

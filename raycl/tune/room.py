"""Room for runs on a cluster whose nodes join and leave while a study runs.

No run is placed on a node that has joined since the start until it has said that it is fit, and has the data
that it lacked. A node that is not fit gets no run at all. A node that drains gets no new run, and does not
count any more.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ray.exceptions import RayError

from raycl.errors import UserError
from raycl.study.cells import Cell
from raycl.tune.cluster_watch import ANSWER, client_of_head
from raycl.tune.fitness import facts, judging, nodes
from raycl.tune.fitness.facts import Facts
from raycl.tune.staging import stage

EVERY = 2.0  # seconds between two looks at the nodes
FRESH = 0.2  # seconds for which a list of the nodes may be used again
ELASTIC_SLOTS = 32  # runs requested at the same time if it is unknown how far a cluster can grow

Live = Mapping[str, Mapping[str, Any]]
"""The live nodes by their ids, as `ray.nodes` describes them."""


class Room:
    """The nodes that may execute runs, and the number of runs that they can execute at the same time.

    Args:
        cells: The cells of the study.
        limit: Largest number of live runs, or None.

    Attributes:
        limit: As given.
        messages: What the user should be told about nodes, one line each.
    """

    def __init__(self, cells: Sequence[Cell], limit: int | None = None) -> None:
        self.limit, self.messages = limit, deque[str]()
        self._cells, self._grows = cells, judging.elastic()
        self._seen, self._seen_at = live_nodes(), time.monotonic()
        self._fit = set(self._seen)  # those of the start were checked before, or are this machine
        self._unfit: set[str] = set()
        self._lock = threading.Lock()

    def now(self) -> tuple[int, list[str]]:
        """Return how many runs can be live at present, and the ids of nodes on which none may be placed."""
        seen = self._look()
        with self._lock:
            strangers = sorted(seen.keys() - self._fit)
            usable = [node for name, node in seen.items() if name in self._fit]
        return self.limit or slots(self._cells, usable, self._grows), strangers

    def new(self) -> set[str]:
        """Return the ids of live nodes that have not been checked."""
        seen = self._look()
        with self._lock:
            self._fit &= seen.keys()
            self._unfit &= seen.keys()
            return seen.keys() - self._fit - self._unfit

    def admit(self, node: str) -> None:
        """Let runs be placed on a node."""
        with self._lock:
            self._fit.add(node)

    def refuse(self, node: str, why: str) -> None:
        """Let no run be placed on a node as long as it lives."""
        with self._lock:
            self._unfit.add(node)
        self.messages.append(f"{why}; no run is placed there")

    def _look(self) -> Live:
        """Return the live nodes; those of the last look if the head does not answer."""
        if time.monotonic() - self._seen_at > FRESH:
            with contextlib.suppress(RayError):
                self._seen = live_nodes()
            self._seen_at = time.monotonic()
        return self._seen


@dataclass(frozen=True)
class Needs:
    """What a node must have to execute the runs of a study.

    Attributes:
        store: Folder of results.
        sources: Names of the data sources.
        folders: Folders of the prepared data, relative to the data folder.
        gpus: Whether runs need a GPU.
    """

    store: Path
    sources: Sequence[str] = field(default_factory=tuple)
    folders: Sequence[str] = field(default_factory=tuple)
    gpus: bool = False


@contextlib.contextmanager
def following(room: Room, needs: Needs) -> Iterator[None]:
    """Check the nodes that join the cluster until the context ends, in a thread of its own."""
    over = threading.Event()

    def follow() -> None:
        mine: Facts | None = None
        while not over.wait(EVERY):
            if joined := room.new():
                mine = mine or facts.here()
                with contextlib.suppress(RayError):  # the cluster is gone, which `cluster_watch` reports
                    _meet(room, joined, needs, mine, over.is_set)

    thread = threading.Thread(target=follow, name="raycl-room", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(nodes.STORE_SECONDS)  # a node that does not answer is not waited for


def _meet(room: Room, joined: Collection[str], needs: Needs, mine: Facts, over: Callable[[], bool]) -> None:
    """Ask nodes whether they are fit, and copy the data that the fit ones lack."""
    fit = []
    for node in nodes.ask(needs.store, only=joined):
        found = judging.judge(node, mine, needs.store, needs.sources, needs.gpus)
        misses = [fault for fault in found if fault.level == "miss"]
        if misses:
            room.refuse(node.id, str(misses[0]))
        elif node.runs_studies:
            fit.append(node)
        else:
            room.admit(node.id)  # it has no CPU for runs
    for node in fit:
        if over():
            return
        try:
            copied = stage(needs.folders, only=[node.id])
        except UserError as error:
            room.refuse(node.id, str(error))
            continue
        room.admit(node.id)
        room.messages.append(f"{node.name} has joined" + (f": {copied[0]}" if copied else ""))


def live_nodes() -> dict[str, dict[str, Any]]:
    """Return the live nodes of the joined cluster by id, without those that drain.

    Raises:
        RayError: If the head does not answer, or is that of another cluster now.
    """
    client = client_of_head()
    found = {node.hex(): info for node, info in client.get_all_node_info(timeout=ANSWER).items()}
    draining = _draining(client)
    return {
        node: {"NodeID": node, "Alive": True, "Resources": dict(info.resources_total)}
        for node, info in found.items()
        if info.state == info.ALIVE and node not in draining
    }


def _draining(client: Any) -> Collection[str]:
    try:
        if hasattr(client, "get_draining_nodes"):
            return dict(client.get_draining_nodes(timeout=ANSWER))
        from ray._private.state import state  # in earlier versions; the head has just answered

        return dict(state.get_draining_nodes())
    except RayError:
        raise
    except Exception:  # private to Ray: another version may record it elsewhere
        return ()


def slots(
    cells: Sequence[Cell], usable: Collection[Mapping[str, Any]], grows: judging.Elastic | None = None
) -> int:
    """Return how many runs can be live at the same time, judged by the cell with the smallest request.

    Args:
        cells: The cells.
        usable: The nodes on which runs may be placed, as `ray.nodes` describes them.
        grows: The nodes that a cluster may still start on demand; they count as well.
    """
    have: dict[str, float] = {}
    for node in usable:
        for name, amount in node["Resources"].items():
            have[name] = have.get(name, 0) + amount
    most = ELASTIC_SLOTS if grows and not grows.groups else 1
    for group, count in grows.groups if grows else ():
        for name, amount in group.items():
            have[name] = have.get(name, 0) + amount * (ELASTIC_SLOTS if count is None else count)
    for cell in cells:
        wanted = cell.resources
        cpus = have.get("CPU", 0) / wanted.cpus if wanted.cpus else float("inf")
        gpus = have.get("GPU", 0) / wanted.gpus if wanted.gpus else float("inf")
        most = max(most, int(min(cpus, gpus)))
    return most

"""Questions to every node of a cluster about what it has and whether it sees the store.

The functions that run on a node are sent there by value, because the node may have another raycl, or none,
which is one of the things to find out. They use the standard library alone. Ray is imported where it is
needed, because its import takes seconds and `raycl doctor` works without it.
"""

from __future__ import annotations

import contextlib
import secrets
import shutil
import sys
import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raycl.datafolder import data_root
from raycl.errors import UserError
from raycl.tune.fitness.facts import Facts, answer

ANSWER_SECONDS = 120.0  # time to start a worker, import torch from a network drive and write a file
STORE_SECONDS = 10.0  # time until another machine's file must be visible; NFS caches folders for seconds


@dataclass(frozen=True)
class Node:
    """A live node, with its answer.

    Attributes:
        id: Ray's id of the node.
        name: Address and host, for messages.
        address: Address of the node.
        head: Whether it is the head of the cluster.
        cpus, gpus, memory: What Ray offers there; memory in bytes.
        runs_studies: Whether runs can be placed there, because it has CPUs; only such nodes are asked.
        facts: What the node found out about itself; None without an answer.
        silent: Why there is no answer, or "".
        store: What is wrong with the store as that node sees it, or "".
        clock: Approximate number of seconds by which its clock is ahead of this machine's.
    """

    id: str
    name: str
    address: str
    head: bool
    cpus: float
    gpus: float
    memory: float
    facts: Facts | None = None
    silent: str = ""
    store: str = ""
    clock: float = 0.0

    @property
    def runs_studies(self) -> bool:
        return self.cpus > 0


def ask(
    store: Path | None = None, seconds: float = ANSWER_SECONDS, only: Collection[str] | None = None
) -> list[Node]:
    """Ask live nodes of the joined cluster at the same time; a node that dies meanwhile is left out.

    Args:
        store: Folder of results, which must exist; None skips the check of the store.
        seconds: Time that a node has to answer.
        only: Ids of the nodes; by default all live nodes.

    Raises:
        UserError: If this machine itself cannot write into the store.
    """
    nodes = [node for node in _named(_live()) if only is None or node.id in only]
    folder, nonce = f".raycl-ask-{secrets.token_hex(8)}", secrets.token_hex(16)
    try:
        if store is not None:
            _leave_note(store / folder, nonce)
        answers = _collect([node for node in nodes if node.runs_studies], store, folder, nonce, seconds)
        asked = [_answered(node, answers.get(node.id), store, folder, nonce) for node in nodes]
        alive = {node["NodeID"] for node in _live()}
        return [node for node in asked if not node.silent or node.id in alive]
    finally:
        if store is not None:
            shutil.rmtree(store / folder, ignore_errors=True)


def _live() -> list[dict[str, Any]]:
    import ray

    return [node for node in ray.nodes() if node["Alive"]]


def _named(live: Sequence[Mapping[str, Any]]) -> list[Node]:
    shared = Counter(node["NodeManagerAddress"] for node in live)
    nodes = []
    for node in live:
        address, host, known = node["NodeManagerAddress"], node["NodeManagerHostname"], node["Resources"]
        also = node["NodeID"][-6:] if shared[address] > 1 else host
        nodes.append(
            Node(
                id=node["NodeID"],
                name=f"node {address} ({also})" if also != address else f"node {address}",
                address=address,
                head="node:__internal_head__" in known,
                cpus=known.get("CPU", 0.0),
                gpus=known.get("GPU", 0.0),
                memory=known.get("memory", 0.0),
            )
        )
    return sorted(nodes, key=lambda node: (not node.head, node.name))


def _leave_note(folder: Path, nonce: str) -> None:
    """Write the driver's file that nodes must find, in a folder with the usual permissions of a store."""
    try:
        folder.mkdir()
        (folder / "driver").write_text(nonce, encoding="utf-8")
    except OSError as error:
        raise UserError(
            f"store {folder.parent} cannot be written ({error.strerror or error}); name another with "
            "--store DIR"
        ) from None


def _collect(
    nodes: Sequence[Node], store: Path | None, folder: str, nonce: str, seconds: float
) -> dict[str, dict[str, Any]]:
    """Return the answer of each node by its id, with the time of arrival, or the reason under "silent"."""
    import ray
    from ray import cloudpickle
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    # The task reserves no CPU, so that a node whose CPUs are all in use can answer as well. It is retried,
    # because a process that crashes once says nothing about its node.
    task = ray.remote(num_cpus=0, max_retries=2)(answer)
    module = sys.modules[answer.__module__]  # its functions travel by value: a node may lack raycl
    where = str(store) if store is not None else ""
    cloudpickle.register_pickle_by_value(module)
    try:
        asked = {
            task.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node.id, soft=False)).remote(
                str(data_root()), where, folder, nonce, node.id, STORE_SECONDS
            ): node.id
            for node in nodes
        }
    finally:
        cloudpickle.unregister_pickle_by_value(module)
    answers: dict[str, dict[str, Any]] = {}
    waiting, until = list(asked), time.monotonic() + seconds
    while waiting:
        ready, waiting = ray.wait(waiting, timeout=max(0.0, until - time.monotonic()))
        if not ready:
            break
        arrived = time.time()
        try:
            answers[asked[ready[0]]] = ray.get(ready[0]) | {"arrived": arrived}
        except Exception as error:  # anything may go wrong on a node
            answers[asked[ready[0]]] = {"silent": f"cannot be asked ({_reason(error)})"}
    for late in waiting:
        answers[asked[late]] = {"silent": f"has not answered within {seconds:.0f} s"}
        ray.cancel(late, force=True)
    return answers


def _reason(error: Exception) -> str:
    """Return the last line of an error's message, because Ray puts the node's traceback before it."""
    cause = getattr(error, "cause", None) or error
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:200]


def _answered(
    node: Node, answer: Mapping[str, Any] | None, store: Path | None, folder: str, nonce: str
) -> Node:
    if answer is None:
        return node
    parts = {
        name: getattr(node, name) for name in ("id", "name", "address", "head", "cpus", "gpus", "memory")
    }
    if "silent" in answer:
        return Node(**parts, silent=answer["silent"])
    wrong = answer["store"]
    if store is not None and not wrong and not _read_back(store / folder / node.id, f"{nonce} {node.id}"):
        wrong = "writes into a folder of that name that this machine does not see"
    clock = answer["time"] - answer["arrived"]
    return Node(**parts, facts=Facts(**answer["facts"]), store=wrong, clock=clock)


def _read_back(file: Path, text: str) -> bool:
    until = time.monotonic() + STORE_SECONDS
    while True:
        with contextlib.suppress(OSError):
            if file.read_text(encoding="utf-8", errors="replace") == text:
                return True
        if time.monotonic() > until:
            return False
        time.sleep(0.1)

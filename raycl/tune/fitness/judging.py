"""Comparison of nodes with this machine, and what they lack."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from raycl.datafolder import data_root
from raycl.runs import fingerprint
from raycl.tune.fitness.facts import Facts
from raycl.tune.fitness.nodes import Node

# Ray is imported where it is needed, because its import takes seconds and `raycl doctor` works without it.

CLOCK_SECONDS = 5.0  # difference between two clocks above which a note is made


@dataclass(frozen=True)
class Fault:
    """A problem of a place: a "miss" prevents a study from running, a "note" does not.

    Attributes:
        place: What the problem is about, or "".
        text: What is wrong.
        remedy: What to do, or "".
    """

    level: Literal["miss", "note"]
    place: str
    text: str
    remedy: str = ""

    def __str__(self) -> str:
        message = f"{self.place}: {self.text}" if self.place else self.text
        return f"{message}; {self.remedy}" if self.remedy else message


@dataclass(frozen=True)
class Elastic:
    """A cluster that starts nodes on demand.

    Attributes:
        groups: CPUs, GPUs and bytes of memory of the nodes that it may start, and the number of such nodes
            (None means any number). Empty if the cluster does not tell.
    """

    groups: Sequence[tuple[Mapping[str, float], int | None]] = field(default_factory=tuple)


def elastic() -> Elastic | None:
    """Return what the head of the joined cluster records about its autoscaler; None if it has none."""
    try:
        from ray import _raylet
        from ray._private.state import state
        from ray.experimental.internal_kv import _internal_kv_get

        config = state.get_cluster_config()
        if config is not None and config.node_group_configs:
            groups = [
                (dict(group.resources), None if group.max_count < 0 else int(group.max_count))
                for group in config.node_group_configs
            ]
            return Elastic(groups)
        raylet: Any = _raylet
        space = raylet.GCS_AUTOSCALER_STATE_NAMESPACE.encode()
        if _internal_kv_get(raylet.GCS_AUTOSCALER_V2_ENABLED_KEY.encode(), namespace=space) == b"1":
            return Elastic()
        status = json.loads(_internal_kv_get(b"__autoscaling_status") or b"{}")
        types = (status.get("autoscaler_report") or {}).get("node_type_mapping") or {}
    except Exception:  # another version of Ray records it elsewhere, so nothing is known
        return None
    # A head without an autoscaler names the type of each node after the node itself.
    return Elastic() if any(kind != f"node_{node}" for node, kind in types.items()) else None


def judge(
    node: Node, mine: Facts, store: Path | None, needed: Sequence[str] = (), gpus: bool = True
) -> list[Fault]:
    """Return the problems of a node.

    Args:
        node: The node, with its answer.
        mine: Facts about the driver's machine, with which the node must agree.
        store: Folder of results, or None.
        needed: Data sources that a study needs; those that this machine has can be copied.
        gpus: Whether it is a miss if torch does not see a GPU that Ray offers.
    """
    if not node.runs_studies:
        return []
    if node.facts is None:
        return [Fault("miss", node.name, node.silent or "has not answered", "restart it, or remove it")]
    found = [
        *_judge_raycl(node, node.facts, mine),
        *_judge_versions(node, node.facts, mine),
        *_judge_store(node, store),
        *_judge_gpus(node, node.facts, gpus),
        *_judge_data(node, node.facts, mine, needed),
    ]
    if abs(node.clock) > CLOCK_SECONDS:
        way = "ahead of" if node.clock > 0 else "behind"
        text = f"its clock is {abs(node.clock):.0f} s {way} this machine's"
        found.append(Fault("note", node.name, text, "times in reports will be wrong by that; run NTP there"))
    return found


def judge_cluster(nodes: Sequence[Node], grows: Elastic | None, needed: Sequence[str] = ()) -> list[Fault]:
    """Return the problems of a cluster as a whole."""
    if not grows:
        if any(node.runs_studies for node in nodes):
            return []
        remedy = "start Ray on another machine, or on this one with --num-cpus above 0"
        return [Fault("miss", "", "no node of the cluster has a CPU for runs", remedy)]
    text = "the cluster starts nodes on demand; nodes that are not running yet cannot be checked"
    wanted = f"this raycl, the store, and the data of {_few(needed)} at {data_root()}"
    return [Fault("note", "", text, f"they need {wanted if needed else 'this raycl and the store'}")]


def _judge_raycl(node: Node, facts: Facts, mine: Facts) -> Iterator[Fault]:
    same = "install the same raycl there as here"
    if not facts.raycl:
        text = f"raycl cannot be imported by {facts.executable} ({facts.raycl_error})"
        yield Fault("miss", node.name, text, same)
        return
    if facts.raycl != mine.raycl:
        yield Fault("miss", node.name, f"has raycl {facts.raycl}, this machine {mine.raycl}", same)
        return
    differs = [
        name for name in sorted({*facts.source, *mine.source})
        if facts.source.get(name) != mine.source.get(name)
    ]  # fmt: skip
    on_workers = [name for name in differs if name in fingerprint.worker_files()]
    first = on_workers or differs
    if first:
        files = "1 file" if len(first) == 1 else f"{len(first)} files"
        text = f"its raycl {facts.raycl} differs from this machine's in {files} ({_few(first)})"
        if on_workers:
            yield Fault("miss", node.name, text, same)
        else:
            yield Fault("note", node.name, text, "no run depends on them")


def _judge_versions(node: Node, facts: Facts, mine: Facts) -> Iterator[Fault]:
    if facts.torch_error:
        text = f"torch cannot be imported by {facts.executable} ({facts.torch_error})"
        yield Fault("miss", node.name, text, "install the torch of this machine there")
    theirs = {"Python": facts.python, **facts.packages}
    ours = {"Python": mine.python, **mine.packages}
    for name in ("Python", "ray", "torch", "torchvision", "numpy", "scikit-learn"):
        there, wanted = theirs.get(name, ""), ours.get(name, "")
        if there == wanted or (name == "torch" and facts.torch_error):
            continue
        text = f"has {name} {there}, this machine {wanted}" if there else f"does not have {name}"
        if _agree(name, there, wanted):
            yield Fault("note", node.name, text, "results may differ in their last digits")
        else:
            yield Fault("miss", node.name, text, "install the same version there as here")


def _agree(name: str, there: str, wanted: str) -> bool:
    """Return whether two different versions are close enough for a study to run with both."""
    if name == "Python":
        return there.split(".")[:2] == wanted.split(".")[:2]
    if name == "torch":  # the builds may differ: for CPUs on one node, for CUDA on another
        return there.partition("+")[0] == wanted.partition("+")[0]
    return name != "ray" and bool(there)


def _judge_store(node: Node, store: Path | None) -> Iterator[Fault]:
    if node.store:
        remedy = "--store DIR must name a folder that all nodes share, under the same path"
        if node.store.startswith("cannot write"):
            remedy = "run Ray there as a user who can write it, or name another folder with --store DIR"
        yield Fault("miss", node.name, f"store {store}: it {node.store}", remedy)


def _judge_gpus(node: Node, facts: Facts, miss: bool) -> Iterator[Fault]:
    if facts.devices is None or facts.torch_error or facts.devices >= math.ceil(node.gpus):
        return
    torch = facts.packages.get("torch", "")
    offered = f"{node.gpus:g} GPU{'' if node.gpus == 1 else 's'}"
    text = f"Ray offers {offered} there, but torch {torch} sees {facts.devices or 'none'}"
    remedy = "install a CUDA build of torch and the driver, or start Ray there with --num-gpus=0"
    yield Fault("miss" if miss else "note", node.name, text, remedy)


def _judge_data(node: Node, facts: Facts, mine: Facts, needed: Sequence[str]) -> Iterator[Fault]:
    """Yield a problem if data are missing that `staging` cannot copy, for lack of room or permission."""
    lacking = [
        name for name in needed if name in mine.data and not _has(facts, name, mine.data[name]["mark"])
    ]
    if not lacking:
        return
    size, folder = sum(mine.data[name]["bytes"] for name in lacking), data_root()
    elsewhere = "or set RAYCL_DATA to a folder that all nodes share"
    text = f"lacks the data of {_few(lacking)} ({_gigabytes(size)}), and "
    if not facts.data_writable:
        text += f"{folder} cannot be written there"
        yield Fault("miss", node.name, text, f"give Ray's user that folder there, {elsewhere}")
    elif facts.disk_free < size:
        text += f"has {_gigabytes(facts.disk_free)} left at {folder}"
        yield Fault("miss", node.name, text, f"make room there, {elsewhere}")


def _has(facts: Facts, name: str, mark: str) -> bool:
    known = facts.data.get(name)
    return known is not None and bool(known["whole"]) and known["mark"] == mark


def _few(names: Sequence[str], most: int = 3) -> str:
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")


def _gigabytes(count: float) -> str:
    return f"{count / 1e9:,.1f} GB" if count >= 1e8 else f"{count / 1e6:,.1f} MB"

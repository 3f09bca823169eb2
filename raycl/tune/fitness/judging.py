"""Whether nodes agree with this machine, and what they lack."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from raycl.benchmarks import data_root
from raycl.runs import provenance
from raycl.tune.fitness.facts import Facts
from raycl.tune.fitness.nodes import Node

# Ray is imported where it is needed: it takes seconds, and `raycl doctor` looks at this machine without it.

CLOCK_SECONDS = 5.0  # of difference between two clocks that are worth a word


@dataclass(frozen=True)
class Fault:
    """Something to say of a place: a miss forbids a study, a note does not.

    Attributes:
        remedy: what to do, or "".
    """

    level: Literal["miss", "note"]
    place: str
    text: str
    remedy: str = ""

    def __str__(self) -> str:
        said = f"{self.place}: {self.text}" if self.place else self.text
        return f"{said}; {self.remedy}" if self.remedy else said


@dataclass(frozen=True)
class Elastic:
    """A cluster that starts nodes when they are asked for.

    Attributes:
        groups: CPUs, GPUs and bytes of memory of the nodes it may start, and how many of each (None: as many
            as are asked for); empty where it does not tell.
    """

    groups: Sequence[tuple[Mapping[str, float], int | None]] = field(default_factory=tuple)


def elastic() -> Elastic | None:
    """The autoscaler of the cluster that is joined, by what its head has written down; None: it has none."""
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
    except Exception:  # another Ray says it elsewhere; then nothing is known of it
        return None
    # A head without an autoscaler calls the type of each node after that node.
    return Elastic() if any(kind != f"node_{node}" for node, kind in types.items()) else None


def judge(
    node: Node, mine: Facts, store: Path | None, needed: Sequence[str] = (), gpus: bool = True
) -> list[Fault]:
    """What there is to say of a node.

    Args:
        mine: the driver's machine, with which the others must agree.
        needed: data sources that a study needs; those that this machine has can be copied.
        gpus: whether a GPU that Ray lends and torch does not see is a miss.
    """
    if not node.plays:
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
        found.append(Fault("note", node.name, text, "times in reports will be off by that; run NTP there"))
    return found


def judge_cluster(nodes: Sequence[Node], grows: Elastic | None, needed: Sequence[str] = ()) -> list[Fault]:
    """What there is to say of all nodes together."""
    if not grows:
        if any(node.plays for node in nodes):
            return []
        remedy = "start Ray on another machine, or on this one with --num-cpus above 0"
        return [Fault("miss", "", "no node of the cluster has a CPU to play on", remedy)]
    text = "the cluster starts nodes when they are asked for; those that are not here yet cannot be checked"
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
    played = [name for name in differs if name in provenance.worker_files()]
    first = played or differs
    if first:
        files = "1 file" if len(first) == 1 else f"{len(first)} files"
        text = f"its raycl {facts.raycl} differs from this machine's in {files} ({_few(first)})"
        if played:
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
        text = f"has {name} {there}, this machine {wanted}" if there else f"has no {name}"
        if _agree(name, there, wanted):
            yield Fault("note", node.name, text, "results may differ in their last digits")
        else:
            yield Fault("miss", node.name, text, "install the same there as here")


def _agree(name: str, there: str, wanted: str) -> bool:
    """Whether two versions, which differ, do so little that a study can be played with both."""
    if name == "Python":
        return there.split(".")[:2] == wanted.split(".")[:2]
    if name == "torch":  # a build for CPUs on one node, for CUDA on another
        return there.partition("+")[0] == wanted.partition("+")[0]
    return name != "ray" and bool(there)


def _judge_store(node: Node, store: Path | None) -> Iterator[Fault]:
    if node.store:
        remedy = "--store DIR must name a folder that all nodes share, under the same path"
        if node.store.startswith("cannot write"):
            remedy = "let Ray run there as a user who may, or name another folder with --store DIR"
        yield Fault("miss", node.name, f"store {store}: it {node.store}", remedy)


def _judge_gpus(node: Node, facts: Facts, miss: bool) -> Iterator[Fault]:
    if facts.devices is None or facts.torch_error or facts.devices >= math.ceil(node.gpus):
        return
    torch = facts.packages.get("torch", "")
    lent = f"{node.gpus:g} GPU{'' if node.gpus == 1 else 's'}"
    text = f"Ray lends {lent} there, and torch {torch} sees {facts.devices or 'none'}"
    remedy = "install a CUDA build of torch and the driver, or start Ray there with --num-gpus=0"
    yield Fault("miss" if miss else "note", node.name, text, remedy)


def _judge_data(node: Node, facts: Facts, mine: Facts, needed: Sequence[str]) -> Iterator[Fault]:
    """What is not there is copied by `staging`, if there is room and the folder can be written."""
    lacking = [
        name for name in needed if name in mine.data and not _has(facts, name, mine.data[name]["mark"])
    ]
    if not lacking:
        return
    size, folder = sum(mine.data[name]["bytes"] for name in lacking), data_root()
    elsewhere = "or set RAYCL_DATA to a folder that all nodes share"
    text = f"lacks the data of {_few(lacking)}, {_gigabytes(size)}, and "
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

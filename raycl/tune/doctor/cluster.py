"""The doctor's report on a cluster, all of whose nodes are asked what they have."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

from raycl import texttable
from raycl.benchmarks.prepared import shown
from raycl.runs.store import Store
from raycl.texttable import Column
from raycl.tune.doctor.report import DoctorReport, size_text
from raycl.tune.fitness import facts, judging, nodes
from raycl.tune.fitness.facts import Facts
from raycl.tune.fitness.judging import CLOCK_SECONDS
from raycl.tune.fitness.nodes import Node
from raycl.tune.launch import cluster

_OF_NODES = [
    Column(width=20),
    *(Column(right=True, width=width, gap=0) for width in (5, 5, 10, 7)),  # CPUs, GPUs, memory, disk
    Column(width=14),
    Column(width=12),
]


def whole_cluster(address: str, store: Path | None) -> DoctorReport:
    """Join a cluster and ask all of its nodes.

    Args:
        address: Address of the cluster.
        store: Folder of results, which all nodes must share; None skips this check.

    Raises:
        UserError: If the cluster cannot be joined.
    """
    place = store.absolute() if store is not None else None
    made = [folder for folder in (place, *place.parents) if not folder.exists()] if place else []
    with cluster(address, None):
        try:
            root = Store(store).open().root if store is not None else None
            known, mine, grows = nodes.ask(root), facts.here(), judging.elastic()
        finally:
            with contextlib.suppress(OSError):  # the doctor leaves no folders behind
                for folder in made:
                    folder.rmdir()
    report = DoctorReport(_counted(address, known), table=_table(known))
    asked = [node for node in known if node.facts is not None]
    if store is not None and asked:
        seen = sum(not node.store for node in asked)
        text = f"{shown(store.absolute())}: written and read by {_of(seen, len(asked))}"
        report.rows.append(("store", text))
    if asked:
        _shared_data(report, mine, asked)
        apart = max(abs(node.clock) for node in asked)
        near = "" if apart > CLOCK_SECONDS else ", which is close enough"
        report.rows.append(("clocks", f"within {max(apart, 0.1):.1f} s of this machine's{near}"))
    report.findings = [fault for node in known for fault in judging.judge(node, mine, store)]
    report.findings += judging.judge_cluster(known, grows)
    return report


def _counted(address: str, known: Sequence[Node]) -> str:
    usable = sum(node.runs_studies for node in known)
    nodes_in_all = f"{len(known)} node{'' if len(known) == 1 else 's'}"
    return f"cluster at {address}: {nodes_in_all}, {usable} can run studies"


def _table(known: Sequence[Node]) -> list[str]:
    rows = [("node", "CPUs", "GPUs", "free: RAM", "disk", "raycl", "torch")]
    for node in known:
        name = node.name.removeprefix("node ")
        offered = (f"{node.cpus:g}", f"{node.gpus:g}")
        if not node.runs_studies:
            rows.append((name, *offered, "", "", "runs nothing", ""))
        elif node.facts is None:
            rows.append((name, *offered, "", "", "no answer", ""))
        else:
            f = node.facts
            version = f"{f.raycl} {f.fingerprint}" if f.raycl else "none"
            torch = f.packages.get("torch", "none") if not f.torch_error else "broken"
            rows.append((name, *offered, size_text(f.memory_free), size_text(f.disk_free), version, torch))
    cut = [
        (_cut(name, 20), *numbers, _cut(raycl, 14), _cut(torch, 12)) for name, *numbers, raycl, torch in rows
    ]
    return texttable.lines(cut, _OF_NODES)


def _shared_data(report: DoctorReport, mine: Facts, asked: Sequence[Node]) -> None:
    """Add a row for each data set of this machine, which says how many nodes have it."""
    for name, about in mine.data.items():
        having = sum(
            node.facts is not None
            and node.facts.data.get(name, {}).get("mark") == about["mark"]
            and node.facts.data[name]["whole"]
            for node in asked
        )
        copied = "" if having == len(asked) else "; a run that needs it copies it to the others"
        text = f"{name}, {size_text(about['bytes'])}: on {_of(having, len(asked))}{copied}"
        report.rows.append(("data", text))


def _of(count: int, whole: int) -> str:
    return "every node" if count == whole else f"{count} of {whole} nodes"


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 2]}.."

"""Asks every node of a cluster what it is, and judges whether a study can be played there.

What runs on a node travels there by value: a node may have another raycl, or none, and that is what is to be
found out. Those functions use the standard library alone. Ray is imported late: `raycl doctor` looks at this
machine without it.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import json
import math
import os
import platform
import secrets
import shutil
import socket
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from raycl.benchmarks import data_root
from raycl.errors import UserError
from raycl.runs import provenance

ANSWER_SECONDS = 120.0  # to start a worker, import torch from a network drive and write a file
STORE_SECONDS = (
    10.0  # until a file that another machine wrote must be seen; NFS keeps what it knows for seconds
)
CLOCK_SECONDS = 5.0  # of difference between two clocks that are worth a word
PACKAGES = ("torch", "torchvision", "numpy", "scikit-learn", "ray", "optuna", "mlflow")


@dataclass(frozen=True)
class Finding:
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
class Facts:
    """What is true of a machine, as a worker there sees it.

    Attributes:
        packages: version of each of `PACKAGES` that is installed; torch's as torch itself says it.
        raycl: its version; "" where it cannot be imported, and `raycl_error` then says why.
        source: digest of each of raycl's files, by its path.
        torch_error: why torch cannot be imported, or "".
        devices: GPUs that torch sees; None where they are hidden from the process that looked.
        memory, memory_free, disk_free: bytes; the disk is that of the data folder.
        data: of each prepared data set "mark" (changes with any array), "bytes", and "whole" (all is there).
    """

    host: str
    python: str
    executable: str
    packages: Mapping[str, str]
    raycl: str
    raycl_error: str
    source: Mapping[str, str]
    torch_error: str
    devices: int | None
    cores: int
    memory: int
    memory_free: int
    disk_free: int
    data_writable: bool
    data: Mapping[str, Mapping[str, Any]]

    @property
    def fingerprint(self) -> str:
        """8 hexadecimal digits that change with any file of raycl's."""
        return hashlib.sha256(json.dumps(dict(self.source), sort_keys=True).encode()).hexdigest()[:8]


@dataclass(frozen=True)
class Node:
    """A live node, and what it answered.

    Attributes:
        name: for messages: its address and host.
        cpus, gpus, memory: what Ray lends there; bytes.
        plays: runs can come to it, since it has CPUs; only such a node is asked.
        silent: why there is no answer, or "".
        store: what is wrong with the store as that node sees it, or "".
        clock: seconds its clock is ahead of this machine's, about.
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
    def plays(self) -> bool:
        return self.cpus > 0


# What follows, down to `_write_back`, runs on nodes: it must not name anything of raycl.


def look(data: str) -> dict[str, Any]:
    """The fields of `Facts`, of the machine and process this runs in.

    Args:
        data: the data folder.
    """
    packages, torch_error, devices = _packages()
    version, why, source = _raycl()
    memory, memory_free = _memory()
    disk = _existing(data)
    return {
        "host": socket.gethostname(),
        "python": platform.python_version(),
        "executable": sys.executable,
        "packages": packages,
        "raycl": version,
        "raycl_error": why,
        "source": source,
        "torch_error": torch_error,
        "devices": devices,
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        "memory": memory,
        "memory_free": memory_free,
        "disk_free": shutil.disk_usage(disk).free,
        "data_writable": os.access(disk, os.W_OK | os.X_OK),
        "data": _data_sets(data),
    }


def _packages() -> tuple[dict[str, str], str, int | None]:
    found = {}
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    try:
        import torch

        found["torch"] = str(torch.__version__)
        hidden = (
            os.environ.get("CUDA_VISIBLE_DEVICES") == ""
        )  # older Ray hides them where none were asked for
        return found, "", None if hidden else torch.cuda.device_count()
    except Exception as error:
        return found, (str(error).splitlines() or [type(error).__name__])[0], None


def _raycl() -> tuple[str, str, dict[str, str]]:
    """Version, or "" and why not; digests of its files."""
    try:
        import raycl

        home = Path(str(raycl.__file__)).parent
        version = str(raycl.__version__)
    except Exception as error:  # of any kind: whatever is called raycl there
        return "", (str(error).splitlines() or [type(error).__name__])[0], {}
    files = {path.relative_to(home).as_posix(): path for path in sorted(home.rglob("*.py"))}
    digests = {name: hashlib.sha256(path.read_bytes()).hexdigest()[:16] for name, path in files.items()}
    return version, "", digests


def _memory() -> tuple[int, int]:
    """Bytes in all and free, of the machine or of the container's share."""
    total = free = 0
    with contextlib.suppress(OSError, ValueError):
        rows = dict(
            line.split(":", 1) for line in Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
        )
        total, free = (int(rows[name].split()[0]) * 1024 for name in ("MemTotal", "MemAvailable"))
    group = Path("/sys/fs/cgroup")
    with contextlib.suppress(OSError, ValueError):
        limit = int((group / "memory.max").read_text(encoding="utf-8"))
        used = int((group / "memory.current").read_text(encoding="utf-8"))
        total, free = min(total or limit, limit), min(free, max(0, limit - used))
    return total, free


def _existing(path: str) -> Path:
    """The folder, or the nearest one above it that exists."""
    here = Path(path)
    while not here.is_dir() and here != here.parent:
        here = here.parent
    return here


def _data_sets(data: str) -> dict[str, dict[str, Any]]:
    """Prepared data sets below the data folder, by their manifests."""
    found = {}
    for manifest in sorted(Path(data).glob("*/manifest.json")):
        try:
            arrays = json.loads(manifest.read_text(encoding="utf-8"))["arrays"].values()
            sizes = {str(entry["file"]): int(entry["bytes"]) for entry in arrays}
            files = [manifest.parent / name for name in sizes]
            found[manifest.parent.name] = {
                "mark": hashlib.sha256(json.dumps(sizes, sort_keys=True).encode()).hexdigest()[:16],
                "bytes": sum(sizes.values()),
                "whole": all(
                    file.is_file() and file.stat().st_size == sizes[file.name] for file in files
                ),
            }  # fmt: skip
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            continue
    return found


def _answer(data: str, store: str, folder: str, nonce: str, name: str, patience: float) -> dict[str, Any]:
    """Facts, what is wrong with the store ("" if nothing), and the time on this clock at the very end."""
    facts = look(data)
    wrong = _read_and_write(Path(store), folder, nonce, name, patience) if store else ""
    return {"facts": facts, "store": wrong, "time": time.time()}


def _read_and_write(store: Path, folder: str, nonce: str, name: str, patience: float) -> str:
    """Read the driver's note in the store and leave one of this node's; what is wrong, or ""."""
    if not store.is_dir():
        return "sees no such folder"
    note, until = store / folder / "driver", time.monotonic() + patience
    while True:
        with contextlib.suppress(OSError):
            if note.read_text(encoding="utf-8", errors="replace") == nonce:
                break
        if time.monotonic() > until:
            return "has another folder of that name"
        time.sleep(0.1)
    return _write_back(store / folder, f"{nonce} {name}", name)


def _write_back(folder: Path, text: str, name: str) -> str:
    """Publish a file as results are published: written, synced, renamed."""
    draft = folder / f".{name}"
    try:
        with open(draft, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, folder / name)
    except OSError as error:
        return f"cannot write there ({error.strerror or error})"
    return ""


# Asking.


def here() -> Facts:
    """The facts of this machine."""
    return Facts(**look(str(data_root())))


def ask(store: Path | None = None, seconds: float = ANSWER_SECONDS) -> list[Node]:
    """Ask all live nodes of the cluster that is joined, at once; one that dies meanwhile is left out.

    Args:
        store: the folder of results, which must exist; None leaves it out.
        seconds: until a node must have answered.

    Raises:
        UserError: this machine itself cannot write into the store.
    """
    nodes = _named(_live())
    folder, nonce = f".raycl-ask-{secrets.token_hex(8)}", secrets.token_hex(16)
    try:
        if store is not None:
            _leave_note(store / folder, nonce)
        answers = _collect([node for node in nodes if node.plays], store, folder, nonce, seconds)
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
    """The driver's file, that nodes must find; the folder is as open as those that raycl makes in a store."""
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
    """The answer of each node by its id, with the time it came here; or why there is none, as "silent"."""
    import ray
    from ray import cloudpickle
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    # No share of a processor: a node whose processors are all lent out must be able to answer too.
    # Tried again: a process that falls over once says nothing of its node.
    task = ray.remote(num_cpus=0, max_retries=2)(_answer)
    module = sys.modules[__name__]
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
        came = time.time()
        try:
            answers[asked[ready[0]]] = ray.get(ready[0]) | {"came": came}
        except Exception as error:  # of whatever goes wrong on a node
            answers[asked[ready[0]]] = {"silent": f"cannot be asked ({_reason(error)})"}
    for late in waiting:
        answers[asked[late]] = {"silent": f"has not answered within {seconds:.0f} s"}
        ray.cancel(late, force=True)
    return answers


def _reason(error: Exception) -> str:
    """The last line that says something: Ray puts the traceback of the other side before it."""
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
    clock = answer["time"] - answer["came"]
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


# Judging.


def judge(
    node: Node, mine: Facts, store: Path | None, needed: Sequence[str] = (), gpus: bool = True
) -> list[Finding]:
    """What there is to say of a node.

    Args:
        mine: the driver's machine, with which the others must agree.
        needed: data sources that a study needs; those that this machine has can be copied.
        gpus: whether a GPU that Ray lends and torch does not see is a miss.
    """
    if not node.plays:
        return []
    if node.facts is None:
        return [Finding("miss", node.name, node.silent or "has not answered", "restart it, or remove it")]
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
        found.append(Finding("note", node.name, text, "times in reports will be off by that; run NTP there"))
    return found


def judge_cluster(nodes: Sequence[Node], grows: Elastic | None, needed: Sequence[str] = ()) -> list[Finding]:
    """What there is to say of all nodes together."""
    if not grows:
        if any(node.plays for node in nodes):
            return []
        remedy = "start Ray on another machine, or on this one with --num-cpus above 0"
        return [Finding("miss", "", "no node of the cluster has a CPU to play on", remedy)]
    text = "the cluster starts nodes when they are asked for; those that are not here yet cannot be checked"
    wanted = f"this raycl, the store, and the data of {_few(needed)} at {data_root()}"
    return [Finding("note", "", text, f"they need {wanted if needed else 'this raycl and the store'}")]


def _judge_raycl(node: Node, facts: Facts, mine: Facts) -> Iterator[Finding]:
    same = "install the same raycl there as here"
    if not facts.raycl:
        text = f"raycl cannot be imported by {facts.executable} ({facts.raycl_error})"
        yield Finding("miss", node.name, text, same)
        return
    if facts.raycl != mine.raycl:
        yield Finding("miss", node.name, f"has raycl {facts.raycl}, this machine {mine.raycl}", same)
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
            yield Finding("miss", node.name, text, same)
        else:
            yield Finding("note", node.name, text, "no run depends on them")


def _judge_versions(node: Node, facts: Facts, mine: Facts) -> Iterator[Finding]:
    if facts.torch_error:
        text = f"torch cannot be imported by {facts.executable} ({facts.torch_error})"
        yield Finding("miss", node.name, text, "install the torch of this machine there")
    theirs = {"Python": facts.python, **facts.packages}
    ours = {"Python": mine.python, **mine.packages}
    for name in ("Python", "ray", "torch", "torchvision", "numpy", "scikit-learn"):
        there, wanted = theirs.get(name, ""), ours.get(name, "")
        if there == wanted or (name == "torch" and facts.torch_error):
            continue
        text = f"has {name} {there}, this machine {wanted}" if there else f"has no {name}"
        if _agree(name, there, wanted):
            yield Finding("note", node.name, text, "results may differ in their last digits")
        else:
            yield Finding("miss", node.name, text, "install the same there as here")


def _agree(name: str, there: str, wanted: str) -> bool:
    """Whether two versions, which differ, do so little that a study can be played with both."""
    if name == "Python":
        return there.split(".")[:2] == wanted.split(".")[:2]
    if name == "torch":  # a build for CPUs on one node, for CUDA on another
        return there.partition("+")[0] == wanted.partition("+")[0]
    return name != "ray" and bool(there)


def _judge_store(node: Node, store: Path | None) -> Iterator[Finding]:
    if node.store:
        remedy = "--store DIR must name a folder that all nodes share, under the same path"
        if node.store.startswith("cannot write"):
            remedy = "let Ray run there as a user who may, or name another folder with --store DIR"
        yield Finding("miss", node.name, f"store {store}: it {node.store}", remedy)


def _judge_gpus(node: Node, facts: Facts, miss: bool) -> Iterator[Finding]:
    if facts.devices is None or facts.torch_error or facts.devices >= math.ceil(node.gpus):
        return
    torch = facts.packages.get("torch", "")
    lent = f"{node.gpus:g} GPU{'' if node.gpus == 1 else 's'}"
    text = f"Ray lends {lent} there, and torch {torch} sees {facts.devices or 'none'}"
    remedy = "install a CUDA build of torch and the driver, or start Ray there with --num-gpus=0"
    yield Finding("miss" if miss else "note", node.name, text, remedy)


def _judge_data(node: Node, facts: Facts, mine: Facts, needed: Sequence[str]) -> Iterator[Finding]:
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
        yield Finding("miss", node.name, text, f"give Ray's user that folder there, {elsewhere}")
    elif facts.disk_free < size:
        text += f"has {_gigabytes(facts.disk_free)} left at {folder}"
        yield Finding("miss", node.name, text, f"make room there, {elsewhere}")


def _has(facts: Facts, name: str, mark: str) -> bool:
    known = facts.data.get(name)
    return known is not None and bool(known["whole"]) and known["mark"] == mark


def _few(names: Sequence[str], most: int = 3) -> str:
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")


def _gigabytes(count: float) -> str:
    return f"{count / 1e9:,.1f} GB" if count >= 1e8 else f"{count / 1e6:,.1f} MB"

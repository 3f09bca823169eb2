"""One copy of the prepared data on every node."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from raycl.benchmarks import data_root


def stage(sources: Sequence[str]) -> list[str]:
    """See that every live node has the prepared files of these sources; copy what is missing.

    Returns:
        A line for each node and source that was copied.
    """
    nodes = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU", 0) > 0]
    here = ray.get_runtime_context().get_node_id()
    others = [node for node in nodes if node["NodeID"] != here]
    if not others:
        return []
    root, said = data_root(), []
    files = {path.relative_to(root).as_posix(): path for name in sources for path in _files(root / name)}
    wanted = {name: path.read_text() if path.suffix == ".json" else "" for name, path in files.items()}
    for node in others:
        where = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        missing = ray.get(_missing.options(scheduling_strategy=where).remote(str(root), wanted))
        for name in missing:
            content = ray.put(np.fromfile(files[name], np.uint8))
            ray.get(_write.options(scheduling_strategy=where).remote(str(root), name, content))
        if missing:
            said.append(f"{len(missing)} data files copied to node {node['NodeManagerAddress']}")
    return said


def _files(folder: Path) -> list[Path]:
    """The files of a prepared source, its manifest last, so that a half-made copy does not count.

    Without its stamps: they say how files look on this node, where they were made.
    """
    wanted = [*folder.rglob("*.npy"), *folder.rglob("manifest.json")]
    found = [path for path in wanted if path.is_file() and not path.name.startswith(".")]
    return sorted(found, key=lambda path: (path.suffix == ".json", path.name))


@ray.remote(num_cpus=0.01)
def _missing(root: str, wanted: dict[str, str]) -> list[str]:
    """Files that are not there, and manifests that say something else; arrays are named by their content."""
    lacking = [
        name
        for name, text in wanted.items()
        if not (path := Path(root) / name).exists() or (text and path.read_text() != text)
    ]
    return sorted(lacking, key=lambda name: (name.endswith(".json"), name))


@ray.remote(num_cpus=0.01)
def _write(root: str, name: str, content: np.ndarray) -> None:
    import os

    path = Path(root) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}-{os.getpid()}")
    content.tofile(temporary)
    os.replace(temporary, path)

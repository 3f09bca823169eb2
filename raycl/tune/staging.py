"""Staging: copies of the prepared data for the nodes that lack them."""

from __future__ import annotations

import os
import secrets
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from raycl.datafolder import data_root
from raycl.errors import UserError

BLOCK_BYTES = 2**26  # size of the blocks in which files are sent


def stage(folders: Sequence[str], only: Collection[str] | None = None) -> list[str]:
    """Copy the prepared files of these folders to live nodes that lack them.

    Files are sent in blocks, each to all nodes that lack the file, so that even a small node can receive a
    large data set. A node that dies meanwhile is left out, because nothing will run there.

    Args:
        folders: Folders relative to the data folder: names of sources, or where a user's own data were
            prepared.
        only: Ids of the nodes; by default all live nodes on which runs can be placed.

    Returns:
        A message for each node to which files were copied.

    Raises:
        UserError: If a node cannot store a file.
    """
    root = data_root()
    files = {path.relative_to(root).as_posix(): path for name in folders for path in _files(root / name)}
    nodes = _others() if files else []
    nodes = [node for node in nodes if only is None or node["NodeID"] in only]
    if not nodes:
        return []
    wanted = {
        name: path.read_text(encoding="utf-8") if path.suffix == ".json" else ""
        for name, path in files.items()
    }
    sizes = {name: path.stat().st_size for name, path in files.items() if path.suffix != ".json"}
    lacking = _each([(node, _on(node, _missing, str(root), wanted, sizes)) for node in nodes])
    nodes, token = [node for node in nodes if lacking.get(node["NodeID"])], secrets.token_hex(4)
    for name, path in files.items():
        takers = [node for node in nodes if name in lacking[node["NodeID"]]]
        there = _send(path, name, takers, token)
        nodes = [node for node in nodes if node not in takers or node in there]
    return [
        f"{len(lacking[node['NodeID']])} data files copied to node {node['NodeManagerAddress']}"
        for node in nodes
    ]


def _send(path: Path, name: str, nodes: list[dict[str, Any]], token: str) -> list[dict[str, Any]]:
    """Copy one file, and return the nodes that are still alive at the end."""
    size = path.stat().st_size
    for start in range(0, max(1, size), BLOCK_BYTES) if nodes else ():
        content = ray.put(np.fromfile(path, np.uint8, count=BLOCK_BYTES, offset=start))
        block = (str(data_root()), name, content, start, start + BLOCK_BYTES >= size)
        # Every node writes a draft of its own name, because nodes may share a folder.
        done = _each([(node, _on(node, _write, *block, f"{token}-{node['NodeID'][:8]}")) for node in nodes])
        nodes = [node for node in nodes if node["NodeID"] in done]
    return nodes


def _others() -> list[dict[str, Any]]:
    """Return the nodes on which runs can be placed, except this one."""
    here = ray.get_runtime_context().get_node_id()
    return [
        node
        for node in ray.nodes()
        if node["Alive"] and node["Resources"].get("CPU", 0) > 0 and node["NodeID"] != here
    ]


def _on(node: Mapping[str, Any], task: Any, *arguments: Any) -> Any:
    where = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
    return task.options(scheduling_strategy=where).remote(*arguments)


def _each(asked: Sequence[tuple[Mapping[str, Any], Any]]) -> dict[str, Any]:
    """Return the answer of each node by its id, leaving out nodes that die.

    Raises:
        UserError: If a node does not have the room, or may not write.
    """
    given = {}
    for node, answer in asked:
        try:
            given[node["NodeID"]] = ray.get(answer)
        except OSError as error:
            cause = getattr(error, "cause", error)
            raise UserError(
                f"data cannot be copied to node {node['NodeManagerAddress']} ({cause.strerror or cause}); "
                f"make room there at {data_root()}, or set RAYCL_DATA to a folder that all nodes share"
            ) from None
        except ray.exceptions.RayTaskError:
            raise
        except ray.exceptions.RayError:
            continue
    return given


def _files(folder: Path) -> list[Path]:
    """Return the files of a prepared source, the manifest last, so that an incomplete copy does not count.

    Stamps are left out, because they describe the files as they are on this node.
    """
    wanted = [*folder.rglob("*.npy"), *folder.rglob("manifest.json")]
    found = [path for path in wanted if path.is_file() and not path.name.startswith(".")]
    return sorted(found, key=lambda path: (path.suffix == ".json", path.name))


# The task reserves no CPU, because data should be copied before a CPU is free.
@ray.remote(num_cpus=0)
def _missing(root: str, wanted: dict[str, str], sizes: Mapping[str, int] | None = None) -> list[str]:
    """Return the files that are missing or of another size, and manifests with another content.

    The content of arrays is not compared, because their names depend on it.
    """
    lacking = [
        name
        for name, text in wanted.items()
        if not (path := Path(root) / name).exists()
        or (text and path.read_text(encoding="utf-8", errors="replace") != text)
        or path.stat().st_size != (sizes or {}).get(name, path.stat().st_size)
    ]
    return sorted(lacking, key=lambda name: (name.endswith(".json"), name))


@ray.remote(num_cpus=0)
def _write(
    root: str, name: str, content: np.ndarray, start: int = 0, last: bool = True, token: str = "0"
) -> None:
    """Write a block of a file; the last block moves the file into its place.

    This does not use `raycl.wholefiles`, because the draft grows from call to call, and because the function
    is sent to the node by value.
    """
    path = Path(root) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}-{token}.tmp")
    try:
        with open(draft, "r+b" if start else "wb") as file:
            file.seek(start)
            file.write(content.data)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        draft.unlink(missing_ok=True)
        raise
    if last:
        os.replace(draft, path)

"""Reading and writing of stored artefacts: basis masks, and networks trained on the first task."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from raycl.archives import Artefact, DamagedArtefact, archive, read_archive
from raycl.networks import Network
from raycl.networks._backbone import Pretrained
from raycl.plainfiles import Unfit, check_plain, mapping, number, only, whole
from raycl.specs import MaskSpec
from raycl.supermasks.bank import BasisMask, masked_weights, random_mask

FORMAT = 2  # Version of both file formats; version 1 has no digest.
PARTS = ("bits", "values", "statistics")  # Fields of `BasisMask` with one array per layer each.

T = TypeVar("T")


def basis_of(specs: Sequence[MaskSpec], net: Network, find: Callable[[str], Path]) -> list[BasisMask]:
    """Return the masks of some specs: random masks are drawn, trained masks are read from their files.

    Args:
        specs: Specs of the masks.
        net: The network whose weights the masks cover.
        find: Returns the path of a trained mask's file, given the key of its spec.

    Raises:
        DamagedArtefact: If a file is truncated or does not hold the mask of its key; `key` names the mask.
        FileNotFoundError: If the file of a mask does not exist.
    """
    sizes = [weight.numel() for weight in masked_weights(net).values()]
    found = []
    for spec in specs:
        if not spec.trained:
            found.append(random_mask(sizes, spec.density, spec.score_seed))
            continue
        found.append(mask_from_file(find(spec.key), spec, sizes))
    return found


def mask_to_bytes(mask: BasisMask, spec: MaskSpec) -> bytes:
    """Return the bytes of a mask's file: an .npz archive of the mask and its spec, with a digest of both."""
    arrays = {f"{name}{i}": array for name in PARTS for i, array in enumerate(getattr(mask, name))}
    return archive({"format": FORMAT, "spec": spec.to_json(), "about": dict(mask.about)}, arrays)


def mask_from_file(path: Path, spec: MaskSpec, sizes: Sequence[int] | None = None) -> BasisMask:
    """Read a mask from its file.

    Args:
        path: The file.
        spec: The spec that the file should hold.
        sizes: Number of weights in each layer of the backbone that will use the mask; None skips this check.

    Raises:
        DamagedArtefact: If the file is truncated, garbled or modified, or is of another mask or backbone.
        FileNotFoundError: If the file does not exist.
    """
    kind = Artefact.MASK
    mask = _from_file(path, kind, spec.key, lambda head, arrays: _checked_mask(head, arrays, spec))
    if sizes is None:
        return mask
    if [(n + 7) // 8 for n in sizes] != [len(layer) for layer in mask.bits]:
        layers = f"it has {len(mask.bits)} layers, expected layers of {list(sizes)} weights"
        raise DamagedArtefact(f"mask {path} belongs to another backbone: {layers}", kind, spec.key)
    if any(np.unpackbits(bits)[n:].any() for bits, n in zip(mask.bits, sizes, strict=True)):
        raise _damaged(path, kind, spec.key, "a layer has more ones than weights")
    return mask


def backbone_to_bytes(found: Pretrained, key: str) -> bytes:
    """Return the bytes of a backbone's file: an .npz archive with the key of its run and a digest."""
    head = {"format": FORMAT, "key": key, "seconds": found.seconds, "epochs": found.epochs,
            "updates": found.updates, "names": list(found.tensors)}  # fmt: skip
    return archive(head, {f"t{i}": tensor.numpy() for i, tensor in enumerate(found.tensors.values())})


def backbone_from_file(path: Path, key: str) -> Pretrained:
    """Read a backbone from its file.

    Raises:
        DamagedArtefact: If the file is missing, truncated, garbled or modified, or belongs to another run.
    """
    kind = Artefact.BACKBONE
    try:
        return _from_file(path, kind, key, lambda head, arrays: _checked_backbone(head, arrays, key))
    except FileNotFoundError as error:  # The store has the run but not its file: the run must be repeated.
        raise _damaged(path, kind, key, error) from None


def _from_file(
    path: Path,
    kind: Artefact,
    key: str,
    checked: Callable[[Mapping[str, Any], Mapping[str, NDArray[Any]]], T],
) -> T:
    """Read an artefact's file and return what `checked` makes of its head and arrays.

    Raises:
        DamagedArtefact: If the file cannot be read, or `checked` raises `Unfit`.
        FileNotFoundError: If the file does not exist.
    """
    try:
        return checked(*read_archive(path, sealed_from=2))
    except FileNotFoundError:
        raise
    except (OSError, Unfit) as error:
        raise _damaged(path, kind, key, error) from None


def _damaged(path: Path, kind: Artefact, key: str, why: object) -> DamagedArtefact:
    return DamagedArtefact(f"{kind} {path} is damaged ({why})", kind, key)


def _is_known(head: Mapping[str, Any], *names: str) -> bool:
    """Return whether a head has a format that this version can read.

    Raises:
        Unfit: If the head has other entries than `names` and those that every head has.
    """
    only(head, ("format", *names, *(("arrays", "digest") if "digest" in head else ())), "its head")
    return whole(head["format"], "format") in (1, FORMAT)


def _checked_mask(head: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], spec: MaskSpec) -> BasisMask:
    """Return the mask that an archive holds.

    Raises:
        Unfit: If the archive holds another mask, or something that is not a valid mask.
    """
    if not _is_known(head, "spec", "about"):
        raise Unfit("another format")
    check_plain(mapping(head["about"], "about"), "about")
    if head["spec"] != json.loads(json.dumps(spec.to_json())):
        raise Unfit("its spec does not match its name")
    counts = {name: sum(member.rstrip("0123456789") == name for member in arrays) for name in PARTS}
    only(arrays, [f"{name}{i}" for name in PARTS for i in range(counts[name])], "it")
    parts = {name: tuple(arrays[f"{name}{i}"] for i in range(counts[name])) for name in PARTS}
    factor = np.int8 if spec.mask_values == "signed" else np.float32
    for name, kind in (("bits", np.uint8), ("values", factor), ("statistics", np.float32)):
        for i, array in enumerate(parts[name]):
            if array.dtype != kind or array.ndim != 1 or not np.isfinite(array).all():
                raise Unfit(f"{name}{i} is not a vector of finite {np.dtype(kind)}")
    ones = [int(np.unpackbits(bits).sum()) for bits in parts["bits"]]
    if [len(values) for values in parts["values"]] != (ones if spec.mask_values != "binary" else []):
        raise Unfit("it does not have one value per selected weight")
    return BasisMask(**parts, about=head["about"])


def _checked_backbone(head: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], key: str) -> Pretrained:
    """Return the backbone that an archive holds.

    Raises:
        Unfit: If the archive belongs to another run, or holds something that is not a valid backbone.
    """
    if not _is_known(head, "key", "seconds", "epochs", "updates", "names") or head["key"] != key:
        raise Unfit("another format or another run")
    names = head["names"]
    if type(names) is not list or not all(type(name) is str for name in names):
        raise Unfit("its tensor names are not strings")
    if len(set(names)) < len(names):
        raise Unfit("a tensor name occurs twice")
    only(arrays, [f"t{i}" for i in range(len(names))], "it")
    tensors = {name: torch.from_numpy(arrays[f"t{i}"]) for i, name in enumerate(names)}
    epochs, updates = whole(head["epochs"], "epochs"), whole(head["updates"], "updates")
    return Pretrained(tensors, number(head["seconds"], "seconds", 1e11), epochs, updates)

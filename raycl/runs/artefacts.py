"""Files of what a run leaves: a basis mask, or a network after the first task."""

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

FORMAT = 2  # of both kinds of files; the first has no digest
PARTS = ("bits", "values", "statistics")  # of a `BasisMask`, an array a layer each

T = TypeVar("T")


def basis_of(specs: Sequence[MaskSpec], net: Network, find: Callable[[str], Path]) -> list[BasisMask]:
    """The masks that these specs mean: drawn, or read from the files that `find` names by key.

    Raises:
        DamagedArtefact: a file is torn or is not what its name says; its `key` says which.
        FileNotFoundError: a mask is not there.
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
    """A mask as a file: an .npz archive with its spec beside the bits, and the digest of all of it."""
    arrays = {f"{name}{i}": array for name in PARTS for i, array in enumerate(getattr(mask, name))}
    return archive({"format": FORMAT, "spec": spec.to_json(), "about": dict(mask.about)}, arrays)


def mask_from_file(path: Path, spec: MaskSpec, sizes: Sequence[int] | None = None) -> BasisMask:
    """A mask from its file.

    Args:
        sizes: weights of each layer of the backbone it is wanted for.

    Raises:
        DamagedArtefact: the file is truncated or garbled, was changed, or is of another mask or backbone.
        FileNotFoundError: there is none.
    """
    kind = Artefact.MASK
    mask = _from_file(path, kind, spec.key, lambda head, arrays: _checked_mask(head, arrays, spec))
    if sizes is None:
        return mask
    if [(n + 7) // 8 for n in sizes] != [len(layer) for layer in mask.bits]:
        layers = f"{len(mask.bits)} layers, wanted {list(sizes)}"
        raise DamagedArtefact(f"mask {path} is of another backbone: {layers}", kind, spec.key)
    if any(np.unpackbits(bits)[n:].any() for bits, n in zip(mask.bits, sizes, strict=True)):
        raise _damaged(path, kind, spec.key, "a layer has more ones than weights")
    return mask


def backbone_to_bytes(found: Pretrained, key: str) -> bytes:
    """A backbone as a file: an .npz archive with the key of its run, and the digest of all of it."""
    head = {"format": FORMAT, "key": key, "seconds": found.seconds, "epochs": found.epochs,
            "updates": found.updates, "names": list(found.tensors)}  # fmt: skip
    return archive(head, {f"t{i}": tensor.numpy() for i, tensor in enumerate(found.tensors.values())})


def backbone_from_file(path: Path, key: str) -> Pretrained:
    """A backbone from its file.

    Raises:
        DamagedArtefact: the file is not there, is truncated or garbled, was changed, or is of another run.
    """
    kind = Artefact.BACKBONE
    try:
        return _from_file(path, kind, key, lambda head, arrays: _checked_backbone(head, arrays, key))
    except FileNotFoundError as error:  # its run, which is in the store, must be played again
        raise _damaged(path, kind, key, error) from None


def _from_file(
    path: Path,
    kind: Artefact,
    key: str,
    checked: Callable[[Mapping[str, Any], Mapping[str, NDArray[Any]]], T],
) -> T:
    """What `checked` makes of the head and the arrays of an artefact's file.

    Raises:
        DamagedArtefact: it cannot be read, or `checked` says `Unfit`.
        FileNotFoundError: there is none.
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
    """Whether a head is of a format that can be read.

    Raises:
        Unfit: it has other names than these and those of every head.
    """
    only(head, ("format", *names, *(("arrays", "digest") if "digest" in head else ())), "its head")
    return whole(head["format"], "format") in (1, FORMAT)


def _checked_mask(head: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], spec: MaskSpec) -> BasisMask:
    """The mask that an archive holds.

    Raises:
        Unfit: it is another, or holds what no mask does.
    """
    if not _is_known(head, "spec", "about"):
        raise Unfit("another format")
    check_plain(mapping(head["about"], "about"), "about")
    if head["spec"] != json.loads(json.dumps(spec.to_json())):
        raise Unfit("it is not the one that its name says")
    counts = {name: sum(member.rstrip("0123456789") == name for member in arrays) for name in PARTS}
    only(arrays, [f"{name}{i}" for name in PARTS for i in range(counts[name])], "it")
    parts = {name: tuple(arrays[f"{name}{i}"] for i in range(counts[name])) for name in PARTS}
    factor = np.int8 if spec.mask_values == "signed" else np.float32
    for name, kind in (("bits", np.uint8), ("values", factor), ("statistics", np.float32)):
        for i, array in enumerate(parts[name]):
            if array.dtype != kind or array.ndim != 1 or not np.isfinite(array).all():
                raise Unfit(f"{name}{i} is no vector of finite {np.dtype(kind)}")
    ones = [int(np.unpackbits(bits).sum()) for bits in parts["bits"]]
    if [len(values) for values in parts["values"]] != (ones if spec.mask_values != "binary" else []):
        raise Unfit("its values are not as many as its ones")
    return BasisMask(**parts, about=head["about"])


def _checked_backbone(head: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], key: str) -> Pretrained:
    """The backbone that an archive holds.

    Raises:
        Unfit: it is of another run, or holds what no backbone does.
    """
    if not _is_known(head, "key", "seconds", "epochs", "updates", "names") or head["key"] != key:
        raise Unfit("another format or another run")
    called = head["names"]
    if type(called) is not list or not all(type(name) is str for name in called):
        raise Unfit("its names are no texts")
    if len(set(called)) < len(called):
        raise Unfit("a name stands there twice")
    only(arrays, [f"t{i}" for i in range(len(called))], "it")
    tensors = {name: torch.from_numpy(arrays[f"t{i}"]) for i, name in enumerate(called)}
    epochs, updates = whole(head["epochs"], "epochs"), whole(head["updates"], "updates")
    return Pretrained(tensors, number(head["seconds"], "seconds", 1e11), epochs, updates)

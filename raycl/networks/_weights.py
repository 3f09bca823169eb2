"""Pretrained weights, read from a file that the user provides; nothing is downloaded."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

# torchvision's ResNet50_Weights.IMAGENET1K_V1 (76.1 % on ImageNet). The file name ends with the first digits
# of the file's SHA-256.
RESNET50 = "resnet50-0676ba61.pth"
RESNET50_CLASSES = 1000
_FETCH = """python -c "import torchvision; torchvision.models.resnet50(weights='IMAGENET1K_V1')\""""


def resnet50_file() -> Path:
    """Return the path where torchvision stores the pretrained ResNet-50.

    Raises:
        ValueError: If there is no such file.
    """
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    if not (folder / RESNET50).is_file():
        raise ValueError(
            f"weights = 'imagenet' needs the file {RESNET50}, which is not in {folder}; "
            f"on a machine with internet access run {_FETCH} and copy the file from there"
        )
    return folder / RESNET50


def resnet50_tensors(stages: Sequence[int]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return the pretrained tensors of the body and of the head.

    Args:
        stages: Number of blocks in each stage.

    Returns:
        The body's tensors by their names in `resnet50`, and `weight` [1000, 2048] and `bias` [1000] of the
        head.

    Raises:
        ValueError: If the file is missing or is not the published one.
    """
    path = resnet50_file()
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    wanted = path.stem.rpartition("-")[2]
    if not found.startswith(wanted):
        raise ValueError(
            f"weights = 'imagenet': {path} is damaged: its SHA-256 begins with {found[: len(wanted)]}, "
            f"not {wanted}; delete it, run {_FETCH} on a machine with internet access and copy the file from "
            "there"
        )
    theirs = torch.load(path, map_location="cpu", weights_only=True)
    places = dict(_places(stages))
    body, head = {}, {}
    for name, tensor in theirs.items():
        layer, _, last = name.rpartition(".")
        if layer == "fc":
            head[last] = tensor
        else:
            body[f"{places[layer]}.{last}"] = tensor
    return body, head


def _places(stages: Sequence[int]) -> Iterator[tuple[str, str]]:
    """Yield (name of a layer in torchvision, name of the layer in the body of `resnet50`)."""
    yield from (("conv1", "stem.0"), ("bn1", "stem.1"))
    place = 0
    for stage, blocks in enumerate(stages, 1):
        for block in range(blocks):
            theirs, ours = f"layer{stage}.{block}", f"stages.{place}"
            for i in (1, 2, 3):
                yield f"{theirs}.conv{i}", f"{ours}.conv{i}"
                yield f"{theirs}.bn{i}", f"{ours}.norm{i}"
            yield f"{theirs}.downsample.0", f"{ours}.shortcut"
            yield f"{theirs}.downsample.1", f"{ours}.norm4"
            place += 1

"""The size of a model of several tasks by method, as KSM's Table 2 counts it.

No runs are needed. Weights are float32, and the paper's MB are MiB. Everything is counted on the network
itself. Batch normalisation has four numbers per channel: scale, shift, running mean and running variance.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import nn

from raycl import calls, registry
from raycl.errors import UserError
from raycl.papers.printed import Printed, printed
from raycl.space import make_config
from raycl.study.values import Sheet

FLOAT, OF_A_NORM = 4, 4  # Bytes of a float32, and numbers per channel of a batch normalisation.
MIB = 2**20

RESNET50, VGG16 = "resnet50(norm='affine')", "vgg16_bn"
SKETCH = (1000, 200, 196, 102, 195, 250)  # Classes of ImageNet, CUBS, Cars, Flowers, WikiArt and Sketch.
_INPUTS = {RESNET50: (3, 224, 224), VGG16: (3, 32, 32)}


@dataclass(frozen=True)
class Size:
    """The counts on which the size of a model depends.

    Attributes:
        convolved: The number of weights of convolutions.
        kernels: The number of pairs of channels in the convolutions, each of which has one kernel.
        linear: The number of weights of hidden linear layers, where a kernel is a single weight.
        biases: The number of biases of convolutions and linear layers.
        channels: The number of channels of all batch normalisations together.
        heads: The number of parameters of each task's head.
    """

    convolved: int
    kernels: int
    linear: int
    biases: int
    channels: int
    heads: tuple[int, ...]

    @property
    def tasks(self) -> int:
        """The number of tasks."""
        return len(self.heads)

    @property
    def weights(self) -> int:
        """The number of entries of a mask with one value per weight, and of PackNet's table of owners."""
        return self.convolved + self.linear

    @property
    def kernelwise(self) -> int:
        """The number of entries of a mask with one value per kernel."""
        return self.kernels + self.linear

    @property
    def norms(self) -> int:
        """The bytes of one set of batch normalisations."""
        return FLOAT * OF_A_NORM * self.channels

    @property
    def shared(self) -> int:
        """The bytes of the network, its batch normalisations, and the heads of all tasks."""
        return FLOAT * (self.weights + self.biases + sum(self.heads)) + self.norms


@functools.cache
def size_of(network: str, classes: tuple[int, ...] = SKETCH) -> Size:
    """Count the parameters of `RESNET50` or `VGG16`, or of one of them with other settings.

    Raises:
        UserError: If there is no such network.
        ValueError: If its batch normalisations are not shared by all tasks, or it does not have one head per
            task.
    """
    kind, ref = registry.network(network), calls.parse(network, "network")
    config = make_config(kind.Config, ref.settings(kind.Config, network), network)
    inputs = next((shape for text, shape in _INPUTS.items() if calls.parse(text, "").name == ref.name), None)
    if inputs is None:
        raise UserError(f"the size of {network!r} cannot be counted (known: {', '.join(_INPUTS)})")
    with torch.device("meta"):
        net = kind.variant(config)(inputs, classes, config)
    convs = [m for m in net.body.modules() if isinstance(m, nn.Conv2d)]
    hidden = [m for m in net.body.modules() if isinstance(m, nn.Linear)]
    norms = [m for m in net.body.modules() if isinstance(m, nn.BatchNorm2d)]
    if len(net.heads) != len(classes) or not all(norm.affine for norm in norms):
        raise ValueError(f"{network} is not one shared network with a head per task; give it norm='affine'")
    convolved = sum(conv.weight.numel() for conv in convs)
    linear = sum(layer.weight.numel() for layer in hidden)
    channels = sum(norm.num_features for norm in norms)
    learnt = sum(p.numel() for p in net.body.parameters())
    return Size(
        convolved=convolved,
        kernels=sum(math.prod(conv.weight.shape[:2]) for conv in convs),
        linear=linear,
        biases=learnt - convolved - linear - 2 * channels,
        channels=channels,
        heads=tuple(sum(p.numel() for p in head.parameters()) for head in net.heads),
    )


def finetune(size: Size) -> int:
    """Return the bytes of one network per task, each with batch normalisations and a head."""
    body = FLOAT * (size.weights + size.biases) + size.norms
    return size.tasks * body + FLOAT * sum(size.heads)


def piggyback(size: Size, norms: bool = True) -> int:
    """Return the bytes of the first task's network and of one bit per weight for each later task.

    Args:
        size: The counts of the model.
        norms: Whether later tasks have batch normalisations of their own.
    """
    return _masked(size, size.weights, 0.0, norms)


def ksm(size: Size, soft: float, norms: bool = True) -> int:
    """Return the bytes as `piggyback` does, but with one bit per kernel and a float per soft kernel.

    Args:
        size: The counts of the model.
        soft: The share of kernels that have a float.
        norms: Whether later tasks have batch normalisations of their own.

    Raises:
        ValueError: If the share lies outside 0..1.
    """
    if not 0 <= soft <= 1:
        raise ValueError(f"soft = {soft:g} is the share of kernels with a factor, and must lie in 0..1")
    return _masked(size, size.kernelwise, soft, norms)


def packnet(size: Size, norms: bool = True) -> int:
    """Return the bytes of the network with an owner for each weight.

    An owner takes as few bits as are needed to distinguish all tasks and "no task".
    """
    owner = math.ceil(math.log2(size.tasks + 1))
    return size.shared + _bytes(owner * size.weights) + (size.tasks - 1) * norms * size.norms


def soft_share(size: Size, total: float, norms: bool = True) -> float:
    """Return the share of soft kernels for which `ksm` gives `total` bytes (the inverse of `ksm`)."""
    floats = (size.tasks - 1) * FLOAT * size.kernelwise
    return (total - ksm(size, 0.0, norms)) / floats


def _masked(size: Size, entries: int, soft: float, norms: bool) -> int:
    mask = _bytes(entries) + round(FLOAT * soft * entries)
    return size.shared + (size.tasks - 1) * (mask + norms * size.norms)


def _bytes(bits: int) -> int:
    return -(-bits // 8)


# Numbers that claims refer to

MODELS: Mapping[str, Callable[[Size], int]] = {kind.__name__: kind for kind in (finetune, piggyback, packnet)}


def account(name: str, metric: str) -> float | None:
    """Return the number that a claim calls ``storage(...)``, or None if there is none of that name.

    Args:
        name: A model of `MODELS`, which has the metric `bytes_total` in bytes; or the mask of a network's
            convolutions, such as "vgg16 conv element" or "resnet50 conv kernel", which has the metric
            `params` (its number of entries).
        metric: The name of the metric.
    """
    if metric == "bytes_total" and name in MODELS:
        return MODELS[name](size_of(RESNET50))
    network, _, mask = name.partition(" ")
    text = {"vgg16": VGG16, "resnet50": RESNET50}.get(network)
    if metric != "params" or text is None:
        return None
    if mask == "conv element":
        return size_of(text).convolved
    return size_of(text).kernels if mask == "conv kernel" else None


# The sheet


def table_2_sizes() -> Sheet:
    """Return the recomputed sizes of KSM's Table 2 together with the printed ones."""
    size, total = size_of(RESNET50), _printed(ksm.__name__)
    assert total is not None
    share = soft_share(size, total.value)
    label = {kind: kind.__name__ for kind in (finetune, piggyback, packnet, ksm)}
    rows = [
        [label[finetune], _mib(finetune(size)), _text("copies[start=first]")],
        [label[piggyback], _mib(piggyback(size)), _text(label[piggyback])],
        ["  without BN per task", _mib(piggyback(size, norms=False)), "-"],
        [label[packnet], _mib(packnet(size)), _text(label[packnet])],
        [f"{label[ksm]}, {share:.3f} of the kernels soft", _mib(ksm(size, share)), total.text],
    ]
    bare = soft_share(size, total.value, norms=False)
    return Sheet(
        title="Table 2: model sizes in MiB, counted on ResNet-50",
        header=["", "recomputed", "printed"],
        rows=rows,
        notes=[
            f"{size.tasks} tasks; {size.convolved:,} weights in {size.kernels:,} kernels, {size.channels:,} "
            "normalised channels; printed as MB",
            "finetune: a network per task; piggyback: a bit per weight; packnet: "
            f"{math.ceil(math.log2(size.tasks + 1))} bits for each weight's owner; all with batch "
            "normalisations (BN) of every task",
            "ksm: a bit per kernel and a float for each soft one, whose share is what the printed size "
            f"implies; without BN per task it is {bare:.3f}",
            f"a kernel has {size.convolved / size.kernels:.2f} weights here, and "
            f"{_per_kernel():.0f} in the 3x3 layers of VGG-16",
            "the paper's 121 of CPG is the budget of piggyback, and is not derived",
        ],
    )


def _per_kernel() -> float:
    vgg = size_of(VGG16)
    return vgg.convolved / vgg.kernels


def _printed(method: str) -> Printed | None:
    """Return the size that Table 2 prints. The paper has the same name as its method."""
    return printed(ksm.__name__, "2", "imagenet_to_sketch", method, "bytes_total")


def _text(method: str) -> str:
    found = _printed(method)
    return found.text if found else "-"


def _mib(size: int) -> str:
    return f"{size / MIB:.2f}"

"""What a task costs to keep: K shared masks and K d coefficients against a mask of its own.

ImpressLearn, Table 2 and its formula; 1 kB is 1024 bytes. The table leaves out what `corrected`,
`break_even`, `total_bytes` and `unaddressable` say: nobody learns 784! tasks, a plain bitmap takes half of
the paper's two bits per weight, a 16-bit index does not reach every weight, and each task has batch
statistics of its own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Literal, TypeAlias

from raycl.errors import UserError

Coding: TypeAlias = Literal["idx16", "idx32", "bitmap", "entropy"]

KB = 1024
BN_BYTES = 8  # running mean and variance of a channel, float32
SEED_BYTES = 8  # all that is kept of the backbone


@dataclass(frozen=True)
class Storage:
    """Cost of one task, in kB.

    Attributes:
        mask_kb: a mask of its own.
        alphas: coefficients, K times layers.
        basis_kb: its share of the K masks.
        alpha_kb: its coefficients.
        bn_kb: its batch statistics, 0 unless counted. A task with a mask of its own pays them as well.
    """

    mask_kb: float
    alphas: int
    basis_kb: float
    alpha_kb: float
    bn_kb: float = 0.0

    @property
    def phi_kb(self) -> float:
        """Phi: all that a task costs."""
        return self.basis_kb + self.alpha_kb + self.bn_kb

    @property
    def compression(self) -> float:
        """C: a mask of its own against that."""
        return (self.mask_kb + self.bn_kb) / self.phi_kb


def bits_per_weight(density: float, coding: Coding) -> float:
    """Bits that a mask of this density (share of ones) takes per weight.

    `idx16`, `idx32`: an index per kept weight; `bitmap`: one bit; `entropy`: the least any code can take.

    Raises:
        UserError: the density lies outside 0..1, or the coding is unknown.
    """
    if not 0 <= density <= 1:
        raise UserError(f"density = {density} of a mask lies outside 0..1")
    if coding in ("idx16", "idx32"):
        return density * int(coding.removeprefix("idx"))
    if coding == "bitmap":
        return 1.0
    if coding == "entropy":
        return -sum(p * math.log2(p) for p in (density, 1 - density) if p > 0)
    raise UserError(f"coding = {coding!r} of a mask is none of 'idx16', 'idx32', 'bitmap', 'entropy'")


def storage(
    P: int,
    K: int,
    layers: int,
    T: float,
    *,
    density: float,
    coding: Coding = "idx16",
    alpha_bits: int = 32,
    bn_channels: int = 0,
    count_bn: bool = False,
) -> Storage:
    """The formula of Table 2.

    Args:
        P: weights of the network.
        K: masks of the basis.
        T: tasks that share the basis; may be as large as 784!, for which a task's share of it is 0.
        density: share of ones.
        bn_channels: channels that are normalised, all layers together.
        count_bn: count their running statistics.

    Raises:
        UserError: a count is below 1.
    """
    for name, value in (("P", P), ("K", K), ("layers", layers), ("T", T)):
        if value < 1:
            raise UserError(f"{name} = {value} of a storage account must be at least 1")
    mask_kb = P * bits_per_weight(density, coding) / 8 / KB
    beyond_floats = isinstance(T, int) and T.bit_length() > 1000
    return Storage(
        mask_kb,
        K * layers,
        0.0 if beyond_floats else K * mask_kb / T,
        K * layers * alpha_bits / 8 / KB,
        bn_channels * BN_BYTES / KB if count_bn else 0.0,
    )


def break_even(account: Storage, K: int) -> float:
    """Tasks from which on a basis of K masks is cheaper than a mask each; infinite where it never is.

    K mask / (mask - alpha): about K, for batch statistics are the same on both sides.
    """
    saved = account.mask_kb - account.alpha_kb
    return K * account.mask_kb / saved if saved > 0 else math.inf


def total_bytes(account: Storage, K: int, T: int, *, basis_tasks: int | None = None) -> float:
    """Everything that T tasks keep: basis, coefficients, batch statistics, the backbone's seed.

    Args:
        basis_tasks: tasks with a mask in the basis, which need no coefficients: K (all) by default; 1 for a
            homogeneous basis, 0 for a random one.
    """
    without = min(K if basis_tasks is None else basis_tasks, T)
    return KB * (K * account.mask_kb + (T - without) * account.alpha_kb + T * account.bn_kb) + SEED_BYTES


def total_bytes_own(account: Storage, T: int) -> float:
    """The same for a mask per task."""
    return KB * T * (account.mask_kb + account.bn_kb) + SEED_BYTES


def unaddressable(sizes: Sequence[int], coding: Coding) -> list[int]:
    """Sizes of the layers that are too large for the index, counted within the layer."""
    if coding not in ("idx16", "idx32"):
        return []
    return [n for n in sizes if n > 2 ** int(coding.removeprefix("idx"))]


@dataclass(frozen=True)
class StorageRow:
    """A row of Table 2: what it is computed from, and what is printed.

    Attributes:
        printed: by name of the quantity, as text, so that the number of digits is known.
        masks: K as printed.
        bn_channels: None where the network of the paper is not known so well.
        wrong: why the printed numbers cannot be right, or "".
    """

    name: str
    dataset: str
    network: str
    weights: int
    masks: int
    layers: int
    tasks: int
    printed: Mapping[str, str]
    bn_channels: int | None = None
    wrong: str = ""

    def account(
        self,
        *,
        coding: Coding = "idx16",
        tasks: int | None = None,
        masks: int | None = None,
        count_bn: bool = False,
    ) -> Storage:
        """The row computed; other arguments than the paper's correct it.

        Raises:
            UserError: batch statistics are to be counted, of a network whose channels are not known.
        """
        if count_bn and self.bn_channels is None:
            raise UserError(f"row {self.name} of Table 2 names no network whose channels could be counted")
        return storage(
            self.weights,
            masks or self.masks,
            self.layers,
            tasks or self.tasks,
            density=DENSITY,
            coding=coding,
            bn_channels=self.bn_channels or 0,
            count_bn=count_bn,
        )


@dataclass(frozen=True)
class StorageCell:
    """A printed number beside the computed one."""

    row: str
    quantity: str
    printed: str
    computed: float

    @property
    def agrees(self) -> bool:
        """Within one unit of the last printed digit: the paper truncates some numbers and rounds others."""
        exponent = Decimal(self.printed).as_tuple().exponent
        assert isinstance(exponent, int)
        return abs(Decimal(str(self.computed)) - Decimal(self.printed)) <= Decimal(1).scaleb(exponent)


def check(row: StorageRow, masks: int | None = None) -> list[StorageCell]:
    """Every printed number of a row; with `masks` computed from another K than the printed one."""
    account = row.account(masks=masks)
    return [StorageCell(row.name, name, text, getattr(account, name)) for name, text in row.printed.items()]


def corrected(row: StorageRow, tasks: int) -> dict[str, Storage]:
    """The row for a number of tasks that somebody learns, under each coding and with batch statistics."""
    codings: tuple[Coding, ...] = ("idx16", "idx32", "bitmap", "entropy")
    found = {f"{coding}": row.account(coding=coding, tasks=tasks) for coding in codings}
    if row.bn_channels is not None:
        bn_kb = row.bn_channels * BN_BYTES / KB
        found |= {f"{name}+bn": replace(account, bn_kb=bn_kb) for name, account in found.items()}
    return found


def _printed(mask: str, alphas: str, phi: str, compression: str) -> Mapping[str, str]:
    return {"mask_kb": mask, "alphas": alphas, "phi_kb": phi, "compression": compression}


DENSITY = 0.125  # of Table 2
_CIFAR, _IMAGENET = 20, 2100  # tasks the paper divides by
_LENET, _RESNET18 = "LeNet-300-100", "ResNet-18"

TABLE_2: tuple[StorageRow, ...] = (
    StorageRow("PermMNIST", "PermutedMNIST", _LENET, 266_000, 100, 3, math.factorial(784),
        _printed("64.9", "300", "1.17", "55.5"), 0),
    StorageRow("RotMNIST", "RotatedMNIST", _LENET, 266_000, 5, 3, 359,
        _printed("64.9", "15", "0.96", "67.4"), 0),
    StorageRow("SplitCIFAR100", "SplitCIFAR100", _RESNET18, 6_200_000, 10, 21, _CIFAR,
        _printed("1513", "210", "757.6", "1.99"), 3_600),
    StorageRow("WideResNet-18", "SplitCIFAR100", "WideResNet-18", 11_700_000, 10, 21, _CIFAR,
        _printed("2856", "210", "1429", "1.99")),
    StorageRow("WideResNet-34", "SplitCIFAR100", "WideResNet-34", 21_800_000, 10, 37, _CIFAR,
        _printed("5322", "370", "2662", "1.99")),
    StorageRow("ResNet-50", "ImageNet", "ResNet-50", 25_600_000, 75, 53, _IMAGENET,
        _printed("6250", "3975", "238.7", "26.2"), 26_560),
    StorageRow("ResNet-101", "ImageNet", "ResNet-101", 44_500_000, 75, 104, _IMAGENET,
        _printed("10864", "7800", "418.47", "25.9")),
    StorageRow("ResNet-152", "ImageNet", "ResNet-152", 60_200_000, 75, 155, _IMAGENET,
        _printed("14697", "11625", "570.31", "25.7")),
    StorageRow("pre-ResNet-200", "ImageNet", "pre-ResNet-200", 64_700_000, 100, 203, _IMAGENET,
        _printed("15795", "15225", "623.6", "25.3"),
        wrong="100 masks are printed, but its other numbers are those of 75"),
    StorageRow("VGG-16", "ImageNet", "VGG-16", 137_900_000, 75, 16, _IMAGENET,
        _printed("33667", "1200", "1207", "27.89"), 0),
    StorageRow("WRN-50-2", "ImageNet", "WRN-50-2-bottleneck", 68_900_000, 75, 53, _IMAGENET,
        _printed("16821", "3975", "616.28", "27.2")),
)  # fmt: skip  # two lines for each row of the paper's table

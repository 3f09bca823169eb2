"""The storage cost of one task: K shared masks with K d coefficients, compared with a mask of its own.

The module computes ImpressLearn's Table 2 from its formula; 1 kB is 1024 bytes. The table leaves out four
facts, which `corrected`, `break_even`, `total_bytes` and `unaddressable` account for: nobody learns 784!
tasks, a plain bitmap takes half of the paper's two bits per weight, a 16-bit index cannot address every
weight, and each task has batch statistics of its own.
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
BN_BYTES = 8  # The running mean and variance of one channel are two float32 numbers.
SEED_BYTES = 8  # The backbone is rebuilt from its seed, so only the seed is stored.


@dataclass(frozen=True)
class Storage:
    """Storage cost of one task, in kB.

    Attributes:
        mask_kb: The size of a mask that belongs to this task alone.
        alphas: The number of coefficients, which is K times the number of layers.
        basis_kb: The task's share of the K masks.
        alpha_kb: The size of the task's coefficients.
        bn_kb: The size of the task's batch statistics, or 0 if they are not counted. A task with a mask of
            its own needs them as well.
    """

    mask_kb: float
    alphas: int
    basis_kb: float
    alpha_kb: float
    bn_kb: float = 0.0

    @property
    def phi_kb(self) -> float:
        """Phi, the total cost of a task."""
        return self.basis_kb + self.alpha_kb + self.bn_kb

    @property
    def compression(self) -> float:
        """C, the cost of a task with a mask of its own divided by `phi_kb`."""
        return (self.mask_kb + self.bn_kb) / self.phi_kb


def bits_per_weight(density: float, coding: Coding) -> float:
    """Return the number of bits per weight that a mask takes.

    Args:
        density: The share of ones in the mask.
        coding: `idx16` and `idx32` store an index for each kept weight, `bitmap` stores one bit for each
            weight, and `entropy` is the lower bound of all codes.

    Raises:
        UserError: If the density lies outside 0..1, or the coding is unknown.
    """
    if not 0 <= density <= 1:
        raise UserError(f"density = {density} of a mask must lie in 0..1")
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
    """Compute the storage cost of one task by the formula of Table 2.

    Args:
        P: The number of weights of the network.
        K: The number of masks in the basis.
        layers: The number of layers.
        T: The number of tasks that share the basis. It may be as large as 784!, for which a task's share of
            the basis is 0.
        density: The share of ones in a mask.
        coding: How a mask is stored; see `bits_per_weight`.
        alpha_bits: The number of bits of one coefficient.
        bn_channels: The number of normalised channels of all layers together.
        count_bn: Whether to count the running statistics of these channels.

    Raises:
        UserError: If a count is below 1.
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
    """Return the number of tasks from which on a basis of K masks is cheaper than one mask per task.

    The formula is K mask / (mask - alpha), which is about K; batch statistics are the same on both sides and
    cancel. The result is infinite where the basis is never cheaper.
    """
    saved = account.mask_kb - account.alpha_kb
    return K * account.mask_kb / saved if saved > 0 else math.inf


def total_bytes(account: Storage, K: int, T: int, *, basis_tasks: int | None = None) -> float:
    """Return the bytes that T tasks store: basis, coefficients, batch statistics and the backbone's seed.

    Args:
        account: The cost of one task.
        K: The number of masks in the basis.
        T: The number of tasks.
        basis_tasks: The number of tasks that have a mask in the basis and need no coefficients. The default
            is K; pass 1 for a homogeneous basis and 0 for a random one.
    """
    without = min(K if basis_tasks is None else basis_tasks, T)
    return KB * (K * account.mask_kb + (T - without) * account.alpha_kb + T * account.bn_kb) + SEED_BYTES


def total_bytes_own(account: Storage, T: int) -> float:
    """Return the bytes that T tasks store if each has a mask of its own."""
    return KB * T * (account.mask_kb + account.bn_kb) + SEED_BYTES


def unaddressable(sizes: Sequence[int], coding: Coding) -> list[int]:
    """Return the sizes of the layers whose weights the coding's index cannot address within the layer."""
    if coding not in ("idx16", "idx32"):
        return []
    return [n for n in sizes if n > 2 ** int(coding.removeprefix("idx"))]


@dataclass(frozen=True)
class StorageRow:
    """A row of Table 2: the quantities from which it is computed, and the printed numbers.

    Attributes:
        name: The name of the row.
        dataset: The data set.
        network: The network.
        weights: P, the number of weights.
        masks: K as printed.
        layers: The number of layers.
        tasks: T, the number of tasks.
        printed: The printed number by name of the quantity. The numbers are strings, so that the number of
            printed digits is known.
        bn_channels: The number of normalised channels, or None where the paper does not describe its network
            in enough detail to count them.
        wrong: The reason why the printed numbers cannot be right, or "".
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
        """Compute the row; arguments that differ from the paper's give a corrected row.

        Raises:
            UserError: If `count_bn` is set and the number of channels of the network is unknown.
        """
        if count_bn and self.bn_channels is None:
            raise UserError(f"row {self.name} of Table 2 does not name a network with a known channel count")
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
    """A printed number of Table 2 together with the computed one."""

    row: str
    quantity: str
    printed: str
    computed: float

    @property
    def agrees(self) -> bool:
        """Whether both numbers agree within one unit of the last printed digit.

        The tolerance is a whole unit because the paper truncates some numbers and rounds others.
        """
        exponent = Decimal(self.printed).as_tuple().exponent
        assert isinstance(exponent, int)
        return abs(Decimal(str(self.computed)) - Decimal(self.printed)) <= Decimal(1).scaleb(exponent)


def check(row: StorageRow, masks: int | None = None) -> list[StorageCell]:
    """Compare every printed number of a row with the computed one.

    Args:
        row: The row of Table 2.
        masks: The K to compute with, if it differs from the printed K.
    """
    account = row.account(masks=masks)
    return [StorageCell(row.name, name, text, getattr(account, name)) for name, text in row.printed.items()]


def corrected(row: StorageRow, tasks: int) -> dict[str, Storage]:
    """Compute the row for a realistic number of tasks, under each coding.

    Where the channels of the network are known, each coding is computed with batch statistics as well.
    """
    codings: tuple[Coding, ...] = ("idx16", "idx32", "bitmap", "entropy")
    found = {f"{coding}": row.account(coding=coding, tasks=tasks) for coding in codings}
    if row.bn_channels is not None:
        bn_kb = row.bn_channels * BN_BYTES / KB
        found |= {f"{name}+bn": replace(account, bn_kb=bn_kb) for name, account in found.items()}
    return found


def _printed(mask: str, alphas: str, phi: str, compression: str) -> Mapping[str, str]:
    return {"mask_kb": mask, "alphas": alphas, "phi_kb": phi, "compression": compression}


DENSITY = 0.125  # Every mask of Table 2 has this density.
_CIFAR, _IMAGENET = 20, 2100  # The numbers of tasks by which the paper divides.
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

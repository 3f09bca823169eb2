"""Figure 9: random and homogeneous bases on Split CIFAR-100. It shares runs with Figure 4.

The small form shows only that the code works: its numbers have no meaning.
"""

from .common import CIFAR, CIFAR_MASKS, DENSITIES, RESNET, bases, boxes, own

SIZES = (5, 10, 15, 25, 50, 75)
SHORT = {"method.basis_epochs": 2}

STUDY = RESNET.full.with_(
    methods=bases({"random": SIZES, "hom": SIZES}, DENSITIES.full) | own(DENSITIES.full, keys=CIFAR_MASKS),
    benchmarks=[CIFAR.new_tasks],
    views=boxes("Split CIFAR-100, random and homogeneous bases"),
)
SMALL = RESNET.small.with_(
    methods=bases({"random": (3, 5), "hom": (3, 5)}, (0.15,), SHORT) | own((0.15,), keys=CIFAR_MASKS | SHORT),
    benchmarks=[CIFAR.new_tasks],
    views=boxes("Split CIFAR-100, random and homogeneous bases (path only)"),
)

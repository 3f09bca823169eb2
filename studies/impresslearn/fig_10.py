"""Figure 10: hybrid against plain ImpressLearn on Split CIFAR-100; the desk form plays rotated MNIST.

A hybrid trains a mask of its own for the last layer, beside the coefficients of the others.
"""

from .common import CIFAR, DENSITIES, PAPER, RESNET, ROTATED, Methods, bases, boxes


def methods(grid: dict[str, tuple[int, ...]], densities: tuple[float, ...]) -> Methods:
    """Every basis, plain and hybrid."""
    hybrid = bases(grid, densities, {"method.hybrid": True})
    return bases(grid, densities) | {f"hybrid-{label}": keys for label, keys in hybrid.items()}


STUDY = RESNET.full.with_(
    methods=methods({"het": (3, 5, 7, 10, 12, 15), "hom": (3, 5, 10, 15, 25, 50, 75)}, DENSITIES.full),
    benchmarks=[CIFAR.new_tasks],
    views=boxes("Split CIFAR-100, plain and hybrid"),
)
SMALL = PAPER.small.with_(
    methods=methods({"het": (5, 10), "hom": (5, 10)}, DENSITIES.small),
    benchmarks=[ROTATED.small.new_tasks],
    views=boxes("Rotated MNIST, plain and hybrid"),
)

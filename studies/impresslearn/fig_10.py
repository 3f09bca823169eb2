"""Figure 10: hybrid and plain ImpressLearn on Split CIFAR-100; the small form runs on rotated MNIST.

A hybrid trains a mask for the last layer, and coefficients for the other layers.
"""

from .common import CIFAR, DENSITIES, PAPER, RESNET, ROTATED, Methods, bases, boxes


def methods(grid: dict[str, tuple[int, ...]], densities: tuple[float, ...]) -> Methods:
    """Return plain and hybrid methods for every basis."""
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

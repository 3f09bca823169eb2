"""Figure 10: hybrid against plain ImpressLearn on Split CIFAR-100; the desk form plays rotated MNIST.

A hybrid trains a mask of its own for the last layer, beside the coefficients of the others.
"""

from impresslearn_common import CIFAR, DENSITIES, DESK_DENSITIES, RESNET, ROTATED_DESK, Keys, bases, figure


def methods(grid: dict[str, tuple[int, ...]], densities: tuple[float, ...]) -> Keys:
    """Every basis, plain and hybrid."""
    hybrid = bases(grid, densities, method__hybrid=True)
    return bases(grid, densities) | {f"hybrid-{label}": keys for label, keys in hybrid.items()}


STUDY = figure(
    CIFAR,
    methods({"het": (3, 5, 7, 10, 12, 15), "hom": (3, 5, 10, 15, 25, 50, 75)}, DENSITIES),
    "Split CIFAR-100, plain and hybrid",
    **RESNET,
)
DESK = figure(
    ROTATED_DESK,
    methods({"het": (5, 10), "hom": (5, 10)}, DESK_DENSITIES),
    "Rotated MNIST, plain and hybrid",
)

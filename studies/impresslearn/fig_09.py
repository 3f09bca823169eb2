"""Figure 9: random against homogeneous bases on Split CIFAR-100. Runs of figure 4 are shared.

The desk form shows that the path works. Its numbers mean nothing.
"""

from impresslearn_common import CIFAR, CIFAR_MASKS, DENSITIES, RESNET, THIN, bases, figure, own

SIZES = (5, 10, 15, 25, 50, 75)

STUDY = figure(
    CIFAR,
    bases({"random": SIZES, "hom": SIZES}, DENSITIES) | own(DENSITIES, **CIFAR_MASKS),
    "Split CIFAR-100, random and homogeneous bases",
    **RESNET,
)
DESK = figure(
    CIFAR,
    bases({"random": (3, 5), "hom": (3, 5)}, (0.15,), method__basis_epochs=2)
    | own((0.15,), method__basis_epochs=2, **CIFAR_MASKS),
    "Split CIFAR-100, random and homogeneous bases (path only)",
    **THIN,
)

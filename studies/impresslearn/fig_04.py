"""Figure 4: Split CIFAR-100 with ResNet-18. Left: the last five tasks; right: basis tasks found again.

The desk form shows that the path works: a thin network, two epochs, few masks. Its numbers mean nothing.
"""

from impresslearn_common import CIFAR, CIFAR_MASKS, DENSITIES, RESNET, THIN, bases, figure, own, recovered

GRID = {"het": (3, 5, 7, 10, 12, 15), "hom": (3, 5, 10, 15, 25, 50, 75)}
DESK_GRID = {"het": (3, 5), "hom": (3, 5)}

STUDY = figure(
    CIFAR,
    bases(GRID, DENSITIES)
    | recovered(CIFAR, GRID, DENSITIES, CIFAR_MASKS)
    | own(DENSITIES, **CIFAR_MASKS)
    | own(DENSITIES, CIFAR.window(0, 15), "x", method__probes=True, **CIFAR_MASKS),
    "Split CIFAR-100, new tasks",
    **RESNET,
)
DESK = figure(
    CIFAR,
    bases(DESK_GRID, (0.15,), method__basis_epochs=2)
    | recovered(
        CIFAR,
        {"het": (3,)},
        (0.15,),
        CIFAR_MASKS | {"method__basis_epochs": 2},
        method__basis_epochs=2,
    )
    | own((0.15,), method__basis_epochs=2, **CIFAR_MASKS)
    | own((0.15,), CIFAR.window(0, 5), "x", method__probes=True, method__basis_epochs=2, **CIFAR_MASKS),
    "Split CIFAR-100, new tasks (path only)",
    **THIN,
)

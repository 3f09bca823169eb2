"""Figure 4: Split CIFAR-100 with ResNet-18. Left: the last five tasks. Right: basis tasks.

The small form shows only that the code works: it has a thin network, two epochs and few masks. Its numbers
have no meaning.
"""

from .common import CIFAR, CIFAR_MASKS, DENSITIES, PROBES, RESNET, bases, boxes, own, recovered

GRID = {"het": (3, 5, 7, 10, 12, 15), "hom": (3, 5, 10, 15, 25, 50, 75)}
DESK_GRID = {"het": (3, 5), "hom": (3, 5)}
SHORT = {"method.basis_epochs": 2}

STUDY = RESNET.full.with_(
    methods=bases(GRID, DENSITIES.full)
    | recovered(CIFAR, GRID, DENSITIES.full, masks=CIFAR_MASKS)
    | own(DENSITIES.full, keys=CIFAR_MASKS)
    | own(DENSITIES.full, CIFAR.window(0, 15), "x", CIFAR_MASKS | PROBES),
    benchmarks=[CIFAR.new_tasks],
    views=boxes("Split CIFAR-100, new tasks"),
)
SMALL = RESNET.small.with_(
    methods=bases(DESK_GRID, (0.15,), SHORT)
    | recovered(CIFAR, {"het": (3,)}, (0.15,), keys=SHORT, masks=CIFAR_MASKS | SHORT)
    | own((0.15,), keys=CIFAR_MASKS | SHORT)
    | own((0.15,), CIFAR.window(0, 5), "x", CIFAR_MASKS | SHORT | PROBES),
    benchmarks=[CIFAR.new_tasks],
    views=boxes("Split CIFAR-100, new tasks (path only)"),
)

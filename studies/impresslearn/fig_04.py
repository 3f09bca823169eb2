"""Figure 4: Split CIFAR-100 with ResNet-18. Left: the last five tasks. Right: basis tasks.

The small form has a thin network, few epochs, few masks and two new tasks.
"""

from .common import (
    CIFAR,
    CIFAR_GRID,
    CIFAR_MASKS,
    CIFAR_SHORT,
    DENSITIES,
    RESNET,
    new_and_basis,
    new_and_basis_tasks,
)

TITLE = "Figure 4: Split CIFAR-100"

STUDY = RESNET.full.with_(
    methods=new_and_basis_tasks(CIFAR.full, CIFAR_GRID.full, DENSITIES.full, masks=CIFAR_MASKS),
    benchmarks=[CIFAR.full.new_tasks],
    views=new_and_basis(TITLE, CIFAR.full),
)
SMALL = RESNET.small.with_(
    methods=new_and_basis_tasks(
        CIFAR.small, CIFAR_GRID.small, DENSITIES.small, CIFAR_SHORT, CIFAR_MASKS | CIFAR_SHORT
    ),
    benchmarks=[CIFAR.small.new_tasks],
    views=new_and_basis(TITLE, CIFAR.small),
)

"""Figure 9: random and homogeneous bases on Split CIFAR-100. It shares runs with Figure 4.

The small form is that of Figure 4.
"""

from raycl import Form

from .common import (
    CIFAR,
    CIFAR_GRID,
    CIFAR_MASKS,
    CIFAR_SHORT,
    DENSITIES,
    RESNET,
    Grid,
    new_tasks_alone,
    untrained,
)

SIZES = (5, 10, 15, 25, 50, 75)
HOM = CIFAR_GRID.small["hom"]
GRID = Form[Grid](full={"random": SIZES, "hom": SIZES}, small={"random": HOM, "hom": HOM})
VIEWS = untrained("Figure 9: random and homogeneous bases, Split CIFAR-100")

STUDY = RESNET.full.with_(
    methods=new_tasks_alone(CIFAR.full, GRID.full, DENSITIES.full, masks=CIFAR_MASKS),
    benchmarks=[CIFAR.full.new_tasks],
    views=VIEWS,
)
SMALL = RESNET.small.with_(
    methods=new_tasks_alone(CIFAR.small, GRID.small, DENSITIES.small, CIFAR_SHORT, CIFAR_MASKS | CIFAR_SHORT),
    benchmarks=[CIFAR.small.new_tasks],
    views=VIEWS,
)

"""Figure 5: Split ImageNet with ResNet-50, heterogeneous bases of up to 35 masks.

The small form runs the same code on Tiny ImageNet at 64 pixels with a thin ResNet-18. It shows only that the
code works: its numbers have no meaning.
"""

from .common import DENSITIES, PAPER, PROBES, Data, bases, boxes, own, recovered

IMAGENET, TINY = Data("imagenet_100", 95, 5), Data("tiny64_20", 15, 5)
GRID = {"het": (5, 10, 20, 35)}
MASKS = {"method.basis_preset": "impresslearn_basis_imagenet"}
SHORT = {"method.basis_epochs": 1}

STUDY = PAPER.full.with_(
    methods=bases(GRID, DENSITIES.full)
    | recovered(IMAGENET, GRID, DENSITIES.full, masks=MASKS)
    | own(DENSITIES.full, keys=MASKS)
    | own(DENSITIES.full, IMAGENET.window(0, 25), "x", MASKS | PROBES),
    benchmarks=[IMAGENET.new_tasks],
    network="resnet50",
    preset="impresslearn_alpha_imagenet",
    views=boxes("Split ImageNet, new tasks"),
)
SMALL = PAPER.small.with_(
    methods=bases({"het": (3, 5)}, (0.15,), SHORT)
    | recovered(TINY, {"het": (3,)}, (0.15,), keys=SHORT, masks=MASKS | SHORT)
    | own((0.15,), keys=MASKS | SHORT),
    benchmarks=[TINY.new_tasks],
    network="resnet18(nf=8)",
    preset="impresslearn_alpha_imagenet",
    fit={"epochs": 1},
    views=boxes("Tiny ImageNet at 64 pixels, new tasks (path only)"),
)

"""Figure 5: Split ImageNet with ResNet-50, heterogeneous bases of up to 35 masks.

The desk form plays the same code on Tiny ImageNet at 64 pixels with a thin ResNet-18. Its numbers mean
nothing.
"""

from impresslearn_common import DENSITIES, IMAGENET, TINY, bases, figure, own, recovered

GRID = {"het": (5, 10, 20, 35)}
MASKS = {"method__basis_preset": "impresslearn_basis_imagenet"}

STUDY = figure(
    IMAGENET,
    bases(GRID, DENSITIES)
    | recovered(IMAGENET, GRID, DENSITIES, MASKS)
    | own(DENSITIES, **MASKS)
    | own(DENSITIES, IMAGENET.window(0, 25), "x", method__probes=True, **MASKS),
    "Split ImageNet, new tasks",
    network="resnet50",
    preset="impresslearn_alpha_imagenet",
)
DESK = figure(
    TINY,
    bases({"het": (3, 5)}, (0.15,), method__basis_epochs=1)
    | recovered(TINY, {"het": (3,)}, (0.15,), MASKS | {"method__basis_epochs": 1}, method__basis_epochs=1)
    | own((0.15,), method__basis_epochs=1, **MASKS),
    "Tiny ImageNet at 64 pixels, new tasks (path only)",
    network="resnet18(nf=8)",
    preset="impresslearn_alpha_imagenet",
    fit={"epochs": 1},
)

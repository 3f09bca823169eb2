"""Figure 5: Split ImageNet with ResNet-50, heterogeneous bases of up to 35 masks.

Section 4.2 also compares basis-GN with inference by entropy here, so SupSup GN runs on the basis tasks too.

The small form runs the same code on Tiny ImageNet at 64 pixels with a thin ResNet-18. It shows only that the
code works: its numbers have no meaning.
"""

from raycl import Form

from .common import (
    DENSITIES,
    INFER,
    PAPER,
    TRAINED,
    Data,
    Grid,
    counts_asked,
    inferred,
    new_and_basis,
    new_and_basis_tasks,
)

DATA = Form(full=Data("imagenet_100", 95, 5), small=Data("tiny64_20", 15, 2, most=3, crossed=3))
GRID = Form[Grid](full={"het": (5, 10, 20, 35)}, small={"het": (3, 5)})
MASKS = {"method.basis_preset": "impresslearn_basis_imagenet"}
SHORT = {"method.basis_epochs": 2}

STUDY = PAPER.full.with_(
    methods=new_and_basis_tasks(DATA.full, GRID.full, DENSITIES.full, masks=MASKS)
    | inferred(DATA.full, counts_asked(DATA.full, GRID.full), DENSITIES.full, MASKS),
    benchmarks=[DATA.full.new_tasks],
    network="resnet50",
    preset="impresslearn_alpha_imagenet",
    views=new_and_basis("Figure 5: Split ImageNet", DATA.full, TRAINED[:1], [INFER]),
)
SMALL = PAPER.small.with_(
    methods=new_and_basis_tasks(DATA.small, GRID.small, DENSITIES.small, SHORT, MASKS | SHORT)
    | inferred(DATA.small, counts_asked(DATA.small, GRID.small), DENSITIES.small, MASKS | SHORT),
    benchmarks=[DATA.small.new_tasks],
    network="resnet18(nf=8)",
    preset="impresslearn_alpha_imagenet",
    fit={"epochs": 2},
    views=new_and_basis(
        "Figure 5 on Tiny ImageNet at 64 pixels",
        DATA.small,
        TRAINED[:1],
        [INFER],
        ["the numbers have no meaning"],
    ),
)

"""Figure 3: permuted MNIST. Left: new tasks on bases of three kinds; right: basis tasks found again."""

from impresslearn_common import (
    DENSITIES,
    DESK_DENSITIES,
    PERMUTED,
    PERMUTED_DESK,
    bases,
    figure,
    own,
    recovered,
)

GRID = {"het": (5, 10, 20, 40, 100), "hom": (5, 10, 25, 50, 100, 250)}
DESK_GRID = {"het": (5, 10, 25), "hom": (5, 10, 25), "random": (5, 10, 25, 100)}

STUDY = figure(
    PERMUTED,
    bases(GRID, DENSITIES)
    | recovered(PERMUTED, GRID, DENSITIES)
    | own(DENSITIES)
    | own(DENSITIES, PERMUTED.window(0, 25), "x", method__probes=True),
    "Permuted MNIST, new tasks",
)
DESK = figure(
    PERMUTED_DESK,
    bases(DESK_GRID, DESK_DENSITIES)
    | recovered(PERMUTED_DESK, {"het": (5, 10, 25)}, DESK_DENSITIES)
    | own(DESK_DENSITIES)
    | own(DESK_DENSITIES, PERMUTED_DESK.window(0, 10), "x", method__probes=True),
    "Permuted MNIST, new tasks",
)

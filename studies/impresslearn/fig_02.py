"""Figure 2: rotated MNIST. Left: new tasks on bases of three kinds; right: basis tasks found again.

The control "X" answers a task under the mask of another; near angles transfer, so it is read by the gap too.
"""

from impresslearn_common import (
    DENSITIES,
    DESK_DENSITIES,
    ROTATED,
    ROTATED_DESK,
    bases,
    figure,
    own,
    recovered,
)

GRID = {"het": (5, 10, 20, 40, 100), "hom": (5, 10, 25, 50, 100, 250)}
DESK_GRID = {"het": (5, 10, 25), "hom": (5, 10, 25), "random": (5, 10, 25, 100)}

STUDY = figure(
    ROTATED,
    bases(GRID, DENSITIES)
    | recovered(ROTATED, GRID, DENSITIES)
    | own(DENSITIES)
    | own(DENSITIES, ROTATED.window(0, 25), "x", method__probes=True),
    "Rotated MNIST, new tasks",
)
DESK = figure(
    ROTATED_DESK,
    bases(DESK_GRID, DESK_DENSITIES)
    | recovered(ROTATED_DESK, {"het": (5, 10, 25)}, DESK_DENSITIES)
    | own(DESK_DENSITIES)
    | own(DESK_DENSITIES, ROTATED_DESK.window(0, 10), "x", method__probes=True),
    "Rotated MNIST, new tasks",
)

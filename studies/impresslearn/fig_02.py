"""Figure 2: rotated MNIST. Left: new tasks, with heterogeneous and homogeneous bases. Right: basis tasks.

The control "X" tests a task under the mask of another task. Masks of similar angles transfer, so compare it
with `angle_gap.py`, which shows the accuracy by the distance between angles.
"""

from raycl import Form

from .common import ROTATED, Grid, new_and_basis, new_and_basis_tasks, on_mnist

GRID = Form[Grid](
    full={"het": (5, 10, 20, 40, 100), "hom": (5, 10, 25, 50, 100, 250)},
    small={"het": (5, 10, 25), "hom": (5, 10, 25)},
)

STUDY, SMALL = on_mnist(
    ROTATED, GRID, new_and_basis_tasks, lambda data: new_and_basis("Figure 2: rotated MNIST", data)
)

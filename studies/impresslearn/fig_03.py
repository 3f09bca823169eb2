"""Figure 3: permuted MNIST. Left: new tasks, with heterogeneous and homogeneous bases. Right: basis tasks."""

from raycl import Form

from .common import PERMUTED, Grid, new_and_basis, new_and_basis_tasks, on_mnist

GRID = Form[Grid](
    full={"het": (5, 10, 20, 40, 100), "hom": (5, 10, 25, 50, 100, 250)},
    small={"het": (5, 10, 25, 100), "hom": (5, 10, 25)},
)

STUDY, SMALL = on_mnist(
    PERMUTED, GRID, new_and_basis_tasks, lambda data: new_and_basis("Figure 3: permuted MNIST", data)
)

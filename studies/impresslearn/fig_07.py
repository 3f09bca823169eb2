"""Figure 7: random and homogeneous bases on rotated MNIST. It shares runs with Figure 2."""

from .common import ROTATED, UNTRAINED, new_tasks_alone, on_mnist, untrained

VIEWS = untrained("Figure 7: random and homogeneous bases, rotated MNIST")

STUDY, SMALL = on_mnist(ROTATED, UNTRAINED, new_tasks_alone, lambda data: VIEWS)

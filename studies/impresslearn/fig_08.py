"""Figure 8: random and homogeneous bases on permuted MNIST. It shares runs with Figure 3."""

from .common import PERMUTED, UNTRAINED, new_tasks_alone, on_mnist, untrained

VIEWS = untrained("Figure 8: random and homogeneous bases, permuted MNIST")

STUDY, SMALL = on_mnist(PERMUTED, UNTRAINED, new_tasks_alone, lambda data: VIEWS)

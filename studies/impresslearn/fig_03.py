"""Figure 3: permuted MNIST. Left: new tasks with three kinds of basis. Right: basis tasks."""

from .common import PERMUTED, new_and_basis_tasks

STUDY, SMALL = new_and_basis_tasks(PERMUTED, "Permuted MNIST, new tasks")

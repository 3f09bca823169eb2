"""Figure 3: permuted MNIST. Left: new tasks on bases of three kinds; right: basis tasks found again."""

from .common import PERMUTED, new_and_basis_tasks

STUDY, SMALL = new_and_basis_tasks(PERMUTED, "Permuted MNIST, new tasks")

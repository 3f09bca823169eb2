"""Figure 3: permuted MNIST. Left: new tasks on bases of three kinds; right: basis tasks found again."""

from impresslearn_common import PERMUTED, PERMUTED_DESK, new_and_basis_tasks

STUDY, DESK = new_and_basis_tasks(PERMUTED, PERMUTED_DESK, "Permuted MNIST, new tasks")

"""Figure 2: rotated MNIST. Left: new tasks on bases of three kinds; right: basis tasks found again.

The control "X" answers a task under the mask of another; near angles transfer, so it is read by the gap too.
"""

from .common import ROTATED, new_and_basis_tasks

STUDY, SMALL = new_and_basis_tasks(ROTATED, "Rotated MNIST, new tasks")

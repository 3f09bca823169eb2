"""Figure 2: rotated MNIST. Left: new tasks on bases of three kinds; right: basis tasks found again.

The control "X" answers a task under the mask of another; near angles transfer, so it is read by the gap too.
"""

from impresslearn_common import ROTATED, ROTATED_DESK, new_and_basis_tasks

STUDY, DESK = new_and_basis_tasks(ROTATED, ROTATED_DESK, "Rotated MNIST, new tasks")

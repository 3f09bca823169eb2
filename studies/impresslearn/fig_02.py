"""Figure 2: rotated MNIST. Left: new tasks with three kinds of basis. Right: basis tasks.

The control "X" tests a task under the mask of another task. Masks of similar angles transfer, so compare it
with `angle_gap.py`, which shows the accuracy by the distance between angles.
"""

from .common import ROTATED, new_and_basis_tasks

STUDY, SMALL = new_and_basis_tasks(ROTATED, "Rotated MNIST, new tasks")

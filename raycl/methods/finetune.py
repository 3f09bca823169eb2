"""Sequential finetuning (NCL): each task starts from the weights after the previous one, and no more."""

from typing import ClassVar

from raycl.method import Method


class Finetune(Method):
    """The base class without changes, a baseline that shows the full extent of forgetting.

    Equations:
        L(theta) = CE(f(x, t; theta), y)
        theta starts at its value after task t - 1

        L      loss of a batch (x, y) of task t, the task being learnt
        CE     mean cross-entropy over the batch
        f      logits of the network for task t
        theta  body and head of task t; the heads of other tasks do not move
    """

    capturable: ClassVar[bool] = True

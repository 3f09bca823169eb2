"""Sequential finetuning (NCL): each task starts from the weights after the previous one, and no more."""

from typing import ClassVar

from raycl.method import Method


class Finetune(Method):
    """The base class without changes, a baseline that shows the full extent of forgetting."""

    capturable: ClassVar[bool] = True

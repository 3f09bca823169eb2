"""Sequential finetuning (NCL): each task starts from the weights of the one before, nothing else."""

from raycl.method import Method


class Finetune(Method):
    """The base class as it is: the reference that shows what forgetting costs."""

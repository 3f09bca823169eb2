"""Batch normalisation with separate state for each task in a network that the tasks share."""

from __future__ import annotations

from typing import Literal, TypeAlias

from torch import Tensor, nn

from raycl.networks._checks import keeps_statistics
from raycl.networks.base import PerTaskBatchNorm

Mode: TypeAlias = Literal["frozen", "stats", "affine_stats"]
_AFFINE, _STATISTICS = ("weight", "bias"), ("running_mean", "running_var", "num_batches_tracked")


class TaskNorms(nn.Module):
    """State of every batch normalisation of a network for each task, stored outside the network.

    A task's state starts as a copy of the network's own. With mode "frozen" tasks have no state: they use
    the network's, whose statistics do not change. With "stats" each task has its own running statistics, and
    with "affine_stats" also its own scales and shifts, which are trained.

    Args:
        net: Network that contains the normalisations; it is not kept as a submodule.
        mode: What each task has of its own.
    """

    def __init__(self, net: nn.Module, mode: Mode) -> None:
        super().__init__()
        self.mode: Mode = mode
        self.layers = tuple(
            name
            for name, module in net.named_modules()
            if isinstance(module, nn.modules.batchnorm._BatchNorm) or keeps_statistics(module)
        )
        self.states = nn.ModuleDict()  # by task

    def begin(self, task: int, net: nn.Module) -> None:
        """Give `task` its own state, a copy of the network's present one."""
        if self.mode == "frozen" or str(task) in self.states:
            return
        state = nn.Module()
        for number, layer in enumerate(self.layers):
            module = net.get_submodule(layer)
            for name in _AFFINE if self.mode == "affine_stats" else ():
                if getattr(module, name) is not None:
                    state.register_parameter(
                        f"{name}{number}", nn.Parameter(getattr(module, name).detach().clone())
                    )
            for name in _STATISTICS:
                if getattr(module, name) is not None:
                    state.register_buffer(f"{name}{number}", getattr(module, name).clone())
        self.states[str(task)] = state

    def named(self, task: int) -> dict[str, Tensor]:
        """Return the task's tensors by their names in the network, for `functional_call`.

        The result is empty if the task has no state of its own.
        """
        if str(task) not in self.states:
            return {}
        state = self.states[str(task)]
        found: dict[str, Tensor] = {}
        for number, layer in enumerate(self.layers):
            for name in (*_AFFINE, *_STATISTICS):
                tensor = getattr(state, f"{name}{number}", None)
                if tensor is not None:
                    found[f"{layer}.{name}"] = tensor
        return found

    def trainable(self, task: int) -> list[nn.Parameter]:
        """Return the scales and shifts of the task; there are some with mode "affine_stats" only."""
        return list(self.states[str(task)].parameters()) if str(task) in self.states else []

    def statistics(self, task: int) -> list[Tensor]:
        """Return the running statistics of the task; they are restored with the weights of the best epoch."""
        return list(self.states[str(task)].buffers()) if str(task) in self.states else []

    def still(self, net: nn.Module) -> None:
        """Put the network's normalisations in evaluation mode if the mode is "frozen".

        A method calls this at the end of its `train`, which would otherwise undo it.
        """
        if self.mode == "frozen":
            for layer in self.layers:
                net.get_submodule(layer).train(False)


def freeze_statistics(module: nn.Module) -> None:
    """Put normalisations with running statistics in evaluation mode, except those with state per task."""
    for child in module.children():
        if isinstance(child, nn.modules.batchnorm._BatchNorm) or keeps_statistics(child):
            child.train(False)
        elif not isinstance(child, PerTaskBatchNorm):
            freeze_statistics(child)

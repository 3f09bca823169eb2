"""Batch normalisations whose state is a task's own, while the network around them is shared."""

from __future__ import annotations

from typing import Literal, TypeAlias

from torch import Tensor, nn

from raycl.networks._checks import keeps_statistics
from raycl.networks.base import PerTaskBatchNorm

Mode: TypeAlias = Literal["frozen", "stats", "affine_stats"]
_AFFINE, _STATISTICS = ("weight", "bias"), ("running_mean", "running_var", "num_batches_tracked")


class TaskNorms(nn.Module):
    """A state per task for every batch normalisation of a network, kept beside the network.

    A task's state starts as a copy of the network's own. Mode "frozen" gives tasks no state: they use the
    network's, whose statistics stay as they are; "stats" gives them running statistics; "affine_stats" also
    scales and shifts, which are trained.

    Args:
        net: whose `BatchNorm` layers are meant; not kept as a submodule.
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
        """Give `task` a state of its own, a copy of the network's present one."""
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
        """The task's tensors by the network's names, for `functional_call`; none where it has no state."""
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
        """Scales and shifts of the task, with mode "affine_stats"."""
        return list(self.states[str(task)].parameters()) if str(task) in self.states else []

    def statistics(self, task: int) -> list[Tensor]:
        """Running statistics of the task: what goes back with the weights of a best epoch."""
        return list(self.states[str(task)].buffers()) if str(task) in self.states else []

    def still(self, net: nn.Module) -> None:
        """With mode "frozen": the network's normalisations into evaluation mode; call it in `train`."""
        if self.mode == "frozen":
            for layer in self.layers:
                net.get_submodule(layer).train(False)


def freeze_statistics(module: nn.Module) -> None:
    """Normalisations into evaluation mode where they keep statistics, but for those of a task's own."""
    for child in module.children():
        if isinstance(child, nn.modules.batchnorm._BatchNorm) or keeps_statistics(child):
            child.train(False)
        elif not isinstance(child, PerTaskBatchNorm):
            freeze_statistics(child)

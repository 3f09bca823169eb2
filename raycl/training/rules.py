"""SGD, Adam and RMSprop as torch computes them, without torch's optimiser classes.

The first construction of a `torch.optim.Optimizer` imports torch's compiler, which costs each process 4 s
of CPU time and 160 MiB. The arithmetic is torch's own: its functional forms over state that is kept here, so
that every step has the bits of torch's classes. Adam has those of torch's fused form on a CPU, where it reads
and writes each tensor once per step.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim.adam import adam
from torch.optim.rmsprop import rmsprop
from torch.optim.sgd import sgd

from raycl.training.settings import Config


class Optimiser:
    """Tensors in groups, each with its settings, and the state of each tensor.

    Args:
        groups: tensors, or mappings with ``params`` and settings that differ from `defaults`.
        defaults: settings of every group; ``lr`` is one of them.

    Attributes:
        param_groups: a dictionary per group, with its tensors under ``params``.
        state: by tensor, what the next step depends on besides the tensor itself.

    Raises:
        ValueError: a tensor is not a leaf, is given twice, or there is none.
    """

    def __init__(self, groups: Sequence[Any], **defaults: Any) -> None:
        self.defaults = defaults
        written = groups if groups and isinstance(groups[0], Mapping) else [{"params": list(groups)}]
        self.param_groups: list[dict[str, Any]] = [
            {**defaults, **group, "params": tensors_of([group])} for group in written
        ]
        self.state: dict[Tensor, dict[str, Any]] = {}
        tensors = tensors_of(self.param_groups)
        if not tensors:
            raise ValueError("optimizer got an empty parameter list")
        if not all(tensor.is_leaf or tensor.retains_grad for tensor in tensors):
            raise ValueError("can't optimize a non-leaf Tensor")
        if len({id(tensor) for tensor in tensors}) < len(tensors):
            raise ValueError("some parameters appear in more than one parameter group, or twice in one")
        # Torch chooses the form of a step by the device; on a CPU it is always this one.
        self._foreach = False if all(tensor.device.type == "cpu" for tensor in tensors) else None

    @torch.no_grad()
    def step(self) -> None:
        """Move each tensor that has a gradient."""
        for group in self.param_groups:
            moving = [tensor for tensor in group["params"] if tensor.grad is not None]
            if moving:
                self._move(moving, [tensor.grad for tensor in moving], group)

    def zero_grad(self) -> None:
        """Set all gradients to None."""
        for group in self.param_groups:
            for tensor in group["params"]:
                tensor.grad = None

    def _move(self, tensors: list[Tensor], gradients: list[Any], group: Mapping[str, Any]) -> None:
        raise NotImplementedError

    def _known(self, tensor: Tensor) -> dict[str, Any]:
        known = self.state.get(tensor)
        if known is None:
            known = self.state[tensor] = self._begin(tensor)
        return known

    def _begin(self, tensor: Tensor) -> dict[str, Any]:
        """Return the state of a tensor before its first step."""
        raise NotImplementedError


class Sgd(Optimiser):
    """Stochastic gradient descent with momentum, as `torch.optim.SGD`."""

    def _begin(self, tensor: Tensor) -> dict[str, Any]:
        return {"momentum_buffer": None}

    def _move(self, tensors: list[Tensor], gradients: list[Any], group: Mapping[str, Any]) -> None:
        known = [self._known(tensor) for tensor in tensors] if group["momentum"] else []
        buffers: list[Tensor | None] = [k["momentum_buffer"] for k in known] or [None] * len(tensors)
        sgd(
            tensors,
            gradients,
            buffers,
            has_sparse_grad=any(gradient.is_sparse for gradient in gradients),
            foreach=self._foreach,
            weight_decay=group["weight_decay"],
            momentum=group["momentum"],
            lr=group["lr"],
            dampening=0.0,
            nesterov=group["nesterov"],
            maximize=False,
        )
        for state, buffer in zip(known, buffers, strict=False):
            state["momentum_buffer"] = buffer


class Adam(Optimiser):
    """Adam with torch's defaults for its decay rates, as `torch.optim.Adam`."""

    def _begin(self, tensor: Tensor) -> dict[str, Any]:
        return {"step": _zero_steps(), "exp_avg": _zeros_of(tensor), "exp_avg_sq": _zeros_of(tensor)}

    def _move(self, tensors: list[Tensor], gradients: list[Any], group: Mapping[str, Any]) -> None:
        if any(gradient.is_sparse for gradient in gradients):
            raise RuntimeError("Adam does not support sparse gradients, please consider SparseAdam instead")
        known = [self._known(tensor) for tensor in tensors]
        fused = self._foreach is False and all(tensor.is_floating_point() for tensor in tensors)
        adam(
            tensors,
            gradients,
            [k["exp_avg"] for k in known],
            [k["exp_avg_sq"] for k in known],
            [],
            [k["step"] for k in known],
            foreach=None if fused else self._foreach,
            fused=fused or None,
            has_complex=any(torch.is_complex(tensor) for tensor in tensors),
            amsgrad=False,
            beta1=0.9,
            beta2=0.999,
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=1e-8,
            maximize=False,
        )


class RmsProp(Optimiser):
    """RMSprop with torch's defaults for its smoothing, as `torch.optim.RMSprop`."""

    def _begin(self, tensor: Tensor) -> dict[str, Any]:
        return {"step": _zero_steps(), "square_avg": _zeros_of(tensor)}

    def _move(self, tensors: list[Tensor], gradients: list[Any], group: Mapping[str, Any]) -> None:
        if any(gradient.is_sparse for gradient in gradients):
            raise RuntimeError("RMSprop does not support sparse gradients")
        known = [self._known(tensor) for tensor in tensors]
        if group["momentum"] > 0:
            for tensor, state in zip(tensors, known, strict=True):
                if "momentum_buffer" not in state:
                    state["momentum_buffer"] = _zeros_of(tensor)
        rmsprop(
            tensors,
            gradients,
            [k["square_avg"] for k in known],
            [],
            [k["momentum_buffer"] for k in known] if group["momentum"] > 0 else [],
            [k["step"] for k in known],
            foreach=self._foreach,
            has_complex=any(torch.is_complex(tensor) for tensor in tensors),
            lr=group["lr"],
            alpha=0.99,
            eps=1e-8,
            weight_decay=group["weight_decay"],
            momentum=group["momentum"],
            centered=False,
        )


def optimiser_of(config: Config, groups: list[Any]) -> Optimiser:
    """Return a fresh optimiser over tensors or groups of them."""
    shared = {"lr": config.lr, "weight_decay": config.weight_decay}
    if config.optimiser == "adam":
        return Adam(groups, **shared)
    if config.optimiser == "rmsprop":
        return RmsProp(groups, momentum=config.momentum, **shared)
    return Sgd(groups, momentum=config.momentum, nesterov=config.nesterov, **shared)


def tensors_of(groups: Iterable[Any]) -> list[Tensor]:
    """Return the tensors of parameters or of groups of them, in order."""
    found: list[Tensor] = []
    for group in groups:
        if isinstance(group, Mapping):
            params = group["params"]
            found += [params] if isinstance(params, Tensor) else list(params)
        else:
            found.append(group)
    return found


def _zero_steps() -> Tensor:
    """Return a counter of steps, on the CPU, as torch's optimisers keep it."""
    wide = torch.get_default_dtype() == torch.float64
    return torch.tensor(0.0, dtype=torch.float64 if wide else torch.float32, device="cpu")


def _zeros_of(tensor: Tensor) -> Tensor:
    return torch.zeros_like(tensor, memory_format=torch.preserve_format)

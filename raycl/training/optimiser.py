"""The optimiser of a fit, as an object that clips gradients, takes steps and can be checkpointed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from raycl import devices
from raycl.training.rules import Optimiser, tensors_of


class OptimiserUpdate:
    """Implementation of `Update` that clips the gradients and then takes a step of an optimiser.

    Args:
        optimiser: The optimiser, or None if there is nothing to train; a step then does nothing.
        clip: The largest global gradient norm, or None for no clipping.
    """

    def __init__(self, optimiser: Optimiser | None, clip: float | None) -> None:
        self.optimiser, self.clip = optimiser, clip
        self.groups: list[dict[str, Any]] = [] if optimiser is None else optimiser.param_groups
        self.tensors: list[Tensor] = tensors_of(self.groups)
        self._base = [float(group["lr"]) for group in self.groups]
        self._first: float = optimiser.defaults["lr"] if optimiser is not None else 1.0
        self._lr = self._first

    @property
    def lr(self) -> float:
        """Current base learning rate; a group with its own rate keeps its ratio to the base rate."""
        return self._lr

    @lr.setter
    def lr(self, value: float) -> None:
        if value == self._lr:
            return
        for group, base in zip(self.groups, self._base, strict=True):
            group["lr"] = value if base == self._first else base * (value / self._first)
        self._lr = value

    def state_dict(self) -> dict[str, Any]:
        """Return what the next step depends on besides the tensors: optimiser state and learning rates."""
        optimiser = self.optimiser
        state = [] if optimiser is None else [dict(optimiser.state.get(t, {})) for t in self.tensors]
        return {"state": state, "lrs": [float(group["lr"]) for group in self.groups], "lr": self._lr}

    def load_state_dict(self, state: Sequence[Mapping[str, Any]], lrs: Sequence[float], lr: float) -> None:
        """Restore the state that `state_dict` returned."""
        for group, rate in zip(self.groups, lrs, strict=True):
            group["lr"] = rate
        for tensor, known in zip(self.tensors, state, strict=False):
            if known and self.optimiser is not None:
                # A checkpoint was loaded onto the device, where reading the count of steps would wait.
                self.optimiser.state[tensor] = {k: v.cpu() if k == "step" else v for k, v in known.items()}
        self._lr = lr

    def clear(self) -> None:
        """Set all gradients to None; called before each step."""
        for tensor in self.tensors:
            tensor.grad = None

    def __call__(self) -> None:
        if self.optimiser is None:
            return
        if self.clip is not None:
            self._clip(self.clip)
        self.optimiser.step()

    def _clip(self, most: float) -> None:
        """Scale all gradients so that their global norm is at most `most`."""
        grads = [t.grad for t in self.tensors if t.grad is not None]
        norm = torch.nn.utils.get_total_norm(grads)
        # On a GPU, comparing the norm would wait for the device. On a CPU the comparison is cheaper than the
        # multiplication of all gradients by 1 that it avoids.
        if not devices.on_cpu(norm) or not norm + 1e-6 <= most:
            torch.nn.utils.clip_grads_with_norm_(self.tensors, most, norm)

    def preview(self) -> list[Tensor]:
        """Return the change that a step would make to each tensor, without making it.

        Weights, gradients and the state of the optimiser are left as they were.
        """
        if self.optimiser is None:
            return []
        before = [t.detach().clone() for t in self.tensors]
        grads = [None if t.grad is None else t.grad.clone() for t in self.tensors]
        state = {
            key: {k: v.clone() if isinstance(v, Tensor) else v for k, v in value.items()}
            for key, value in self.optimiser.state.items()
        }
        self()
        with torch.no_grad():
            change = [t.detach() - b for t, b in zip(self.tensors, before, strict=True)]
            for tensor, old, grad in zip(self.tensors, before, grads, strict=True):
                tensor.copy_(old)
                tensor.grad = grad
        self.optimiser.state.clear()
        self.optimiser.state.update(state)
        return change


def groups_of(named: Iterable[Any]) -> list[Any]:
    """Return parameters or optimiser groups as a list, with every generator in them turned into a list."""
    found = list(named)
    if not any(isinstance(g, Mapping) for g in found):
        return found
    return [{**g, "params": tensors_of([g])} if isinstance(g, Mapping) else {"params": [g]} for g in found]

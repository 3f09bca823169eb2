"""Switching of a module and all its parts between training and evaluation."""

from __future__ import annotations

from torch import nn


def set_training(module: nn.Module, mode: bool) -> None:
    """Set the mode of a module and of all its parts, as `torch.nn.Module.train` does.

    This takes a third of the time, which counts because short tasks are switched three times in each epoch of
    a few steps. A part whose class has a `train` of its own, or sets attributes in its own way, is asked to
    switch itself.

    Args:
        module: The module; its own `train` is not called.
        mode: Whether it is trained.
    """
    found = [module]
    while found:
        each = found.pop()
        if each is module or _is_plain(each):
            # `nn.Module.__setattr__` would first look whether the value is a parameter, buffer or module.
            object.__setattr__(each, "training", mode)
            found.extend(part for part in each._modules.values() if part is not None)
        else:
            each.train(mode)


def _is_plain(module: nn.Module) -> bool:
    """Return whether a module switches itself as `nn.Module` does, with nothing of its own."""
    own = getattr(module.train, "__func__", None)
    return own is nn.Module.train and type(module).__setattr__ is nn.Module.__setattr__

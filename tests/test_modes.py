"""Switching a module between training and evaluation does what torch's own `train` does."""

from __future__ import annotations

from typing import Any

from torch import nn

from raycl.training.modes import set_training


class Stubborn(nn.Module):
    """A part that stays in evaluation, such as a frozen normalisation."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Dropout()

    def train(self, mode: bool = True) -> Stubborn:
        return super().train(False)


class Noting(nn.Module):
    """A part that notes what is set on it."""

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name == "training":
            super().__setattr__("noted", value)


def modes(module: nn.Module) -> list[bool]:
    return [part.training for part in module.modules()]


def test_parts_with_a_mode_of_their_own_keep_it() -> None:
    shared = nn.BatchNorm1d(3)
    whole = nn.Sequential(nn.Linear(2, 3), shared, nn.Sequential(shared, Stubborn()), Noting())
    whole.register_module("absent", None)
    asked: list[bool] = []  # by torch, by `set_training` the other way, and by it again
    whole[0].train = asked.append  # type: ignore[method-assign, assignment]
    for mode in (False, True):
        whole.train(mode)
        wanted, noted = modes(whole), whole[3].noted
        set_training(whole, not mode)
        assert modes(whole) != wanted
        set_training(whole, mode)
        assert modes(whole) == wanted and whole[3].noted == noted == mode
    assert asked == [False, True, False, True, False, True]

"""A method of your own: finetuning with a penalty on the distance to the weights after the previous task."""

from dataclasses import dataclass
from typing import Annotated

from raycl import Float
from raycl.method import Method


class L2(Method):
    """Finetuning with lamb / 2 * |theta - theta*|^2, where theta* are the weights after the previous task."""

    @dataclass(frozen=True, kw_only=True)
    class Config(Method.Config):
        lamb: Annotated[float, Float(1e-4, 1.0, log=True)] = 0.01  # the default, and the range of a search

    def make(self):
        super().make()
        self.anchor = []

    def learn(self, task, fit):
        fit(self, task)
        self.anchor = [p.detach().clone() for p in self.net.body.parameters()]

    def edit_gradients(self, batch):
        for p, anchor in zip(self.net.body.parameters(), self.anchor, strict=False):  # empty at first
            p.grad += self.config.lamb * (p.detach() - anchor)

"""A copy of the network per task, trained on from a network that is there already: B2 and Finetune.

B2 of SPG (Konishi et al., ICML 2023, arXiv 2306.14775) goes on from the copy of the task before; Finetune of
KSM (catalogue: `ksm`) always from the first task's. As `one`, but that tasks do not start from scratch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from raycl.method import Task
from raycl.methods._first import FirstTaskTraining, backbone_for
from raycl.methods.one import One
from raycl.networks import Network
from raycl.specs import RunSpec
from raycl.training.fit import Fit


class Copies(One):
    """Each task is answered by its own network, one not learnt yet by the network it would start from.

    Parameters are counted as those of `one`: all tasks' networks, from the start; what must be stored grows
    by a network with one head at each task's end.
    """

    is_reference = False

    @dataclass(frozen=True, kw_only=True)
    class Config(One.Config):
        """`init` is where the first network and new heads come from."""

        start: Literal["previous", "first"] = "previous"  # the network that a later task is trained on from
        initial: str = ""  # preset by which the first task is trained; "" as the others are
        initial_epochs: int = 0  # 0: as the preset says

        def __post_init__(self) -> None:
            if self.initial_epochs < 0:
                raise ValueError(f"initial_epochs = {self.initial_epochs} must be at least 0")

    config: Config

    @classmethod
    def required_runs(cls, spec: RunSpec) -> Mapping[str, RunSpec]:
        return backbone_for(cls, spec)

    def learn(self, task: Task, fit: Fit) -> None:
        if task.index or not self.config.initial:
            super().learn(task, fit)
            return
        net = self.nets["0"] = self._fresh(0)
        FirstTaskTraining(net, self.world, self.config.initial, self.config.initial_epochs).learn(
            self, task, fit
        )
        self.world = replace(self.world, inputs={})  # kept once, also in checkpoints

    def _fresh(self, task: int) -> Network:
        net = super()._fresh(task)
        if self.nets:
            source = list(self.nets)[-1 if self.config.start == "previous" else 0]
            # not strict: with a head per task, either network has one that the other lacks
            net.load_state_dict(self.nets[source].state_dict(), strict=False)
        return net

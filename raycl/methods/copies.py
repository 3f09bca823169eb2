"""A copy of the network per task, started from a trained network: B2 of SPG and Finetune of KSM.

B2 (Konishi et al., ICML 2023, arXiv 2306.14775) starts each copy from the network of the previous task,
Finetune of KSM (see `ksm`) always from that of the first task. The method equals `one` except that
later tasks do not start from scratch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from raycl.method import Task
from raycl.methods._first import FirstTaskTraining, backbone_for
from raycl.methods.one import One
from raycl.networks import Network
from raycl.specs import RunSpec
from raycl.training.fit import Fit


class Copies(One):
    """One network per task; a task not learnt yet is answered by the network from which it would start.

    Parameters are counted as for `one`: the networks of all tasks, from the start. The stored bytes grow with
    each task by a network with one head.

    Equations:
        theta^t starts at theta^{t-1}     start="previous": B2 of SPG
        theta^t starts at theta^1         start="first": Finetune of KSM

        theta^t  weights of the copy of task t > 1; its head starts untrained
    """

    is_reference = False
    deviations_lifted: ClassVar[Sequence[str]] = ("PRM's text",)

    @dataclass(frozen=True, kw_only=True)
    class Config(One.Config):
        """Hyperparameters; `init` says how the first network and new heads are initialised."""

        start: Literal["previous", "first"] = "previous"  # task whose network a later task starts from
        initial: str = ""  # preset for training the first task; "": trained like the other tasks
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
        self.world = replace(self.world, inputs={})  # so that checkpoints do not contain it twice

    def _fresh(self, task: int) -> Network:
        net = super()._fresh(task)
        if self.nets:
            source = list(self.nets)[-1 if self.config.start == "previous" else 0]
            # It is not strict because, with a head per task, each network has a head that the other lacks.
            net.load_state_dict(self.nets[source].state_dict(), strict=False)
        return net

"""A network trained on the first task, of which methods and their variants take over one and the same.

It is an artefact of a run of kind `pretrain`, whose key is its address. What it holds is the network's body
and the first task's head as an archive of arrays; nothing in it is code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from raycl import registry
from raycl.method import Method, World
from raycl.networks import Heads, Network, TaskNorms
from raycl.networks._backbone import adopt
from raycl.space import make_config
from raycl.specs import RunSpec
from raycl.tasks import Task
from raycl.training.fit import Fit
from raycl.training.presets import fit_of

BACKBONE = "backbone"  # its name among a run's inputs


class FirstTask(Method):
    """Trains the network on the first task; one whose weights were given is taken as it is."""

    def learn(self, task: Task, fit: Fit) -> None:
        if not self.net.pretrained:
            fit(self, task)


class FirstTaskTraining:
    """How a method comes by its network after the first task: trained here, or taken over.

    With a backbone among the method's inputs the network holds its weights at once, so that any later task
    can be learnt without the first; `learn` then only books what the training took. The same weights result
    either way, bit for bit.

    Args:
        preset, epochs: how the first task is trained; 0 epochs are the preset's, and without a preset ("") it
            is as the run's other tasks.
    """

    def __init__(self, net: Network, world: World, preset: str, epochs: int = 0) -> None:
        self.config: Fit.Config | None = None  # the run's own
        if preset:
            self.config = make_config(
                Fit.Config, fit_of(preset, epochs, "method.initial"), f"preset {preset}"
            )
        self.took: tuple[float, int, int] | None = None
        given = world.inputs.get(BACKBONE)
        if given is not None:
            adopt(net, given.tensors)
            self.took = given.seconds, given.epochs, given.updates
        elif net.pretrained:
            self.took = 0.0, 0, 0

    def learn(self, learner: Method, task: Task, fit: Fit) -> None:
        """Train `learner` on the first task, or record what that took where it was done before.

        `learner` must behave as finetuning does.
        """
        if self.took is None:
            fit(learner, task, config=self.config)
            return
        fit.seconds["main"], fit.epochs["main"], updates = self.took
        fit.updates += updates


class BuiltOnFirstTask(Method):
    """A method whose tasks share one network, trained on the first of them, here or beforehand.

    Attributes:
        first: how the network comes by what the first task taught it.
        norms: what of its batch normalisations is a task's own, as `bn_mode` says.
    """

    keeps_logits = True
    needs = (Heads,)

    @dataclass(frozen=True, kw_only=True)
    class Config(Method.Config):
        bn_mode: Literal["frozen", "stats", "affine_stats"] = "affine_stats"  # what of it is a task's own
        initial: str = "ksm_initial"  # preset by which the first task is trained; none: as the other tasks
        initial_epochs: int = 0  # 0: as that preset says

        def __post_init__(self) -> None:
            if self.initial_epochs < 0:
                raise ValueError(f"initial_epochs = {self.initial_epochs} must be at least 0")
            if self.initial_epochs and not self.initial:
                raise ValueError(f"initial_epochs = {self.initial_epochs} needs a preset as initial")

    config: Config

    @classmethod
    def required_runs(cls, spec: RunSpec) -> Mapping[str, RunSpec]:
        return backbone_for(cls, spec)

    def make(self) -> None:
        super().make()
        self.first = FirstTaskTraining(self.net, self.world, self.config.initial, self.config.initial_epochs)
        self.world = replace(self.world, inputs={})  # a backbone is in the network now
        self.norms = TaskNorms(self.net, self.config.bn_mode)

    @classmethod
    def statistics_rest(cls, config: Any) -> bool:
        return bool(config.bn_mode == "frozen")

    @property
    def answers_stay(self) -> bool:
        return self.keeps_logits  # after the first task statistics are a task's own, or at rest


def backbone_for(kind: type[Method], spec: RunSpec) -> Mapping[str, RunSpec]:
    """What a method builds on that trains the first task by its fields `initial` and `initial_epochs`."""
    config: Any = make_config(kind.Config, spec.config, spec.method)
    if not config.initial:
        return {}
    return {BACKBONE: wanted(spec, config.initial, config.initial_epochs)}


def wanted(spec: RunSpec, preset: str, epochs: int = 0) -> RunSpec:
    """The `pretrain` run on the first task of a run's benchmark, in the same order and from the same seed."""
    versions = {part: version for part, version in spec.versions.items() if part != "method"}
    code = {part: text for part, text in spec.code.items() if part != "method"}
    return replace(
        spec,
        kind="pretrain",
        method="finetune",
        config={},
        fit=fit_of(preset, epochs, "method.initial"),
        part=0,
        evaluate=None,
        inputs={},
        versions=versions,
        code=code,
    )


def finetuned(spec: RunSpec, initial: str, initial_epochs: int, preset: str, epochs: int = 0) -> RunSpec:
    """The run that fine-tunes a copy of the network after the first task for each later one, by a preset.

    It is the run of `copies` with start = "first" that a study would write, of the same benchmark and seed.
    """
    copies = registry.method("copies")
    config = {"start": "first", "initial": initial, "initial_epochs": initial_epochs}
    return replace(
        spec,
        method="copies",
        config={name: value for name, value in config.items() if value},
        fit=fit_of(preset, epochs, "method.goals"),
        inputs={},
        versions={**spec.versions, "method": copies.version},
        code={part: text for part, text in spec.code.items() if part != "method"},
    )

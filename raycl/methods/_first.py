"""Methods that build on a network trained on the first task, and the runs that train this network.

Several methods and their variants share the same network. It is an artefact of a run of kind `pretrain` and
is stored under the key of that run. The artefact is an archive of arrays with the network's body and the
first task's head; it contains no code.
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

BACKBONE = "backbone"  # name of the network among the inputs of a run


class FirstTask(Method):
    """Training of the network on the first task; a network with pretrained weights is not trained."""

    def learn(self, task: Task, fit: Fit) -> None:
        if not self.net.pretrained:
            fit(self, task)


class FirstTaskTraining:
    """Source of a method's network after the first task: it is trained here or loaded from another run.

    If a backbone is among the method's inputs, its weights are loaded into the network at once, so that any
    later task can be learnt without the first one. `learn` then only records what the training took. Both
    ways give the same weights, bit for bit.

    Args:
        net: Network of the method.
        world: World of the method.
        preset: Preset by which the first task is trained; with "" it is trained like the run's other tasks.
        epochs: Number of epochs; 0 means the number that the preset says.
    """

    def __init__(self, net: Network, world: World, preset: str, epochs: int = 0) -> None:
        self.config: Fit.Config | None = None  # None: training settings of the run
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
        """Train `learner` on the first task, or record what the training took if it was done elsewhere.

        `learner` must train its network as finetuning does.
        """
        if self.took is None:
            fit(learner, task, config=self.config)
            return
        fit.seconds["main"], fit.epochs["main"], updates = self.took
        fit.updates += updates


class BuiltOnFirstTask(Method):
    """Base of methods whose tasks share one network that is trained on the first task.

    Attributes:
        first: source of the network's weights after the first task.
        norms: state of batch normalisations that each task has of its own, according to `bn_mode`.
    """

    keeps_logits = True
    needs = (Heads,)

    @dataclass(frozen=True, kw_only=True)
    class Config(Method.Config):
        bn_mode: Literal["frozen", "stats", "affine_stats"] = "affine_stats"  # separate for each task
        initial: str = "ksm_initial"  # preset for training the first task; "": trained like the other tasks
        initial_epochs: int = 0  # 0: as that preset says

        def __post_init__(self) -> None:
            if self.initial_epochs < 0:
                raise ValueError(f"initial_epochs = {self.initial_epochs} must be at least 0")
            if self.initial_epochs and not self.initial:
                raise ValueError(f"initial_epochs = {self.initial_epochs} needs a preset: set initial")

    config: Config

    @classmethod
    def required_runs(cls, spec: RunSpec) -> Mapping[str, RunSpec]:
        return backbone_for(cls, spec)

    def make(self) -> None:
        super().make()
        self.first = FirstTaskTraining(self.net, self.world, self.config.initial, self.config.initial_epochs)
        self.world = replace(self.world, inputs={})  # the network now contains the backbone
        self.norms = TaskNorms(self.net, self.config.bn_mode)

    @classmethod
    def statistics_rest(cls, config: Any) -> bool:
        return bool(config.bn_mode == "frozen")

    @property
    def answers_stay(self) -> bool:
        return self.keeps_logits  # after the first task, statistics are separate for each task or frozen


def backbone_for(kind: type[Method], spec: RunSpec) -> Mapping[str, RunSpec]:
    """Return the `pretrain` run that a method requires by its settings `initial` and `initial_epochs`.

    Returns:
        The run under the name of the backbone; empty if `initial` is "".
    """
    config: Any = make_config(kind.Config, spec.config, spec.method)
    if not config.initial:
        return {}
    return {BACKBONE: wanted(spec, config.initial, config.initial_epochs)}


def wanted(spec: RunSpec, preset: str, epochs: int = 0) -> RunSpec:
    """Return the `pretrain` run on the first task of a run's benchmark.

    It has the same benchmark, task order and seed as `spec`.
    """
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
    """Return the run that fine-tunes, for each later task, a copy of the network after the first task.

    It equals the run of method `copies` with start = "first" that a study would define for the same
    benchmark and seed. Copies are trained by `preset`.
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

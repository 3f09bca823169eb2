"""The interface of all methods; the base class is sequential finetuning.

Life of a method: it is built once for a `World`. Then, task by task, `learn` is called with the task and
the training loop (`fit`), which it may call never, once or several times. Inside the loop, for each batch,
`step` takes one update: `loss`, backward, `edit_gradients`, `update()`. Evaluation calls `forward` alone.
Overrides say only what differs from finetuning.

A method opens no file, prints nothing, moves no device, seeds nothing: torch's generator is seeded around
it, from streams named after (seed, task), so that two methods see the same data and the same dropout.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import FunctionType
from typing import Any, ClassVar, Literal, Protocol, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raycl import oldnames
from raycl.networks import Blocks, Heads, Network, _checks
from raycl.specs import MaskSpec, RunSpec
from raycl.tasks import Batch, Pooled, Task, Update
from raycl.training import answers
from raycl.training.fit import Fit

__all__ = [
    "Batch",
    "Buffers",
    "Method",
    "Pooled",
    "Task",
    "Update",
    "World",
    "measuring",
    "mixed_cross_entropy",
    "one_task",
    "shares_statistics",
    "untouched",
]


Breaker: TypeAlias = Literal["adaptive", "momentum", "decay"]
"""What an optimiser may do to a gradient: divide it by its own size (Adam, RMSprop), add up those of earlier
steps, pull weights towards 0 by itself."""


class Build(Protocol):
    """Makes a fresh network with the initial weights of this run's seed.

    `width` scales the hidden layers. `start` 0 is the start that all methods of a study share for a seed;
    other numbers are other draws of the same seed.
    """

    def __call__(self, width: float = 1.0, start: int = 0) -> Network: ...


@dataclass(frozen=True)
class World:
    """What a method knows before the first task.

    Attributes:
        input_shape: (channels, height, width).
        classes: number of classes of each task.
        build: ``build(width=1.0, start=0)`` returns a fresh network.
        inputs: what the method asked for, by name: ``inputs["basis"]`` is the list of its `required_masks`;
            of its `required_runs`, ``inputs["backbone"]`` is a `raycl.networks._backbone.Pretrained`, and any
            other is a list of the run's reports.
    """

    input_shape: tuple[int, int, int]
    classes: tuple[int, ...]
    build: Build
    inputs: Mapping[str, Any] = field(default_factory=dict)

    @property
    def tasks(self) -> int:
        return len(self.classes)


_OLD_NAMES: dict[str, tuple[str, type]] = {
    "figures": ("diagnostics", FunctionType),
    "fit": ("fit_defaults", Mapping),
    "presets": ("preset_overrides", Mapping),
    "wants": ("required_masks", classmethod),
    "builds_on": ("required_runs", classmethod),
    "mixed": ("mixed_batches", bool),
    "reference": ("is_reference", bool),
}


class Method(nn.Module):
    """Sequential finetuning, and the base of every other method."""

    keeps_logits: ClassVar[bool] = False  # earlier tasks' logits never change, bit for bit
    mixed_batches: ClassVar[bool] = False  # its batches may mix tasks
    # after the first task, tasks depend on nothing but the network it left: they may be learnt side by side,
    # figures are of their own task, and stored bytes grow by what a task alone decides
    independent: ClassVar[bool] = False
    joint: ClassVar[bool] = False  # learns everything at the last task; earlier rows mean nothing
    is_reference: ClassVar[bool] = False  # its just-learnt accuracy is what forward transfer is measured from
    needs: ClassVar[tuple[type, ...]] = ()  # kinds of network it works on, e.g. (Blocks,)
    splits: ClassVar[bool] = False  # asks its network's features and head, never for logits at once
    version: ClassVar[int] = 1  # raised when behaviour changes
    fit_defaults: ClassVar[Mapping[str, Any]] = {}  # training settings of its own, e.g. {"clip": 100.0}
    preset_overrides: ClassVar[
        Mapping[str, Mapping[str, Any]]
    ] = {}  # per paper: keys of a study that differ there
    # what of an optimiser breaks what the method promises: what follows "optimiser = 'adam'"
    broken_by: ClassVar[Mapping[Breaker, str]] = {}
    ignores: ClassVar[Mapping[str, str]] = {}  # training settings without effect on it, and why
    deviations: ClassVar[Sequence[str]] = ()  # where it is not as published, a line each; reports print them

    @dataclass(frozen=True, kw_only=True)
    class Config:
        """The method's own hyperparameters; those of training live in `Fit`."""

    config: Config

    def __init_subclass__(cls, **given: Any) -> None:
        super().__init_subclass__(**given)
        oldnames.move_attributes(cls, _OLD_NAMES)

    @classmethod
    def required_masks(cls, spec: RunSpec) -> tuple[MaskSpec, ...]:
        """Basis masks that must be there before the run begins, in the order of `World.inputs["basis"]`.

        Raises:
            UserError: the run cannot have what it asks for.
        """
        return ()

    @classmethod
    def required_runs(cls, spec: RunSpec) -> Mapping[str, RunSpec]:
        """Runs that must be finished before this one begins, by their name in `World.inputs`.

        One of kind `pretrain` hands over the network that it trained, any other its reports.

        Raises:
            UserError: the run cannot have what it asks for.
        """
        return {}

    @classmethod
    def check_network(cls, net: Network, tasks: int) -> None:
        """Refuse a network on which the method would be wrong without a word.

        Args:
            net: as it is built for so many tasks; it may lie on the meta device, where there are no numbers.

        Raises:
            UserError: it lacks what the method takes for granted.
        """
        _checks.check_whole(net, tasks)
        blocks = any(issubclass(need, Blocks) for need in cls.needs)
        if cls.splits or cls.mixed_batches or blocks:
            _checks.check_split(net, cls.__name__)
        if any(issubclass(need, Heads) for need in cls.needs):
            _checks.check_apart(net, cls.__name__)
        if blocks:
            _checks.check_chain(net, cls.__name__)

    def __init__(self, world: World, config: Config) -> None:
        super().__init__()
        self.world, self.config = world, config
        self.make()

    def make(self) -> None:
        """Build networks and state; by default one network with a head per task."""
        self.net = self.world.build()  # net(x, task) -> logits
        self.check_network(self.net, self.world.tasks)

    def learn(self, task: Task, fit: Fit) -> None:
        """Learn one task; act before or after `fit`, or call it more than once."""
        fit(self, task)

    def trainable(self, task: int) -> Iterable[Any]:
        """Parameters, or optimiser groups, that `fit` may move during `task`."""
        return self.net.trainable(task)

    def forward(self, x: Tensor, task: int) -> Tensor:
        """Logits [batch, classes of `task`]; evaluation sees nothing else."""
        logits: Tensor = self.net(x, task)
        return logits

    def loss(self, batch: Batch) -> Tensor:
        """Scalar to minimise; penalties and replayed batches are added here."""
        return F.cross_entropy(self(batch.x, one_task(batch)), batch.y)

    def edit_gradients(self, batch: Batch) -> None:
        """Mask, scale or project `p.grad`, after backward and before clipping."""

    def step(self, batch: Batch, update: Update) -> Tensor:
        """One update; gradients are clear before it. Returns the loss, detached."""
        loss = answers.learnable(self, "loss", self.loss(batch))
        loss.backward()
        self.edit_gradients(batch)
        update()
        return loss.detach()

    def validation_loss(self, batch: Batch) -> Tensor:
        """What decides when to stop and which weights to keep: a mean over the batch, no gradient."""
        return F.cross_entropy(self(batch.x, one_task(batch)), batch.y)

    def rewinds(self) -> Iterable[Tensor]:
        """State that goes back with the weights when the best epoch is restored."""
        return ()

    def diagnostics(self, task: int) -> dict[str, Any]:
        """Numbers of the method's own after `task` (plain JSON), e.g. the share of blocked weights."""
        return {}

    @property
    def answers_stay(self) -> bool:
        """Whether accuracies on tasks learnt earlier need not be measured again.

        Running statistics that all tasks share move with each of them, whatever becomes of the weights.
        """
        net = getattr(self, "net", None)
        return self.keeps_logits and not (isinstance(net, nn.Module) and shares_statistics(net))

    @classmethod
    def samples_per_fit(cls, config: Any, sizes: Sequence[int]) -> list[int]:
        """How many samples each fit walks, task by task; `sizes` are those of the training splits."""
        return list(sizes)

    @classmethod
    def statistics_rest(cls, config: Any) -> bool:
        """Whether batch normalisations are in evaluation mode from the second task on, even in training."""
        return False

    @classmethod
    def breakers(cls, config: Any) -> Mapping[Breaker, str]:
        """`broken_by` with these settings of the method."""
        return cls.broken_by

    def examine(self, tasks: Sequence[Task], fit: Fit) -> dict[str, Any]:
        """Numbers of the method's own that take data to measure, after the last task (plain JSON).

        They join `diagnostics`. The time they take is no compute time, and nothing may be learnt from them.
        """
        return {}

    def count_parameters(self) -> int:
        """Learnable parameters; buffers are not counted."""
        return sum(p.numel() for p in self.parameters() if p.requires_grad)

    def stored_bytes(self) -> int:
        """Bytes to keep so that every task learnt can be used and the next one learnt."""
        tensors = [*self.parameters(), *self.buffers()]
        return sum(t.numel() * t.element_size() for t in tensors)


class Buffers(nn.Module):
    """Tensors by position that move, save and count with a method and are never trained."""

    def __init__(self, tensors: Iterable[Tensor] = ()) -> None:
        super().__init__()
        for tensor in tensors:
            self.append(tensor)

    def append(self, tensor: Tensor) -> None:
        self.register_buffer(str(len(self)), tensor)

    def __len__(self) -> int:
        return len(self._buffers)

    def __getitem__(self, index: int) -> Tensor:
        tensor = self._buffers[str(index)]
        assert tensor is not None
        return tensor

    def __iter__(self) -> Iterator[Tensor]:
        return (self[index] for index in range(len(self)))


def shares_statistics(net: nn.Module) -> bool:
    """Whether a network has normalisations whose running statistics all tasks move."""
    return any(
        isinstance(module, nn.modules.batchnorm._NormBase) and module.running_mean is not None
        for module in _but_per_task(net)
    )


def _but_per_task(net: nn.Module) -> Iterator[nn.Module]:
    """The module and those below it, but for what belongs to single tasks."""
    yield net
    for child in net.children():
        if not getattr(child, "per_task", False):
            yield from _but_per_task(child)


@contextlib.contextmanager
def measuring(net: nn.Module, dropout: bool = False) -> Iterator[None]:
    """The network in evaluation mode, or with dropout drawn; statistics of batches stay as they are."""
    modes = {module: module.training for module in net.modules()}
    net.train(dropout)
    for module in modes:
        if isinstance(module, nn.modules.batchnorm._BatchNorm) or _checks.keeps_statistics(module):
            module.train(False)
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


@contextlib.contextmanager
def untouched(net: nn.Module) -> Iterator[None]:
    """Afterwards every buffer of the network is what it was before, whatever a forward pass writes to it.

    Of running statistics that evaluation mode does not stop, such as a spectral norm's vectors.
    """
    kept = [
        (module, name, buffer, buffer.clone())
        for module in net.modules()
        for name, buffer in module._buffers.items()
        if buffer is not None
    ]
    try:
        yield
    finally:
        with torch.no_grad():
            for module, name, buffer, before in kept:
                module._buffers[name] = buffer
                buffer.copy_(before)


def one_task(batch: Batch) -> int:
    """The task of a batch that does not mix tasks."""
    assert isinstance(batch.task, int), "a method that declares no `mixed_batches` was handed a mixed batch"
    return batch.task


def mixed_cross_entropy(net: Network, batch: Batch) -> Tensor:
    """Mean cross-entropy over a batch of several tasks, each row on its own task's head."""
    if isinstance(batch.task, int):
        return F.cross_entropy(net(batch.x, batch.task), batch.y)
    features = net.features(batch.x)  # [n, features]
    losses = [
        F.cross_entropy(net.head(features[rows], int(task)), batch.y[rows], reduction="sum")
        for task in batch.task.unique()
        for rows in [batch.task == task]
    ]
    total = losses[0]
    for loss in losses[1:]:
        total = total + loss
    return total / len(batch)


MethodFactory = Callable[[World], Method]

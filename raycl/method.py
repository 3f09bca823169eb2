"""The interface of all methods; the base class is sequential finetuning.

Life cycle of a method: it is built once for a `World`. Then, for each task in turn, `learn` is called with
the task and the training loop (`fit`). `learn` may call `fit` any number of times, including never. Inside
the loop, `step` makes one update per batch: `loss`, backward, `edit_gradients`, `update()`. Evaluation calls
nothing but `forward`. A subclass overrides only what differs from finetuning.

A method does not open files, print, move tensors between devices or set seeds. The caller seeds torch's
generator from streams that are named after (seed, task), so that two methods see the same data and the same
dropout.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from types import FunctionType
from typing import Any, ClassVar, Literal, Protocol, Self, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raycl import oldnames
from raycl.errors import UserError
from raycl.networks import Blocks, Heads, Network, _checks
from raycl.specs import MaskSpec, RunSpec
from raycl.tasks import Batch, Pooled, Task, Update
from raycl.training import answers
from raycl.training.fit import Fit
from raycl.training.modes import set_training

__all__ = [
    "Batch",
    "Buffers",
    "Method",
    "Pooled",
    "Task",
    "Update",
    "World",
    "deviations_of",
    "measuring",
    "mixed_cross_entropy",
    "one_task",
    "shares_statistics",
    "untouched",
]


Breaker: TypeAlias = Literal["adaptive", "momentum", "decay"]
"""What an optimiser may do besides following the gradient: "adaptive" divides each gradient by its own size
(Adam, RMSprop), "momentum" adds up the gradients of earlier steps, "decay" pulls weights towards 0."""


class Build(Protocol):
    """A function that makes a fresh network with the initial weights of this run's seed.

    `width` scales the hidden layers. With `start` = 0 the network has the initial weights that all methods
    of a study share for a seed; every other value gives another draw from the same seed.
    """

    def __call__(self, width: float = 1.0, start: int = 0) -> Network: ...


@dataclass(frozen=True)
class World:
    """What a method knows before the first task.

    Attributes:
        input_shape: (channels, height, width).
        classes: number of classes of each task.
        build: function that returns a fresh network, called as ``build(width=1.0, start=0)``.
        inputs: results of other runs that the method requested, by name. ``inputs["basis"]`` is the list of
            its `required_masks`. Of its `required_runs`, ``inputs["backbone"]`` is a
            `raycl.networks._backbone.Pretrained`; every other entry is the list of that run's reports.
    """

    input_shape: tuple[int, int, int]
    classes: tuple[int, ...]
    build: Build
    inputs: Mapping[str, Any] = field(default_factory=dict)

    @property
    def tasks(self) -> int:
        """Number of tasks."""
        return len(self.classes)


def deviations_of(kind: type[Method]) -> tuple[str, ...]:
    """Return in what a method knowingly differs from its paper: the lines of its base classes, then its own.

    Raises:
        UserError: If a class lifts a line that none of its base classes has, or a list is a single string.
    """
    found: list[str] = []
    for each in reversed(kind.__mro__):
        own, lifted = (vars(each).get(name, ()) for name in ("deviations", "deviations_lifted"))
        for name, lines in (("deviations", own), ("deviations_lifted", lifted)):
            if isinstance(lines, str):
                raise UserError(f"{each.__qualname__}.{name} should be a list of strings; write [{lines!r}]")
        for start in lifted:
            if not any(line.startswith(start) for line in found):
                raise UserError(
                    f"{each.__qualname__}.deviations_lifted: no base class has a deviation that begins with "
                    f"{start!r}"
                )
        found = [line for line in found if not line.startswith(tuple(lifted))]
        found += [line for line in own if line not in found]
    return tuple(found)


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

    keeps_logits: ClassVar[bool] = False  # the logits of earlier tasks never change, bit for bit
    mixed_batches: ClassVar[bool] = False  # a batch may mix several tasks
    # True if every task after the first depends only on the network that the first task left. Such tasks may
    # be learnt in parallel, each task's diagnostics concern that task alone, and each task adds to the stored
    # bytes an amount that depends on that task alone.
    independent: ClassVar[bool] = False
    joint: ClassVar[bool] = False  # everything is learnt at the last task; earlier rows are undefined
    is_reference: ClassVar[bool] = False  # forward transfer is measured from its just-learnt accuracy
    capturable: ClassVar[bool] = False  # see `captured_step`; a subclass declares it for itself
    needs: ClassVar[tuple[type, ...]] = ()  # kinds of network that the method works on, e.g. (Blocks,)
    splits: ClassVar[bool] = False  # calls the network's `features` and `head`, never the network itself
    version: ClassVar[int] = 1  # raised when behaviour changes
    fit_defaults: ClassVar[Mapping[str, Any]] = {}  # training settings of the method, e.g. {"clip": 100.0}
    # For each training preset (one per paper), the settings of a study that have another value there.
    preset_overrides: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    # Features of an optimiser that break what the method promises, and what they do. The text follows
    # "optimiser = 'adam'" in a message.
    broken_by: ClassVar[Mapping[Breaker, str]] = {}
    ignores: ClassVar[Mapping[str, str]] = {}  # training settings without effect on the method, and why
    # Differences from the paper, one string each. A class has those of its base classes as well, except the
    # lines that begin as one of `deviations_lifted`; "" is the beginning of all lines.
    deviations: ClassVar[Sequence[str]] = ()
    deviations_lifted: ClassVar[Sequence[str]] = ()

    @dataclass(frozen=True, kw_only=True)
    class Config:
        """Hyperparameters of the method; those of training belong to `Fit`."""

    config: Config

    def __init_subclass__(cls, **given: Any) -> None:
        super().__init_subclass__(**given)
        oldnames.move_attributes(cls, _OLD_NAMES)

    @classmethod
    def required_masks(cls, spec: RunSpec) -> tuple[MaskSpec, ...]:
        """Return the basis masks that must exist before the run starts.

        Their order is the order of `World.inputs["basis"]`.

        Raises:
            UserError: If the settings of the run request masks that cannot be made.
        """
        return ()

    @classmethod
    def required_runs(cls, spec: RunSpec) -> Mapping[str, RunSpec]:
        """Return the runs that must be finished before this one starts, by their name in `World.inputs`.

        A run of kind `pretrain` passes on the network that it trained, any other run its reports.

        Raises:
            UserError: If the settings of the run request runs that are not possible.
        """
        return {}

    @classmethod
    def check_network(cls, net: Network, tasks: int) -> None:
        """Raise an error for a network on which the method would silently compute something wrong.

        Args:
            net: Network built for that many tasks. It may be on the meta device, where tensors have shapes
                but no values.
            tasks: Number of tasks.

        Raises:
            UserError: If the network lacks something that the method relies on.
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
        """Build the networks and the state; by default one network with a head per task."""
        self.net = self.world.build()  # net(x, task) -> logits
        self.check_network(self.net, self.world.tasks)

    def learn(self, task: Task, fit: Fit) -> None:
        """Learn one task; an override may act before or after `fit`, or call it more than once."""
        fit(self, task)

    def trainable(self, task: int) -> Iterable[Any]:
        """Return the parameters, or optimiser parameter groups, that `fit` may change during `task`."""
        return self.net.trainable(task)

    def forward(self, x: Tensor, task: int) -> Tensor:
        """Return logits [batch, classes of `task`]; evaluation calls no other method."""
        logits: Tensor = self.net(x, task)
        return logits

    def loss(self, batch: Batch) -> Tensor:
        """Return the scalar to minimise; penalties and losses on stored samples are added here."""
        return F.cross_entropy(self(batch.x, one_task(batch)), batch.y)

    def train(self, mode: bool = True) -> Self:
        """Set the mode of the method and of all its parts, as any module does, in less time."""
        set_training(self, mode)
        return self

    def edit_gradients(self, batch: Batch) -> None:
        """Mask, scale or project `p.grad`; this is called after backward and before clipping."""

    def step(self, batch: Batch, update: Update) -> Tensor:
        """Make one update and return the loss, detached; the caller has cleared the gradients."""
        with self.step_context(batch):
            return self.captured_step(batch, update)

    def step_context(self, batch: Batch) -> AbstractContextManager[None]:
        """Return a context that sets, for a step, what depends on the batch's position, e.g. HAT's slope."""
        return nullcontext()

    def captured_step(self, batch: Batch, update: Update) -> Tensor:
        """Make the update of a step, inside `step_context`, and return the loss, detached.

        A graph records it once and repeats it. For that, a `capturable` method asks for the same work in
        every step of a fit, reads no value, and depends only on the batch and on tensors changed in place.
        """
        loss = answers.learnable(self, "loss", self.loss(batch))
        loss.backward()
        self.edit_gradients(batch)
        update()
        return loss.detach()

    def validation_loss(self, batch: Batch) -> Tensor:
        """Return the mean loss of a validation batch; it decides when to stop and which weights to keep.

        It is computed without gradients.
        """
        return F.cross_entropy(self(batch.x, one_task(batch)), batch.y)

    def rewinds(self) -> Iterable[Tensor]:
        """Return the tensors that are restored together with the weights of the best epoch."""
        return ()

    def diagnostics(self, task: int) -> dict[str, Any]:
        """Return numbers specific to the method after `task`, e.g. the share of blocked weights.

        The values are plain JSON.
        """
        return {}

    def epoch_diagnostics(self, task: int) -> dict[str, float]:
        """Return numbers specific to the method after an epoch of a fit for `task`, for its training curves.

        The numbers are already known or cheap to compute: they are asked for after each epoch, and the time
        counts as compute time. The method may not change its state.
        """
        return {}

    @property
    def answers_stay(self) -> bool:
        """Whether accuracies on earlier tasks stay the same, so that they need not be measured again.

        Running statistics that all tasks share change with every task, even if the weights do not. A network
        that has such statistics therefore has to be measured again.
        """
        net = getattr(self, "net", None)
        return self.keeps_logits and not (isinstance(net, nn.Module) and shares_statistics(net))

    @classmethod
    def samples_per_fit(cls, config: Any, sizes: Sequence[int]) -> list[int]:
        """Return the number of training samples per epoch of each fit, one fit per task.

        Args:
            config: Config of the method.
            sizes: Sizes of the training splits, by task.
        """
        return list(sizes)

    @classmethod
    def statistics_rest(cls, config: Any) -> bool:
        """Return whether batch normalisations stay in evaluation mode while later tasks are trained.

        Later tasks are all tasks from the second one on.
        """
        return False

    @classmethod
    def breakers(cls, config: Any) -> Mapping[Breaker, str]:
        """Return `broken_by` for these settings of the method."""
        return cls.broken_by

    def examine(self, tasks: Sequence[Task], fit: Fit) -> dict[str, Any]:
        """Return numbers specific to the method that need data to measure, after the last task.

        They are plain JSON and are added to `diagnostics`. The time they take does not count as compute time,
        and the method may not learn anything from the data.
        """
        return {}

    def count_parameters(self) -> int:
        """Return the number of learnable parameters; buffers are not counted."""
        return sum(p.numel() for p in self.parameters() if p.requires_grad)

    def stored_bytes(self) -> int:
        """Return the bytes that must be kept to use every learnt task and to learn the next one."""
        tensors = [*self.parameters(), *self.buffers()]
        return sum(t.numel() * t.element_size() for t in tensors)


class Buffers(nn.Module):
    """List of tensors that are moved, saved and counted with a method and are never trained."""

    def __init__(self, tensors: Iterable[Tensor] = ()) -> None:
        super().__init__()
        for tensor in tensors:
            self.append(tensor)

    def append(self, tensor: Tensor) -> None:
        """Add a tensor at the end."""
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
    """Return whether a network has normalisations whose running statistics are shared by all tasks."""
    return any(
        isinstance(module, nn.modules.batchnorm._NormBase) and module.running_mean is not None
        for module in _shared_modules(net)
    )


def _shared_modules(net: nn.Module) -> Iterator[nn.Module]:
    """Yield the module and its descendants, except those that belong to single tasks."""
    yield net
    for child in net.children():
        if not getattr(child, "per_task", False):
            yield from _shared_modules(child)


@contextlib.contextmanager
def measuring(net: nn.Module, dropout: bool = False) -> Iterator[None]:
    """Put the network in evaluation mode inside a ``with`` block, or in training mode for its dropout.

    Normalisations that keep running statistics are in evaluation mode either way, so that their statistics
    do not change. Every module returns to its previous mode at the end.

    Args:
        net: Network to measure with.
        dropout: Whether dropout is active.
    """
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
    """Restore every buffer of the network at the end of a ``with`` block.

    Some buffers, such as the vectors of a spectral norm, are written by forward passes even where evaluation
    mode does not forbid it.
    """
    buffers = [
        (module, name, buffer, buffer.clone())
        for module in net.modules()
        for name, buffer in module._buffers.items()
        if buffer is not None
    ]
    try:
        yield
    finally:
        with torch.no_grad():
            for module, name, buffer, before in buffers:
                module._buffers[name] = buffer
                buffer.copy_(before)


def one_task(batch: Batch) -> int:
    """Return the task of a batch that does not mix tasks."""
    assert isinstance(batch.task, int), "got a batch of several tasks for a method without `mixed_batches`"
    return batch.task


def mixed_cross_entropy(net: Network, batch: Batch) -> Tensor:
    """Return the mean cross-entropy of a batch of several tasks, each row through its own task's head."""
    if isinstance(batch.task, int):
        return F.cross_entropy(net(batch.x, batch.task), batch.y)
    features = net.features(batch.x)  # [n, features]
    losses = [
        F.cross_entropy(net.head(features[rows], task), batch.y[rows], reduction="sum")
        for task, rows in batch.by_task()
    ]
    total = losses[0]
    for loss in losses[1:]:
        total = total + loss
    return total / len(batch)


MethodFactory = Callable[[World], Method]

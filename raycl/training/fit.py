"""The one loop over epochs. Stopping rules and schedules of all papers are settings of it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from raycl import streams
from raycl.tasks import Batch, Pooled, Split, Task, Update
from raycl.training import answers, settings
from raycl.training.best import Best, statistics
from raycl.training.feeding import rows_of
from raycl.training.fit_checkpoints import FitCheckpoint, FitJournal, nodes, origins, put_back
from raycl.training.optimiser import OptimiserUpdate, groups_of
from raycl.training.rules import optimiser_of, tensors_of
from raycl.training.schedule import Schedule

PULSE_SECONDS = 15.0
EVALUATION_BATCH = 256


class Diverged(Exception):
    """The loss is no number any more: an outcome of these hyperparameters, not a fault."""


@dataclass(frozen=True)
class Pulse:
    """A sign of life from inside a fit."""

    task: int
    stream: str
    epoch: int
    val_loss: float
    seconds: float  # since the run began


@dataclass(frozen=True)
class Fitted:
    """What a fit came to.

    Attributes:
        val_loss: the lowest, whose weights are restored (`keep="best"`), or the last; NaN without `val`.
        val_accuracy: of the same weights, fraction.
        train_accuracy: of the same weights, where the fit was asked to measure it, else NaN.
        epochs, updates: how many were made.
        lr, patience: where the schedule stands; handed back, they continue it.
        seconds: wall time.
    """

    val_loss: float
    val_accuracy: float
    train_accuracy: float
    epochs: int
    updates: int
    lr: float
    patience: int
    seconds: float


class Learner(Protocol):
    """What `Fit` trains: a Method, or any small model with these."""

    training: bool

    def trainable(self, task: int) -> Iterable[Any]: ...
    def step(self, batch: Batch, update: Update) -> Tensor: ...
    def validation_loss(self, batch: Batch) -> Tensor: ...
    def train(self, mode: bool = True) -> Any: ...
    def modules(self) -> Iterator[nn.Module]: ...
    def __call__(self, x: Tensor, task: int) -> Tensor: ...


class Fit:
    """The training loop, as a method's `learn` receives it.

    ``fit(self, task)`` trains with a fresh optimiser until the stopping rule says so, then restores the
    best weights. ``fit.batches(...)`` walks a split once, for passes of the method's own.
    """

    Config: TypeAlias = settings.Config

    def __init__(
        self,
        config: Config,
        *,
        seed: int = 0,
        device: torch.device | str = "cpu",
        pulse: Callable[[Pulse], None] | None = None,
        journal: FitJournal | None = None,
        alive: Callable[[], None] | None = None,
    ) -> None:
        self.config, self.seed, self.device = config, seed, torch.device(device)
        self.journal, self._alive = journal, alive
        self.seconds: dict[str, float] = {}
        self.epochs: dict[str, int] = {}
        self.updates = 0
        self._pulse, self._started = pulse, time.perf_counter()
        self._last_pulse = self._started
        self._stretch = 0
        self.recalled = 0.0  # seconds of this task's fits that an earlier attempt spent

    def begin(self, task: int) -> None:
        """A new task: clocks to zero, torch's generator to the task's own stream."""
        self.seconds, self.epochs, self.updates, self._stretch, self.recalled = {}, {}, 0, 0, 0.0
        if self.journal is not None:
            self.journal.begin(task)
        self._next_stretch(task)

    @property
    def number(self) -> int:
        """Of the fit in progress, among those of its task; the same in every attempt."""
        return self._stretch - 1

    def _next_stretch(self, task: int) -> None:
        streams.reseed(self.seed, "method", task, fit=f"stretch-{self._stretch}")
        self._stretch += 1

    def __call__(
        self,
        learner: Learner,
        task: Task,
        *,
        train: Split | None = None,
        val: Split | None = None,
        over: Iterable[Any] | None = None,
        epochs: int | None = None,
        lr: float | None = None,
        patience: int | None = None,
        best: float | None = None,
        keep: Literal["best", "last"] | None = None,
        config: Config | None = None,
        train_accuracy: bool = False,
        stream: str = "main",
        account: str | None = None,
    ) -> Fitted:
        """Train `learner` on `task`.

        Args:
            config: settings of this fit alone, instead of the run's; what follows overrides single ones.
            train, val: instead of the task's own.
            over: tensors or optimiser groups to move; by default those of
                ``learner.trainable(task.index)``.
            epochs: at most so many, instead of the setting.
            lr, patience, best: go on with a schedule where an earlier fit left it; `best` is the loss that
                counts as no improvement (its `val_loss`), and leaves alone which weights are kept.
            keep: instead of the setting.
            train_accuracy: measure it afterwards.
            stream: names the random streams of this fit: data order and dropout.
            account: name under which seconds and epochs are kept, if not the stream's.

        Raises:
            Diverged: a loss became NaN or infinite.
        """
        data = _Data(
            task.index, stream, task.train if train is None else train, task.val if val is None else val
        )
        groups = groups_of(answers.groups(learner, learner.trainable(task.index)) if over is None else over)
        started = self.clock()
        config = config or self.config
        schedule = Schedule(config, config.epochs if epochs is None else epochs, lr, patience, best)
        loop = _Loop(self, config, learner, data, groups, schedule, keep or config.keep)
        fitted = self._finished(loop, started, train_accuracy)
        self._account(account or stream, fitted)
        self._next_stretch(task.index)
        return fitted

    def _finished(self, loop: _Loop, started: float, train_accuracy: bool) -> Fitted:
        """What a fit comes to: from its beginning, or from where an earlier attempt at it stood."""
        known = self.journal.recall(self.number) if self.journal else None
        if known is not None:
            loop.go_on(known)
            started -= known.seconds
            self.recalled += known.seconds
            if known.fitted:
                return Fitted(**known.fitted)
        return loop.run(started, train_accuracy)

    def _account(self, account: str, fitted: Fitted) -> None:
        self.seconds[account] = self.seconds.get(account, 0.0) + fitted.seconds
        self.epochs[account] = self.epochs.get(account, 0) + fitted.epochs
        self.updates += fitted.updates

    def batches(
        self,
        split: Split,
        task: int,
        size: int | None = None,
        *,
        order: NDArray[np.int64] | None = None,
        epoch: int = 0,
        augment: np.random.Generator | None = None,
    ) -> Iterator[Batch]:
        """The split once, in `order` (default: as it stands), in batches of `size` (default: `batch`).

        Samples are augmented, where the split does that, if `augment` gives the draws.
        """
        size, n = size or self.config.batch, len(split)
        order = np.arange(n) if order is None else order
        of = -(-n // size)
        held = rows_of(split, self.device, augment)
        alive = self._alive or _nothing
        tasks = split.tasks if isinstance(split, Pooled) else None
        for index in range(of):
            alive()
            rows = order[index * size : (index + 1) * size]
            x, y = held(rows)
            where = task if tasks is None else torch.from_numpy(tasks[rows]).to(self.device)
            yield Batch(x, y, where, epoch, index, of, index * size, n)

    def loss(self, learner: Learner, task: int, split: Split) -> float:
        """Mean validation loss over a split, without gradients and in evaluation mode; NaN where empty."""
        return self._mean(
            learner,
            task,
            split,
            lambda batch, _: answers.scalar(learner, "validation_loss", learner.validation_loss(batch)),
        )

    def accuracy(self, learner: Learner, task: int, split: Split, classes: int | None = None) -> float:
        """Accuracy on a split (fraction), without gradients and in evaluation mode; NaN where empty.

        Args:
            classes: what the logits must be of, where that is known; a logit that is NaN then makes all NaN.
        """

        def right(batch: Batch, index: int) -> Tensor:
            logits = answers.logits(learner, learner(batch.x, index), len(batch), classes)
            share = (logits.argmax(1) == batch.y).double().mean()
            return share if classes is None else share.masked_fill(logits.isnan().any(), math.nan)

        return self._mean(learner, task, split, right)

    def _mean(
        self, learner: Learner, task: int, split: Split, value: Callable[[Batch, int], Tensor]
    ) -> float:
        """The mean over samples of `value`, a mean over a batch; a pooled split is walked task by task."""
        parts = split.parts if isinstance(split, Pooled) else [(task, split)]
        was_training = learner.training
        learner.train(False)
        total = torch.zeros((), dtype=torch.float64, device=self.device)
        with torch.no_grad():
            for index, part in parts:
                for batch in self.batches(part, index, EVALUATION_BATCH):
                    total += value(batch, index) * len(batch)
        learner.train(was_training)
        return float(total) / len(split) if len(split) else math.nan

    def clock(self) -> float:
        """Seconds, with the device at rest."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def pulse(self, task: int, stream: str, epoch: int, val_loss: float) -> None:
        """Say that the run is alive, at most every `PULSE_SECONDS`."""
        now = time.perf_counter()
        if self._pulse is not None and now - self._last_pulse >= PULSE_SECONDS:
            self._last_pulse = now
            self._pulse(Pulse(task, stream, epoch, val_loss, now - self._started))


def _nothing() -> None:
    """For a fit that nobody watches."""


@dataclass(frozen=True)
class _Data:
    """What a fit learns from, and the name of its random streams."""

    task: int
    stream: str
    train: Split
    val: Split


class _Loop:
    """One fit in progress."""

    def __init__(
        self,
        fit: Fit,
        config: Fit.Config,
        learner: Learner,
        data: _Data,
        groups: list[Any],
        schedule: Schedule,
        keep: Literal["best", "last"],
    ) -> None:
        self.fit, self.config, self.learner, self.data = fit, config, learner, data
        self.keep = "last" if not len(data.val) else keep
        self.optimiser = optimiser_of(config, groups) if groups else None
        self.update = OptimiserUpdate(self.optimiser, config.clip)
        self.schedule, self.epochs = schedule, schedule.epochs
        rewinds: Iterable[Tensor] = getattr(learner, "rewinds", tuple)()
        self.best = Best([*tensors_of(groups), *statistics(learner.modules()), *rewinds])
        self.done, self.updates, self.val_loss = 0, 0, math.nan
        self.began_with = nodes(learner) if fit.journal is not None else {}

    def run(self, started: float, measure_train: bool) -> Fitted:
        fit, data = self.fit, self.data
        for epoch in range(self.done, self.epochs):
            watched = self._epoch(epoch)
            self.done += 1
            if len(data.val):
                watched = self.val_loss = fit.loss(self.learner, data.task, data.val)
                self._check(watched, "validation loss", epoch)
            if self.keep == "best" and watched < self.best.val_loss:
                self.best.save(watched)
            fit.pulse(data.task, data.stream, epoch, watched)
            if self.schedule.after(epoch, watched):
                break
            self._note(started)
        if self.best.saved:
            self.best.restore()
            self.val_loss = self.best.val_loss
        val_accuracy = fit.accuracy(self.learner, data.task, data.val)
        train_accuracy = fit.accuracy(self.learner, data.task, data.train) if measure_train else math.nan
        seconds = fit.clock() - started
        lr, patience = self.schedule.lr, self.schedule.left
        fitted = Fitted(
            self.val_loss, val_accuracy, train_accuracy, self.done, self.updates, lr, patience, seconds
        )
        self._note(started, fitted)
        return fitted

    def _note(self, started: float, fitted: Fitted | None = None) -> None:
        """Have it written down where the fit stands, if that is worth it."""
        journal, seconds = self.fit.journal, time.perf_counter() - started
        if journal is None or not journal.is_due(seconds, fitted is not None):
            return
        moment = FitCheckpoint(
            learner=self.learner,
            origins=origins(self.began_with, self.learner),
            tensors=[tensor.detach() for tensor in self.update.tensors],
            **self.update.standing(),
            schedule={name: value for name, value in vars(self.schedule).items() if name != "config"},
            best=self.best.saved,
            best_loss=self.best.val_loss,
            epochs=self.done,
            updates=self.updates,
            val_loss=self.val_loss,
            seconds=seconds,
            fitted=asdict(fitted) if fitted else None,
        )
        journal.note(self.fit.number, moment)

    def go_on(self, moment: FitCheckpoint) -> None:
        """Stand where an earlier attempt at this fit stood."""
        put_back(self.learner, moment.learner, moment.origins)
        with torch.no_grad():
            for tensor, value in zip(self.update.tensors, moment.tensors, strict=True):
                tensor.copy_(value)
        self.update.stand(moment.state, moment.lrs, moment.lr)
        vars(self.schedule).update(moment.schedule)
        self.best.saved, self.best.val_loss = moment.best, moment.best_loss
        self.done, self.updates, self.val_loss = moment.epochs, moment.updates, moment.val_loss

    def _epoch(self, epoch: int) -> float:
        """One pass over the training split; the mean loss."""
        fit, data, n = self.fit, self.data, len(self.data.train)
        order = np.arange(n)
        if self.config.shuffle:
            order = streams.numpy_generator(fit.seed, "order", data.task, data.stream, epoch).permutation(n)
        augment = streams.numpy_generator(fit.seed, "augment", data.task, data.stream, epoch)
        streams.reseed(fit.seed, "dropout", data.task, data.stream, epoch)
        self.learner.train(True)
        total = torch.zeros((), dtype=torch.float64, device=fit.device)
        size = self.config.batch
        for batch in fit.batches(data.train, data.task, size, order=order, epoch=epoch, augment=augment):
            self.update.lr = self.schedule.rate(epoch, batch.index, batch.of)
            self.update.clear()
            total += answers.scalar(self.learner, "step", self.learner.step(batch, self.update)) * len(batch)
            self.updates += 1
        loss = float(total) / max(n, 1)
        self._check(loss, "training loss", epoch)
        return loss

    def _check(self, loss: float, name: str, epoch: int) -> None:
        if not math.isfinite(loss):
            where = f"epoch {epoch + 1} of task {self.data.task + 1} ({self.data.stream})"
            raise Diverged(f"{name} is {loss} in {where}")

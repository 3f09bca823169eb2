"""The one training loop over epochs, of which the stopping rules and schedules of all papers are settings."""

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

from raycl import devices, streams
from raycl.tasks import Batch, Pooled, Split, Task, Update, augments
from raycl.training import answers, settings
from raycl.training.best import Best, statistics
from raycl.training.curves import ACCOUNTS, EpochCurve
from raycl.training.feeding import Feed, evaluation_batch
from raycl.training.fit_checkpoints import FitCheckpoint, FitJournal, nodes, origins, put_back
from raycl.training.graphs import Steps
from raycl.training.optimiser import OptimiserUpdate, groups_of
from raycl.training.rules import optimiser_of, tensors_of
from raycl.training.schedule import Schedule

PULSE_SECONDS = 15.0


class Diverged(Exception):
    """A loss is NaN or infinite; this is an outcome of the hyperparameters, not an error of the program."""


@dataclass(frozen=True)
class Pulse:
    """Progress report from inside a fit, which also shows that the run is alive."""

    task: int
    stream: str
    epoch: int
    val_loss: float
    seconds: float  # since the `Fit` was made


@dataclass(frozen=True)
class Clocks:
    """A moment by two clocks, in seconds from any origin: the wall clock, and processor time."""

    wall: float
    cpu: float


@dataclass(frozen=True)
class Fitted:
    """Outcome of one call of `Fit`.

    Attributes:
        val_loss: Lowest validation loss, whose weights were restored (`keep="best"`), or the last one; NaN
            without validation data.
        val_accuracy: Validation accuracy of the same weights, as a fraction.
        train_accuracy: Training accuracy of the same weights, or NaN if it was not requested.
        epochs, updates: Numbers of epochs and of updates that were made.
        lr, patience: Final state of the schedule; a later fit that is given both continues the schedule.
        seconds: Wall-clock time.
        cpu_seconds: Time that processors spent on it, which does not depend on other work of the machine.
    """

    val_loss: float
    val_accuracy: float
    train_accuracy: float
    epochs: int
    updates: int
    lr: float
    patience: int
    seconds: float
    cpu_seconds: float = 0.0


class Learner(Protocol):
    """Interface of what `Fit` trains: a `Method`, or a small model with these members."""

    training: bool

    def trainable(self, task: int) -> Iterable[Any]: ...
    def step(self, batch: Batch, update: Update) -> Tensor: ...
    def validation_loss(self, batch: Batch) -> Tensor: ...
    def train(self, mode: bool = True) -> Any: ...
    def modules(self) -> Iterator[nn.Module]: ...
    def __call__(self, x: Tensor, task: int) -> Tensor: ...


class Fit:
    """The training loop, as `Method.learn` receives it.

    ``fit(self, task)`` trains with a fresh optimiser until the stopping rule ends training, and then restores
    the best weights. ``fit.batches(...)`` iterates once over a split, for passes of the method's own.
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
        graphs: bool = False,
    ) -> None:
        self.graphs, self.about_graphs = graphs, ""  # whether steps may be captured, and what came of it
        self.config, self.seed, self.device = config, seed, torch.device(device)
        self.journal, self._alive = journal, alive
        self.seconds: dict[str, float] = {}
        self.cpu_seconds: dict[str, float] = {}
        self.epochs: dict[str, int] = {}
        self.updates = 0
        self.curves: dict[str, EpochCurve] = {}  # by account
        self._pulse, self._started = pulse, time.perf_counter()
        self._last_pulse = self._started
        self._stretch = 0
        # The seconds that an earlier, interrupted attempt spent on fits of this task.
        self.recalled = self.recalled_cpu = 0.0

    def begin(self, task: int) -> None:
        """Begin a new task: reset the clocks and counts, and seed PyTorch with the task's own stream."""
        self.seconds, self.cpu_seconds, self.epochs, self.updates, self._stretch = {}, {}, {}, 0, 0
        self.recalled = self.recalled_cpu = 0.0
        self.curves = {}
        if self.journal is not None:
            self.journal.begin(task)
        self._next_stretch(task)

    @property
    def number(self) -> int:
        """Number of the fit in progress among those of its task; it is the same in every attempt."""
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
            train, val: Splits to use instead of those of the task.
            over: Tensors or optimiser groups to train; by default ``learner.trainable(task.index)``.
            epochs: Largest number of epochs, instead of the setting.
            lr, patience, best: State in which an earlier fit left the schedule, to continue it. `best` is the
                loss below which an epoch counts as better (the earlier `val_loss`). It does not affect which
                weights are kept.
            keep: Which weights to keep, instead of the setting.
            config: Settings of this fit, instead of the run's; the arguments above override single ones.
            train_accuracy: Whether to measure the training accuracy afterwards.
            stream: Name of the random streams of this fit, which draw data order, augmentation and dropout.
            account: Name under which seconds and epochs are added up; by default that of the stream.

        Raises:
            Diverged: A loss is NaN or infinite.
        """
        data = _Data(
            task.index, stream, task.train if train is None else train, task.val if val is None else val
        )
        groups = groups_of(answers.groups(learner, learner.trainable(task.index)) if over is None else over)
        started = self.clocks()
        config = config or self.config
        schedule = Schedule(config, config.epochs if epochs is None else epochs, lr, patience, best)
        loop = _Loop(self, config, learner, data, groups, schedule, keep or config.keep)
        fitted = self._run_or_resume(loop, started, train_accuracy)
        self._account(account or stream, fitted, loop.curves)
        self._next_stretch(task.index)
        return fitted

    def _run_or_resume(self, loop: _Loop, started: Clocks, train_accuracy: bool) -> Fitted:
        """Run a fit from its beginning, or resume it from a checkpoint of an earlier attempt."""
        known = self.journal.recall(self.number) if self.journal else None
        if known is not None:
            loop.resume(known)
            started = Clocks(started.wall - known.seconds, started.cpu - known.cpu_seconds)
            self.recalled += known.seconds
            self.recalled_cpu += known.cpu_seconds
            if known.fitted:
                return Fitted(**known.fitted)
        return loop.run(started, train_accuracy)

    def _account(self, account: str, fitted: Fitted, curves: EpochCurve) -> None:
        if account in self.curves or len(self.curves) < ACCOUNTS:
            self.curves.setdefault(account, EpochCurve()).extend(curves)
        self.seconds[account] = self.seconds.get(account, 0.0) + fitted.seconds
        self.cpu_seconds[account] = self.cpu_seconds.get(account, 0.0) + fitted.cpu_seconds
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
        """Yield each sample of a split once, in batches of `size` (default: the setting `batch`).

        The samples come in `order` (default: that of the split). They are augmented if the split supports it
        and `augment`, from which the random numbers are drawn, is given.
        """
        size, n = size or self.config.batch, len(split)
        feed = Feed(split, np.arange(n) if order is None else order, size, self.device, augment)
        alive = self._alive or _nothing
        for index in range(len(feed)):
            alive()
            x, y, tasks, parts = feed[index]
            where = task if tasks is None else tasks
            yield Batch(x, y, where, epoch, index, len(feed), index * size, n, parts)

    def loss(self, learner: Learner, task: int, split: Split) -> float:
        """Return the mean validation loss over a split, in evaluation mode; NaN if the split is empty."""
        return self._mean(
            learner,
            task,
            split,
            lambda batch, _: answers.scalar(learner, "validation_loss", learner.validation_loss(batch)),
        )

    def accuracy(self, learner: Learner, task: int, split: Split, classes: int | None = None) -> float:
        """Return the accuracy on a split as a fraction, in evaluation mode; NaN if the split is empty.

        Args:
            classes: Number of classes that the logits must cover, if it is to be checked. In that case the
                accuracy is also NaN if any logit is.
        """

        def right(batch: Batch, index: int) -> Tensor:
            logits = answers.logits(learner, learner(batch.x, index), len(batch), classes)
            share = (logits.argmax(1) == batch.y).to(devices.widest(self.device)).mean()
            return share if classes is None else share.masked_fill(logits.isnan().any(), math.nan)

        return self._mean(learner, task, split, right)

    def _mean(
        self, learner: Learner, task: int, split: Split, value: Callable[[Batch, int], Tensor]
    ) -> float:
        """Return the mean over samples of `value`, which is a mean over a batch; pooled splits go by task."""
        parts = split.parts if isinstance(split, Pooled) else [(task, split)]
        was_training = learner.training
        learner.train(False)
        total = torch.zeros((), dtype=devices.widest(self.device), device=self.device)
        size = evaluation_batch(learner.modules(), self.device)
        with torch.no_grad():
            for index, part in parts:
                for batch in self.batches(part, index, size):
                    total += value(batch, index) * len(batch)
        learner.train(was_training)
        return float(total) / len(split) if len(split) else math.nan

    def clock(self) -> float:
        """Return the time in seconds, after the device has finished its work."""
        devices.synchronise(self.device)
        return time.perf_counter()

    def clocks(self) -> Clocks:
        """Return `clock`, and the time that processors have spent so far.

        With one thread it is that of the calling thread, so that other threads of the process do not count.
        """
        wall = self.clock()
        return Clocks(wall, time.thread_time() if torch.get_num_threads() == 1 else time.process_time())

    def pulse(self, task: int, stream: str, epoch: int, val_loss: float) -> None:
        """Report progress, at most once every `PULSE_SECONDS`."""
        now = time.perf_counter()
        if self._pulse is not None and now - self._last_pulse >= PULSE_SECONDS:
            self._last_pulse = now
            self._pulse(Pulse(task, stream, epoch, val_loss, now - self._started))


def _nothing() -> None:
    """Do nothing; stands for `alive` in a fit that is not watched."""


@dataclass(frozen=True)
class _Data:
    """Data of a fit, and the name of its random streams."""

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
        self.steps = Steps(learner, self.update, config, fit.device, fit.graphs)
        self.schedule, self.epochs = schedule, schedule.epochs
        rewinds: Iterable[Tensor] = getattr(learner, "rewinds", tuple)()
        self.best = Best([*tensors_of(groups), *statistics(learner.modules()), *rewinds])
        self.done, self.updates, self.val_loss = 0, 0, math.nan
        self.curves = EpochCurve()
        self.began_with = nodes(learner) if fit.journal is not None else {}

    def run(self, started: Clocks, measure_train: bool) -> Fitted:
        fit, data = self.fit, self.data
        for epoch in range(self.done, self.epochs):
            watched = trained = self._epoch(epoch)
            self.done += 1
            if len(data.val):
                watched = self.val_loss = fit.loss(self.learner, data.task, data.val)
                self._check(watched, "validation loss", epoch)
            if self.keep == "best" and watched < self.best.val_loss:
                self.best.save(watched)
            fit.pulse(data.task, data.stream, epoch, watched)
            self._note(trained, watched if len(data.val) else math.nan)
            if self.schedule.after(epoch, watched):
                break
            self._save_checkpoint(started)
        if self.best.saved:
            self.best.restore()
            self.val_loss = self.best.val_loss
        val_accuracy = fit.accuracy(self.learner, data.task, data.val)
        train_accuracy = fit.accuracy(self.learner, data.task, data.train) if measure_train else math.nan
        now = fit.clocks()
        seconds, cpu = now.wall - started.wall, now.cpu - started.cpu
        fit.about_graphs = self.steps.about()
        lr, patience = self.schedule.lr, self.schedule.left
        fitted = Fitted(
            self.val_loss, val_accuracy, train_accuracy, self.done, self.updates, lr, patience, seconds, cpu
        )
        self._save_checkpoint(started, fitted)
        return fitted

    def _note(self, train_loss: float, val_loss: float) -> None:
        """Add the numbers of an epoch to the curves; all of them are known already."""
        own: Any = getattr(self.learner, "epoch_diagnostics", None)
        numbers = {"train_loss": train_loss, "val_loss": val_loss, "lr": self.schedule.lr}
        if own is not None and (found := own(self.data.task)):
            numbers |= answers.diagnostics(self.learner, "epoch_diagnostics", found)
        self.curves.add(numbers)

    def _save_checkpoint(self, started: Clocks, fitted: Fitted | None = None) -> None:
        """Save the state of the fit to the journal, if the journal considers it due."""
        journal, seconds = self.fit.journal, time.perf_counter() - started.wall
        if journal is None or not journal.is_due(seconds, fitted is not None):
            return
        checkpoint = FitCheckpoint(
            learner=self.learner,
            origins=origins(self.began_with, self.learner),
            tensors=[tensor.detach() for tensor in self.update.tensors],
            **self.update.state_dict(),
            schedule={name: value for name, value in vars(self.schedule).items() if name != "config"},
            best=self.best.saved,
            best_loss=self.best.val_loss,
            epochs=self.done,
            updates=self.updates,
            val_loss=self.val_loss,
            seconds=seconds,
            cpu_seconds=self.fit.clocks().cpu - started.cpu,
            curves=self.curves.state(),
            fitted=asdict(fitted) if fitted else None,
        )
        journal.note(self.fit.number, checkpoint)

    def resume(self, saved: FitCheckpoint) -> None:
        """Resume from a checkpoint of this fit."""
        put_back(self.learner, saved.learner, saved.origins)
        with torch.no_grad():
            for tensor, value in zip(self.update.tensors, saved.tensors, strict=True):
                tensor.copy_(value)
        self.update.load_state_dict(saved.state, saved.lrs, saved.lr)
        vars(self.schedule).update(saved.schedule)
        self.best.saved, self.best.val_loss = saved.best, saved.best_loss
        self.curves = EpochCurve(**saved.curves) if saved.curves else EpochCurve()
        self.done, self.updates, self.val_loss = saved.epochs, saved.updates, saved.val_loss

    def _epoch(self, epoch: int) -> float:
        """Train for one epoch and return the mean training loss."""
        fit, data, n = self.fit, self.data, len(self.data.train)
        order = np.arange(n)
        if self.config.shuffle:
            order = streams.numpy_generator(fit.seed, "order", data.task, data.stream, epoch).permutation(n)
        augment = None
        if augments(data.train):
            augment = streams.numpy_generator(fit.seed, "augment", data.task, data.stream, epoch)
        streams.reseed(fit.seed, "dropout", data.task, data.stream, epoch)
        self.learner.train(True)
        total = torch.zeros((), dtype=devices.widest(fit.device), device=fit.device)
        size = self.config.batch
        for batch in fit.batches(data.train, data.task, size, order=order, epoch=epoch, augment=augment):
            self.update.lr = self.schedule.rate(epoch, batch.index, batch.of)
            self.update.clear()
            total += answers.scalar(self.learner, "step", self.steps(batch)) * len(batch)
            self.updates += 1
        loss = float(total) / max(n, 1)
        self._check(loss, "training loss", epoch)
        return loss

    def _check(self, loss: float, name: str, epoch: int) -> None:
        if not math.isfinite(loss):
            where = f"epoch {epoch + 1} of task {self.data.task + 1} ({self.data.stream})"
            raise Diverged(f"{name} is {loss} in {where}")

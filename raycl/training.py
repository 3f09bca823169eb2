"""The one loop over epochs. Stopping rules and schedules of all papers are settings of it."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from raycl import answers, streams
from raycl.method import Batch, Update
from raycl.moments import Journal, Moment, nodes, origins, put_back
from raycl.tasks import Pooled, Split, Task, augments, drawn

RESIDENT_BYTES = {"cpu": 2**25, "cuda": 2**32}  # a split up to this size is normalised once per fit
MOST_EPOCHS = 10_000_000
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

    @dataclass(frozen=True, kw_only=True)
    class Config:
        """Settings of the loop; the presets of the papers are values of it.

        `schedule` plateau: after `patience` epochs without a better validation loss lr is divided by
        `factor`, not below `lr_floor`. `stop`: "floor_then_patience" at `patience` bad epochs counted while
        lr is at the floor (SPG's code); "below_floor" when lr falls below the floor (HAT, PRM, PMASK);
        "first_plateau" at the first plateau; "never" after `epochs`.
        """

        epochs: int = 100
        batch: int = 64
        optimiser: Literal["sgd", "rmsprop", "adam"] = "sgd"
        momentum: float = 0.0
        nesterov: bool = False
        weight_decay: float = 0.0
        lr: float = 0.05
        schedule: Literal["constant", "plateau", "cosine", "cosine_iter", "steps"] = "plateau"
        factor: float = 3.0  # what lr is divided by
        patience: int = 5  # epochs
        threshold: float = 0.0  # relative; an epoch counts as better for the plateau below best * (1 - this)
        lr_floor: float = 1e-4
        lr_span: float | None = None  # the floor is lr / lr_span, where lr itself is searched over decades
        milestones: tuple[int, ...] = ()  # epochs, for `steps`
        stop: Literal["floor_then_patience", "below_floor", "first_plateau", "never"] = "below_floor"
        clip: float | None = None  # global gradient norm
        shuffle: bool = True
        keep: Literal["best", "last"] = "best"

        def __post_init__(self) -> None:
            for name in ("epochs", "batch", "patience"):
                if getattr(self, name) < 1:
                    raise ValueError(f"{name} = {getattr(self, name)} must be at least 1")
            if self.epochs > MOST_EPOCHS:
                raise ValueError(f"epochs = {self.epochs} is more than {MOST_EPOCHS}: no run would end")
            if not 0 < self.lr < math.inf:
                raise ValueError(f"lr = {self.lr} must be above 0, and finite")
            for name in ("weight_decay", "lr_floor"):
                if not 0 <= getattr(self, name) < math.inf:
                    raise ValueError(f"{name} = {getattr(self, name)} must be at least 0, and finite")
            if not 0 <= self.threshold < 1:
                raise ValueError(f"threshold = {self.threshold} must lie in [0, 1): it is a share of a loss")
            if self.clip is not None and not 0 < self.clip < math.inf:
                raise ValueError(f"clip = {self.clip} must be above 0, or None")
            self._check_momentum()
            self._check_schedule()

        def _check_momentum(self) -> None:
            if not 0 <= self.momentum < 1:
                raise ValueError(f"momentum = {self.momentum} must lie in [0, 1): from 1 on steps never fade")
            if self.nesterov and self.optimiser == "sgd" and not self.momentum:
                raise ValueError(
                    "nesterov = True needs momentum above 0; set momentum = 0.9, or nesterov = False"
                )

        def _check_schedule(self) -> None:
            if self.schedule == "plateau" and not 1 < self.factor < math.inf:
                raise ValueError(f"factor = {self.factor} must be above 1, and finite: lr is divided by it")
            if self.schedule == "steps" and not 0 < self.factor < math.inf:
                raise ValueError(f"factor = {self.factor} must be above 0, and finite: lr is divided by it")
            if self.lr_span is not None and not 1 <= self.lr_span < math.inf:
                raise ValueError(f"lr_span = {self.lr_span} must be at least 1, and finite, or None")
            if self.schedule == "steps" and not self.milestones:
                raise ValueError(
                    "schedule = 'steps' needs milestones, such as (50, 80); without any, write 'constant'"
                )
            if any(a >= b for a, b in itertools.pairwise((-1, *self.milestones))):
                raise ValueError(f"milestones = {self.milestones} must be epochs from 0, and rise")

        @property
        def floor(self) -> float:
            """The lowest learning rate of the plateau schedule."""
            return self.lr_floor if self.lr_span is None else self.lr / self.lr_span

    def __init__(
        self,
        config: Config,
        *,
        seed: int = 0,
        device: torch.device | str = "cpu",
        pulse: Callable[[Pulse], None] | None = None,
        journal: Journal | None = None,
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
        who: Learner,
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
        """Train `who` on `task`.

        Args:
            config: settings of this fit alone, instead of the run's; what follows overrides single ones.
            train, val: instead of the task's own.
            over: tensors or optimiser groups to move; by default what ``who.trainable(task.index)`` names.
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
        train = task.train if train is None else train
        val = task.val if val is None else val
        groups = _groups(answers.groups(who, who.trainable(task.index)) if over is None else over)
        started = self.clock()
        config = config or self.config
        loop = _Loop(
            self, config, who, task.index, train, val, groups, stream, epochs, lr, patience, best, keep
        )
        known = self.journal.recall(self.number) if self.journal else None
        if known is not None:
            loop.go_on(known)
            started -= known.seconds
            self.recalled += known.seconds
        fitted = Fitted(**known.fitted) if known and known.fitted else loop.run(started, train_accuracy)
        account = account or stream
        self.seconds[account] = self.seconds.get(account, 0.0) + fitted.seconds
        self.epochs[account] = self.epochs.get(account, 0) + fitted.epochs
        self.updates += fitted.updates
        self._next_stretch(task.index)
        return fitted

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
        held = self._resident(split, augment)
        alive = self._alive or _nothing
        tasks = split.tasks if isinstance(split, Pooled) else None
        for index in range(of):
            alive()
            rows = order[index * size : (index + 1) * size]
            x, y = held(rows)
            where = task if tasks is None else torch.from_numpy(tasks[rows]).to(self.device)
            yield Batch(x, y, where, epoch, index, of, index * size, n)

    def loss(self, who: Learner, task: int, split: Split) -> float:
        """Mean validation loss over a split, without gradients and in evaluation mode; NaN where empty."""
        return self._mean(
            who, task, split,
            lambda batch, _: answers.scalar(who, "validation_loss", who.validation_loss(batch)),
        )  # fmt: skip

    def accuracy(self, who: Learner, task: int, split: Split, classes: int | None = None) -> float:
        """Accuracy on a split (fraction), without gradients and in evaluation mode; NaN where empty.

        Args:
            classes: what the logits must be of, where that is known; a logit that is NaN then makes all NaN.
        """

        def right(batch: Batch, index: int) -> Tensor:
            logits = answers.logits(who, who(batch.x, index), len(batch), classes)
            share = (logits.argmax(1) == batch.y).double().mean()
            return share if classes is None else share.masked_fill(logits.isnan().any(), math.nan)

        return self._mean(who, task, split, right)

    def _mean(self, who: Learner, task: int, split: Split, value: Callable[[Batch, int], Tensor]) -> float:
        """The mean over samples of `value`, a mean over a batch; a pooled split is walked task by task."""
        parts = split.parts if isinstance(split, Pooled) else [(task, split)]
        was_training = who.training
        who.train(False)
        total = torch.zeros((), dtype=torch.float64, device=self.device)
        with torch.no_grad():
            for index, part in parts:
                for batch in self.batches(part, index, EVALUATION_BATCH):
                    total += value(batch, index) * len(batch)
        who.train(was_training)
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

    def _resident(
        self, split: Split, augment: np.random.Generator | None
    ) -> Callable[[NDArray[np.int64]], tuple[Tensor, Tensor]]:
        """Rows of the split on the device: all of them at once where they fit, else as they are asked for."""
        y = torch.from_numpy(np.array(split.y)).to(self.device)  # a copy: the labels are shared by runs
        n = len(split)
        if augment is not None and augments(split):
            return lambda rows: (
                drawn(split, rows, augment, self.device),
                y[torch.from_numpy(rows).to(self.device)],
            )
        one = split.take(np.zeros(1, np.int64), self.device) if n else None
        fits = one is not None and one.numel() * one.element_size() * n <= RESIDENT_BYTES.get(
            self.device.type, RESIDENT_BYTES["cuda"]
        )
        if fits:
            held = _cached(split, self.device)
            return lambda rows: (
                held.index_select(0, t := torch.from_numpy(rows).to(self.device)),
                y.index_select(0, t),
            )
        return lambda rows: (split.take(rows, self.device), y[torch.from_numpy(rows).to(self.device)])


def _nothing() -> None:
    """For a fit that nobody watches."""


_CACHE: list[tuple[Split, torch.device, torch.dtype, Tensor]] = []


def forget_inputs() -> None:
    """Let go of the inputs that are remembered."""
    _CACHE.clear()


def _cached(split: Split, device: torch.device) -> Tensor:
    """All inputs of a split; recent ones are remembered, since fits and trials walk the same ones again."""
    dtype = torch.get_default_dtype()
    for i, (known, where, kind, held) in enumerate(_CACHE):
        if known is split and where == device and kind == dtype:
            _CACHE.append(_CACHE.pop(i))
            return held
    held = split.take(slice(None), device)
    _CACHE.append((split, device, dtype, held))
    budget = 2 * RESIDENT_BYTES.get(device.type, RESIDENT_BYTES["cuda"])
    while sum(t.numel() * t.element_size() for *_, t in _CACHE) > budget:
        del _CACHE[0]
    return held


@dataclass
class _Best:
    """The best epoch so far, and a copy of all that goes back with it."""

    tensors: list[Tensor]
    saved: list[Tensor] = field(default_factory=list)
    val_loss: float = math.inf

    def save(self, val_loss: float) -> None:
        self.val_loss = val_loss
        if not self.saved:
            self.saved = [t.detach().clone() for t in self.tensors]
        else:
            for copy, tensor in zip(self.saved, self.tensors, strict=True):
                copy.copy_(tensor.detach())

    def restore(self) -> None:
        with torch.no_grad():
            for copy, tensor in zip(self.saved, self.tensors, strict=True):
                tensor.copy_(copy)


class _Loop:
    """One fit in progress."""

    def __init__(
        self, fit: Fit, config: Fit.Config, who: Learner, task: int, train: Split, val: Split,
        groups: list[Any], stream: str, epochs: int | None, lr: float | None, patience: int | None,
        best: float | None, keep: Literal["best", "last"] | None,
    ) -> None:  # fmt: skip
        self.fit, self.config, self.who, self.task, self.stream = fit, config, who, task, stream
        self.train, self.val = train, val
        self.epochs = config.epochs if epochs is None else epochs
        self.keep = "last" if not len(val) else keep or config.keep
        self.optimiser = optimiser_of(config, groups) if groups else None
        self.update = OptimiserUpdate(self.optimiser, config.clip)
        self.schedule = Schedule(config, self.epochs, lr, patience, best)
        rewinds: Iterable[Tensor] = getattr(who, "rewinds", tuple)()
        self.best = _Best([*_tensors(groups), *_statistics(who), *rewinds])
        self.done, self.updates, self.val_loss = 0, 0, math.nan
        self.began_with = nodes(who) if fit.journal is not None else {}

    def run(self, started: float, measure_train: bool) -> Fitted:
        fit = self.fit
        for epoch in range(self.done, self.epochs):
            watched = self._epoch(epoch)
            self.done += 1
            if len(self.val):
                watched = self.val_loss = fit.loss(self.who, self.task, self.val)
                self._check(watched, "validation loss", epoch)
            if self.keep == "best" and watched < self.best.val_loss:
                self.best.save(watched)
            fit.pulse(self.task, self.stream, epoch, watched)
            if self.schedule.after(epoch, watched):
                break
            self._note(started)
        if self.best.saved:
            self.best.restore()
            self.val_loss = self.best.val_loss
        val_accuracy = fit.accuracy(self.who, self.task, self.val)
        train_accuracy = fit.accuracy(self.who, self.task, self.train) if measure_train else math.nan
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
        if journal is None or not journal.wants(seconds, fitted is not None):
            return
        moment = Moment(
            who=self.who, origins=origins(self.began_with, self.who),
            tensors=[tensor.detach() for tensor in self.update.tensors], **self.update.standing(),
            schedule={name: value for name, value in vars(self.schedule).items() if name != "config"},
            best=self.best.saved, best_loss=self.best.val_loss,
            epochs=self.done, updates=self.updates, val_loss=self.val_loss, seconds=seconds,
            fitted=asdict(fitted) if fitted else None,
        )  # fmt: skip
        journal.note(self.fit.number, moment)

    def go_on(self, moment: Moment) -> None:
        """Stand where an earlier attempt at this fit stood."""
        put_back(self.who, moment.who, moment.origins)
        with torch.no_grad():
            for tensor, value in zip(self.update.tensors, moment.tensors, strict=True):
                tensor.copy_(value)
        self.update.stand(moment.state, moment.lrs, moment.lr)
        vars(self.schedule).update(moment.schedule)
        self.best.saved, self.best.val_loss = moment.best, moment.best_loss
        self.done, self.updates, self.val_loss = moment.epochs, moment.updates, moment.val_loss

    def _epoch(self, epoch: int) -> float:
        """One pass over the training split; the mean loss."""
        fit, n = self.fit, len(self.train)
        order = np.arange(n)
        if self.config.shuffle:
            order = streams.numbers(fit.seed, "order", self.task, self.stream, epoch).permutation(n)
        augment = streams.numbers(fit.seed, "augment", self.task, self.stream, epoch)
        streams.reseed(fit.seed, "dropout", self.task, self.stream, epoch)
        self.who.train(True)
        total = torch.zeros((), dtype=torch.float64, device=fit.device)
        size = self.config.batch
        for batch in fit.batches(self.train, self.task, size, order=order, epoch=epoch, augment=augment):
            self.update.lr = self.schedule.rate(epoch, batch.index, batch.of)
            self.update.clear()
            total += answers.scalar(self.who, "step", self.who.step(batch, self.update)) * len(batch)
            self.updates += 1
        loss = float(total) / max(n, 1)
        self._check(loss, "training loss", epoch)
        return loss

    def _check(self, loss: float, name: str, epoch: int) -> None:
        if not math.isfinite(loss):
            raise Diverged(f"{name} is {loss} in epoch {epoch + 1} of task {self.task + 1} ({self.stream})")


class Schedule:
    """The learning rate over epochs, and when to stop."""

    def __init__(
        self, config: Fit.Config, epochs: int, lr: float | None = None, patience: int | None = None,
        best: float | None = None,
    ) -> None:  # fmt: skip
        self.config, self.epochs = config, epochs
        self.start = config.lr if lr is None else lr
        self.lr = self.start
        self.left = config.patience if patience is None else patience
        self.best = math.inf if best is None else best
        self.best_kept = self.best
        self.at_floor = 0

    def rate(self, epoch: int, index: int, of: int) -> float:
        """The rate for batch `index` of `of` in `epoch`."""
        config = self.config
        if config.schedule == "cosine":
            self.lr = self.start * 0.5 * (1 + math.cos(math.pi * epoch / self.epochs))
        elif config.schedule == "cosine_iter":
            self.lr = self.start * 0.5 * (1 + math.cos(math.pi * (epoch * of + index) / (self.epochs * of)))
        elif config.schedule == "steps":
            self.lr = self.start / config.factor ** sum(epoch >= m for m in config.milestones)
        return self.lr

    def after(self, epoch: int, loss: float) -> bool:
        """Take note of an epoch's loss; True when training is over."""
        config = self.config
        if config.stop == "floor_then_patience":
            self._count_at_floor(loss)
        plateau = self._plateau(loss)
        if plateau:
            if config.stop == "first_plateau":
                return True
            if config.schedule == "plateau":
                lower = self.lr / config.factor
                if config.stop == "below_floor" and lower < config.floor:
                    return True
                self.lr = max(lower, config.floor)
        return config.stop == "floor_then_patience" and self.at_floor >= config.patience

    def _plateau(self, loss: float) -> bool:
        if loss < self.best * (1 - self.config.threshold):
            self.best, self.left = loss, self.config.patience
            return False
        self.left -= 1
        if self.left > 0:
            return False
        self.left = self.config.patience
        return True

    def _count_at_floor(self, loss: float) -> None:
        better = loss < self.best_kept
        self.best_kept = min(self.best_kept, loss)
        at_floor = self.lr <= self.config.floor * (1 + 1e-9)
        self.at_floor = 0 if better else self.at_floor + at_floor


class OptimiserUpdate:
    """`Update` over a torch optimiser: clips, then steps."""

    def __init__(self, optimiser: torch.optim.Optimizer | None, clip: float | None) -> None:
        self.optimiser, self.clip = optimiser, clip
        self.groups: list[dict[str, Any]] = [] if optimiser is None else optimiser.param_groups
        self.tensors: list[Tensor] = _tensors(self.groups)
        self._base = [float(group["lr"]) for group in self.groups]
        self._first: float = optimiser.defaults["lr"] if optimiser is not None else 1.0
        self._lr = self._first

    @property
    def lr(self) -> float:
        """The current base rate; a group with a rate of its own keeps its ratio to it."""
        return self._lr

    @lr.setter
    def lr(self, value: float) -> None:
        if value == self._lr:
            return
        for group, base in zip(self.groups, self._base, strict=True):
            group["lr"] = value if base == self._first else base * (value / self._first)
        self._lr = value

    def standing(self) -> dict[str, Any]:
        """All that the next step depends on besides the tensors: state of each, and rates."""
        optimiser = self.optimiser
        state = [] if optimiser is None else [dict(optimiser.state.get(t, {})) for t in self.tensors]
        return {"state": state, "lrs": [float(group["lr"]) for group in self.groups], "lr": self._lr}

    def stand(self, state: Sequence[Mapping[str, Any]], lrs: Sequence[float], lr: float) -> None:
        """Go on from what `standing` gave."""
        for group, rate in zip(self.groups, lrs, strict=True):
            group["lr"] = rate
        for tensor, known in zip(self.tensors, state, strict=False):
            if known and self.optimiser is not None:
                self.optimiser.state[tensor] = dict(known)
        self._lr = lr

    def clear(self) -> None:
        """Gradients to None, before each step."""
        for tensor in self.tensors:
            tensor.grad = None

    def __call__(self) -> None:
        if self.optimiser is None:
            return
        if self.clip is not None:
            self._clip(self.clip)
        self.optimiser.step()

    def _clip(self, most: float) -> None:
        """Scale all gradients so that their norm is at most `most`."""
        grads = [t.grad for t in self.tensors if t.grad is not None]
        norm = torch.nn.utils.get_total_norm(grads)
        # On a device the question would wait for it; on a CPU the pass that multiplies by 1 costs more.
        if norm.is_cuda or not norm + 1e-6 <= most:
            torch.nn.utils.clip_grads_with_norm_(self.tensors, most, norm)

    def preview(self) -> list[Tensor]:
        """The change a step would make to each tensor; weights, gradients and moments stay as they were."""
        if self.optimiser is None:
            return []
        before = [t.detach().clone() for t in self.tensors]
        grads = [None if t.grad is None else t.grad.clone() for t in self.tensors]
        state = {
            key: {k: v.clone() if isinstance(v, Tensor) else v for k, v in value.items()}
            for key, value in self.optimiser.state.items()
        }
        self()
        with torch.no_grad():
            change = [t.detach() - b for t, b in zip(self.tensors, before, strict=True)]
            for tensor, old, grad in zip(self.tensors, before, grads, strict=True):
                tensor.copy_(old)
                tensor.grad = grad
        self.optimiser.state.clear()
        self.optimiser.state.update(state)
        return change


def optimiser_of(config: Fit.Config, groups: list[Any]) -> torch.optim.Optimizer:
    """A fresh optimiser over parameters or groups."""
    if config.optimiser == "adam":
        return torch.optim.Adam(groups, lr=config.lr, weight_decay=config.weight_decay)
    if config.optimiser == "rmsprop":
        return torch.optim.RMSprop(
            groups, lr=config.lr, momentum=config.momentum, weight_decay=config.weight_decay
        )
    return torch.optim.SGD(
        groups,
        lr=config.lr,
        momentum=config.momentum,
        nesterov=config.nesterov,
        weight_decay=config.weight_decay,
    )


def _groups(named: Iterable[Any]) -> list[Any]:
    """Parameters or optimiser groups, with every generator walked."""
    found = list(named)
    if not any(isinstance(g, Mapping) for g in found):
        return found
    return [{**g, "params": _tensors([g])} if isinstance(g, Mapping) else {"params": [g]} for g in found]


def _tensors(groups: Iterable[Any]) -> list[Tensor]:
    """The tensors of parameters or optimiser groups."""
    found: list[Tensor] = []
    for group in groups:
        if isinstance(group, Mapping):
            params = group["params"]
            found += [params] if isinstance(params, Tensor) else list(params)
        else:
            found.append(group)
    return found


def _statistics(who: Learner) -> list[Tensor]:
    """Running statistics of all batch and instance normalisations."""
    return [
        tensor
        for module in who.modules()
        if isinstance(module, nn.modules.batchnorm._NormBase)
        for tensor in (module.running_mean, module.running_var, module.num_batches_tracked)
        if tensor is not None
    ]

"""Compacting, picking, growing (CPG): Hung et al., NeurIPS 2019, arXiv 1910.06562; without growing, as KSM.

A task trains the free weights and picks, by a binary mask, weights of earlier tasks to use. It then gives
back as many of its own weights as its accuracy goal allows: they are pruned in stages, and the last stage
that meets the goal is kept.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from raycl.masks import keep_, pack, unpack
from raycl.method import Task
from raycl.methods._first import finetuned
from raycl.methods._owned import Owned, again
from raycl.methods._picks import Picked, Picker, Snapshot, due, judged
from raycl.methods.piggyback import START, TAU
from raycl.probes.gates import diagnostics_of
from raycl.probes.owners import shares_of
from raycl.space import Choice, make_config
from raycl.specs import RunSpec
from raycl.tasks import Batch, Update
from raycl.training.fit import Fit

_ULPS = 1e-9  # tolerance: equal accuracies may differ by rounding if they are sums over different batches


class CPG(Owned):
    """Weights with owners as in PackNet, plus picks of older weights, one bit per weight and task.

    A task's goal is the validation accuracy of a fine-tuned copy of the first task's network. Without such a
    run, the goal is the accuracy that the task itself reaches before it is compacted.

    Equations:
        V = W where O = t, or where 1 <= O < t and R > 0.005, else 0
        dL/dR = W dL/dV where 1 <= O < t, else 0
        g' = g + weight_decay W where O = t, else 0
        W <- 0, O <- 0 where O = t and |W| <= c
        p = q[s] + (q[s-1] - q[s]) (1 - n/N)^3
        kept: the last stage s with accuracy >= G

        W, V  weights of a layer, and those with which task t is answered
        O     owner of each weight: its task, counted from 1, or 0 if it is free
        R     real values of the picks of task t, 0.01 at the start
        L, g  mean cross-entropy over a batch of task t, and its gradient
        c     the r-th smallest |W| of the m weights with O = t or O = 0, where
              r = round(p m)
        q[s]  share to cut in stage s (targets), q[0] = 0; n counts the steps of
              the stage up to N, the end of its ramp
        G     goal, the accuracy of a fine-tuned copy; if it is never reached,
              the last stage with q[s] <= 1 - 1/(T - t + 1) is kept, of T tasks
    """

    deviations: ClassVar[Sequence[str]] = (
        "the network does not grow, as in KSM's comparison",
        "goals and stages are judged on validation images (on training images if a task has no validation "
        "images); the authors' code judges them on test images",
        "re-picking stops by the validation loss and keeps its best epoch",
    )

    @dataclass(frozen=True, kw_only=True)
    class Config(Owned.Config):
        lr_mask: Annotated[float, Choice(1e-4, 5e-4)] = 5e-4  # Adam's rate for the picks' real values
        pick_milestone: int = 50  # epoch from which that rate is divided by 5
        pick_stop: int = 70  # epoch from which picks are fixed, unless the task has no weights of its own
        targets: tuple[float, ...] = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)  # share cut by stage
        stage_epochs: int = 20
        stage_lr: float = 1e-3
        ramp_epochs: int = 4  # epochs of a stage in which its cut is made
        prune_every: int = 10  # steps between cuts
        min_train_accuracy: float = 0.95  # stages end once a stage has at most this training accuracy
        allowed_loss: float = 0.0  # how far accuracy may lie below the goal
        repick_epochs: int = 30  # largest number of epochs; 0: no re-picking
        repick_lr: float = 1e-3
        repick_lr_mask: float = 1e-4
        repick_patience: int = 5
        goals: str = "ksm_finetune"  # preset of the fine-tuning that sets goals; "": the task's own accuracy
        goal_epochs: int = 0  # 0: as that preset says

        def __post_init__(self) -> None:
            super().__post_init__()
            rising = [0.0, *self.targets, 1.0]
            if any(a >= b for a, b in itertools.pairwise(rising)):
                raise ValueError(f"targets = {self.targets} must rise, between 0 and 1")
            for name in ("stage_epochs", "ramp_epochs", "prune_every", "repick_patience"):
                if getattr(self, name) < 1:
                    raise ValueError(f"{name} = {getattr(self, name)} must be at least 1")
            for name in ("lr_mask", "stage_lr", "repick_lr", "repick_lr_mask"):
                if getattr(self, name) <= 0:
                    raise ValueError(f"{name} = {getattr(self, name)} must be above 0")
            if not 0 <= self.min_train_accuracy <= 1:
                raise ValueError(f"min_train_accuracy = {self.min_train_accuracy} must lie in [0, 1]")
            for name in ("repick_epochs", "allowed_loss", "goal_epochs", "pick_milestone", "pick_stop"):
                if getattr(self, name) < 0:
                    raise ValueError(f"{name} = {getattr(self, name)} must be at least 0")

    config: Config

    @classmethod
    def required_runs(cls, spec: RunSpec) -> Mapping[str, RunSpec]:
        config = make_config(cls.Config, spec.config, spec.method)
        if not config.goals:
            return super().required_runs(spec)
        goals = finetuned(spec, config.initial, config.initial_epochs, config.goals, config.goal_epochs)
        return {**super().required_runs(spec), "goals": goals}

    def make(self) -> None:
        goals = self.world.inputs.get("goals", ())
        super().make()
        self.goals: dict[int, float] = {r.task: r.val[r.task] for r in goals if r.task in r.val}
        self.real: list[Tensor] = []  # real values R of the current task's picks; `Fit` does not train them
        self.picker: Picker | None = None  # not None while picks are trained
        self.ramp: tuple[float, float] | None = None  # in a stage: shares cut before it and at its end
        self.picks: dict[int, tuple[NDArray[np.uint8], ...]] = {}  # bits of finished tasks after the first
        self.notes: dict[int, dict[str, Any]] = {}

    def learn(self, task: Task, fit: Fit) -> None:
        t, config = task.index, self.config
        self.begin(t)
        if t:
            self.pick(config.lr_mask, config.pick_milestone, config.pick_stop)
        self.dense(task, fit)
        self.picker = None
        accuracy = fit.accuracy(self, t, task.val if len(task.val) else task.train)
        self.notes[t] = {"goal": self.goals.get(t, accuracy), "accuracies": {"0": accuracy}}
        accuracy = self.compact(task, fit, accuracy, self.notes[t]["goal"])
        if t and config.repick_epochs:
            self.repick(task, fit, accuracy)
        self.finish()

    def pick(self, lr: float, milestone: float = math.inf, stop: float = math.inf) -> None:
        """Start to train picks; at first all older weights are picked."""
        self.real = [torch.full_like(w, START).requires_grad_() for w in self.weights]
        # A task without weights of its own has little to train but its picks, so these are never fixed.
        owns = any(bool((owner == (self.current or 0) + 1).any()) for owner in self.owners)
        self.picker = Picker(self.real, lr, milestone, stop if owns else math.inf)

    def compact(self, task: Task, fit: Fit, accuracy: float, goal: float) -> float:
        """Prune in stages, return to the last stage that meets the goal, and return its accuracy.

        If neither a stage nor the unpruned task has met the goal, pruning continues up to the share that
        leaves room for later tasks (see `limit`), and this stage is kept.
        """
        t, need = task.index, goal - self.config.allowed_loss - _ULPS
        met, chosen, kept = accuracy >= need, 0.0, self.snapshot()
        for number, target in enumerate(self.config.targets):
            if not met and target > self.limit(t) + _ULPS:
                break
            found, trained = self.stage(number, task, fit)
            self.notes[t]["accuracies"][f"{target:g}"] = found
            enough = found >= need
            if enough or not met:
                chosen, accuracy, kept = target, found, self.snapshot()
            met = met or enough
            if met and trained <= self.config.min_train_accuracy:
                break
        kept.restore()
        self.notes[t] |= {"cut": chosen, "goal_met": met}
        return accuracy

    def limit(self, task: int) -> float:
        """Return the share to give back if the goal is not reached, rounded to one digit.

        It leaves equal room for this task and each later one.
        """
        return round(1 - 1 / (self.world.tasks - task), 1)

    def stage(self, number: int, task: Task, fit: Fit) -> tuple[float, float]:
        """Prune gradually in further training with fixed picks; return the accuracy and training accuracy."""
        targets = self.config.targets
        self.ramp = targets[number - 1] if number else 0.0, targets[number]
        config = again(fit.config, self.config.stage_epochs, self.config.stage_lr)
        name = f"stage {number + 1}"
        # The last epoch is kept because earlier ones have pruned less.
        fitted = self.fit_owned(task, fit, config, train_accuracy=True, keep="last", stream=name)
        self.ramp = None
        return judged(fitted), fitted.train_accuracy

    def repick(self, task: Task, fit: Fit, accuracy: float) -> None:
        """Train the picks of the compacted task again, and keep the result if it is better."""
        before, picked = self.snapshot(), self.real
        self.pick(self.config.repick_lr_mask)
        stop: dict[str, Any] = {"stop": "first_plateau", "patience": self.config.repick_patience}
        config = again(fit.config, self.config.repick_epochs, self.config.repick_lr, threshold=0.0, **stop)
        fitted = self.fit_owned(task, fit, config, train_accuracy=True, keep="best", stream="repick")
        self.picker = None
        better = judged(fitted) > accuracy + _ULPS
        if not better:
            self.real = picked
            before.restore()
        self.notes[task.index]["repicked"] = better

    def finish(self) -> None:
        t = self.current
        assert t is not None
        if self.real:
            self.picks[t] = tuple(pack(picked) for picked in self.picked(t))
            older = [int(((owner > 0) & (owner <= t)).sum()) for owner in self.owners]
            counts = [int(picked.sum()) for picked in self.picked(t)]
            self.notes[t] |= diagnostics_of({"picked_share": shares_of(counts, older)}, self.layers)
        self.real = []
        super().finish()

    def picked(self, task: int) -> list[Tensor]:
        """Return which weights of earlier tasks the current task picks, one mask per layer."""
        parts = zip(self.owners, self.real, strict=True)
        return [(owner > 0) & (owner <= task) & (real > TAU) for owner, real in parts]

    def masks(self, task: int) -> list[Tensor]:
        own = [owner == task + 1 for owner in self.owners]
        if task == self.current and self.real:
            return [a | b for a, b in zip(own, self.picked(task), strict=True)]
        if task not in self.picks:
            return own
        parts = zip(own, self.picks[task], strict=True)
        return [o | (unpack(bits, o.shape).to(o.device) > 0.5) for o, bits in parts]

    def effective(self, task: int) -> dict[str, Tensor]:
        if task != self.current or not self.real:
            return super().effective(task)
        if self.picker is None or not torch.is_grad_enabled():
            return self.masked(task)
        own, older = self._bits("own", task), self._bits("older", task)
        parts = zip(self.layers.values(), self.weights, self.real, own, older, strict=True)
        return {name: Picked.apply(*tensors) for name, *tensors in parts}

    def step(self, batch: Batch, update: Update) -> Tensor:
        if self.ramp is not None:
            self.prune(batch, self.ramp)
        loss = super().step(batch, update)
        if self.picker is not None:
            self.picker.step(batch.epoch)
        if self.ramp is not None:
            assert self.current is not None
            with torch.no_grad():
                for weight, bits in zip(self.weights, self._bits("taken", self.current), strict=True):
                    keep_(weight, bits)  # undoes momentum
        return loss

    def prune(self, batch: Batch, ramp: tuple[float, float]) -> None:
        """Cut weights if a cut is due at this step (see `due`)."""
        assert self.current is not None
        c = self.config
        if (share := due(batch, ramp, c.ramp_epochs, c.stage_epochs, c.prune_every)) is not None:
            self.cut(self.current, share, over_free=True)

    def snapshot(self) -> Snapshot:
        """Return a snapshot of all tensors that training and pruning of the current task change."""
        assert self.current is not None
        trained = [*self.trainable(self.current), *self.rewinds(), *self.owners]
        return Snapshot([*trained, *self.net.buffers()] if self.current == 0 else trained)

    def rewinds(self) -> Iterable[Tensor]:
        return [*super().rewinds(), *self.real]

    def diagnostics(self, task: int) -> dict[str, Any]:
        """Return numbers on owners and picks, the goal, the accuracy by share cut, and the share chosen."""
        return super().diagnostics(task) | self.notes[task]

    def task_bytes(self, task: int) -> int:
        return super().task_bytes(task) + sum(bits.nbytes for bits in self.picks.get(task, ()))

    def count_parameters(self) -> int:
        """Return the base class's count plus a real value per weight for the picks of each later task."""
        later = (self.world.tasks - 1) * sum(weight.numel() for weight in self.weights)
        return super().count_parameters() + later

"""Packing tasks into one network by pruning (PackNet): Mallya and Lazebnik, CVPR 2018, arXiv 1711.05769.

A task trains all free weights, gives back those of smallest magnitude and trains the rest again. After that
its weights are fixed; later tasks use them and train the weights that were given back. The schedules are
those of KSM's comparison on CIFAR-100 (CVPR 2021), which follows CPG's code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from raycl.method import Task
from raycl.methods._owned import Owned, again
from raycl.space import Float
from raycl.training.fit import Fit


class PackNet(Owned):
    """Training, pruning and retraining of each task; the number of free weights falls geometrically.

    Equations:
        V = W where 1 <= O <= t, else 0
        g' = g + weight_decay W where O = t, else 0
        1. O <- t where O = 0; train W
        2. W <- 0, O <- 0 where O = t and |W| <= c
        3. train W again

        W  weights of a layer; V are those with which task t is answered
        O  owner of each weight: its task, counted from 1, or 0 if it is free
        g  gradient of the mean cross-entropy over a batch of task t
        c  the r-th smallest |W| of the m weights with O = t, r = round(prune m)
    """

    capturable: ClassVar[bool] = True
    deviations: ClassVar[Sequence[str]] = (
        "every task gives back 60 % of its weights, the last one as well, as in CPG's code for CIFAR-100; "
        "the paper has 50 % of the first task, 75 % of later ones and none of the last",
        "each task has its own batch normalisations, as in CPG's code (bn_mode=affine_stats); the paper "
        "freezes those of the first task",
        "the numbers of epochs and the rates are those of CPG's code for CIFAR-100",
    )
    preset_overrides: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "ksm_packnet": {"method.rank_over": "owned_and_free"}
    }

    @dataclass(frozen=True, kw_only=True)
    class Config(Owned.Config):
        prune: Annotated[float, Float(0.4, 0.8)] = 0.6  # share that a task gives back (CPG's code, CIFAR)
        prune_first: float | None = None  # share of the first task, if different; the paper has .5 and .75
        last_pruned: bool = True  # as in CPG's code for CIFAR; the paper does not prune the last task
        # Which weights are ranked by magnitude. Both values cut the same weights here, because at PackNet's
        # only cut the task owns all weights that were free.
        rank_over: Literal["owned", "owned_and_free"] = "owned"
        retrain_epochs: int = 30
        retrain_lr: float = 1e-3
        retrain_milestone: int = 25  # epoch from which that rate is divided by 10; 0: never

        def __post_init__(self) -> None:
            super().__post_init__()
            for name in ("prune", "prune_first"):
                share = getattr(self, name)
                if share is not None and not 0 <= share < 1:
                    raise ValueError(f"{name} = {share} must be at least 0 and below 1")
            if self.retrain_milestone < 0:
                raise ValueError(f"retrain_milestone = {self.retrain_milestone} must be at least 0")
            if self.retrain_epochs < 1 or self.retrain_lr <= 0:
                raise ValueError(
                    f"retrain_epochs = {self.retrain_epochs} must be at least 1, and "
                    f"retrain_lr = {self.retrain_lr} above 0"
                )

    config: Config

    def learn(self, task: Task, fit: Fit) -> None:
        self.begin(task.index)
        self.dense(task, fit)
        if share := self.share(task.index):
            self.cut(task.index, share, self.config.rank_over == "owned_and_free")
            self.fit_owned(task, fit, self.retraining(fit.config), stream="retrain")
        self.finish()

    def share(self, task: int) -> float:
        """Return the share of its weights that a task gives back."""
        if task + 1 == self.world.tasks and not self.config.last_pruned:
            return 0.0
        first = self.config.prune_first
        return first if task == 0 and first is not None else self.config.prune

    def retraining(self, config: Fit.Config) -> Fit.Config:
        """Return settings for retraining: those of the run, except for epochs, rate and schedule."""
        at = self.config.retrain_milestone
        steps: dict[str, Any] = {"schedule": "steps", "milestones": (at,), "factor": 10.0} if at else {}
        return again(config, self.config.retrain_epochs, self.config.retrain_lr, **steps)

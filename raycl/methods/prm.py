"""Partially relaxed masks (PRM): anonymous, submitted to ICLR 2022; no code is known.

PRM extends HAT: only units of earlier tasks that are dissimilar to the new one are blocked. To find these
tasks, the new task is first learnt as HAT does, and the embeddings of all tasks are clustered. Then this
trial is undone and the task is learnt again. Units of similar tasks are not blocked, so what those tasks have
learnt may change, for better or worse, and PRM may forget.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from raycl import streams
from raycl.masks import layers_of, weight_factors
from raycl.method import Buffers, Task, one_task
from raycl.methods.hat import HAT
from raycl.probes import xmeans
from raycl.tasks import Batch, Update
from raycl.training.fit import Fit

Sets = list[list[int]]
"""Sets D_l^t: for each block, the earlier tasks that are dissimilar to the new one."""


class PRM(HAT):
    """HAT that blocks only the gates of dissimilar tasks (LwPRM), found in a trial before each task (DTD).

    The hyperparameter `dissimilar` selects the rule. "cluster" is the paper's. "none", "all" (which is HAT,
    bit for bit) and "type" (tasks of another `Task.kind`) are the paper's PRM(S), PRM(D) and PRM(T), which
    need no trial. "random" is a control: it draws as many tasks at random as the clusters contain.

    Equations:
        p[l] = max of a^k[l] over k in D[l], or 0 if D[l] is empty       (eq. 5)
        g'[l,i,j] = (1 - min(p[l,i], p[l-1,j])) g[l,i,j]                 (eq. 6)
        D[l] = {k < t: cluster of e^k[l] is not that of e^t[l]}

        a^k       gates of the finished task k at smax; p[0] = 1
        clusters  of e^1[l], ..., e^t[l] by X-means; e^t is that of a trial, in
                  which the head is trained alone, then everything as in HAT,
                  and which is undone after that
        R         uses A of all earlier tasks, as in HAT (reg_mask)
    """

    deviations: ClassVar[Sequence[str]] = (
        "there is no trial before the first task, because there is nothing to compare it with",
        "tasks are clustered into at least two clusters (k_init); the paper does not say how many",
        "the regulariser does not count units of any earlier task (reg_mask); the paper does not say which",
        "with the preset prm, training stops at the third plateau, after two cuts of the rate, as in HAT's "
        "code; by the text it stops at the first 5 epochs without improvement (fit.stop='first_plateau')",
    )
    deviations_lifted: ClassVar[Sequence[str]] = ("the slope reaches smax",)  # as in PRM's own equation 3

    @dataclass(frozen=True, kw_only=True)
    class Config(HAT.Config):
        dissimilar: Literal["cluster", "none", "all", "type", "random"] = "cluster"
        two_stage: bool = True  # a trial first trains the head alone (section 3.2.1)
        embedding_init: Literal["normal", "shared"] = "normal"  # a draw per task, or one for all
        dtd_feature: Literal["raw", "drift"] = "raw"  # cluster embeddings, or their change in training
        dtd_scope: Literal["layer", "concat"] = "layer"  # cluster each layer separately, or all together
        k_init: int = 2  # initial number of clusters of X-means; with 1 it hardly ever finds a second
        bic: Literal["spherical", "pelleg"] = "spherical"  # criterion of X-means; pelleg: as in its paper
        reg_mask: Literal["all", "dissimilar"] = "all"  # tasks whose units the regulariser does not count
        stage1_s: Literal["anneal", "smax"] = "anneal"  # slope of the gates while the head is trained alone

        def __post_init__(self) -> None:
            super().__post_init__()
            if self.k_init < 1:
                raise ValueError(f"k_init = {self.k_init} must be at least 1")

    config: Config

    def make(self) -> None:
        super().make()
        if self.config.embedding_init == "shared":
            with torch.no_grad():
                for own in list(self.embeddings)[1:]:
                    for e, first in zip(own.parameters(), self.embeddings[0].parameters(), strict=True):
                        e.copy_(first)
        self.origins = nn.ModuleDict()  # initial embeddings of tasks learnt; filled if drift is clustered
        self.kinds: dict[int, str] = {}  # kinds of the tasks learnt
        self.blocked: list[Tensor] = []  # p_l [units] for each block, inside `learn`
        self.head_alone = False
        self.report: dict[str, Any] = {}
        if self.config.dissimilar in ("cluster", "random"):
            xmeans.load()  # loaded here, so that loading does not count as compute time

    def learn(self, task: Task, fit: Fit) -> None:
        t, earlier = task.index, list(self.kinds)
        start = Buffers(e.detach().clone() for e in self.embeddings[t].parameters())
        if self.config.dtd_feature == "drift":
            self.origins[str(t)] = start
        self.kinds[t], self.report = task.kind, {}
        sets = self.dissimilar_tasks(earlier, task, fit)
        self.block(self.gates_of(sets))
        self.report |= self.set_diagnostics(sets, earlier, task.kind)
        fit(self, task)
        self.block([])
        self.merge(t)
        moved = [e.detach() - s for e, s in zip(self.embeddings[t].parameters(), start, strict=True)]
        self.report["drift_rms"] = float(torch.cat(moved).square().mean().sqrt())

    def dissimilar_tasks(self, earlier: list[int], task: Task, fit: Fit) -> Sets:
        """Return D_l^t for each block."""
        rule, layers = self.config.dissimilar, len(self.body.units)
        if rule == "type":
            return [[k for k in earlier if self.kinds[k] != task.kind]] * layers
        if rule in ("none", "all") or not earlier:
            return [[] if rule == "none" else earlier] * layers
        clusters = self.clusters(earlier, task, fit)
        sets = [[k for k, c in zip(earlier, of, strict=False) if c != of[-1]] for of in clusters]
        if rule == "cluster":
            return sets
        rng = streams.numpy_generator(fit.seed, "method", task.index, fit="dtd-random")
        orders = [rng.permutation(earlier) for _ in sets]
        if self.config.dtd_scope == "concat":
            orders = orders[:1] * layers
        return [sorted(order[: len(d)].tolist()) for order, d in zip(orders, sets, strict=True)]

    def clusters(self, earlier: list[int], task: Task, fit: Fit) -> list[list[int]]:
        """Learn the task as HAT does, undo this, and return cluster labels by block.

        Each block has the labels of the earlier tasks and last that of this task.
        """
        t, config = task.index, self.config
        self.block(list(self.used))
        with undone(self):
            if config.two_stage:
                with self.only_head(t) as head:
                    fit(self, task, over=head, stream="dtd-1")
            fit(self, task, stream="dtd-2")
            rows = [self.features(k) for k in (*earlier, t)]  # [tasks][blocks][units]
        layers = [np.stack(layer) for layer in zip(*rows, strict=True)]
        found = []
        for at, layer in enumerate(layers if config.dtd_scope == "layer" else [np.concatenate(layers, 1)]):
            seed = streams.seed_of(fit.seed, "method", t, fit=f"dtd-xmeans-{at}") % 2**32
            labels = xmeans.xmeans(layer, config.k_init, criterion=config.bic, seed=seed)
            found.append([int(label) for label in labels])
        found *= len(layers) // len(found)
        apart = [np.sqrt(np.square(layer[:-1] - layer[-1]).mean(1)).tolist() for layer in layers]
        self.report = {"dtd_clusters": self.named(found), "dtd_distances": self.named(apart)}
        return found

    def features(self, task: int) -> list[NDArray[np.float64]]:
        """Return what is clustered: for each block, the task's embedding or its change since the start."""
        es = [e.detach() for e in self.embeddings[task].parameters()]
        if self.config.dtd_feature == "drift":
            es = [e - start for e, start in zip(es, self.origins[str(task)].buffers(), strict=True)]
        return [e.numpy(force=True).astype(np.float64) for e in es]

    def gates_of(self, sets: Sets) -> list[Tensor]:
        """Return p_l, the largest gate of any task in D_l (eq. 5); empty if all D_l are empty."""
        if not any(sets):
            return []
        with torch.no_grad():
            gates = {k: self.gates(k) for k in {k for d in sets for k in d}}
            return [
                torch.stack([none, *(gates[k][layer] for k in d)]).amax(0)
                for layer, (d, none) in enumerate(zip(sets, map(torch.zeros_like, self.used), strict=True))
            ]

    def block(self, masks: list[Tensor]) -> None:
        """Set the gates, [units] per block, that block gradients from now on (eq. 6); [] blocks none."""
        self.blocked, self._shares = masks, None
        self.factors = weight_factors(self.body.blocks, masks) if masks else []

    def counted(self) -> list[Tensor]:
        if self.config.reg_mask == "all":
            return super().counted()
        return self.blocked or [torch.zeros_like(used) for used in self.used]

    @contextlib.contextmanager
    def only_head(self, task: int) -> Iterator[list[nn.Parameter]]:
        """Train nothing but the task's head inside a ``with`` block, and return its parameters.

        No other parameter has a gradient there, because computing it would only cost time.
        """
        head = list(self.net.heads[task].parameters())
        others = [p for p in self.parameters() if all(p is not mine for mine in head)]
        for p in others:
            p.requires_grad_(False)
            p.grad = None
        self.head_alone = True
        try:
            yield head
        finally:
            self.head_alone = False
            for p in others:
                p.requires_grad_(True)

    def step(self, batch: Batch, update: Update) -> Tensor:
        if not self.head_alone:
            return super().step(batch, update)
        if self.config.stage1_s == "smax":
            batch = replace(batch, index=batch.of - 1, start=batch.samples)  # the end of annealing
        with undone(self.embeddings[one_task(batch)]):  # because a step of HAT clamps the embeddings
            return super().step(batch, update)

    def named(self, by_block: Sequence[Any]) -> dict[str, Any]:
        """Return values by block under the names of the blocks' layers."""
        return dict(zip(layers_of(self.net.body), by_block, strict=True))

    def set_diagnostics(self, sets: Sets, earlier: Sequence[int], kind: str) -> dict[str, Any]:
        """Return numbers about the sets D and about what they block.

        dtd_size is |D| divided by the number of earlier tasks. If tasks have types, dtd_agreement is the
        share of earlier tasks of the same type that are not in D, and dtd_separation the share of those of
        other types that are in D, both over all layers.
        """
        blocked = [factor == 0 for pair in self.factors for factor in pair]
        found: dict[str, Any] = {
            "blocked_by_dissimilar": sum(int(b.sum()) for b in blocked)
            / max(1, sum(b.numel() for b in blocked))
        }
        if not earlier:
            return found
        sizes = [len(d) / len(earlier) for d in sets]
        found |= {"dtd_size": sum(sizes) / len(sizes), "dtd_size_layers": self.named(sizes)}
        found["dtd_dissimilar"] = self.named(sets)
        if any(self.kinds.values()):
            same = [k not in d for d in sets for k in earlier if self.kinds[k] == kind]
            other = [k in d for d in sets for k in earlier if self.kinds[k] != kind]
            shares = {"dtd_agreement": same, "dtd_separation": other}
            found |= {name: sum(pairs) / len(pairs) for name, pairs in shares.items() if pairs}
        return found

    def diagnostics(self, task: int) -> dict[str, Any]:
        """Return HAT's numbers, as if all tasks were dissimilar, and those of the latest task's sets D."""
        return super().diagnostics(task) | self.report


@contextlib.contextmanager
def undone(module: nn.Module) -> Iterator[None]:
    """Restore every parameter and buffer, bit for bit, at the end of a ``with`` block."""
    tensors = list(module.state_dict().values())
    before = [tensor.clone() for tensor in tensors]
    try:
        yield
    finally:
        for tensor, copy in zip(tensors, before, strict=True):
            tensor.copy_(copy)

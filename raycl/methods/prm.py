"""Partially relaxed masks (PRM): anonymous, submitted to ICLR 2022, no code known.

HAT whose gates block only for earlier tasks that are dissimilar to the new one. Which these are is found by
learning the task on trial, as HAT does, and clustering the embeddings of all tasks; the trial is undone, and
the task learnt again. Units of similar tasks stay open to it, so what those tasks know moves, for better or
worse: it may forget.
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
"""D_l^t: for each block, the earlier tasks that are dissimilar to the new one."""


class PRM(HAT):
    """HAT with a trial before each task but the first (DTD), and gates of dissimilar tasks alone (LwPRM).

    `dissimilar` says what is dissimilar: "cluster" is the paper's; "none", "all" (HAT, bit for bit) and
    "type" (tasks of another `Task.kind`) are its PRM(S), PRM(D) and PRM(T), which need no trial; "random" is
    a control, as many tasks as the clusters would name, drawn blindly.
    """

    deviations: ClassVar[Sequence[str]] = (
        "nothing is tried before the first task: there is nothing to compare it with",
        "clusters are sought layer by layer (dtd_scope), two at least (k_init); the paper says neither",
        "the regulariser spares units of all earlier tasks (reg_mask); the paper does not say which",
        "the first stage of a trial holds the embeddings as well as the trunk",
    )

    @dataclass(frozen=True, kw_only=True)
    class Config(HAT.Config):
        dissimilar: Literal["cluster", "none", "all", "type", "random"] = "cluster"
        two_stage: bool = True  # the head alone first, section 3.2.1
        embedding_init: Literal["normal", "shared"] = "normal"  # a draw per task, or one for all
        dtd_feature: Literal["raw", "drift"] = "raw"  # clustered are embeddings, or how far they went
        dtd_scope: Literal["layer", "concat"] = "layer"
        k_init: int = 2  # clusters that X-means begins with; with 1 it hardly ever finds a second
        bic: Literal["spherical", "pelleg"] = "spherical"  # criterion of X-means, or as its paper prints it
        reg_mask: Literal["all", "dissimilar"] = "all"  # whose units are free of charge
        stage1_s: Literal["anneal", "smax"] = "anneal"  # slope of the gates while the head is alone

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
        self.origins = (
            nn.ModuleDict()
        )  # embeddings of tasks learnt, as they began; only if drift is clustered
        self.kinds: dict[int, str] = {}  # of tasks learnt
        self.blocked: list[Tensor] = []  # p_l [units], inside `learn`
        self.head_alone = False
        self.report: dict[str, Any] = {}
        if self.config.dissimilar in ("cluster", "random"):
            xmeans.load()  # here: to load it is no compute

    def learn(self, task: Task, fit: Fit) -> None:
        t, earlier = task.index, list(self.kinds)
        start = Buffers(e.detach().clone() for e in self.embeddings[t].parameters())
        if self.config.dtd_feature == "drift":
            self.origins[str(t)] = start
        self.kinds[t], self.report = task.kind, {}
        sets = self.dissimilar_tasks(earlier, task, fit)
        self.block(self.gates_of(sets))
        self.report |= self.told(sets, earlier, task.kind)
        fit(self, task)
        self.block([])
        self.merge(t)
        moved = [e.detach() - s for e, s in zip(self.embeddings[t].parameters(), start, strict=True)]
        self.report["drift_rms"] = float(torch.cat(moved).square().mean().sqrt())

    def dissimilar_tasks(self, earlier: list[int], task: Task, fit: Fit) -> Sets:
        """D_l^t for each block."""
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
        """Learn the task on trial, as HAT does: clusters of the earlier tasks and of this one, by block."""
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
        """What is clustered: for each block the task's embedding, or how far it is from where it began."""
        es = [e.detach() for e in self.embeddings[task].parameters()]
        if self.config.dtd_feature == "drift":
            es = [e - start for e, start in zip(es, self.origins[str(task)].buffers(), strict=True)]
        return [e.numpy(force=True).astype(np.float64) for e in es]

    def gates_of(self, sets: Sets) -> list[Tensor]:
        """p_l, the largest gate of any task in D_l (eq. 5); empty where no task is in any."""
        if not any(sets):
            return []
        with torch.no_grad():
            gates = {k: self.gates(k) for k in {k for d in sets for k in d}}
            return [
                torch.stack([none, *(gates[k][layer] for k in d)]).amax(0)
                for layer, (d, none) in enumerate(zip(sets, map(torch.zeros_like, self.used), strict=True))
            ]

    def block(self, masks: list[Tensor]) -> None:
        """Let these gates, a [units] per block, block gradients from here on (eq. 6); none: an empty list."""
        self.blocked = masks
        self.factors = weight_factors(self.body.blocks, masks) if masks else []

    def regulariser(self, gates: list[Tensor]) -> Tensor:
        if self.config.reg_mask == "all":
            return super().regulariser(gates)
        free = 1 - torch.cat(self.blocked or [torch.zeros_like(used) for used in self.used])
        return (torch.cat(gates) * free).sum() / free.sum().clamp_min(1e-12)

    @contextlib.contextmanager
    def only_head(self, task: int) -> Iterator[list[nn.Parameter]]:
        """The head's parameters, and no gradients for any other: they would cost time and go nowhere."""
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
            batch = replace(batch, index=batch.of - 1, start=batch.samples)  # where the annealing ends
        with undone(self.embeddings[one_task(batch)]):  # a step of HAT's clamps them
            return super().step(batch, update)

    def named(self, by_block: Sequence[Any]) -> dict[str, Any]:
        """Numbers by block under the names of their layers."""
        return dict(zip(layers_of(self.net.body), by_block, strict=True))

    def told(self, sets: Sets, earlier: Sequence[int], kind: str) -> dict[str, Any]:
        """Numbers about D and about what it blocks.

        dtd_size: |D|/(t - 1). dtd_agreement: share of the earlier tasks of the same type that are not in D;
        dtd_separation: share of those of other types that are; where tasks have types, over all layers.
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
        """HAT's (as if all tasks were dissimilar), and those of the latest task's D."""
        return super().diagnostics(task) | self.report


@contextlib.contextmanager
def undone(module: nn.Module) -> Iterator[None]:
    """Afterwards every parameter and buffer is what it was before, bit for bit."""
    tensors = list(module.state_dict().values())
    before = [tensor.clone() for tensor in tensors]
    try:
        yield
    finally:
        for tensor, kept in zip(tensors, before, strict=True):
            tensor.copy_(kept)

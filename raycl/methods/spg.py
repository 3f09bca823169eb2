"""Soft-masked gradient flow (SPG): Konishi et al., ICML 2023, arXiv 2306.14775.

After each task, every parameter of the body gets an importance in [0, 1]. It is computed from the gradients
of the task's own loss and, through the heads of older tasks, from the gradients of the sum of their logits.
In later tasks the parameter's gradient is multiplied by one minus the importance. The method is meant for
plain SGD, with or without momentum: weight decay moves blocked parameters too, and Adam and RMSprop divide
each gradient by its size, which cancels the factor.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from raycl.masks import SOFT_MASK, layers_of
from raycl.method import Breaker, Buffers, Method, Task, measuring, one_task, untouched
from raycl.networks import Heads, Network
from raycl.tasks import Batch
from raycl.training.fit import Fit

GROUP = 16  # number of heads whose gradients, each as large as the body, are summed at the same time

# Deviations that methods with SPG's importance share.
BY_TENSOR = (
    "importance is standardised over each tensor, weights apart from biases, as in SPG's code; the paper "
    "standardises over all parameters of a layer"
)
WITH_DROPOUT = "importance is measured with dropout on, as in SPG's code; the paper does not say"


class SPG(Method):
    """Finetuning with gradients multiplied by (1 - importance).

    With `importance_epoch=n` the importance is that of the weights at the end of epoch n. They come from a
    copy that is trained for n epochs on the same random streams, with its time and epochs booked under
    "importance". If training ends earlier, the importance of the final weights is used. The copy is identical
    to the first n epochs of the real fit, except with a cosine schedule, which the copy runs completely in n
    epochs.

    Equations:
        gamma^{t,k} = |tanh((G - mean G) / std G)|                       (eq. 1)
        G = sum over the training batches of task t of d L^{t,k} / d theta
        L^{t,t} = CE;  L^{t,k} = sum of the logits of head k < t         (eq. 2)
        gamma^t = max(gamma^{t,1}, ..., gamma^{t,t})                     (eq. 3)
        gamma^{<=t} = max(gamma^t, gamma^{<=t-1})                        (eq. 4)
        g' = (1 - gamma^{<=t-1}) g              for the body             (eq. 5)
        g' = (1 - mean of gamma^{<=t-1}) g      for the head of task t

        t        task being learnt; gamma^t is computed at its end
        theta    a weight or bias tensor of the body; gamma has its shape, and
                 the mean and std of G are over its entries
        CE       mean cross-entropy over a batch of task t, the loss in training
        g, g'    gradient of CE, and the gradient that the optimiser gets; the
                 mean of gamma^{<=t-1} is over the whole body
        max      elementwise; gamma^{<=0} = 0
    """

    capturable: ClassVar[bool] = True
    needs = (Heads,)
    splits = True
    broken_by: ClassVar[Mapping[Breaker, str]] = SOFT_MASK
    deviations: ClassVar[Sequence[str]] = (
        BY_TENSOR,
        "gradients of a task's head are multiplied by 1 - mean importance, as in SPG's code (head_scale); "
        "eq. 5 leaves a new head free, because it had no importance for earlier tasks",
        WITH_DROPOUT,
    )

    @dataclass(frozen=True, kw_only=True)
    class Config(Method.Config):
        chi: bool = True  # cross-head importance: use the heads of older tasks as well
        importance_epoch: int | None = None  # epoch whose weights are measured; None: the final weights
        importance_mode: Literal["train", "eval"] = "train"  # with dropout, as in SPG's code, or without
        head_scale: Literal["mean", "none"] = "mean"  # mean: head's gradient times 1 - mean importance

        def __post_init__(self) -> None:
            if self.importance_epoch is not None and self.importance_epoch < 1:
                raise ValueError(f"importance_epoch = {self.importance_epoch} must be at least 1, or None")

    config: Config

    def make(self) -> None:
        super().make()
        self.learnt = 0
        self.accumulated = Buffers(torch.zeros_like(p) for p in self.net.body.parameters())  # gamma^{<=t}
        self.factors: list[Tensor] = []
        self.head_factor = 1.0
        self.notes: dict[str, float] = {}

    def learn(self, task: Task, fit: Fit) -> None:
        if self.learnt:
            blocking = self.blocking()
            self.factors = [1 - b for b in blocking]
            if self.config.head_scale == "mean":
                self.head_factor = 1 - _mean(blocking)
        early = self._early(task, fit)
        fit(self, task)
        self.factors, self.head_factor = [], 1.0
        importance = early or self.importance(task, fit)
        for old, new in zip(self.accumulated, importance, strict=True):
            torch.maximum(old, new, out=old)  # eq. 4
        self.learnt += 1

    def _early(self, task: Task, fit: Fit) -> list[Tensor] | None:
        """Return the importance after epoch `importance_epoch`.

        The result is None if that setting is None or training ends before that epoch.
        """
        epochs = self.config.importance_epoch
        if epochs is None or epochs > fit.config.epochs:
            return None
        probe = copy.deepcopy(self)
        fitted = fit(probe, task, epochs=epochs, keep="last", account="importance")
        if fitted.epochs < epochs:
            return None
        found = probe.importance(task, fit)
        self.notes = probe.notes
        return found

    def importance(self, task: Task, fit: Fit) -> list[Tensor]:
        """Return gamma^t in [0, 1] for each parameter of the body, measured on the training split."""
        dropout = self.config.importance_mode == "train"
        own, cross = gradient_importance(self.net, task, fit, chi=self.config.chi, dropout=dropout)
        if cross is None:
            self.notes = {}
            return own
        self.notes = _cross_head_diagnostics(own, cross, list(self.accumulated))
        return [torch.maximum(a, b) for a, b in zip(own, cross, strict=True)]

    def blocking(self) -> list[Tensor]:
        """Return the share in [0, 1] that is removed from each gradient of the body."""
        return list(self.accumulated)

    def edit_gradients(self, batch: Batch) -> None:
        if not self.factors:
            return
        for p, factor in zip(self.net.body.parameters(), self.factors, strict=True):
            if p.grad is not None:
                p.grad.mul_(factor)  # eq. 5
        for p in self.net.heads[one_task(batch)].parameters():
            if p.grad is not None:
                p.grad.mul_(self.head_factor)  # SPG's code; 1 for a new head by eq. 5

    def diagnostics(self, task: int) -> dict[str, Any]:
        """Return the share of the body that is blocked, the mean importance, and what older heads add.

        A parameter is blocked if its gradient factor is exactly 0 in float32.
        """
        blocked = {
            p: b.float() == 1 for p, b in zip(self.net.body.parameters(), self.blocking(), strict=True)
        }
        layers = {
            name: [blocked[p] for p in layer.parameters()] for name, layer in layers_of(self.net.body).items()
        }
        return {
            "blocked": _mean(list(blocked.values())),
            "blocked_layers": {name: _mean(tensors) for name, tensors in layers.items()},
            "importance": _mean(list(self.accumulated)),
            **self.notes,
        }


def gradient_importance(
    net: Network, task: Task, fit: Fit, *, chi: bool = True, dropout: bool = True
) -> tuple[list[Tensor], list[Tensor] | None]:
    """Return the importance through the task's own head and the largest through older heads (eqs. 1 to 3).

    One forward pass per batch serves up to `GROUP` heads, which therefore share the same dropout. Each head
    takes one backward pass.

    Args:
        net: Network whose body is measured.
        task: Task whose training split is used.
        fit: Training loop, which provides batches.
        chi: Whether older heads are used.
        dropout: Whether dropout is active.

    Returns:
        Importance through the own head, and through older heads (None if there are none), one tensor for each
        parameter of the body.
    """
    own, cross = task.index, None
    heads = [*range(own if chi else 0), own]
    with measuring(net, dropout), untouched(net):
        for start in range(0, len(heads), GROUP):
            group = heads[start : start + GROUP]
            for head, gradients in zip(group, summed_gradients(net, task, fit, group), strict=True):
                scores = [standardised(g).tanh_().abs_() for g in gradients]
                if head != own:
                    cross = scores if cross is None else list(map(torch.maximum, cross, scores))
    return scores, cross  # the own head is the last


def summed_gradients(net: Network, task: Task, fit: Fit, heads: Sequence[int]) -> list[list[Tensor]]:
    """Return, for each head, the gradients of the body summed over the batches of the training split.

    Gradients of frozen parameters, and of those that the head does not depend on, are 0.
    """
    body = list(net.body.parameters())
    places = [place for place, p in enumerate(body) if p.requires_grad]
    moving = [body[place] for place in places]
    sums = [[torch.zeros_like(p) for p in body] for _ in heads]
    for batch in fit.batches(task.train, task.index):
        h = net.features(batch.x, task.index)
        for head, totals in zip(heads, sums, strict=True):
            logits = net.head(h, head)
            loss = F.cross_entropy(logits, batch.y) if head == task.index else logits.sum()
            gradients = (
                torch.autograd.grad(loss, moving, retain_graph=head != heads[-1], allow_unused=True)
                if moving
                else ()
            )
            for place, gradient in zip(places, gradients, strict=True):
                if gradient is not None:
                    totals[place] += gradient
    return sums


def standardised(g: Tensor) -> Tensor:
    """Return (g - mean) / standard deviation (unbiased) over the tensor; 0 if all entries are equal."""
    if g.numel() < 2:
        return torch.zeros_like(g)
    return (g - g.mean()) / (g.std() + 1e-12)


def _cross_head_diagnostics(
    own: Sequence[Tensor], cross: Sequence[Tensor], before: Sequence[Tensor]
) -> dict[str, float]:
    """Return the numbers of SPG's Table 8 on the gain through older heads.

    They are the share of parameters for which older heads give a larger importance, and the mean gain there,
    compared with the own head ("each") and with all earlier tasks ("total").
    """
    found = {}
    for name, other in (("each", own), ("total", before)):
        gain = torch.cat([(m - o).reshape(-1) for m, o in zip(cross, other, strict=True)]).double()
        more = gain > 0
        found[f"f_{name}"] = float(more.double().mean())
        found[f"g_{name}"] = float(gain[more].mean()) if bool(more.any()) else 0.0
    return found


def _mean(tensors: Sequence[Tensor]) -> float:
    """Return the mean over the elements of all tensors together."""
    total = sum(float(t.double().sum()) for t in tensors)
    return total / sum(t.numel() for t in tensors)

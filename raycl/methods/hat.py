"""Hard attention to the task (HAT): Serra et al., ICML 2018, arXiv 1801.01423.

Each task learns a gate in [0, 1] for every unit, a steep sigmoid of an embedding. Gates of finished tasks
block the gradients of the weights between the units that they use. Since gates are not exactly 0 or 1, these
weights still change a little and old logits drift, which is why `keeps_logits` is not set.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raycl.masks import SOFT_MASK, Gates, Slope, annealed, layers_of, weight_factors
from raycl.method import Breaker, Buffers, Method, Task, one_task
from raycl.networks import Blocks, Heads
from raycl.space import Float
from raycl.tasks import Batch, Update
from raycl.training.fit import Fit


class HAT(Method):
    """Gates on units, annealed within each epoch; blocked weights need an optimiser without weight decay.

    With `gate="released"`, the gradient of an embedding is computed as in HAT's code, which made the
    published numbers. It is equation 4 except where a gate nearly rounds to 1: there it is coarse, then 0.
    With `gate="exact"` it is equation 4 everywhere (`raycl.masks.Gates`).

    Equations:
        a[l] = sigmoid(s e[l])                                           (eq. 1)
        h[l] <- a[l] h[l]
        s = 1/smax + (smax - 1/smax) (b - 1)/(B - 1)                     (eq. 3)
        L = CE + lamb R
        R = sum_{l,i} a[l,i] (1 - A[l,i]) / sum_{l,i} (1 - A[l,i])       (eq. 5)
        g'[l,i,j] = (1 - min(A[l,i], A[l-1,j])) g[l,i,j]                 (eq. 2)
        q' = smax (cosh(s e) + 1) / (s (cosh(e) + 1)) q                  (eq. 4)
        A <- max(A, a at s = smax)              after the task

        e[l]  embedding of the present task, a number for each unit of layer l
        h[l]  output of layer l; in evaluation s = smax
        b     batch 1, ..., B of the epoch
        CE    mean cross-entropy over the batch
        A     largest gate of any finished task, 0 before the first; A[0] = 1
        g     gradient of the weight from unit j of layer l - 1 to unit i of
              layer l; that of bias i gets the factor 1 - A[l,i]
        q     gradient s a (1 - a) dL/da of e, with 1 - a as float32 rounds it
              (gate); s e is cut at +-50 in cosh, and e at +-clamp after a step
    """

    version: ClassVar[int] = 2  # 2: gradients of embeddings as in HAT's code (gate)

    needs = (Blocks, Heads)
    capturable: ClassVar[bool] = True
    fit_defaults: ClassVar[Mapping[str, Any]] = {"clip": 10000.0}
    broken_by: ClassVar[Mapping[Breaker, str]] = SOFT_MASK  # because gates are not exactly 0 or 1
    deviations: ClassVar[Sequence[str]] = (
        "the slope reaches smax with the last batch, as in HAT's paper; its code stops short of it",
        "the gradient of an embedding is 0 once its gate rounds to 1 in float32, as in HAT's code; in "
        "equation 4 it is not (gate)",
    )
    preset_overrides: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "prm": {"method.lamb": Float(0.05, 4.0, log=True), "method.smax": 400.0}
    }

    @dataclass(frozen=True, kw_only=True)
    class Config(Method.Config):
        lamb: Annotated[float, Float(0.1, 4.0, log=True)] = 0.75  # c, weight of the regulariser
        smax: Annotated[float, Float(25.0, 800.0, log=True)] = 400.0  # s_max, end of the annealing
        clamp: float = 6.0  # embeddings stay within +-clamp
        anneal: Literal["batch", "samples"] = "batch"  # samples: HAT's code, ends below smax
        gate: Literal["released", "exact"] = "released"  # gradient: as HAT's code rounds it, or equation 4

        def __post_init__(self) -> None:
            if self.smax <= 0 or self.clamp <= 0:
                raise ValueError(f"smax = {self.smax} and clamp = {self.clamp} must be above 0")
            if self.lamb < 0:
                raise ValueError(f"lamb = {self.lamb} must be at least 0")

    config: Config

    def make(self) -> None:
        super().make()
        units = self.body.units
        self.embeddings = nn.ModuleList(  # a tensor per task, since weight decay acts on whole tensors
            nn.ParameterList(torch.randn(n, device="cpu").to(torch.get_default_device()) for n in units)
            for _ in range(self.world.tasks)
        )
        self.used = Buffers(torch.zeros(n) for n in units)  # a^{<=t}, largest gate of any finished task
        self.learnt = 0
        self.slope: float | Tensor = self.config.smax  # below smax only inside `step_context`
        self.slope_at = Slope()
        self.factors: list[tuple[Tensor, Tensor]] = []
        self._shares: Tensor | None = None  # of the regulariser, while `used` stays

    @property
    def body(self) -> Blocks:
        assert isinstance(self.net, Blocks)
        return self.net

    def learn(self, task: Task, fit: Fit) -> None:
        self.factors = weight_factors(self.body.blocks, list(self.used)) if self.learnt else []
        fit(self, task)
        self.factors = []
        self.merge(task.index)

    def merge(self, task: int) -> None:
        """Merge the task's gates into the used units."""
        with torch.no_grad():
            for used, gate in zip(self.used, self.gates(task), strict=True):
                torch.maximum(used, gate, out=used)
        self._shares = None
        self.learnt += 1

    def trainable(self, task: int) -> Iterable[Any]:
        return [*self.net.trainable(task), *self.embeddings[task].parameters()]

    def gates(self, task: int) -> list[Tensor]:
        """Return the gates of a task at the present slope, one tensor [units] per block."""
        return self.by_block(self.joined_gates(task))

    def joined_gates(self, task: int) -> Tensor:
        """Return the gates of a task at the present slope as one tensor [units of all blocks]."""
        released = self.config.gate == "released"
        embeddings = self.embeddings[task].parameters()
        gates: Tensor = Gates.apply(self.slope, self.config.smax, released, *embeddings)
        return gates

    def by_block(self, gates: Tensor) -> list[Tensor]:
        """Split a tensor [units of all blocks] into one tensor [units] per block."""
        return list(gates.split(self.body.units))

    def logits(self, x: Tensor, task: int, gates: list[Tensor]) -> Tensor:
        """Return the logits under the given gates."""
        return self.net.head(self.body.features(x, task, gates), task)

    def forward(self, x: Tensor, task: int) -> Tensor:
        return self.logits(x, task, self.gates(task))

    def loss(self, batch: Batch) -> Tensor:
        task = one_task(batch)
        gates = self.joined_gates(task)
        cross_entropy = F.cross_entropy(self.logits(batch.x, task, self.by_block(gates)), batch.y)
        return cross_entropy + self.config.lamb * self.regulariser(gates)

    def validation_loss(self, batch: Batch) -> Tensor:
        return self.loss(batch)  # includes the regulariser, as in HAT's code

    def regulariser(self, gates: Tensor) -> Tensor:
        """Return R = sum a (1 - used) / sum (1 - used), a single ratio over all blocks (eq. 5).

        Args:
            gates: Gates a, [units of all blocks].
        """
        if self._shares is None:
            free = 1 - torch.cat(self.counted())
            self._shares = free / free.sum().clamp_min(1e-12)
        return gates @ self._shares

    def counted(self) -> list[Tensor]:
        """Return the use of each unit by the tasks that the regulariser counts, [units] per block."""
        return list(self.used)

    def train(self, mode: bool = True) -> Self:
        self._shares = None  # may have changed since
        return super().train(mode)

    def edit_gradients(self, batch: Batch) -> None:
        """Scale gradients so that weights used by finished tasks do not move (eq. 2).

        The gradients of embeddings are already compensated by `Gates`.
        """
        layers = [block.layer for block in self.body.blocks]
        pairs = [
            (p.grad, factor)
            for layer, factors in zip(layers, self.factors, strict=False)
            for p, factor in zip((layer.weight, layer.bias), factors, strict=True)
            if p is not None and p.grad is not None
        ]
        if pairs:
            torch._foreach_mul_(*map(list, zip(*pairs, strict=True)))

    @contextlib.contextmanager
    def step_context(self, batch: Batch) -> Iterator[None]:
        """Set the slope of the gates for a step, and smax after it (eq. 3)."""
        smax = self.config.smax
        if self.config.anneal == "batch":
            slope = annealed(batch.index, batch.of, smax)
        else:
            slope = 1 / smax + (smax - 1 / smax) * batch.start / batch.samples
        self.slope = self.slope_at(slope, batch.x.device)
        try:
            yield
        finally:
            self.slope = smax

    def captured_step(self, batch: Batch, update: Update) -> Tensor:
        loss = super().captured_step(batch, update)
        with torch.no_grad():
            for e in self.embeddings[one_task(batch)].parameters():
                e.clamp_(-self.config.clamp, self.config.clamp)
        return loss

    def diagnostics(self, task: int) -> dict[str, Any]:
        """Return the shares of blocked weights and of used capacity.

        A weight is blocked if its gradient factor is exactly 0 in float32.
        """
        used = [mask.float() for mask in self.used]
        factors = [
            torch.cat([f.reshape(-1) for f in pair]) for pair in weight_factors(self.body.blocks, used)
        ]
        every = torch.cat(factors)
        layers = zip(layers_of(self.net.body), factors, strict=True)
        return {
            "blocked": _share(every == 0),
            "blocked_layers": {name: _share(factor == 0) for name, factor in layers},
            "nearly_blocked": _share(every < 1e-3),
            "capacity_used": float(torch.cat(used).mean()),
        }

    def stored_bytes(self) -> int:
        later = [p for es in list(self.embeddings)[self.learnt :] for p in es.parameters()]
        return super().stored_bytes() - sum(p.numel() * p.element_size() for p in later)


def _share(which: Tensor) -> float:
    return float(which.double().mean())

"""Hard attention on parameters (PMASK): Raskoti and Ghimire, Tribhuvan University.

The title is "Continual learning with hard attention parameter masking". Details that its text omits are as in
HAT (arXiv 1801.01423).

Each task learns a gate in [0, 1] for every parameter below the heads, a steep sigmoid of an embedding. When
the task is learnt, its gates become bits. Parameters that masks of finished tasks use are blocked, and
parameters that they do not use have no effect on those tasks, so the logits of finished tasks do not change.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from raycl.masks import (
    SOFT_MASK,
    Gates,
    Held,
    Slope,
    annealed,
    layers_of,
    unpack,
    weight_factors,
    weights_below_heads,
)
from raycl.method import Breaker, Buffers, Method, Task, one_task
from raycl.networks import Blocks, Heads, Network
from raycl.networks._checks import check_maskable
from raycl.networks._norms import freeze_statistics
from raycl.probes.gates import binarised, capacity_diagnostics, gate_diagnostics
from raycl.probes.overlap import Bits
from raycl.space import Float
from raycl.tasks import Batch, Update
from raycl.training.fit import Fit


class PMask(Method):
    """Gates on parameters, or with `granularity="unit"` on the rows of layers, which is HAT.

    The gates of a layer are one vector, with those of the weight before those of the bias. Parameters below
    the heads without gates are learnt with the first task and then fixed. A task that is not learnt yet is
    answered without gates.

    Equations:
        a = sigmoid(s e),  theta_eff = a theta                           (eq. 1)
        m = 1 where a > 1/2 at s = smax, else 0
        A <- max(A, m)                          after the task           (eq. 2)
        g' = (1 - A) g                                                   (eq. 3)
        s = 1/smax + (smax - 1/smax) (b - 1)/(B - 1)                 (HAT eq. 3)
        L = CE + lamb R
        R = sum a (1 - A) / sum (1 - A)                              (HAT eq. 5)
        q' = smax (cosh(s e) + 1) / (s (cosh(e) + 1)) q              (HAT eq. 4)

        theta  parameters with gates; all products are elementwise
        e      embedding of the present task, of the shape of theta
        b      batch 1, ..., B of the epoch
        CE     mean cross-entropy over the batch, under theta_eff
        m      bits by which the present task is answered once it is finished,
               in the place of a
        A      1 at parameters that any finished task uses, 0 elsewhere
        g, q   gradients of theta and of e; q is rounded and cut as in `hat`
    """

    keeps_logits = True  # with store="hard"
    capturable: ClassVar[bool] = True
    # 2: batch statistics that all tasks share are fixed after the first task
    # 3: gradients of embeddings as in HAT's code (gate)
    version: ClassVar[int] = 3
    needs = (Heads,)
    fit_defaults: ClassVar[Mapping[str, Any]] = {"clip": 10000.0}
    preset_overrides: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "pmask": {"fit.lr": Float(0.01, 0.1, log=True)}
    }
    deviations: ClassVar[Sequence[str]] = (
        "gradients are conditioned by the parameter's own gate; eq. 3 is printed with HAT's pairs of units",
        "the cumulative mask is over all earlier tasks; eq. 2 is printed with the previous one alone",
        "finished tasks keep and use their gates cut at one half (store=hard)",
        "biases have gates, and embeddings have HAT's compensated gradient; the text mentions neither",
        "the gradient of an embedding is 0 once its gate rounds to 1 in float32, as in HAT's code; in HAT's "
        "equation 4 it is not (gate)",
        "the regulariser of strength c is HAT's, and so is the annealing of the slope; the text lacks both "
        "equations",
        "training uses SGD as in section 4.4; section 4.1 mentions Adam, an EWC penalty and growing layers",
    )

    @dataclass(frozen=True, kw_only=True)
    class Config(Method.Config):
        smax: Annotated[float, Float(25.0, 800.0, log=True)] = 400.0  # s_max, end of the annealing
        lamb: Annotated[float, Float(0.1, 2.5, log=True)] = 0.75  # c, weight of the regulariser
        clamp: float = 6.0  # embeddings stay within +-clamp
        emb_lr_mult: Annotated[float, Float(1.0, 1e4, log=True)] = 1.0  # embeddings' learning rate over lr
        granularity: Literal["parameter", "unit"] = "parameter"
        mask_bias: bool = True  # False: biases have no gates
        compensate: bool = True  # compensate the embeddings' gradient (HAT eq. 4)
        gate: Literal["released", "exact"] = "released"  # that gradient: as HAT's code rounds it, or eq. 4
        store: Literal["hard", "soft"] = "hard"  # a finished task keeps bits, or its gates unchanged
        # Regulariser: the mean of the free gates, or that times the number of gates per unit, so that it acts
        # on each gate as strongly as HAT's regulariser acts on the gate of a unit.
        reg_norm: Literal["mean", "sum_per_unit"] = "mean"
        embedding_init: Literal["normal", "open"] = "normal"  # N(0, 1), or uniform in (0, 2]

        def __post_init__(self) -> None:
            if self.smax <= 0 or self.clamp <= 0:
                raise ValueError(f"smax = {self.smax} and clamp = {self.clamp} must be above 0")
            for name in ("lamb", "emb_lr_mult"):
                if getattr(self, name) < 0:
                    raise ValueError(f"{name} = {getattr(self, name)} must be at least 0")
            if self.granularity == "unit" and not self.mask_bias:
                raise ValueError("granularity = 'unit' also gates a unit's bias: set mask_bias = True")

    config: Config

    @classmethod
    def check_network(cls, net: Network, tasks: int) -> None:
        super().check_network(net, tasks)
        check_maskable(net, cls.__name__)

    def make(self) -> None:
        super().make()
        if (unit := self.config.granularity == "unit") and not isinstance(self.net, Blocks):
            raise ValueError(f"granularity = 'unit' needs a chain of blocks, not {type(self.net).__name__}")
        layers = layers_of(self.net.body)
        paths = [name.removesuffix(".weight") for name in weights_below_heads(self.net)]
        self.layers, self.paths = list(layers.values()), dict(zip(layers, paths, strict=True))
        biased = self.config.mask_bias and not unit
        biases = [0 if layer.bias is None or not biased else len(layer.bias) for layer in self.layers]
        shapes = [layer.weight.shape[:1] if unit else layer.weight.shape for layer in self.layers]
        self.shapes = dict(zip(layers, shapes, strict=True))  # shapes of gates, without those of a bias
        self.sizes = [shape.numel() + n for shape, n in zip(shapes, biases, strict=True)]  # numbers of gates
        gated = self.spread([torch.zeros(n) for n in self.sizes])
        self.ungated = [n for n, _ in self.net.body.named_parameters(prefix="body") if n not in gated]
        self.embeddings = nn.ParameterList()  # e of the task being learnt, [gates] for each layer
        self.current: int | None = None  # that task
        self.masks: dict[int, Bits] = {}  # masks of finished tasks
        self.soft = nn.ModuleDict()  # gates of finished tasks, with store="soft"
        self.notes: dict[int, dict[str, Any]] = {}  # numbers measured while these tasks were learnt
        self.slope: float | Tensor = self.config.smax  # below smax only inside `step_context`
        self.slope_at = Slope()
        self.free: list[Tensor] = []  # 1 - A^{<=t-1}, [gates] for each layer
        self._shares: Tensor | None = None  # of the regulariser, while `free` stays
        self.factors: dict[str, Tensor] = {}  # gradient factors by parameter; none before the second task
        self.held: dict[str, Held] = {}  # with weight decay: blocked entries of parameters, by name

    def learn(self, task: Task, fit: Fit) -> None:
        t = task.index
        self.begin(t, decays=fit.config.weight_decay > 0)
        start = binarised(self.gates())
        fitted = fit(self, task, over=self.groups(t, fit.config.lr))
        gates = [gate.detach() for gate in self.gates()]
        self.masks[t] = binarised(gates)
        self.current, self.embeddings = None, nn.ParameterList()
        self.train(self.training)
        self.free, self.factors, self.held = [], {}, {}
        self.notes[t] = gate_diagnostics(start, gates, self.paths)
        if not math.isnan(fitted.val_accuracy):  # compare accuracy with gates and with bits
            hard = fit.accuracy(self, t, task.val)
            self.notes[t] |= {"soft_val_acc": fitted.val_accuracy, "hard_val_acc": hard}
        if self.config.store == "soft":
            self.soft[str(t)] = Buffers(gates)

    def begin(self, task: int, decays: bool) -> None:
        """Draw embeddings for a task, and block the parameters that finished tasks use."""
        self.current, self.embeddings = task, self.draw()
        used = self.used()
        self.free, self._shares = [1 - a for a in used], None
        self.factors = self.conditioning(used) if self.masks else {}
        blocked = {name: factor == 0 for name, factor in self.factors.items() if decays}
        self.held = {name: Held.of(self.net.get_parameter(name), which) for name, which in blocked.items()}

    def draw(self) -> nn.ParameterList:
        """Return embeddings of a new task, drawn on the CPU so that they are the same on every device."""
        open_ = self.config.embedding_init == "open"
        drawn = [
            2 - 2 * torch.rand(n, device="cpu") if open_ else torch.randn(n, device="cpu") for n in self.sizes
        ]
        return nn.ParameterList(e.to(self.layers[0].weight) for e in drawn)

    def groups(self, task: int, lr: float) -> list[dict[str, Any]]:
        """Return two optimiser groups: parameters with `lr`, embeddings with `emb_lr_mult` times `lr`."""
        fixed = {self.net.get_parameter(name) for name in self.ungated if self.masks}
        params = [p for p in self.net.trainable(task) if p not in fixed]
        return [{"params": params}, {"params": list(self.embeddings), "lr": lr * self.config.emb_lr_mult}]

    def trainable(self, task: int) -> Iterable[Any]:
        return [p for group in self.groups(task, 1.0) for p in group["params"]]

    def gates(self) -> list[Tensor]:
        """Return a^t of the task being learnt at the present slope, [gates] for each layer."""
        return list(self.joined_gates().split(self.sizes))

    def joined_gates(self) -> Tensor:
        """Return a^t of the task being learnt at the present slope, [gates of all layers] (eq. 1)."""
        if self.config.compensate:
            released = self.config.gate == "released"
            gates: Tensor = Gates.apply(self.slope, self.config.smax, released, *self.embeddings)
            return gates
        return torch.sigmoid(self.slope * torch.cat(list(self.embeddings)))

    def kept(self, task: int) -> list[Tensor]:
        """Return the gates of a finished task: its bits as booleans, or with store="soft" its gates."""
        if str(task) in self.soft:
            return list(self.soft[str(task)].buffers())
        like, mask = self.layers[0].weight, zip(self.masks[task], self.sizes, strict=True)
        return [unpack(bits, (n,)).to(like) > 0.5 for bits, n in mask]

    def used(self) -> list[Tensor]:
        """Return A^{<=t}, the largest gate of any finished task (eq. 2)."""
        used = [torch.zeros_like(e) for e in self.embeddings]
        for task in self.masks:
            used = list(map(torch.maximum, used, self.kept(task)))
        return used

    def spread(self, values: Iterable[Tensor]) -> dict[str, Tensor]:
        """Return values [gates] of each layer by parameter, in shapes that broadcast to the parameter's."""
        found = {}
        for path, layer, value in zip(self.paths.values(), self.layers, values, strict=True):
            weight, bias = layer.weight, value
            if self.config.granularity == "unit":
                found[f"{path}.weight"] = value.view(-1, *[1] * (weight.dim() - 1))
            else:
                own, bias = value.split([weight.numel(), len(value) - weight.numel()])
                found[f"{path}.weight"] = own.view(weight.shape)
            if layer.bias is not None and len(bias):
                found[f"{path}.bias"] = bias
        return found

    def conditioning(self, used: Sequence[Tensor]) -> dict[str, Tensor]:
        """Return 1 - A^{<=t-1} for each parameter's own gate (eq. 3), or for its two units (HAT eq. 2)."""
        own = self.spread(1 - a for a in used)
        if self.config.granularity == "parameter":
            return own
        assert isinstance(self.net, Blocks)
        pairs = zip(self.paths.values(), weight_factors(self.net.blocks, used), strict=True)
        return own | {f"{path}.weight": weight for path, (weight, _) in pairs}

    def effective(self, task: int) -> tuple[dict[str, Tensor], Tensor | float]:
        """Return the gated parameters by name, and the regulariser if the task is being learnt."""
        if task != self.current and task not in self.masks:
            return {}, 0.0
        joined = self.joined_gates() if task == self.current else None
        gates = self.kept(task) if joined is None else joined.split(self.sizes)
        found = {name: self.net.get_parameter(name).detach() for name in self.ungated if self.masks}
        for name, gate in self.spread(gates).items():  # a bit of 0 gives 0 even if p is NaN
            p = self.net.get_parameter(name)
            found[name] = torch.where(gate, p, 0.0) if gate.dtype == torch.bool else p * gate
        return found, 0.0 if joined is None else self.regulariser(joined)

    def forward(self, x: Tensor, task: int) -> Tensor:
        logits: Tensor = functional_call(self.net, self.effective(task)[0], (x, task), tie_weights=False)
        return logits

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        self._shares = None  # may have changed since
        if self.masks:  # shared statistics are fixed, like parameters without gates
            freeze_statistics(self.net.body)
        return self

    def loss(self, batch: Batch) -> Tensor:
        task = one_task(batch)
        params, penalty = self.effective(task)
        logits = functional_call(self.net, params, (batch.x, task), tie_weights=False)
        return F.cross_entropy(logits, batch.y) + self.config.lamb * penalty

    def validation_loss(self, batch: Batch) -> Tensor:
        return self.loss(batch)  # includes the regulariser, as in HAT's code

    def regulariser(self, gates: Tensor) -> Tensor:
        """Return R = sum a (1 - A) / sum (1 - A) over all gates (HAT eq. 5), scaled as `reg_norm` says.

        Args:
            gates: Gates a, [gates of all layers].
        """
        if self._shares is None:
            free = torch.cat(self.free)
            units = sum(layer.weight.shape[0] for layer in self.layers)
            scale = sum(self.sizes) / units if self.config.reg_norm == "sum_per_unit" else 1.0
            self._shares = free / free.sum().clamp_min(1e-12) * scale
        return gates @ self._shares

    def edit_gradients(self, batch: Batch) -> None:
        """Scale gradients so that parameters used by finished tasks do not move (eq. 3).

        The gradients of embeddings are already compensated by `Gates`.
        """
        named = ((self.net.get_parameter(name), factor) for name, factor in self.factors.items())
        pairs = [(p.grad, factor) for p, factor in named if p.grad is not None]
        if pairs:
            torch._foreach_mul_(*map(list, zip(*pairs, strict=True)))

    @contextlib.contextmanager
    def step_context(self, batch: Batch) -> Iterator[None]:
        """Set the slope of the gates for a step, and smax after it."""
        self.slope = self.slope_at(annealed(batch.index, batch.of, self.config.smax), batch.x.device)
        try:
            yield
        finally:
            self.slope = self.config.smax

    def captured_step(self, batch: Batch, update: Update) -> Tensor:
        loss = super().captured_step(batch, update)
        with torch.no_grad():
            for e in self.embeddings:
                e.clamp_(-self.config.clamp, self.config.clamp)
            for name, held in self.held.items():
                held.put_back(self.net.get_parameter(name))
        return loss

    @classmethod
    def breakers(cls, config: Any) -> Mapping[Breaker, str]:
        return {} if config.store == "hard" else SOFT_MASK  # bits make gradients exactly 0

    @property
    def answers_stay(self) -> bool:
        return self.config.store == "hard" and super().answers_stay

    def diagnostics(self, task: int) -> dict[str, Any]:
        masks = [mask for t, mask in sorted(self.masks.items()) if t <= task]
        return capacity_diagnostics(masks, self.sizes, self.paths) | self.notes[task]

    def count_parameters(self) -> int:
        """Return the parameters of the network plus the embeddings of all tasks, learnt or not."""
        return sum(p.numel() for p in self.net.parameters()) + self.world.tasks * sum(self.sizes)

    def stored_bytes(self) -> int:
        bits = sum(layer.nbytes for mask in self.masks.values() for layer in mask)
        return super().stored_bytes() + (bits if self.config.store == "hard" else 0)

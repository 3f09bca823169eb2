"""Uncertainty-regularised continual learning (UCL): Ahn et al., NeurIPS 2019, arXiv 1905.11614.

The network is variational, with a mean per weight and one standard deviation per unit. Weights of units with
a small standard deviation are kept near their means after the previous task; weights of uncertain units are
free to move.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, NamedTuple, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raycl.method import Buffers, Method, Task, one_task
from raycl.networks import Blocks, Heads
from raycl.space import Choice, Float
from raycl.tasks import Batch
from raycl.training.fit import Fit


class UCL(Method):
    """Weights below the heads with Gaussian noise in training; evaluation uses their means.

    The network holds the means. Each unit has one rho, with sigma = log(1 + exp(rho)). Biases and heads have
    no noise.

    Equations:
        w = mu + sigma eps,  eps ~ N(0, 1)      in training; else w = mu
        sigma = log(1 + exp(rho))
        L = CE + 1/B (a/2 sum (S (mu - mu_old))^2
                      + sum (s0 mu_old / sigma_old)^2 |mu - mu_old|
                      + beta/2 sum_u (q - log q + sigma^2 - log sigma^2))
        q = (sigma / sigma_old)^2
        S[l,i,j] = max(s[l,i], s[l-1,j]),  s = s0 / sigma_old
        s0 = sqrt(2 ratio / fan)

        w          weights below the heads, with means mu; biases have no noise,
                   but enter the sums as mu does, with S[l,i] = s[l,i]
        rho        one number for each unit u, which all weights into it share
        CE         mean cross-entropy over a batch of B samples
        mu_old     mu after the previous task, at first the initial values
        sigma_old  sigma after the previous task, at first the initial s0
        a          alpha in the first task, and 1 later; the second sum begins
                   with the second task
        S[l,i,j]   strength of the weight from unit j of layer l - 1 to unit i
                   of layer l; s[0] = 0
        fan        inputs of a linear layer; outputs times kernel pixels of a
                   convolution
    """

    needs = (Blocks, Heads)
    fit_defaults: ClassVar[Mapping[str, Any]] = {"clip": 100.0}
    deviations: ClassVar[Sequence[str]] = (
        "training uses SGD, as in SPG's paper for its baselines; the authors use Adam",
        "its means are drawn anew with the variance that UCL requires, so its initial weights differ from "
        "those that other methods share",
    )

    @dataclass(frozen=True, kw_only=True)
    class Config(Method.Config):
        beta: Annotated[float, Float(1e-5, 3e-2, log=True)] = 2e-4  # weight of the sigma term
        ratio: Annotated[float, Choice(0.125, 0.25, 0.5)] = 0.125  # sigma's share of a new weight's variance
        alpha: Annotated[float, Float(1e-2, 5.0, log=True)] = 0.3  # weight of the mean term in the first task
        lr_rho: Annotated[float, Float(1e-3, 2e-2, log=True)] = 1e-2  # learning rate of rho

        def __post_init__(self) -> None:
            for name in ("beta", "alpha"):
                if not getattr(self, name) >= 0:
                    raise ValueError(f"{name} = {getattr(self, name)} must be at least 0")
            if not 0 < self.ratio < 1:
                raise ValueError(f"ratio = {self.ratio} must lie between 0 and 1")
            if not self.lr_rho > 0:
                raise ValueError(f"lr_rho = {self.lr_rho} must be above 0")

    config: Config

    def make(self) -> None:
        super().make()
        names: dict[Tensor, str] = {p: name for name, p in self.net.named_parameters()}
        self.places = [names[block.layer.weight] for block in self.body.blocks]
        self.rho = nn.ParameterList()  # [units] per block
        self.sigma0: list[float] = []  # initial sigma of each block
        for block in self.body.blocks:
            mu, bias, variance = block.layer.weight, block.layer.bias, 2 / fan(block.layer)
            bound = math.sqrt(3 * (1 - self.config.ratio) * variance)  # of a uniform distribution
            sigma = math.sqrt(self.config.ratio * variance)
            with torch.no_grad():
                mu.copy_(torch.empty(mu.shape, device="cpu").uniform_(-bound, bound))
                if bias is not None:
                    bias.zero_()
            self.sigma0.append(sigma)
            self.rho.append(nn.Parameter(torch.full((block.units,), math.log(math.expm1(sigma)))))
        self.learnt = 0
        self._known: tuple[tuple[int, int], _Constants] | None = None
        self.anchor = Buffers(p.detach().clone() for p in self._means())  # mu_old and old biases
        self.anchor_rho = Buffers(rho.detach().clone() for rho in self.rho)

    @property
    def body(self) -> Blocks:
        assert isinstance(self.net, Blocks)
        return self.net

    def _means(self) -> list[nn.Parameter]:
        """Return the weight and bias of each block, in order."""
        return [p for block in self.body.blocks for p in block.layer.parameters()]

    def learn(self, task: Task, fit: Fit) -> None:
        fit(self, task)
        with torch.no_grad():
            for old, new in zip((*self.anchor, *self.anchor_rho), (*self._means(), *self.rho), strict=True):
                old.copy_(new)
        self.learnt += 1

    def trainable(self, task: int) -> Iterable[Any]:
        return [
            {"params": self.net.trainable(task)},
            {"params": list(self.rho), "lr": self.config.lr_rho},
        ]

    def sampled(self) -> dict[str, Tensor]:
        """Return mu + sigma times standard normal noise, with one draw for each weight, by name."""
        found = {}
        for place, block, rho in zip(self.places, self.body.blocks, self.rho, strict=True):
            mu = block.layer.weight
            found[place] = mu + per_unit(F.softplus(rho), mu) * torch.randn_like(mu)
        return found

    def forward(self, x: Tensor, task: int) -> Tensor:
        if not self.training:
            return super().forward(x, task)
        logits: Tensor = torch.func.functional_call(self.net, self.sampled(), (x, task))
        return logits

    def loss(self, batch: Batch) -> Tensor:
        cross_entropy = F.cross_entropy(self(batch.x, one_task(batch)), batch.y)
        return cross_entropy + self.regulariser() / len(batch)

    def regulariser(self) -> Tensor:
        """Return mean term, L1 term (from the second task on) and sigma term, not divided by batch size.

        a/2 sum (S (mu - mu_old))^2 + sum (s0 mu_old / sigma_old)^2 |mu - mu_old|
        + beta/2 sum (q - log q + sigma^2 - log sigma^2), where q = (sigma / sigma_old)^2, s0 is sigma at the
        start, and a is alpha in the first task and 1 afterwards. Biases are treated like the means mu.
        """
        constants = self._constants()
        sigma = F.softplus(torch.cat(list(self.rho)))  # [units of all blocks]
        log_sigma = sigma.log()
        q = (sigma / constants.sigma).square()
        log_q = 2 * (log_sigma - constants.log_sigma)
        spread = (q - log_q + sigma.square() - 2 * log_sigma).sum()
        pull = 0.5 if self.learnt else self.config.alpha / 2
        pulled: Tensor = _Pull.apply(constants, pull, *self._means())
        return pulled + self.config.beta / 2 * spread

    def _constants(self) -> _Constants:
        """Return what the regulariser reads of the previous task; it is kept until the anchors change."""
        version = self.learnt, sum(t._version for t in (*self.anchor, *self.anchor_rho))
        if self._known is None or self._known[0] != version:
            self._known = version, self._fresh_constants()
        return self._known[1]

    @torch.no_grad()
    def _fresh_constants(self) -> _Constants:
        strengths: list[Tensor] = []
        certainties: list[Tensor] = []
        sigmas = [F.softplus(rho) for rho in self.anchor_rho]
        olds, before = iter(self.anchor), None
        for block, sigma, s0 in zip(self.body.blocks, sigmas, self.sigma0, strict=True):
            after = s0 / sigma
            for p in block.layer.parameters():
                old = next(olds)
                strengths.append(strength(p, after, before).expand_as(p).contiguous())
                if self.learnt:
                    certainties.append((s0 * old / per_unit(sigma, p)).square())
            before = after
        sigma = torch.cat(sigmas)
        return _Constants(sigma, sigma.log(), list(self.anchor), strengths, certainties)

    def train(self, mode: bool = True) -> Self:
        self._known = None  # a checkpoint need not contain it
        return super().train(mode)


class _Constants(NamedTuple):
    """What the regulariser reads of the previous task.

    Attributes:
        sigma, log_sigma: [units of all blocks].
        means: mu_old and old biases, in the order of the parameters of the blocks.
        strengths: S of each, in its shape.
        certainties: (s0 mu_old / sigma_old)^2 of each; none in the first task.
    """

    sigma: Tensor
    log_sigma: Tensor
    means: list[Tensor]
    strengths: list[Tensor]
    certainties: list[Tensor]


class _Pull(torch.autograd.Function):
    """Mean term and L1 term of the regulariser, whose gradient is computed with the value.

    All parameters take part in each operation at once, which a GPU launches once.
    """

    @staticmethod
    def forward(ctx: Any, constants: _Constants, pull: float, *means: Tensor) -> Tensor:
        change = torch._foreach_sub(list(means), constants.means)
        strong = torch._foreach_mul(change, constants.strengths)
        value = pull * torch.stack(torch._foreach_norm(strong)).square().sum()
        torch._foreach_mul_(strong, constants.strengths)
        torch._foreach_mul_(strong, 2 * pull)
        if constants.certainties:
            bound = torch._foreach_mul(change, constants.certainties)
            value = value + torch.stack(torch._foreach_norm(bound, 1)).sum()
            torch._foreach_sign_(change)
            torch._foreach_addcmul_(strong, change, constants.certainties)
        ctx.save_for_backward(*strong)
        return value

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        return None, None, *torch._foreach_mul(list(ctx.saved_tensors), gradients[0])


def fan(layer: nn.Conv2d | nn.Linear) -> int:
    """Return the number of inputs of a linear layer, or of outputs times kernel pixels of a convolution.

    This is how the authors' code computes it.
    """
    each = layer.weight[0] if isinstance(layer, nn.Linear) else layer.weight[:, 0]
    return each.numel()


def per_unit(values: Tensor, p: Tensor) -> Tensor:
    """Return `values` [units] in a shape that broadcasts to a weight [units, inputs, ...] or bias [units]."""
    return values.view(-1, *[1] * (p.dim() - 1))


def strength(p: Tensor, after: Tensor, before: Tensor | None) -> Tensor:
    """Return S in a shape that broadcasts to `p`.

    A weight has the larger strength of the two units that it connects, a bias the strength of its unit. The
    network's input has strength 0. If a layer reads flattened channels, each channel's strength is repeated
    over its pixels.

    Args:
        p: Weight or bias.
        after: Strengths s0 / sigma_old [units] of the block.
        before: Strengths [units] of the previous block, or None for the first block.
    """
    own = per_unit(after, p)
    if p.dim() == 1 or before is None:
        return own
    inputs = before.repeat_interleave(p.shape[1] // len(before))
    return torch.maximum(own, inputs.view(1, -1, *[1] * (p.dim() - 2)))

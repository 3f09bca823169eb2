"""Masks: exact top-k with straight-through gradients, annealed gates, gradient factors, bit packing."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from raycl import devices
from raycl.method import Breaker
from raycl.networks import Block

SOFT_MASK: Mapping[Breaker, str] = {
    "adaptive": "divides each gradient by its own size and thereby cancels the mask that scales it: weights "
    "that earlier tasks need move almost freely",
    "decay": "pulls weights towards 0 regardless of the mask, which acts on gradients alone: weights that "
    "earlier tasks need decay",
}
"""Features of an optimiser that break a mask that multiplies gradients by numbers between 0 and 1. Momentum
does not: every task starts with a new optimiser, and a sum of scaled gradients is the scaled sum."""


def count_kept(n: int, density: float) -> int:
    """Return the number of ones in a mask of `n` entries.

    It is n - int((1 - density) n), computed in floating point as in the code of the papers.
    """
    return n - int((1 - density) * n)


def top_k(ranks: Tensor, density: float) -> Tensor:
    """Return 1.0 at the `count_kept(n, density)` largest entries and 0.0 elsewhere.

    Among equal entries the one with the later index is kept. On the CPU the threshold comes from
    `np.partition`, which is 40 times faster than sorting.
    """
    n, ones = ranks.numel(), count_kept(ranks.numel(), density)
    if ones <= 0:
        return torch.zeros_like(ranks)
    if ones >= n:
        return torch.ones_like(ranks)
    flat = ranks.detach().reshape(-1)
    if not devices.on_cpu(flat):
        return _top_k_without_waiting(flat, ones).view_as(ranks).to(ranks.dtype)
    threshold = torch.as_tensor(np.partition(flat.numpy(), n - ones)[n - ones])
    mask = flat >= threshold
    surplus = int(mask.sum()) - ones
    if surplus:
        mask[(flat == threshold).nonzero()[:surplus, 0]] = False
    return mask.view_as(ranks).to(ranks.dtype)


def _top_k_without_waiting(flat: Tensor, ones: int) -> Tensor:
    """Return the boolean mask of `top_k` by operations whose shapes do not depend on values.

    An accelerator need not be asked how many entries are equal to the threshold: the cumulative sum numbers
    them, and the first ones are dropped.
    """
    threshold = flat.kthvalue(len(flat) - ones + 1).values
    mask, equal = flat >= threshold, flat == threshold
    surplus = mask.sum() - ones
    return mask & ~(equal & (equal.cumsum(0) <= surplus))


class TopK(torch.autograd.Function):
    """`top_k` with a straight-through gradient: backward passes the mask's gradient on to the ranks."""

    @staticmethod
    def forward(ctx: Any, ranks: Tensor, density: float) -> Tensor:
        return top_k(ranks, density)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0], None


def numbers(
    comparison: Callable[..., Tensor], x: Tensor, y: float, dtype: torch.dtype | None = None
) -> Tensor:
    """Return 1 where a comparison such as `torch.ge` of `x` and `y` is true and 0 elsewhere.

    The result has the dtype of `x` unless `dtype` is given. A CPU writes numbers several times faster than
    truth values that are then converted. Autograd does not record this operation.
    """
    with torch.no_grad():
        result: Tensor = comparison(x, y, out=torch.empty_like(x, dtype=dtype))
    return result


def annealed(step: int, of: int, smax: float) -> float:
    """Return the slope of the gates at batch `step` of `of`, counted from 0 (HAT eq. 3).

    The slope rises linearly from 1/smax to exactly smax.
    """
    share = step / (of - 1) if of > 1 else 1.0
    return smax if share >= 1.0 else 1 / smax + (smax - 1 / smax) * share


class Slope:
    """Place of the slope of gates: a number on a CPU, and on an accelerator a tensor with one element.

    A captured step reads the tensor at every repetition, whereas a number would be recorded with it.
    """

    def __init__(self) -> None:
        self._tensor: Tensor | None = None

    def __call__(self, value: float, device: torch.device) -> float | Tensor:
        """Return the slope as gates on this device take it."""
        if devices.on_cpu(device):
            return value
        if self._tensor is None or self._tensor.device != device:
            self._tensor = torch.empty((), device=device)
        return self._tensor.fill_(value)


class Gates(torch.autograd.Function):
    """Gates a = ``sigmoid(slope e)``, whose gradient is the compensated one of HAT.

    ``Gates.apply(slope, smax, released, *embeddings)`` returns the gates of all embeddings [n], one after
    another in one tensor. They are computed together because each operation on a device costs a launch.

    The gradient of e is slope a (1 - a) dL/da. HAT multiplies it by smax/slope (cosh(c) + 1)/(cosh(e) + 1),
    where c is slope e clipped to [-50, 50] (HAT eq. 4). Since cosh(v) + 1 = 1/(2 sigmoid'(v)), the result is
    smax sigmoid'(e) dL/da, times sigmoid'(slope e)/sigmoid'(c) where the clip acts. This form loses no
    precision.

    With `released`, the gradient is the one that HAT's code computes, which takes 1 - a from the rounded gate
    a. It equals the above times (1 - a)/sigmoid(-slope e). In float32 it is coarse from slope e = 12 on, and
    exactly 0 from about 17 on, where a rounds to 1.
    """

    @staticmethod
    def forward(ctx: Any, slope: float | Tensor, smax: float, released: bool, *embeddings: Tensor) -> Tensor:
        e = torch.cat(embeddings)
        gates = torch.mul(e, slope).sigmoid_()
        ctx.save_for_backward(e, *[gates] * released)
        ctx.slope, ctx.smax, ctx.sizes = slope, smax, [len(part) for part in embeddings]
        return gates

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        # Buffers are used again as soon as they are free: these tensors are as large as a cache of a CPU.
        e, *rounded = ctx.saved_tensors
        below = e.abs().neg_()
        # sigmoid'(v)/sigmoid'(50) is exp(50 - |v|) for such large |v|. A power of 2 is cheaper than one of e.
        # Its exponent stays where the result is a normal number, because others are slow.
        least = math.ceil(math.log2(torch.finfo(e.dtype).tiny))
        if isinstance(ctx.slope, Tensor):
            beyond = below.mul(ctx.slope).add_(50).div_(math.log(2))
        else:  # in one pass
            beyond = torch.add(50 / math.log(2), below, alpha=ctx.slope / math.log(2))
        beyond.clamp_(least, 0).exp2_()
        below.sigmoid_()  # the smaller one of sigmoid(e) and sigmoid(-e)
        slope_of_e = below.addcmul_(below, below, value=-1)
        found = (gradients[0] * ctx.smax).mul_(slope_of_e).mul_(beyond)
        for gates in rounded:  # 1/sigmoid(-v) is 1 + exp(v); beyond 50, every 1 - a is 0
            grown = torch.mul(e, ctx.slope, out=beyond).clamp_(-50, 50).exp_()
            found.mul_(grown.add_(1).mul_(torch.sub(1, gates, out=below)))
        return (None, None, None, *found.split(ctx.sizes))


class Keep(torch.autograd.Function):
    """Keep the entries of a tensor where a mask is 1, and set all others to 0.0, even infinite ones.

    The gradient is masked likewise. The mask has the form that `bits_of` returns. On a CPU this is several
    times faster than `torch.where`, whose branches a random mask makes unpredictable, and it gives the same
    bits.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, bits: Tensor) -> Tensor:
        ctx.save_for_backward(bits)
        return (x.view(bits.dtype) & bits).view(x.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (bits,) = ctx.saved_tensors
        return Keep.apply(gradients[0], bits), None


def bits_of(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """Return integers as wide as `dtype` with all bits set where a boolean mask is 1, and 0 elsewhere."""
    return mask.to(_INTEGERS[dtype.itemsize]).neg_()


def bits_where(comparison: Callable[..., Tensor], x: Tensor, y: float) -> Tensor:
    """Return ``bits_of(comparison(x, y), x.dtype)``, in less than half the time on a CPU; see `numbers`."""
    return numbers(comparison, x, y, _INTEGERS[x.dtype.itemsize]).neg_()


def keep_(x: Tensor, bits: Tensor) -> None:
    """Set a tensor in place to 0.0 where a mask in the form of `bits_of` is 0, even infinite entries."""
    x.view(bits.dtype).bitwise_and_(bits)


@dataclass(frozen=True)
class Held:
    """Entries of a tensor that must not move, with their values.

    Attributes:
        free: Mask of all other entries, in the form of `bits_of`.
        values: The values of the held entries, and 0.0 elsewhere.
    """

    free: Tensor
    values: Tensor

    @classmethod
    def of(cls, x: Tensor, which: Tensor) -> Held:
        """Hold the entries of `x` where the boolean tensor `which` is true."""
        return cls(bits_of(~which, x.dtype), Keep.apply(x.detach(), bits_of(which, x.dtype)))

    def put_back(self, x: Tensor) -> None:
        """Write the held values into `x`, in place; no other entry changes."""
        x.view(self.free.dtype).bitwise_and_(self.free).bitwise_or_(self.values.view(self.free.dtype))


_INTEGERS = {2: torch.int16, 4: torch.int32, 8: torch.int64}


def weight_factors(blocks: Sequence[Block], used: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
    """Return the factors of each block's weight and bias gradient (HAT eq. 2).

    They are 1 - min(used[i], used[j]) for the weight from unit j to unit i, and 1 - used[i] for the bias of
    unit i. The input of the first block is not masked, so its weight has the factor of its bias. Where a
    layer reads flattened channels, each channel's value is repeated over its pixels.

    Args:
        blocks: Blocks of the network, in order.
        used: For each block a tensor [units], with values in [0, 1].
    """
    factors = []
    before: Tensor | None = None
    for block, mask in zip(blocks, used, strict=True):
        weight = block.layer.weight
        after = mask.view(-1, *[1] * (weight.dim() - 1))
        if before is None:
            factor = (1 - after).expand_as(weight)
        else:
            inputs = weight.shape[1]
            pre = before.repeat_interleave(inputs // len(before))
            factor = 1 - torch.minimum(after, pre.view(1, -1, *[1] * (weight.dim() - 2)).expand_as(weight))
        factors.append((factor, 1 - mask))
        before = mask
    return factors


def pack(mask: Tensor) -> NDArray[np.uint8]:
    """Return a binary mask as bits, in C order; `unpack` needs its shape."""
    return np.packbits(mask.detach().cpu().numpy().astype(bool).reshape(-1))


def unpack(bits: NDArray[np.uint8], shape: Sequence[int]) -> Tensor:
    """Return the mask that `pack` made `bits` of, as 0.0 and 1.0 in torch's default float type."""
    flat = np.unpackbits(bits, count=math.prod(shape))
    return torch.from_numpy(flat).to(torch.get_default_dtype()).view(*shape)


def layers_of(body: nn.Module) -> dict[str, nn.Linear | nn.Conv2d]:
    """Return the linear and convolution layers under names by kind and position: conv1, conv2, fc1, fc2."""
    found: dict[str, nn.Linear | nn.Conv2d] = {}
    counts = {"conv": 0, "fc": 0}
    for module in body.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            kind = "fc" if isinstance(module, nn.Linear) else "conv"
            counts[kind] += 1
            found[f"{kind}{counts[kind]}"] = module
    return found


def weights_below_heads(net: nn.Module) -> list[str]:
    """Return the names, within the network, of the weights that `weights_of` finds in its body.

    A weight that the network holds under several names is listed under its name in the body.
    """
    assert isinstance(net.body, nn.Module)
    return [f"body.{name}" for name in weights_of(net.body)]


def weights_of(net: nn.Module) -> dict[str, Tensor]:
    """Return the weights of linear and convolution layers by name, in the order of the network."""
    return {
        f"{name}.weight" if name else "weight": module.weight
        for name, module in net.named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d)
    }

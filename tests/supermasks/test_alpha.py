"""Combinations of masks: every engine is the written-out sum, forwards and backwards, from bits alone."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import Any, get_args

import numpy as np
import pytest
import torch
from torch import Tensor

from raycl import devices
from raycl.errors import UserError
from raycl.supermasks.alpha import CHUNK, WIDE, Basis, Engine, combine, penalty
from raycl.supermasks.bank import BasisMask, packed, random_mask
from tests.helpers import facts

SHAPES = [(130, 127), (4, 3, 3, 3), (5, 7)]  # one layer on each side of what a wide table pays for
assert math.prod(SHAPES[0]) >= WIDE > math.prod(SHAPES[1])


def weights(seed: int = 0, shapes: Sequence[tuple[int, ...]] = SHAPES, **place: Any) -> list[Tensor]:
    torch.manual_seed(seed)
    return [torch.randn(shape).to(**place) for shape in shapes]


def masks_for(
    layers: Sequence[Tensor], k: int, kind: str = "binary", density: float = 0.3
) -> list[BasisMask]:
    bases = [random_mask([w.numel() for w in layers], density, seed) for seed in range(k)]
    if kind == "binary":
        return bases
    rng = np.random.default_rng(1)
    found = []
    for mask in bases:
        ones = [int(m.sum()) for m in mask.tensors(layers)]
        if kind == "signed":
            values: tuple[Any, ...] = tuple(rng.choice([-1, 1], n).astype(np.int8) for n in ones)
        else:
            values = tuple(rng.uniform(0.1, 1, n).astype(np.float32) for n in ones)
        found.append(BasisMask(mask.bits, values))
    return found


def written_out(layers: Sequence[Tensor], masks: Sequence[BasisMask], alpha: Tensor) -> list[Tensor]:
    """Eq. 1, mask by mask, under autograd."""
    dense = [mask.tensors(layers) for mask in masks]
    return [
        sum((alpha[t, i] * (dense[t][i] * w) for t in range(len(masks))), torch.zeros_like(w))
        for i, w in enumerate(layers)
    ]


def engines(kind: str) -> list[Engine]:
    return [e for e in get_args(Engine) if e != "auto" and (kind == "binary" or e != "table")]


def gradient_of(values: Sequence[Tensor], alpha: Tensor, seed: int = 3) -> Tensor:
    torch.manual_seed(seed)
    outside = [torch.randn_like(v) for v in values]
    (found,) = torch.autograd.grad(list(values), alpha, outside)
    return found


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
@pytest.mark.parametrize(
    ("k", "kind"), [(1, "binary"), (16, "binary"), (37, "binary"), (5, "signed"), (17, "soft")]
)
def test_engines_equal_the_written_out_sum_and_its_gradient(
    dtype: torch.dtype, tolerance: float, k: int, kind: str
) -> None:
    layers = weights(dtype=dtype)
    masks = masks_for(layers, k, kind)
    alpha = torch.randn(k, len(layers), dtype=dtype).requires_grad_()
    wanted = written_out(layers, masks, alpha)
    wanted_gradient = gradient_of(wanted, alpha)
    for engine in engines(kind):
        found = combine(Basis(layers, masks, engine), alpha)
        gradient = gradient_of(found, alpha)
        for a, b in zip(found, wanted, strict=True):
            assert a.shape == b.shape and a.dtype == dtype
            assert float((a - b).detach().norm() / b.detach().norm()) < tolerance, engine
        assert float((gradient - wanted_gradient).norm() / wanted_gradient.norm()) < tolerance, engine


def test_layers_that_take_several_chunks() -> None:
    layers = weights(shapes=[(700, 600)], dtype=torch.float64)
    assert 2 * layers[0].numel() < CHUNK < 5 * layers[0].numel()
    masks = masks_for(layers, 5, "soft")
    alpha = torch.randn(5, 1, dtype=torch.float64).requires_grad_()
    whole, parts = (combine(Basis(layers, masks, engine), alpha) for engine in ("float", "chunks"))
    torch.testing.assert_close(whole, parts, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(gradient_of(whole, alpha), gradient_of(parts, alpha), rtol=1e-12, atol=1e-9)


@pytest.mark.parametrize("engine", engines("binary"))
def test_several_tasks_at_once(engine: Engine) -> None:
    layers = weights(dtype=torch.float64)
    basis = Basis(layers, masks_for(layers, 20), engine)
    alphas = torch.randn(3, 20, len(layers), dtype=torch.float64).requires_grad_()
    found = combine(basis, alphas)
    assert [v.shape for v in found] == [(3, *w.shape) for w in layers]
    gradient = gradient_of(found, alphas)
    torch.manual_seed(3)
    outside = [torch.randn_like(v) for v in found]
    for u in range(3):
        alone = combine(basis, alphas[u])
        torch.testing.assert_close([v[u] for v in found], alone, rtol=1e-12, atol=1e-12)
        (wanted,) = torch.autograd.grad(alone, alphas, [o[u] for o in outside])
        torch.testing.assert_close(gradient[u], wanted[u], rtol=1e-12, atol=1e-10)


def test_a_gradient_worked_out_on_paper() -> None:
    weight = torch.tensor([[1.0, 2.0, 3.0, 4.0]])
    masks = [BasisMask(packed([torch.tensor(m)])) for m in ([1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 0, 0])]
    alpha = torch.tensor([[0.5], [-1.0], [0.0]], requires_grad=True)
    for engine in engines("binary"):
        (v,) = combine(Basis([weight], masks, engine), alpha)
        assert v.tolist() == [[0.5, -1.0, -3.0, 0.0]]
        loss = (v * torch.tensor([[1.0, 10.0, 100.0, 1000.0]])).sum() + penalty(alpha, 0.25)
        (gradient,) = torch.autograd.grad(loss, alpha)
        # <M W, dL/dV> = 1 + 20, 20 + 300, 0; and 2 0.25 (1.5 - 1) sign(alpha), of which that at 0 is 0
        assert gradient.tolist() == [[21.25], [319.75], [0.0]]


@pytest.mark.parametrize("kind", ["binary", "signed", "soft"])
def test_a_single_mask_is_the_masked_network_bit_for_bit(kind: str) -> None:
    layers = weights()
    masks = masks_for(layers, 19, kind)
    for engine in engines(kind):
        for v, mask, w in zip(
            combine(Basis(layers, masks[:1], engine), torch.ones(1, 3)),
            masks[0].tensors(layers), layers, strict=True,
        ):  # fmt: skip
            assert facts.same_bits(v, w * mask)
        basis = Basis(layers, masks, engine)
        for t in (0, 15, 16, 18):
            one_hot = torch.nn.functional.one_hot(torch.tensor(t), 19)[:, None].expand(19, 3).float()
            for v, mask, w in zip(combine(basis, one_hot), masks[t].tensors(layers), layers, strict=True):
                assert torch.equal(v, w * mask)  # up to the sign of zero


def test_penalty_by_hand() -> None:
    alpha = torch.tensor([[0.5, -1.0], [-0.25, 1.0]], requires_grad=True)
    (gradient,) = torch.autograd.grad(penalty(alpha, 2.0), alpha)
    assert gradient.tolist() == [[-1.0, -4.0], [1.0, 4.0]]  # 2 lamb (|a|_1 - 1) sign(a)
    alpha = alpha.detach()
    assert float(penalty(alpha, 2.0)) == 2.0 * (0.25**2 + 1.0)
    assert float(penalty(torch.stack([alpha, alpha]), 2.0)) == 2 * float(penalty(alpha, 2.0))
    assert float(penalty(torch.full((8, 5), 1 / 8), 1.0)) == 0.0  # where coefficients start


@pytest.mark.parametrize(
    ("density", "k", "scale"),
    [(0.05, 5, 0.49), (0.05, 10, 0.38), (0.05, 50, 0.26), (0.05, 100, 0.24), (0.05, 250, 0.23),
     (0.3, 5, 0.66), (0.3, 250, 0.55)],
)  # fmt: skip
def test_signal_at_the_uniform_start(density: float, k: int, scale: float) -> None:
    """A layer's output shrinks by g = sqrt(s + (1 - s)/K) against that of a single mask."""
    torch.manual_seed(0)
    layer = [torch.randn(300, 784)]
    basis = Basis(layer, masks_for(layer, k, density=density))
    x = torch.randn(200, 784)
    mean, one_hot = torch.full((k, 1), 1 / k), torch.zeros(k, 1)
    one_hot[0] = 1
    ratio = float((x @ combine(basis, mean)[0].T).std() / (x @ combine(basis, one_hot)[0].T).std())
    assert math.sqrt(density + (1 - density) / k) == pytest.approx(scale, abs=0.006)
    assert ratio == pytest.approx(math.sqrt(density + (1 - density) / k), rel=0.02)


def test_memory_is_a_bit_per_weight() -> None:
    layers = weights()
    weighed = sum(w.numel() for w in layers)
    for k in (1, 16, 17, 64):
        assert Basis(layers, masks_for(layers, k)).nbytes == 2 * weighed * -(-k // 16)
    basis = Basis(layers, masks_for(layers, 64))
    assert basis.nbytes * 32 == 64 * weighed * 4
    assert len(basis) == 64 and basis.sizes == tuple(w.numel() for w in layers)
    combine(basis, torch.ones(64, 3))
    kept = [t for t in vars(basis.combiner).values() if isinstance(t, Tensor)]
    assert sum(t.numel() for t in kept) == 256 * 8  # nothing that grows with the masks


def test_which_engine_is_taken() -> None:
    layers = weights()
    floats = 4 * 8 * sum(w.numel() for w in layers)
    binary, soft = masks_for(layers, 8), masks_for(layers, 8, "soft")
    assert Basis(layers, binary).engine == "table"
    assert Basis(layers, soft, limit=floats).engine == "float"
    assert Basis(layers, soft, limit=floats - 1).engine == "chunks"
    with pytest.raises(UserError, match="'table' of a basis takes only binary masks"):
        Basis(layers, soft, "table")
    with pytest.raises(UserError, match="engine = 'quick' of a basis is not one of auto, float"):
        Basis(layers, binary, "quick")  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["binary", "signed", "soft"])
def test_masks_come_back_as_they_were(kind: str) -> None:
    layers = weights()
    masks = masks_for(layers, 18, kind)
    statistics = (np.arange(3, dtype=np.float32),)
    masks[17] = BasisMask(masks[17].bits, masks[17].values, statistics)
    basis = Basis(layers, masks)
    for t in (0, 15, 16, 17):
        for found, wanted in zip(basis.mask(t), masks[t].tensors(layers), strict=True):
            assert facts.same_bits(found, wanted)
    assert basis.statistics(17) is statistics and basis.statistics(0) == ()


def test_the_last_layers_may_be_left_out() -> None:
    layers = weights()
    basis = Basis(layers, masks_for(layers, 4))
    alpha = torch.randn(4, 3, requires_grad=True)
    few = combine(basis, alpha[:, :2])
    assert len(few) == 2 and all(map(torch.equal, few, combine(basis, alpha)))
    (gradient,) = torch.autograd.grad(sum(v.sum() for v in few), alpha)
    assert not bool(gradient[:, 2].any()) and bool(gradient[:, :2].all())


def test_a_checkpoint_holds_bits_alone() -> None:
    layers = weights()
    basis = Basis(layers, masks_for(layers, 64), "float")
    alpha = torch.randn(64, 3)
    before = combine(basis, alpha)
    buffer = io.BytesIO()
    torch.save(basis, buffer)
    assert len(buffer.getvalue()) < basis.nbytes + 4 * sum(basis.sizes) + 10_000
    buffer.seek(0)
    back = torch.load(buffer, weights_only=False)
    assert all(facts.same_bits(a, b) for a, b in zip(combine(back, alpha), before, strict=True))


def test_masks_that_do_not_fit_are_refused() -> None:
    layers = weights()
    masks = masks_for(layers, 2)
    with pytest.raises(UserError, match="a basis needs at least one mask; raise k"):
        Basis(layers, [])
    with pytest.raises(
        UserError, match=r"basis mask 0 has layers of \[2064, 14, 5\] bytes, but the network nee"
    ):
        Basis(layers[:2], masks)
    with pytest.raises(UserError, match="basis mask 1 and mask 0 differ in kind"):
        Basis(layers, [masks[0], masks_for(layers, 1, "soft")[0]])


@pytest.mark.skipif(not devices.available(), reason="needs a GPU")
@pytest.mark.parametrize("kind", ["binary", "soft"])
def test_on_a_gpu(kind: str) -> None:
    layers = weights(dtype=torch.float64)
    masks = masks_for(layers, 37, kind)
    alpha = torch.randn(37, 3, dtype=torch.float64).requires_grad_()
    wanted = written_out(layers, masks, alpha)
    wanted_gradient = gradient_of(wanted, alpha, 3)
    torch.manual_seed(3)
    outside = [torch.randn_like(v).to(devices.kind()) for v in wanted]
    there, on_gpu = alpha.detach().to(devices.kind()).requires_grad_(), [w.to(devices.kind()) for w in layers]
    assert Basis(on_gpu, masks).engine == "float"
    for engine in engines(kind):
        found = combine(Basis(on_gpu, masks, engine), there)
        torch.testing.assert_close([v.cpu() for v in found], wanted, rtol=1e-11, atol=1e-11)
        (gradient,) = torch.autograd.grad(found, there, outside)
        torch.testing.assert_close(gradient.cpu(), wanted_gradient, rtol=1e-10, atol=1e-9)

"""KSM: one sigmoid for the chain of the paper, factors that no gradient passes, kernels of one weight."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from raycl import registry
from raycl.methods.ksm import KSM, SigmoidThreshold, kept_probability
from raycl.methods.piggyback import TAU, Piggyback, SoftNorm, soft_part
from tests.helpers import facts, toys
from tests.helpers.networks import TWO_NORMED

K, T = 1200.0, 100.0
NORMS: tuple[SoftNorm, ...] = ("minmax05", "minmax", "absmax", "none")
NEAR = TAU + torch.linspace(-0.01, 0.005, 301, dtype=torch.float64)  # further up, 1 - q of eq. 6 loses digits


def around(shape: tuple[int, ...] = (200,), scale: float = 0.02) -> Tensor:
    torch.manual_seed(0)
    return scale * torch.randn(shape, dtype=torch.float64) + TAU


def printed(real: Tensor) -> tuple[Tensor, Tensor]:
    """Eq. 6, and eq. 8 over it: probabilities of class 0, as printed, and of class 1."""
    q = torch.sigmoid(K * (real - TAU))
    both = torch.softmax(torch.stack([torch.log(1 - q), torch.log(q)]) / T, 0)
    return both[0], both[1]


def test_one_sigmoid_is_the_chain_of_the_paper() -> None:
    real = NEAR
    dropped, kept = printed(real)
    torch.testing.assert_close(kept_probability(real, K / T), kept, rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(1 - kept_probability(real, K / T), dropped, rtol=1e-12, atol=1e-13)
    assert KSM.Config().slope == K / T


def test_gradient_is_that_of_the_chain_and_of_class_one() -> None:
    real = NEAR.clone().requires_grad_()
    dropped, kept = printed(real)
    weights = torch.linspace(-2, 3, len(real), dtype=torch.float64)
    (wanted,) = torch.autograd.grad((weights * kept).sum(), real, retain_graph=True)
    (opposite,) = torch.autograd.grad((weights * dropped).sum(), real)  # eq. 10 as printed is of class 0
    (found,) = torch.autograd.grad((weights * SigmoidThreshold.apply(real, K / T)).sum(), real)
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(found, -opposite, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("slope", [3.0, 12.0, 48.0])
def test_gradient_by_finite_differences(slope: float) -> None:
    real, step = around(scale=0.1), 1e-6
    rise = (kept_probability(real + step, slope) - kept_probability(real - step, slope)) / (2 * step)
    real.requires_grad_()
    (found,) = torch.autograd.grad(SigmoidThreshold.apply(real, slope).sum(), real)
    torch.testing.assert_close(found, rise, rtol=1e-6, atol=1e-8)
    at_tau = torch.full((1,), TAU, dtype=torch.float64, requires_grad=True)
    (steepest,) = torch.autograd.grad(SigmoidThreshold.apply(at_tau, slope).sum(), at_tau)
    assert steepest.item() == pytest.approx(slope / 4)


def test_far_out_the_gradient_is_small_but_no_nan() -> None:
    for dtype in (torch.float32, torch.float64):
        real = torch.tensor([-100.0, -1.0, 1.0, 2.0, 100.0], dtype=dtype, requires_grad=True)
        SigmoidThreshold.apply(real, 12.0).sum().backward()
        assert real.grad is not None and bool(real.grad.isfinite().all())
        wanted = 12 * torch.exp(-12 * torch.tensor(2.0 - TAU, dtype=dtype))  # where 1 - pi rounds in float32
        torch.testing.assert_close(real.grad[3], wanted, rtol=1e-4, atol=0)


def test_kept_from_the_threshold_on() -> None:
    real = torch.tensor([-1.0, 0.0, 0.0049999, TAU, 0.0050001, 1.0], dtype=torch.float64)
    assert SigmoidThreshold.apply(real, 12.0).tolist() == [0, 0, 0, 1, 1, 1]
    assert torch.equal(SigmoidThreshold.apply(real, 12.0) == 1, kept_probability(real, 12.0) >= 0.5)


@pytest.mark.parametrize(
    ("norm", "wanted"),
    [
        ("minmax05", [0, 0.5, 0, 0]),
        ("minmax", [0, 1, 0, 0]),
        ("absmax", [0, 0.4, -1, 0]),
        ("none", [0, 0.004, -0.01, 0]),
    ],
)
def test_normalisation_by_hand(norm: SoftNorm, wanted: list[float]) -> None:
    real, kept = torch.tensor([0.01, 0.004, -0.01, 0.0]).double(), torch.tensor([1.0, 0, 0, 0]).double()
    torch.testing.assert_close(soft_part(real, kept, norm), torch.tensor(wanted).double())


def test_normalisation_counts_the_zeros_of_what_is_kept() -> None:
    kept = torch.tensor([1.0, 0, 0]).double()
    negative = soft_part(torch.tensor([9.0, -2, -8]).double(), kept, "minmax05")
    assert negative.tolist() == [0, 0.5 * 6 / 8, 0]  # up to 0, not up to -2
    positive = soft_part(torch.tensor([9.0, 0.001, 0.004]).double(), kept, "minmax05")
    torch.testing.assert_close(positive, torch.tensor([0, 0.125, 0.5]).double())  # from 0, not from .001


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize(
    ("real", "kept"), [([0.2, 0.3], [1.0, 1]), ([0.0, 0.0], [0.0, 0]), ([-0.1] * 2, [0.0, 0])]
)
def test_nothing_to_divide_by(norm: SoftNorm, real: list[float], kept: list[float]) -> None:
    found = soft_part(torch.tensor(real), torch.tensor(kept), norm)
    wanted = {"none": -0.1, "absmax": -1.0}.get(norm, 0.0) if real[0] < 0 else 0.0
    assert found.tolist() == pytest.approx([wanted, wanted])


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("granularity", ["kernel", "element"])
@pytest.mark.parametrize("norm", NORMS)
def test_gradient_of_a_network_is_the_masks_times_the_rise(granularity: str, norm: str) -> None:
    """Section 4: sums of dL/dV W over a kernel; and nothing through the factors, whatever they are."""
    on = toys.benchmark(shape=(1, 6, 6))
    ksm: Any = toys.method("ksm", on, TWO_NORMED, granularity=granularity, soft_norm=norm, slope=48.0)
    ksm.freeze()
    ksm.begin(1)
    with torch.no_grad():
        for real in ksm.real:
            real.copy_(around(real.shape))
    ksm.train(False)
    x, y = on.tasks[1].train.take(slice(0, 16)), torch.tensor(on.tasks[1].train.y[:16])
    masks, weights = [mask.detach() for mask in ksm.masks(1)], ksm.weights()
    assert all(0 < int((mask != 1).sum()) < mask.numel() for mask in masks)
    whole = [(w * m).requires_grad_() for w, m in zip(weights, masks, strict=True)]
    named = dict(zip(ksm.layers.values(), whole, strict=True)) | ksm.norms.named(1)
    loss = F.cross_entropy(torch.func.functional_call(ksm.net, named, (x, 1)), y)
    gradients = torch.autograd.grad(loss, whole)
    F.cross_entropy(ksm(x, 1), y).backward()
    for real, weight, gradient in zip(ksm.real, weights, gradients, strict=True):
        of_mask = gradient * weight
        if weight.dim() == 4 and granularity == "kernel":
            of_mask = of_mask.sum((2, 3), keepdim=True)
        pi = torch.sigmoid(48 * (real.detach() - TAU))
        torch.testing.assert_close(real.grad, of_mask * 48 * pi * (1 - pi), rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("soft", [True, False])
def test_kernels_of_one_weight_are_elements(soft: bool) -> None:
    on = toys.benchmark(shape=(1, 6, 6))
    network = f"{TWO_NORMED}(kernel=1)"
    subjects: list[Any] = [
        toys.method("ksm", on, network, granularity=granularity, soft=soft, initial="")
        for granularity in ("kernel", "element")
    ]
    for subject in subjects:
        toys.learn(subject, on, toys.fit(optimiser="adam", lr=0.01, epochs=3))
    left, right = subjects
    facts.assert_same_state(facts.state(left), facts.state(right))
    for task in (1, 2):
        assert left.diagnostics(task) == right.diagnostics(task) and left.diagnostics(task)["soft_share"] > 0
        assert all(facts.same_bits(a, b) for a, b in zip(left.masks(task), right.masks(task), strict=True))


def test_a_mask_has_a_value_per_kernel_and_per_weight_of_a_linear_layer() -> None:
    on = toys.benchmark(shape=(1, 6, 6))
    ksm: Any = toys.method("ksm", on, TWO_NORMED)
    ksm.freeze()
    ksm.begin(1)
    assert [tuple(real.shape) for real in ksm.real] == [(4, 1, 1, 1), (6, 4, 1, 1), (8, 24)]
    with torch.no_grad():
        ksm.real[1][2, 3] = -1.0
        ksm.real[1][0, 0] = 0.004
    whole, weight = ksm.masked(1)["body.3.weight"], ksm.weights()[1]
    assert torch.equal(whole[2, 3], 0 * weight[2, 3])  # the lowest of the layer
    torch.testing.assert_close(whole[0, 0], 0.5 * weight[0, 0])  # the highest that is dropped
    assert torch.equal(whole[1:, :3], weight[1:, :3])


def test_factors_follow_the_real_values_in_evaluation_and_are_frozen_at_the_end() -> None:
    on = toys.benchmark(shape=(1, 6, 6))
    ksm: Any = toys.method("ksm", on, TWO_NORMED, initial="")
    for task in (0, 1):
        toys.learn_one(ksm, on, toys.fit(optimiser="adam", lr=0.01, epochs=2), task)
    factors = torch.cat([mask[mask != 1] for mask in ksm.masks(1)])
    assert len(factors) and len(factors.unique()) > 2
    assert float(factors.min()) >= 0 and float(factors.max()) <= 0.5
    ksm.begin(2)
    ksm.train(False)
    for low in (-0.5, -0.25):
        with torch.no_grad():
            ksm.real[1][0, 0], ksm.real[1][0, 1] = low, -0.1
            found = ksm.masks(2)[1].squeeze()
        assert found[0, 0] == 0 and found[0, 1].item() == pytest.approx(0.5 * (low + 0.1) / low)
    assert torch.equal(torch.cat([mask[mask != 1] for mask in ksm.masks(1)]), factors)


def test_what_differs_from_piggyback() -> None:
    ours, theirs = KSM.Config(), Piggyback.Config()
    assert (ours.granularity, ours.soft, ours.bn_mode) == ("kernel", True, "affine_stats")
    assert (theirs.granularity, theirs.soft, theirs.bn_mode) == ("element", False, "frozen")
    assert KSM.preset_overrides == Piggyback.preset_overrides and set(KSM.preset_overrides) == {
        "ksm_mask_paper",
        "ksm_mask_code",
    }
    assert registry.method("ksm") is KSM and KSM.independent and KSM.keeps_logits


def test_the_slope_matters_and_the_binarisation_alone_tells_ours_from_theirs() -> None:
    """Where everything else is equal, the first step of SGD differs by the factor slope pi (1 - pi)."""
    on = toys.benchmark(shape=(1, 6, 6))
    equal: dict[str, Any] = {"granularity": "element", "soft": False, "bn_mode": "frozen", "initial": ""}
    steps = []
    for name, config in (("piggyback", {}), ("ksm", {"slope": 12.0}), ("ksm", {"slope": 48.0})):
        method: Any = toys.method(name, on, TWO_NORMED, **(equal | config))
        method.freeze()
        method.begin(1)
        method.loss(next(toys.fit(batch=48).batches(on.tasks[1].train, 1))).backward()
        steps.append(method.real[0].grad)
    for found, slope in zip(steps[1:], (12.0, 48.0), strict=True):
        pi = torch.sigmoid(torch.tensor(slope * 5e-3))
        torch.testing.assert_close(found, steps[0] * slope * pi * (1 - pi), rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"slope": 0.0}, "slope = 0.0 must be above 0"),
        ({"values": "ternary", "soft": False}, "values = 'ternary' is not possible"),
        ({"values": "ternary"}, "soft = True cannot be combined"),
    ],
)
def test_settings_without_a_meaning_are_refused(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        KSM.Config(**config)

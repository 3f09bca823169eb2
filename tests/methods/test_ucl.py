"""UCL: the start, noise only while training, each term by hand, the old posterior, counts of Table 10."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from raycl import registry
from raycl.method import World
from raycl.networks import Start
from raycl.tasks import Batch
from tests.helpers import facts, toys

ALEXNET = "alexnet(width=0.05)"  # 3, 6, 12, 102 and 102 units; fc1 reads 12 channels of 4 pixels each
IMAGE = (1, 28, 28)


def sigmas(rhos: Any) -> list[NDArray[Any]]:
    return [np.log1p(np.exp(rho.detach().numpy())) for rho in rhos]


def shaken(subject: Any, seed: int = 0) -> None:
    """Means, biases and rho away from where they are."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in (*subject.net.body.parameters(), *subject.rho):
            p.add_(0.3 * torch.randn(p.shape, generator=generator))


def batch_of(on: Any, task: int, n: int = 8) -> Batch:
    part = on.tasks[task].train
    return Batch(part.take(slice(0, n)), torch.tensor(part.y[:n]), task)


@pytest.mark.parametrize("ratio", [0.125, 0.5])
def test_the_start_splits_the_variance_between_mean_and_noise(ratio: float) -> None:
    on = toys.benchmark(shape=IMAGE)
    ucl: Any = toys.method("ucl", on, "alexnet(width=0.5)", ratio=ratio)
    for block, rho, fan in zip(ucl.net.body, ucl.rho, (32 * 9, 64 * 4, 128 * 4, 512, 1024), strict=True):
        mu, variance = block.layer.weight.detach(), 2 / fan
        assert rho.shape == (block.units,)
        torch.testing.assert_close(
            F.softplus(rho.detach()), torch.full_like(rho, math.sqrt(ratio * variance)), rtol=1e-4, atol=0
        )
        assert float(mu.abs().max()) <= math.sqrt(3 * (1 - ratio) * variance)
        assert float(mu.var()) == pytest.approx((1 - ratio) * variance, rel=0.15)
        assert not block.layer.bias.any()


def test_another_seed_draws_other_means() -> None:
    on = toys.benchmark()
    one, same, other = (facts.state(toys.method("ucl", on, seed=seed)) for seed in (0, 0, 1))
    facts.assert_same_state(one, same)
    assert not facts.same_bits(one["net.body.0.layer.weight"], other["net.body.0.layer.weight"])


def test_evaluation_answers_by_the_means_and_training_draws_anew() -> None:
    on = toys.benchmark()
    ucl: Any = toys.method("ucl", on, "mlp(hidden=16, drop1=0.0, drop2=0.0)")
    x = batch_of(on, 0).x
    ucl.train(True)
    assert not torch.equal(ucl(x, 0), ucl(x, 0))
    ucl.train(False)
    assert facts.same_bits(ucl(x, 0), ucl(x, 0)) and facts.same_bits(ucl(x, 0), ucl.net(x, 0))


def test_dropout_stays_the_network_s_own() -> None:
    on = toys.benchmark()
    ucl: Any = toys.method("ucl", on, "mlp(hidden=64, drop1=0.0, drop2=0.5)")
    with torch.no_grad():
        for rho in ucl.rho:
            rho.fill_(-200.0)  # no noise
    seen = []
    ucl.net.heads[0].register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    ucl.train(True)
    torch.manual_seed(3)
    ucl(batch_of(on, 0).x, 0)
    torch.manual_seed(4)
    ucl(batch_of(on, 0).x, 0)
    assert not torch.equal(seen[0] == 0, seen[1] == 0)
    ucl.train(False)
    ucl(batch_of(on, 0).x, 0)
    assert (seen[2] > 0).sum() > 1.3 * (seen[0] > 0).sum()


@pytest.mark.usefixtures("float64")
def test_the_noise_of_a_unit_s_weights_has_the_unit_s_sigma() -> None:
    on = toys.benchmark(shape=IMAGE)
    ucl: Any = toys.method("ucl", on, ALEXNET)
    shaken(ucl)
    draws = [ucl.sampled() for _ in range(2)]
    for i, (block, sigma) in enumerate(zip(ucl.net.body, sigmas(ucl.rho), strict=True)):
        mu = block.layer.weight.detach().numpy()
        one, two = (draw[f"body.{i}.layer.weight"].detach().numpy() for draw in draws)
        noise = (one - mu) / sigma.reshape(-1, *[1] * (mu.ndim - 1))
        assert len(np.unique(noise)) == noise.size and not np.array_equal(one, two)
        if i >= 3:  # units of many weights tell their own sigma
            spread = noise.reshape(len(sigma), -1).std(1)
            assert spread.mean() == pytest.approx(1, abs=0.03) and spread.std() < 0.15
    assert set(draws[0]) == {f"body.{i}.layer.weight" for i in range(5)}


@pytest.mark.usefixtures("float64")
def test_noise_reaches_mu_and_rho() -> None:
    """w = mu + sigma n: dL/dmu = dL/dw, dL/drho = sigmoid(rho) sum n dL/dw over the unit's weights."""
    on = toys.benchmark()
    ucl: Any = toys.method("ucl", on, toys.chain(5, 4), beta=0.0, alpha=0.0)
    ucl.train(True)
    drawn, sampled = [], ucl.sampled

    def sampling() -> Any:
        drawn.append(sampled())
        for weight in drawn[-1].values():
            weight.retain_grad()
        return drawn[-1]

    ucl.sampled = sampling
    ucl.loss(batch_of(on, 0)).backward()
    assert len(drawn) == 1  # one draw a forward pass
    for i, (block, rho) in enumerate(zip(ucl.net.body, ucl.rho, strict=True)):
        weight = drawn[0][f"body.{i}.layer.weight"]
        torch.testing.assert_close(block.layer.weight.grad, weight.grad)
        noise = (weight - block.layer.weight).detach() / F.softplus(rho.detach())[:, None]
        torch.testing.assert_close(rho.grad, rho.detach().sigmoid() * (noise * weight.grad).sum(1))


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("learnt", [0, 1])
def test_regulariser_weight_by_weight(learnt: int) -> None:
    on = toys.benchmark(shape=IMAGE)
    ucl: Any = toys.method("ucl", on, ALEXNET, beta=0.02, alpha=0.7)
    shaken(ucl, 1)
    old = [p.detach().numpy().copy() for p in ucl.net.body.parameters()]
    old_sigma = sigmas(ucl.rho)
    for anchor, p in zip((*ucl.anchor, *ucl.anchor_rho), (*ucl.net.body.parameters(), *ucl.rho), strict=True):
        anchor.copy_(p.detach())
    shaken(ucl, 2)
    ucl.learnt = learnt
    new = [p.detach().numpy() for p in ucl.net.body.parameters()]
    total, below = 0.0, np.zeros(1)  # the input's strength
    for layer in range(5):
        s0 = ucl.sigma0[layer]
        s, shape = s0 / old_sigma[layer], new[2 * layer].shape
        pixels = shape[1] // len(below)
        assert pixels == (4 if layer == 3 else 1)
        for i in range(shape[0]):
            for j in range(shape[1]):
                d = new[2 * layer][i, j] - old[2 * layer][i, j]
                total += (1 if learnt else 0.7) / 2 * np.sum((max(s[i], below[j // pixels]) * d) ** 2)
                certainty = (old[2 * layer][i, j] / old_sigma[layer][i]) ** 2
                total += learnt * s0**2 * np.sum(np.abs(certainty * d))
            d = new[2 * layer + 1][i] - old[2 * layer + 1][i]
            total += (1 if learnt else 0.7) / 2 * (s[i] * d) ** 2
            total += learnt * s0**2 * abs((old[2 * layer + 1][i] / old_sigma[layer][i]) ** 2 * d)
        below = s
    for now, before in zip(sigmas(ucl.rho), old_sigma, strict=True):
        q = (now / before) ** 2
        total += 0.02 / 2 * np.sum(q - np.log(q) + now**2 - np.log(now**2))
    assert ucl.regulariser().item() == pytest.approx(total, rel=1e-10)


@pytest.mark.usefixtures("float64")
def test_sigma_term_is_least_where_its_derivative_says() -> None:
    """q - log q + sigma^2 - log sigma^2 is least at sigma^2 = 2 / (1/sigma_old^2 + 1)."""
    on = toys.benchmark()
    ucl: Any = toys.method("ucl", on, toys.chain(1), beta=1.0)
    old = float(F.softplus(ucl.anchor_rho[0]))
    least = math.sqrt(2 / (1 / old**2 + 1))
    with torch.no_grad():
        ucl.rho[0].fill_(math.log(math.expm1(least)))
    value = ucl.regulariser()
    (slope,) = torch.autograd.grad(value, ucl.rho[0])
    assert slope.item() == pytest.approx(0.0, abs=1e-12)
    q = (least / old) ** 2
    assert value.item() == pytest.approx((q - math.log(q) + least**2 - math.log(least**2)) / 2)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("n", [4, 16])
def test_loss_is_cross_entropy_plus_a_share_of_the_regulariser(n: int) -> None:
    on = toys.benchmark()
    ucl: Any = toys.method("ucl", on, beta=0.01)
    shaken(ucl)
    ucl.train(False)
    batch = batch_of(on, 1, n)
    cross_entropy = F.cross_entropy(ucl.net(batch.x, 1), batch.y)
    torch.testing.assert_close(ucl.loss(batch), cross_entropy + ucl.regulariser() / n)
    torch.testing.assert_close(ucl.validation_loss(batch), cross_entropy)


def test_the_first_task_has_no_l1_term_and_the_second_no_alpha() -> None:
    on = toys.benchmark()
    first, second = [], []
    for alpha in (0.1, 0.2):
        ucl: Any = toys.method("ucl", on, alpha=alpha, beta=0.0)
        shaken(ucl)
        first.append(ucl.regulariser().item())
        ucl.learnt = 1
        second.append(ucl.regulariser().item())
    assert first[1] == pytest.approx(2 * first[0]) and first[0] > 0
    assert second[0] == second[1] > 10 * first[0]  # 1 in place of 0.1, and more


def test_the_anchor_is_the_posterior_after_the_task_before() -> None:
    on = toys.benchmark()
    ucl: Any = toys.method("ucl", on)

    def posterior() -> list[Tensor]:
        return [p.detach().clone() for p in (*ucl.net.body.parameters(), *ucl.rho)]

    start = posterior()
    for task in range(2):
        before = posterior()
        for anchor, p in zip((*ucl.anchor, *ucl.anchor_rho), before, strict=True):
            assert facts.same_bits(anchor, p)
        toys.learn_one(ucl, on, toys.fit(epochs=2), task)
    assert all(not facts.same_bits(p, s) for p, s in zip(posterior(), start, strict=True))
    assert ucl.learnt == 2


def test_rho_has_a_rate_of_its_own() -> None:
    on = toys.benchmark()
    moved = []
    for lr_rho in (1e-3, 2e-3):
        ucl: Any = toys.method("ucl", on, lr_rho=lr_rho)
        before = facts.state(ucl)
        toys.learn_one(ucl, on, toys.fit(epochs=1, batch=48), 0)
        after = facts.state(ucl)
        moved.append({name: after[name] - before[name] for name in after})
    torch.testing.assert_close(moved[1]["rho.0"], 2 * moved[0]["rho.0"], rtol=1e-2, atol=1e-6)
    assert moved[0]["rho.0"].abs().max() > 1e-5
    for name in ("net.body.0.layer.weight", "net.heads.0.weight"):
        assert facts.same_bits(moved[0][name], moved[1][name])


def test_sure_units_stay_and_unsure_ones_move() -> None:
    on = toys.benchmark()
    network = "mlp(hidden=32, drop1=0.0, drop2=0.0)"
    ucl: Any = toys.method("ucl", on, network, beta=0.0, lr_rho=1e-3)
    toys.learn_one(ucl, on, toys.fit(epochs=2), 0)
    with torch.no_grad():
        for rho, anchor in zip(ucl.rho, ucl.anchor_rho, strict=True):
            rho[:16] -= 2.0
            rho[16:] += 1.0
            anchor.copy_(rho)
    before = ucl.net.body[0].layer.weight.detach().clone()
    toys.learn_one(ucl, on, toys.fit(epochs=20, lr=0.002), 1)
    moved = (ucl.net.body[0].layer.weight.detach() - before).square().sum(1)
    assert moved[:16].mean() < 0.3 * moved[16:].mean()


@pytest.mark.parametrize(
    ("field", "value", "text"),
    [
        ("beta", -1.0, "beta = -1.0 must be at least 0"),
        ("alpha", -0.5, "alpha = -0.5 must be at least 0"),
        ("ratio", 1.0, "ratio = 1.0 must lie between 0 and 1"),
        ("lr_rho", 0.0, "lr_rho = 0.0 must be above 0"),
    ],
)
def test_nonsense_is_refused(field: str, value: float, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        registry.method("ucl").Config(**{field: value})


@pytest.mark.parametrize(
    ("shape", "classes", "count"),
    [
        ((3, 32, 32), (10,) * 10, 6_713_316),  # C-10
        ((3, 32, 32), (5,) * 20, 6_713_316),  # C-20
        ((3, 32, 32), (20,) * 10, 6_918_216),  # T-10
        ((3, 32, 32), (10,) * 20, 6_918_216),  # T-20
        ((3, 32, 32), (10,) * 100, 8_557_416),  # I-100
        ((3, 32, 32), (2,) * 10, 6_549_396),  # FC-10
        ((3, 32, 32), (2,) * 20, 6_590_376),  # FC-20
        ((1, 28, 28), (62,) * 10, 7_735_340),  # FE-10
        ((1, 28, 28), (62,) * 20, 9_005_720),  # FE-20
    ],
)
def test_parameters_of_spg_table_10(
    shape: tuple[int, int, int], classes: tuple[int, ...], count: int
) -> None:
    net, kind = registry.network("alexnet"), registry.method("ucl")
    with torch.device("meta"):  # shapes are enough
        build = Start(net, net.Config(), shape, classes, seed=0)
        ucl = kind(World(shape, classes, build), kind.Config())
    assert ucl.count_parameters() == count
    assert count == sum(p.numel() for p in ucl.net.parameters()) + 4_544

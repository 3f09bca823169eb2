"""PackNet: who owns what after each cut, frozen bits, decay by hand, one backbone for all, what is stored."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from raycl.errors import UserError
from raycl.methods import _owned
from raycl.probes.owners import owner_diagnostics
from raycl.space import make_config
from raycl.tasks import Batch
from raycl.training.fit import Fit
from raycl.training.presets import PRESETS
from tests.helpers import facts, toys
from tests.helpers.networks import ONE_NORMED
from tests.helpers.owned import (
    DECAYED,
    Noting,
    assert_decay_moves_own_weights_alone,
    flat,
    frozen,
    made,
    owners,
    pretrained,
)

OWN: dict[str, Any] = {"initial": "", "retrain_epochs": 2, "retrain_lr": 0.02, "retrain_milestone": 1}


def twenty(**config: Any) -> Any:
    """PackNet on a single layer of 20 weights, w = +-1 .. +-20 by place, for three tasks."""
    on = toys.benchmark(shape=(1, 1, 5))
    packnet: Any = toys.method("packnet", on, toys.chain(4), **config)
    with torch.no_grad():
        packnet.weights[0].copy_(torch.tensor([(-1.0) ** i * (i + 1) for i in range(20)]).view(4, 5))
    return packnet


def test_three_tasks_by_hand() -> None:
    packnet = twenty()
    packnet.begin(0)
    assert owners(packnet) == [1] * 20
    packnet.cut(0, 0.5, over_free=False)  # of 20 the 10 smallest: 1 .. 10
    assert owners(packnet) == [0] * 10 + [1] * 10
    assert flat(packnet) == [0.0] * 10 + [11, -12, 13, -14, 15, -16, 17, -18, 19, -20]
    packnet.finish()
    packnet.begin(1)
    assert owners(packnet) == [2] * 10 + [1] * 10
    with torch.no_grad():
        packnet.weights[0].view(-1)[:10] = torch.tensor([5, -5, 9, 8, -7, 6, 4, -3, 2, 1.0])
    packnet.cut(1, 0.75, over_free=False)  # 7.5 rounds to 8: all but 9 and 8
    assert owners(packnet) == [0, 0, 2, 2, 0, 0, 0, 0, 0, 0] + [1] * 10
    packnet.finish()
    packnet.begin(2)
    with torch.no_grad():
        free = (packnet.owners[0] == 3).view(-1)
        packnet.weights[0].view(-1)[free] = torch.tensor([3, 3, -3, 1, 3, 2, 7, 8.0])
    packnet.cut(2, 0.4, over_free=False)  # 3.2 rounds to 3, and the third smallest, 3, ties with three others
    assert owners(packnet) == [0, 0, 2, 2, 0, 0, 0, 0, 3, 3] + [1] * 10
    packnet.finish()
    first = [0.0] * 10 + [11, -12, 13, -14, 15, -16, 17, -18, 19, -20]
    second = [0, 0, 9, 8, 0, 0, 0, 0, 0, 0, *first[10:]]
    third = [0, 0, 9, 8, 0, 0, 0, 0, 7, 8, *first[10:]]
    for task, wanted in enumerate((first, second, third)):
        assert packnet.effective(task)["body.0.layer.weight"].reshape(-1).tolist() == wanted
    assert packnet.diagnostics(0) == {
        "free_share": 0.5, "free_share_layers": {"fc1": 0.5}, "owned_share": 0.5,
        "owned_share_layers": {"fc1": 0.5}, "survivor_share": 0.5, "survivor_share_layers": {"fc1": 0.5},
        "task_bytes": 4 * (4 * 2 + 2),
    }  # fmt: skip
    shares = [
        [packnet.diagnostics(t)[f"{name}_share"] for name in ("free", "owned", "survivor")] for t in (1, 2)
    ]
    assert shares == [[8 / 20, 2 / 20, 2 / 10], [6 / 20, 2 / 20, 2 / 8]]


def test_figures_of_two_layers_and_of_a_task_without_room() -> None:
    layers = [torch.tensor([[1, 0], [2, 2]]), torch.tensor([1, 1])]
    found = owner_diagnostics(layers, ["conv1", "fc1"], 1)
    assert found == {
        "free_share": 1 / 6, "free_share_layers": {"conv1": 1 / 4, "fc1": 0.0},
        "owned_share": 2 / 6, "owned_share_layers": {"conv1": 2 / 4, "fc1": 0.0},
        "survivor_share": 2 / 3, "survivor_share_layers": {"conv1": 2 / 3},
    }  # fmt: skip
    assert "survivor_share" not in owner_diagnostics([torch.ones(4)], ["fc1"], 1)


def test_gradients_of_what_others_own_are_nothing_and_decay_acts_on_the_own() -> None:
    packnet = twenty()
    packnet.begin(0)
    packnet.cut(0, 0.5, over_free=False)
    packnet.finish()
    packnet.begin(1)
    with torch.no_grad():
        packnet.weights[0].view(-1)[:10] = 2.0
    batch = Batch(torch.zeros(0), torch.zeros(0), 1)
    for decay, wanted in ((0.0, 3.0), (0.25, 3.5)):
        packnet.decay = decay
        packnet.weights[0].grad = torch.full((4, 5), 3.0)
        packnet.weights[0].grad.view(-1)[10:] = torch.inf
        packnet.edit_gradients(batch)
        assert packnet.weights[0].grad.reshape(-1).tolist() == [wanted] * 10 + [0.0] * 10


@pytest.mark.parametrize(
    "settings",
    [{"nesterov": True}, {"optimiser": "adam", "lr": 0.01}, {"optimiser": "rmsprop", "lr": 0.002},
     {"clip": 0.5}],
    ids=["nesterov", "adam", "rmsprop", "clip"],
)  # fmt: skip
@pytest.mark.parametrize("bn_mode", ["frozen", "stats", "affine_stats"])
def test_what_earlier_tasks_own_keeps_its_bits(bn_mode: str, settings: dict[str, Any]) -> None:
    on = toys.benchmark()
    packnet: Any = toys.method("packnet", on, ONE_NORMED, bn_mode=bn_mode, **OWN)
    loop = toys.fit(**DECAYED | settings)
    kept: list[Tensor] = []
    logits: dict[int, Tensor] = {}
    shared: dict[str, Tensor] = {}
    for task in range(3):
        toys.learn_one(packnet, on, loop, task)
        body = facts.state(packnet.net.body)
        weights = {"0.weight", "4.weight"}
        if not task:
            shared = {name: value for name, value in body.items() if name not in weights}
            assert len(shared) == 7
        facts.assert_same_state(shared, {name: body[name] for name in shared})
        for before, after in zip(kept, frozen(packnet, task), strict=bool(task)):
            assert facts.same_bits(before, after)
        kept = frozen(packnet, task + 1)
        for weight, owner in zip(packnet.weights, packnet.owners, strict=True):
            assert bool((weight[owner == task + 1] != 0).all()) and bool((owner == task + 1).any())
            assert bool((weight[owner == 0] == 0).all())
        now = facts.logits(packnet, on, range(task + 1))
        assert all(facts.same_bits(now[earlier], value) for earlier, value in logits.items())
        logits = now


def test_what_later_tasks_own_counts_for_nothing_whatever_becomes_of_it() -> None:
    on = toys.benchmark()
    packnet: Any = toys.method("packnet", on, ONE_NORMED, **OWN)
    for task in (0, 1):
        toys.learn_one(packnet, on, toys.fit(epochs=1), task)
    kept = facts.logits(packnet, on, [0])[0]
    with torch.no_grad():
        for weight, owner in zip(packnet.weights, packnet.owners, strict=True):
            weight[owner != 1] = torch.inf
    assert facts.same_bits(facts.logits(packnet, on, [0])[0], kept)


def test_the_first_task_trains_biases_and_later_ones_do_not() -> None:
    packnet: Any = toys.method("packnet", toys.benchmark(), ONE_NORMED, **OWN)
    before = facts.state(packnet.net.body)
    toys.learn_one(packnet, toys.benchmark(), toys.fit(**DECAYED), 0)
    after = facts.state(packnet.net.body)
    for name in ("0.bias", "1.weight", "1.bias", "1.running_mean", "4.bias"):
        assert not facts.same_bits(before[name], after[name]), name
    still = [name for name, p in packnet.net.body.named_parameters() if not p.requires_grad]
    assert still == ["0.bias", "1.weight", "1.bias", "4.bias"]


@pytest.mark.parametrize("bn_mode", ["frozen", "stats", "affine_stats"])
def test_batch_normalisation_of_later_tasks(bn_mode: str) -> None:
    on = toys.benchmark()
    packnet: Any = toys.method("packnet", on, ONE_NORMED, bn_mode=bn_mode, **OWN)
    for task in (0, 1):
        toys.learn_one(packnet, on, toys.fit(**DECAYED), task)
    own = {name.removeprefix("body.1."): tensor for name, tensor in packnet.norms.named(1).items()}
    assert not packnet.norms.named(0) and not packnet.norms.named(2)
    shared = facts.state(packnet.net.body[1])
    moved = {name for name in own if not facts.same_bits(own[name].detach(), shared[name])}
    wanted = {"running_mean", "running_var", "num_batches_tracked"} if bn_mode != "frozen" else set()
    assert moved == wanted | ({"weight", "bias"} if bn_mode == "affine_stats" else set())


def test_the_best_epochs_statistics_go_back_with_its_weights() -> None:
    on = toys.benchmark()
    packnet: Any = toys.method("packnet", on, ONE_NORMED, **OWN | {"retrain_epochs": 1}, last_pruned=False)
    for task in (0, 1):
        toys.learn_one(packnet, on, toys.fit(**DECAYED), task)
    losses = iter([1.0, 2.0])  # the second epoch is worse
    packnet.validation_loss = lambda batch: torch.tensor(next(losses))
    toys.learn_one(packnet, on, toys.fit(**DECAYED), 2)
    started = packnet.net.body[1].num_batches_tracked
    counted = packnet.norms.named(2)["body.1.num_batches_tracked"] - started
    assert int(counted) == 3  # the batches of one epoch


@pytest.mark.parametrize("task", [0, 1])
def test_decay_shrinks_the_own_weights_and_nothing_else(task: int) -> None:
    on = toys.benchmark()
    packnet: Any = toys.method("packnet", on, ONE_NORMED, **OWN)
    assert_decay_moves_own_weights_alone(packnet, on, task, {"lr": 0.5, "weight_decay": 0.1, "epochs": 2})


def test_how_much_each_task_gives_back() -> None:
    cases = {
        (): [0.6, 0.6, 0.6],
        (("prune", 0.75), ("prune_first", 0.5), ("last_pruned", False)): [0.5, 0.75, 0.0],  # the paper's
        (("prune_first", 0.0),): [0.0, 0.6, 0.6],
    }
    for config, wanted in cases.items():
        packnet = twenty(**dict(config))
        assert [packnet.share(task) for task in range(3)] == wanted


def test_schedules_of_training_and_retraining() -> None:
    on = toys.benchmark()
    packnet: Any = toys.method("packnet", on, "mlp(hidden=8)", initial_epochs=1, last_pruned=False)
    loop = Noting(toys.fit(**DECAYED | {"epochs": 1, "batch": 48, "patience": 3}).config)
    for task in range(3):
        toys.learn_one(packnet, on, loop, task)
    configs = [config for config, _ in loop.calls]
    initial = make_config(Fit.Config, dict(PRESETS["ksm_initial"].fit), "fit")
    run = replace(loop.config, weight_decay=0.0)
    again = replace(run, epochs=30, lr=1e-3, schedule="steps", milestones=(25,), factor=10.0, stop="never")
    assert configs == [replace(initial, epochs=1), again, run, again, run]
    streams_of = [(how.get("stream"), how.get("account")) for _, how in loop.calls]
    assert streams_of == [(None, None), *[("retrain", "main"), (None, "main")] * 2]
    loop.begin(2)
    assert packnet.retraining(loop.config).weight_decay == DECAYED["weight_decay"]
    flat_rate: Any = toys.method("packnet", on, retrain_milestone=0)
    assert flat_rate.retraining(loop.config).schedule == "constant"


def test_time_of_retraining_counts_as_training() -> None:
    on = toys.benchmark()
    packnet = toys.method("packnet", on, **OWN)
    loop = toys.fit(epochs=2)
    toys.learn_one(packnet, on, loop, 0)
    assert loop.epochs == {"main": 2 + OWN["retrain_epochs"]} and set(loop.seconds) == {"main"}


def test_before_its_cut_the_first_task_is_finetuned_bit_for_bit() -> None:
    on = toys.benchmark()
    packnet: Any = toys.method("packnet", on, ONE_NORMED, initial="")
    plain: Any = toys.method("finetune", on, ONE_NORMED)
    found: list[dict[str, Tensor]] = []
    packnet.cut = lambda *_: found.append(facts.state(packnet.net))
    for subject in (packnet, plain):
        toys.learn_one(subject, on, toys.fit(**DECAYED), 0)
    facts.assert_same_state(found[0], facts.state(plain.net))


@pytest.mark.parametrize("network", ["mlp(hidden=16, drop2=0.3)", ONE_NORMED])
def test_a_backbone_taken_over_is_one_trained_here(network: str) -> None:
    on = toys.benchmark()
    given = pretrained(on, network, "ksm_initial", 2)
    config = OWN | {"initial": "ksm_initial", "initial_epochs": 2}
    inline, over = made(on, network, {}, **config), made(on, network, {"backbone": given}, **config)
    assert not over.world.inputs  # a checkpoint would carry it
    left, right = (toys.learn(subject, on, toys.fit(**DECAYED)) for subject in (inline, over))
    facts.assert_same_state(facts.state(inline), facts.state(over))
    for a, b in zip(left, right, strict=True):
        assert (a.val, a.test, a.epochs, a.updates, a.diagnostics) == (
            b.val,
            b.test,
            b.epochs,
            b.updates,
            b.diagnostics,
        )
    assert right[0].seconds["main"] > 1.5 and sorted(left[0].seconds) == sorted(right[0].seconds)


def test_weights_given_back_stay_nothing_while_the_rest_is_trained_again() -> None:
    on = toys.benchmark()
    packnet: Any = toys.method("packnet", on, **OWN | {"retrain_epochs": 3}, prune=0.5)
    seen: list[dict[str, Tensor]] = []
    retraining = packnet.retraining

    def noted(config: Fit.Config) -> Fit.Config:
        seen.append(facts.state(packnet))
        found: Fit.Config = retraining(config)
        return found

    packnet.retraining = noted
    toys.learn_one(packnet, on, toys.fit(**DECAYED), 0)
    for name, weight, owner in zip(packnet.layers.values(), packnet.weights, packnet.owners, strict=True):
        cut = seen[0][f"net.{name}"]
        free, n = owner == 0, weight.numel()
        assert int(free.sum()) == n // 2 and bool((weight[free] == 0).all())
        assert bool((weight[~free] != cut[~free]).any())


def test_at_the_one_cut_nothing_is_free_so_both_rankings_agree() -> None:
    on = toys.benchmark()
    states = []
    for rank_over in ("owned", "owned_and_free"):
        packnet = toys.method("packnet", on, **OWN, rank_over=rank_over)
        toys.learn(packnet, on, toys.fit(epochs=1))
        states.append(facts.state(packnet))
    facts.assert_same_state(*states)


def test_ranking_over_free_weights_too() -> None:
    for over_free, left in ((False, 8), (True, 12)):
        packnet = twenty()
        packnet.begin(0)
        packnet.cut(0, 0.2, over_free)
        packnet.cut(0, 0.5 if not over_free else 0.4, over_free)  # half of 16, or 8 of 20, half of them free
        assert owners(packnet).count(1) == left


def test_without_room_a_task_still_trains_its_head_and_batch_normalisation() -> None:
    on = toys.benchmark()
    packnet: Any = toys.method("packnet", on, ONE_NORMED, **OWN, prune=0.0)
    toys.learn_one(packnet, on, toys.fit(**DECAYED), 0)
    weights, heads = [facts.state(part) for part in (packnet.net.body, packnet.net.heads)]
    toys.learn_one(packnet, on, toys.fit(**DECAYED), 1)
    facts.assert_same_state(weights, facts.state(packnet.net.body))
    moved = [
        name for name, value in facts.state(packnet.net.heads).items() if not torch.equal(value, heads[name])
    ]
    assert moved == ["1.weight", "1.bias"]
    assert not torch.equal(packnet.norms.named(1)["body.1.weight"], weights["1.weight"])
    assert packnet.diagnostics(1)["owned_share"] == 0.0 and "survivor_share" not in packnet.diagnostics(1)


def test_a_task_not_learnt_is_answered_by_all_weights() -> None:
    on = toys.benchmark()
    packnet: Any = toys.method("packnet", on, ONE_NORMED, **OWN)
    toys.learn_one(packnet, on, toys.fit(epochs=1), 0)
    packnet.train(False)
    x = on.tasks[2].test.take(slice(None))
    assert facts.same_bits(packnet(x, 2), packnet.net(x, 2))
    with pytest.raises(AssertionError, match="learn them in order"):
        packnet.begin(2)


def test_evaluation_makes_a_tasks_weights_once_and_anew_when_they_may_have_moved() -> None:
    on = toys.benchmark()
    packnet: Any = toys.method("packnet", on, **OWN)
    toys.learn_one(packnet, on, toys.fit(epochs=1), 0)
    calls: list[int] = []
    effective = packnet.effective

    def noted(task: int) -> dict[str, Tensor]:
        calls.append(task)
        found: dict[str, Tensor] = effective(task)
        return found

    packnet.effective = noted
    packnet.train(False)
    x = on.tasks[0].test.take(slice(None))
    with torch.no_grad():
        before = packnet(x, 0)
        for task in (0, 0, 1, 1, 0):
            packnet(x, task)
        assert calls == [0, 1, 0]
        for weight in packnet.weights:
            weight.mul_(2)
        packnet.train(False)
        assert not torch.equal(packnet(x, 0), before)


@pytest.mark.parametrize("bn_mode", ["frozen", "stats", "affine_stats"])
def test_what_is_stored(bn_mode: str) -> None:
    on = toys.benchmark()
    packnet: Any = toys.method("packnet", on, ONE_NORMED, **OWN, bn_mode=bn_mode)
    weights, heads = 4 * 9 + 64 * 8, [9 * n for n in toys.CLASSES]
    body = weights + 4 + 8 + 2 * 4
    norm = {"frozen": 0, "stats": 8, "affine_stats": 16}[bn_mode]
    later = 8 if bn_mode == "affine_stats" else 0
    owner_bytes = math.ceil(2 * weights / 8)  # 0 .. 3 takes two bits
    assert packnet.stored_bytes() == 4 * (body + 8) + owner_bytes
    stored, parameters = packnet.stored_bytes(), body + sum(heads) + 2 * later
    for report, head in zip(toys.learn(packnet, on, toys.fit(epochs=1)), heads, strict=True):
        added = 4 * (head + (norm if report.task else 0))
        assert report.diagnostics["task_bytes"] == added == report.stored_bytes - stored
        stored = report.stored_bytes
        assert report.parameters == parameters


@pytest.mark.parametrize(("tasks", "bits"), [(1, 1), (2, 2), (3, 2), (4, 3), (6, 3), (7, 3), (8, 4), (20, 5)])
def test_bits_of_an_owner(tasks: int, bits: int) -> None:
    on = toys.benchmark((2,) * tasks, train=2, val=0, test=1)
    packnet = toys.method("packnet", on, "mlp(hidden=8)")
    assert packnet.stored_bytes() == 4 * (17 * 8 + 9 * 8) + bits * (16 * 8 + 8 * 8) // 8
    assert bits == int(np.ceil(np.log2(tasks + 1)))


def test_more_tasks_than_owners_are_numbered_for() -> None:
    on = toys.benchmark((1,) * 256, train=1, val=0, test=1)
    with pytest.raises(ValueError, match="256 tasks are too many"):
        toys.method("packnet", on, "mlp(hidden=1)")


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"prune": 1.0}, "prune = 1.0 must be"), ({"prune_first": -0.1}, "prune_first = -0.1 must be"),
     ({"retrain_epochs": 0}, "retrain_epochs = 0 must be at least 1"),
     ({"retrain_lr": 0.0}, "retrain_lr = 0.0 above 0"), ({"initial_epochs": -1}, "initial_epochs = -1"),
     ({"initial": "", "initial_epochs": 3}, "initial_epochs = 3 needs a preset")],
)  # fmt: skip
def test_nonsense_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        toys.method("packnet", toys.benchmark(), **settings)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.125, 0.375, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_the_lowest_are_found_without_waiting_too(share: float, seed: int) -> None:
    """Ties are at the threshold, and shares fall halfway between two ranks; an accelerator sorts."""
    draws = torch.Generator().manual_seed(seed)
    weight = torch.randint(-6, 7, (6, 8), generator=draws).float()
    for ranked in (torch.rand(6, 8, generator=draws) < 0.7, torch.zeros(6, 8, dtype=torch.bool)):
        found = _owned._lowest_without_waiting(weight.abs(), ranked, share)
        assert torch.equal(found, _owned.lowest(weight, ranked, share))

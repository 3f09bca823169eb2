"""SupSup: exact counts, a backbone that never moves, bits that are all that is kept."""

from __future__ import annotations

import io
import math
from typing import Any, get_args

import pytest
import torch

from raycl import registry
from raycl.masks import count_kept
from raycl.method import World
from raycl.methods.supsup import SupSup
from raycl.networks import Start
from raycl.specs import MaskValues
from raycl.supermasks.edge_popup import density_of, draw_scores, fixed_weight
from tests.helpers import facts, toys


def test_ones_per_layer_and_a_backbone_that_stays() -> None:
    on = toys.benchmark()
    supsup: Any = toys.method("supsup", on, density=0.3)
    before = facts.state(supsup.net)
    toys.learn(supsup, on, toys.fit(momentum=0.9, weight_decay=0.1, lr=1.0))
    facts.assert_same_state(before, facts.state(supsup.net))
    for t in range(3):
        masks = supsup.masks(t)
        assert [int(m.sum()) for m in masks] == [count_kept(m.numel(), 0.3) for m in masks]
        assert [m.numel() - int((1 - 0.3) * m.numel()) for m in masks] == [int(m.sum()) for m in masks]
        assert supsup.diagnostics(t)["density"] == pytest.approx(0.3, abs=0.01)
    assert not torch.equal(supsup.masks(0)[0], supsup.masks(1)[0])


def test_scores_start_where_spec_says_and_are_the_same_whatever_came_before() -> None:
    on = toys.benchmark()
    weight = torch.zeros(50, 40)
    scores = draw_scores(weight)
    assert float(scores.abs().max()) <= 1 / math.sqrt(40) and float(scores.std()) == pytest.approx(
        1 / math.sqrt(3 * 40), rel=0.05
    )
    first, second = toys.method("supsup", on), toys.method("supsup", on)
    toys.learn_one(first, on, toys.fit(epochs=1), 0)
    for subject in (first, second):
        toys.learn_one(subject, on, toys.fit(epochs=1), 2)
    assert facts.same_bits(facts.logits(first, on, [2])[2], facts.logits(second, on, [2])[2])


def test_backbones() -> None:
    torch.manual_seed(0)
    initial = torch.randn(40, 30, 3, 3)
    constant = fixed_weight(initial, "signed_constant")
    assert torch.equal(constant.sign(), initial.sign())
    assert constant.abs().unique().tolist() == pytest.approx([math.sqrt(2 / 270)])
    normal = fixed_weight(initial, "kaiming_normal")
    assert float(normal.std()) == pytest.approx(math.sqrt(2 / 270), rel=0.05)
    assert float(normal.abs().max()) > 2 * math.sqrt(2 / 270)


def test_signs_are_those_of_the_initial_network_that_all_methods_share() -> None:
    on = toys.benchmark()
    supsup: Any = toys.method("supsup", on)
    plain = toys.method("finetune", on)
    for fixed, initial in zip(supsup.net.parameters(), plain.net.parameters(), strict=True):
        assert torch.equal(fixed.sign(), initial.sign()) if fixed.dim() > 1 else not bool(fixed.any())
        assert not fixed.requires_grad


def test_erdos_renyi() -> None:
    linear, conv = torch.zeros(300, 784), torch.zeros(64, 32, 3, 3)
    assert density_of(linear, 0.05, "er") == pytest.approx(5 * 1084 / (300 * 784))
    assert density_of(conv, 0.05, "er") == pytest.approx(5 * 96 / (64 * 32 * 9))
    assert density_of(torch.zeros(10, 100), 0.3, "er") == 0.5  # the cap
    assert density_of(linear, 0.05, "uniform") == 0.05


def test_erdos_renyi_of_a_whole_resnet() -> None:
    net = registry.network("resnet18")
    with torch.device("meta"):
        weights = [p for p in net((3, 32, 32), (5,), net.Config()).parameters() if p.dim() > 1]  # type: ignore[call-arg]
    for budget, wanted in ((0.05, 0.0128), (0.10, 0.025), (0.30, 0.0705)):
        ones = sum(density_of(w, budget, "er") * w.numel() for w in weights)
        assert ones / sum(w.numel() for w in weights) == pytest.approx(wanted, abs=6e-4)


@pytest.mark.parametrize(
    ("classes", "shape", "wanted"),
    [
        ((10,) * 10, (3, 32, 32), 10 * 6_499_328 + 2048 * 100),
        ((62,) * 10, (1, 28, 28), 10 * 6_455_872 + 2048 * 620),
    ],
)
def test_parameters_of_spg_table_10(
    classes: tuple[int, ...], shape: tuple[int, int, int], wanted: int
) -> None:
    net = registry.network("alexnet")
    with torch.device("meta"):
        supsup = SupSup(World(shape, classes, Start(net, net.Config(), shape, classes, 0)), SupSup.Config())
    assert supsup.count_parameters() == wanted


@pytest.mark.parametrize(
    "config",
    [{}, {"score_rank": "raw"}, {"density_rule": "er", "density": 0.02}, {"density_rule": "threshold"},
     {"backbone_init": "kaiming_normal"}],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize(
    ("network", "shape"),
    [("mlp(hidden=16)", (1, 4, 4)), ("lenet_300_100", (1, 4, 4)), ("resnet18(nf=2)", (1, 8, 8)),
     ("alexnet(width=0.05)", (1, 20, 20))],
)  # fmt: skip
def test_every_rule_on_every_network(
    network: str, shape: tuple[int, int, int], config: dict[str, Any]
) -> None:
    on = toys.benchmark((2, 2), train=16, val=8, test=8, shape=shape)
    supsup: Any = toys.method("supsup", on, network, **config)
    loop = toys.fit(epochs=1, batch=8, lr=1.0)
    toys.learn_one(supsup, on, loop, 0)
    kept_logits = facts.logits(supsup, on, [0])[0]
    toys.learn_one(supsup, on, loop, 1)
    assert facts.same_bits(kept_logits, facts.logits(supsup, on, [0])[0])
    assert bool(kept_logits.any())


def test_shared_head() -> None:
    on = toys.benchmark((3, 3))
    supsup: Any = toys.method("supsup", on, head="shared")
    assert supsup.layers(0)["heads.0.weight"] is supsup.layers(1)["heads.1.weight"]
    toys.learn(supsup, on, toys.fit(epochs=2, lr=1.0))
    own: Any = toys.method("supsup", on)
    assert own.layers(0)["heads.0.weight"] is not own.layers(1)["heads.1.weight"]
    with pytest.raises(ValueError, match="same number of classes in all tasks, not \\(2, 3, 2\\)"):
        toys.method("supsup", toys.benchmark(), head="shared")


def test_what_is_kept_of_a_task_is_its_bits() -> None:
    on = toys.benchmark()
    supsup: Any = toys.method("supsup", on, "mlp(hidden=64)")
    weights = [w.numel() for w in supsup.layers(0).values()]
    empty = supsup.stored_bytes()
    sizes = []
    for t in range(2):
        toys.learn_one(supsup, on, toys.fit(epochs=1), t)
        assert list(supsup.trainable(t)) == [] and "scores.0" not in supsup.state_dict()
        buffer = io.BytesIO()
        torch.save(supsup, buffer)
        sizes.append(len(buffer.getvalue()))
    heads = [on.classes[t] * 64 for t in range(2)]
    layers = [math.ceil(n / 8) for n in (*weights[:2], heads[0], *weights[:2], heads[1])]
    assert supsup.stored_bytes() == empty + sum(layers)
    assert empty == 4 * (16 * 64 + 64 * 64 + 64 * 7)
    assert sizes[1] - sizes[0] < 3 * sum(layers[3:])  # not 32 bits a weight


def test_masks_are_made_once_per_pass_of_evaluation() -> None:
    on = toys.benchmark(test=600)
    supsup: Any = toys.method("supsup", on)
    loop = toys.fit(epochs=1)
    toys.learn_one(supsup, on, loop, 0)
    calls, masks = [], supsup.masks
    supsup.masks = lambda task: calls.append(task) or masks(task)
    first = loop.accuracy(supsup, 0, on.tasks[0].test)  # three batches
    assert calls == [0]
    assert loop.accuracy(supsup, 0, on.tasks[0].test) == first and calls == [0, 0]
    supsup.start(1)
    supsup.train(False)
    with torch.no_grad():
        x = on.tasks[1].test.take(slice(0, 4))
        before = supsup(x, 1)
        supsup.train(True)
        for scores in supsup.scores:
            scores.copy_(scores.flip(0))
        assert not torch.equal(supsup(x, 1), before)  # nothing old is remembered across training


def test_gradient_goes_straight_through_to_the_scores() -> None:
    on = toys.benchmark()
    supsup: Any = toys.method("supsup", on, toys.chain(6))
    supsup.start(0)
    x, y = on.tasks[0].train.take(slice(0, 8)), torch.tensor(on.tasks[0].train.y[:8])
    masks = [m.detach().requires_grad_() for m in supsup.masks(0)]
    layers = list(supsup.layers(0).values())
    hidden = (x.flatten(1) @ (layers[0] * masks[0]).T).relu()
    loss = torch.nn.functional.cross_entropy(hidden @ (layers[1] * masks[1]).T, y)
    wanted = torch.autograd.grad(loss, masks)
    torch.nn.functional.cross_entropy(supsup(x, 0), y).backward()
    for scores, gradient in zip(supsup.scores, wanted, strict=True):
        torch.testing.assert_close(scores.grad, gradient * scores.detach().sign(), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("values", get_args(MaskValues))
def test_kinds_of_mask_are_kept_with_their_factors(values: MaskValues) -> None:
    on = toys.benchmark()
    supsup: Any = toys.method("supsup", on, mask_values=values, density=0.25)
    empty = supsup.stored_bytes()
    supsup.start(0)
    trained = [mask.detach().clone() for mask in supsup.masks(0)]
    before = facts.logits(supsup, on, [0])[0]
    supsup.finish()
    after = facts.logits(supsup, on, [0])[0]
    assert facts.same_bits(before, after) and bool(after.any())
    assert all(torch.equal(a, b) for a, b in zip(supsup.masks(0), trained, strict=True))
    sizes = [mask.numel() for mask in trained]
    whole = values.endswith("weight_norm")
    ones = [n if whole else count_kept(n, 0.25) for n in sizes]
    assert [int(mask.count_nonzero()) for mask in trained] == ones
    assert supsup.diagnostics(0)["density"] == sum(ones) / sum(sizes)
    each = {"binary": 0, "signed": 1}.get(values, 4)
    assert supsup.stored_bytes() - empty == sum(math.ceil(n / 8) for n in sizes) + each * sum(ones)
    largest = {float(mask.abs().max()) for mask in trained}
    assert largest == {1.0}
    assert bool((trained[0] < 0).any()) == values.startswith("signed")


@pytest.mark.parametrize("values", get_args(MaskValues))
def test_every_kind_of_mask_learns_and_keeps_logits(values: MaskValues) -> None:
    on = toys.benchmark()
    supsup: Any = toys.method("supsup", on, mask_values=values)
    toys.learn_one(supsup, on, toys.fit(**toys.EAGER), 0)
    kept_logits = facts.logits(supsup, on, [0])[0]
    wanted = torch.tensor(on.tasks[0].test.y)
    assert float((kept_logits.argmax(1) == wanted).double().mean()) >= 0.75
    toys.learn_one(supsup, on, toys.fit(epochs=1), 1)
    assert facts.same_bits(kept_logits, facts.logits(facts.reloaded(supsup), on, [0])[0])


def test_scores_start_at_the_mean_of_earlier_ones() -> None:
    on = toys.benchmark()
    supsup: Any = toys.method("supsup", on, start="mean")
    empty, loop = supsup.stored_bytes(), toys.fit(epochs=1, lr=1.0)
    finals = []
    for task in range(3):
        loop.begin(task)
        supsup.start(task)
        for place in range(2):  # the body; heads are each task's own
            if task:
                mean = torch.stack([final[place] for final in finals]).mean(0)
                torch.testing.assert_close(supsup.scores[place].detach(), mean, rtol=1e-6, atol=1e-7)
        assert supsup.scores[2].shape == (on.classes[task], 32)
        loop(supsup, on.tasks[task])
        finals.append([scores.detach().clone() for scores in supsup.scores])
        supsup.finish()
    bits = sum(len(layer) for mask in supsup.done.values() for layer in mask.bits)
    assert supsup.stored_bytes() == empty + bits + 4 * (16 * 32 + 32 * 32)


def test_a_shared_head_has_a_mean_too_and_the_first_task_is_as_without() -> None:
    on = toys.benchmark((3, 3))
    mean: Any = toys.method("supsup", on, start="mean", head="shared")
    none: Any = toys.method("supsup", on, head="shared")
    for subject in (mean, none):
        toys.learn_one(subject, on, toys.fit(epochs=1, lr=1.0), 0)
    assert facts.same_bits(facts.logits(mean, on, [0])[0], facts.logits(none, on, [0])[0])
    assert len(mean.mean) == 3 and len(none.mean) == 0
    mean.start(1)
    assert all(torch.equal(scores, m) for scores, m in zip(mean.scores, mean.mean, strict=True))


def test_the_task_of_each_part_of_a_batch_is_inferred_by_itself() -> None:
    on = toys.benchmark((2, 2, 2), test=16)
    subject: Any = toys.method("supsup", on, head="shared", inference="one_shot", inference_batch=5)
    toys.learn(subject, on, toys.fit(**toys.EAGER))
    subject.train(False)
    asked: list[int] = []
    guess = subject._inferred
    subject._inferred = lambda x: asked.append(len(x)) or guess(x)
    x = torch.cat([task.test.take(slice(0, 4)) for task in on.tasks])
    with torch.no_grad():
        logits = subject(x, 0)
        assert asked == [5, 5, 2]
        parts = [subject._answer(part, guess(part)) for part in x.split(5)]
        assert torch.equal(logits, torch.cat(parts))
        whole = toys.method("supsup", on, head="shared", inference="one_shot")
        assert whole.config.inference_batch == 0 and subject(x[:0], 0).shape == (0, 2)
    assert "gn_acc" not in subject.examine(on.tasks, toys.fit())


def test_accuracy_with_inferred_tasks_over_orders_is_reported_where_it_is_asked_for() -> None:
    on = toys.benchmark((2, 2), test=16)
    subject: Any = toys.method("supsup", on, head="shared", inference="one_shot", inference_orders=4)
    toys.learn(subject, on, toys.fit(**toys.EAGER))
    found = subject.examine(on.tasks, toys.fit())
    assert len(found["gn_acc_by_order"]) == 4 and 0 <= found["gn_acc"] <= 1

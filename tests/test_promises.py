"""What methods promise of earlier tasks holds under every optimiser, and what is not promised is measured."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from raycl import registry
from raycl.method import shares_statistics
from raycl.runs import sequence
from tests.helpers import facts, toys

KEEPERS = [name for name in registry.method_names() if registry.method(name).keeps_logits]
NETWORKS = {"mlp(hidden=16)": (1, 4, 4), "vgg16_bn(width=0.01)": (1, 32, 32)}
OPTIMISERS: dict[str, dict[str, Any]] = {
    "momentum": {"momentum": 0.9, "nesterov": True, "weight_decay": 1e-2},
    "adam": {"optimiser": "adam", "lr": 0.01, "weight_decay": 1e-2},
    "rmsprop": {"optimiser": "rmsprop", "lr": 0.003, "momentum": 0.9, "weight_decay": 1e-2},
}
PAIRS = [
    (name, net)
    for name in KEEPERS
    for net in NETWORKS
    if toys.works_on(name, net) and not (name == "impresslearn" and net.startswith("vgg"))  # refused there
]


@pytest.mark.parametrize("optimiser", OPTIMISERS)
@pytest.mark.parametrize(("name", "network"), PAIRS)
def test_answers_that_stay_are_kept_bit_for_bit(name: str, network: str, optimiser: str) -> None:
    on = toys.benchmark_for(name, shape=NETWORKS[network])
    subject = toys.method(name, on, network)
    kept: dict[int, torch.Tensor] = {}
    for task in range(3):
        toys.learn_one(subject, on, toys.fit_for(name, epochs=2, **OPTIMISERS[optimiser]), task)
        now = facts.logits(subject, on, range(task + 1))
        same = all(facts.same_bits(now[earlier], logits) for earlier, logits in kept.items())
        assert same or not subject.answers_stay, f"after task {task}"
        kept = now
    assert subject.answers_stay or shares_statistics(subject.net)


DRIFTING = [
    "pmask",
    "random_mask",
    "supsup",
]  # their weights stay, and statistics that all tasks share do not


@pytest.mark.parametrize("name", DRIFTING)
def test_accuracies_are_measured_where_shared_statistics_move(name: str) -> None:
    network = "vgg16_bn(width=0.02)"
    on = toys.benchmark_for(name, shape=NETWORKS["vgg16_bn(width=0.01)"])
    subject = toys.method(name, on, network)
    loop = toys.fit_for(name, epochs=3, lr=0.1)
    reports = list(sequence.run_sequence(subject, on, loop))
    assert not subject.answers_stay
    for task in on.tasks:
        assert reports[-1].test[task.index] == loop.accuracy(subject, task.index, task.test)
        assert reports[-1].val[task.index] == loop.accuracy(subject, task.index, task.val)


@pytest.mark.parametrize(
    ("network", "shared"),
    [
        ("mlp(hidden=4)", False),
        ("resnet18(nf=2)", False),
        ("vgg16_bn(width=0.01)", True),
        ("resnet50(width=0.05)", False),
        ("resnet50(width=0.05, norm='affine')", True),
    ],
)
def test_statistics_that_all_tasks_share_are_found(network: str, shared: bool) -> None:
    on = toys.benchmark((2, 2), shape=(1, 32, 32))
    subject = toys.method("finetune", on, network)
    assert shares_statistics(subject.net) is shared


@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_weights_that_a_threshold_blocks_stay_under_every_optimiser(optimiser: str) -> None:
    on = toys.benchmark()
    subject: Any = toys.method("hpg", on, threshold=0.3)
    toys.learn_one(subject, on, toys.fit_for("hpg", epochs=2, **OPTIMISERS[optimiser]), 0)
    blocked = [b > 0 for b in subject.blocking()]
    before = [p.detach().clone() for p in subject.net.body.parameters()]
    toys.learn_one(subject, on, toys.fit_for("hpg", epochs=2, **OPTIMISERS[optimiser]), 1)
    after = list(subject.net.body.parameters())
    assert any(bool(b.any()) for b in blocked)
    for b, old, new in zip(blocked, before, after, strict=True):
        assert facts.same_bits(new[b], old[b])
    assert any(not torch.equal(old, new) for old, new in zip(before, after, strict=True))

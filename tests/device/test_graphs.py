"""Steps captured in graphs: the numbers of steps without, what is captured when, and when nothing is."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from raycl import registry
from raycl.method import Method
from raycl.training.fit import Fit
from raycl.training.graphs import WARM, Steps
from tests.device import scenarios
from tests.helpers import facts, toys
from tests.helpers import pretend as helper
from tests.helpers.pretend import PretendProcess

CAPTURED = [name for name in registry.method_names() if vars(registry.method(name)).get("capturable")]
WITH_DROPOUT = "mlp(hidden=16)"


def learnt(name: str, network: str, graphs: bool, where: str = "", **settings: Any) -> tuple[list[str], Any]:
    """Learn two tasks; return what came of graphs in each, and the bits of all tensors afterwards."""
    device = torch.device(where) if where else helper.device()
    on = scenarios.small(name, network, train=26)  # three batches of 8 and an uneven one
    subject = scenarios.subject(name, network, on, device, {})
    calm: dict[str, Any] = {"epochs": 4, "batch": 8, "lr": 0.05, "schedule": "constant", "stop": "never"}
    loop = Fit(toys.fit_for(name, **(calm | settings)).config, device=device, graphs=graphs)
    found = []
    with torch.device(device):
        for task in (0, 1):
            toys.learn_one(subject, on, loop, task)
            found.append(loop.about_graphs)
    return found, {key: facts.bits(tensor.cpu()) for key, tensor in subject.state_dict().items()}


@pytest.mark.parametrize("name", CAPTURED)
def test_captured_steps_have_the_bits_of_others(pretend: PretendProcess, name: str) -> None:
    about, with_graphs = pretend.run(learnt, name, WITH_DROPOUT, True)
    assert all("steps repeated" in line for line in about), about
    _, without = pretend.run(learnt, name, WITH_DROPOUT, False)
    assert with_graphs == without


def test_the_settings_of_steps_are_followed(pretend: PretendProcess) -> None:
    for settings in (
        {"momentum": 0.9, "weight_decay": 0.01, "clip": 0.1},
        {"optimiser": "rmsprop"},
        {"schedule": "steps", "milestones": (2, 3), "factor": 10.0},
    ):
        about, with_graphs = pretend.run(learnt, "hat", WITH_DROPOUT, True, **settings)
        assert all("steps repeated" in line for line in about), (settings, about)
        assert with_graphs == pretend.run(learnt, "hat", WITH_DROPOUT, False, **settings)[1]


def test_each_shape_and_each_rate_has_a_graph_of_its_own(pretend: PretendProcess) -> None:
    """Twelve whole batches, of which three warm up, and four uneven ones, of which three do."""
    about, _ = pretend.run(learnt, "finetune", WITH_DROPOUT, True)
    assert about == ["10 steps repeated 2 graphs"] * 2 and WARM == 3
    rates = {"schedule": "steps", "milestones": (3,), "factor": 10.0}
    about, _ = pretend.run(learnt, "finetune", WITH_DROPOUT, True, **rates)
    assert about == ["10 steps repeated 3 graphs"] * 2


@pytest.mark.parametrize(
    ("name", "settings", "why"),
    [
        ("finetune", {"optimiser": "adam"}, "the steps of Adam depend on their number"),
        ("finetune", {"schedule": "cosine_iter"}, "schedule = 'cosine_iter' changes the learning rate"),
        ("prm", {}, "PRM does not declare that its steps can be captured"),
    ],
)
def test_what_cannot_be_captured_is_told(
    pretend: PretendProcess, name: str, settings: dict[str, Any], why: str
) -> None:
    about, with_graphs = pretend.run(learnt, name, WITH_DROPOUT, True, **settings)
    assert all(line.startswith(why) for line in about), about
    assert with_graphs == pretend.run(learnt, name, WITH_DROPOUT, False, **settings)[1]


def test_a_cpu_has_no_graphs() -> None:
    assert learnt("finetune", WITH_DROPOUT, True, "cpu")[0] == ["a CPU has no graphs"] * 2


class Curious(Method):
    """Reads its loss in every step, although it claims that its steps can be captured."""

    capturable = True

    def edit_gradients(self, batch: Any) -> None:
        self.seen = float(sum(p.grad.abs().sum() for p in self.parameters() if p.grad is not None))


def curious(graphs: bool) -> tuple[str, Any]:
    device = helper.device()
    on = scenarios.small("finetune", WITH_DROPOUT, train=24)
    with torch.device(device):
        subject = Curious(toys.method("finetune", on, WITH_DROPOUT).world, Method.Config())
        loop = Fit(toys.fit(epochs=3, batch=8, lr=0.05).config, device=device, graphs=graphs)
        toys.learn_one(subject, on, loop, 0)
    return loop.about_graphs, {key: facts.bits(t.cpu()) for key, t in subject.state_dict().items()}


def test_a_step_that_turns_out_to_wait_is_made_as_usual(pretend: PretendProcess) -> None:
    about, with_graphs = pretend.run(curious, True)
    assert about.startswith("a graph cannot hold a wait for the device")
    assert with_graphs == pretend.run(curious, False)[1]


def test_a_subclass_declares_for_itself() -> None:
    class Own(registry.method("hat")):  # type: ignore[misc]
        pass

    assert registry.method("hat").capturable and not vars(Own).get("capturable")
    assert Steps.__doc__ is not None

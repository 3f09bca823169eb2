"""What tests of methods share whose tasks own weights: PackNet's and CPG's."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from raycl import calls, registry, streams
from raycl.method import World
from raycl.networks import Start
from raycl.networks._backbone import state_of
from raycl.runs.artefacts import Pretrained
from raycl.space import make_config
from raycl.tasks import Benchmark
from raycl.training.fit import Fit
from raycl.training.presets import fit_of
from tests.helpers import facts, toys

DECAYED: dict[str, Any] = {"lr": 0.05, "momentum": 0.9, "weight_decay": 1e-2, "epochs": 2}


def owners(packnet: Any) -> list[int]:
    return [int(owner) for owner in packnet.owners[0].reshape(-1)]


def flat(packnet: Any) -> list[float]:
    return [float(w) for w in packnet.weights[0].detach().reshape(-1)]


def frozen(packnet: Any, before: int) -> list[Tensor]:
    """Weights that belong to earlier tasks than `before`, layer by layer."""
    pairs = zip(packnet.weights, packnet.owners, strict=True)
    return [weight.detach()[(owner > 0) & (owner <= before)].clone() for weight, owner in pairs]


def made(on: Benchmark, network: str, inputs: dict[str, Any], name: str = "packnet", **config: Any) -> Any:
    """As `toys.method`, with inputs."""
    kind, net = registry.method(name), registry.network(network)
    settings = calls.parse(network, "network").settings(net.Config, "network")
    start = Start(net, make_config(net.Config, settings, "network"), on.input_shape, on.classes, 0)
    streams.reseed(0, "method")
    return kind(World(on.input_shape, on.classes, start, inputs), make_config(kind.Config, config, name))


def pretrained(on: Benchmark, network: str, preset: str, epochs: int) -> Pretrained:
    """The network after the first task, trained by a method that knows of no owners."""
    plain: Any = toys.method("finetune", on, network)
    loop = toys.fit()
    loop.begin(0)
    loop(plain, on.tasks[0], config=make_config(Fit.Config, fit_of(preset, epochs), preset))
    return Pretrained(state_of(plain.net), 1.5, loop.epochs["main"], loop.updates)


class Noting(Fit):
    """A training loop that notes the settings of each fit, and what it was told besides."""

    def __init__(self, config: Fit.Config) -> None:
        super().__init__(config)
        self.calls: list[tuple[Fit.Config, dict[str, Any]]] = []

    def __call__(self, learner: Any, task: Any, **how: Any) -> Any:
        self.calls.append((how.get("config") or self.config, how))
        return super().__call__(learner, task, **how)


def assert_decay_moves_own_weights_alone(
    packnet: Any, on: Benchmark, task: int, settings: dict[str, Any]
) -> None:
    """Without a loss to speak of, decay alone moves weights."""
    if task:
        toys.learn_one(packnet, on, toys.fit(**DECAYED), 0)
        with torch.no_grad():
            for weight, owner in zip(packnet.weights, packnet.owners, strict=True):
                weight[owner == 0] = 0.3  # or there were nothing to decay
    packnet.loss = lambda batch: 0.0 * type(packnet).loss(packnet, batch)
    before = facts.state(packnet)
    packnet.begin(task)
    loop = toys.fit(**settings)
    loop.begin(task)
    packnet.fit_owned(on.tasks[task], loop, loop.config)
    factor = (1 - settings["lr"] * settings["weight_decay"]) ** (3 * settings["epochs"])
    for name, owner in zip(packnet.layers.values(), packnet.owners, strict=True):
        was, now = before[f"net.{name}"], packnet.net.get_parameter(name).detach()
        own = owner == task + 1
        torch.testing.assert_close(now[own], was[own] * factor, rtol=1e-6, atol=0)
        assert facts.same_bits(now[~own], was[~own]) and bool(own.any())
    layers = [f"net.{name}" for name in packnet.layers.values()]
    for name, p in packnet.named_parameters():
        assert name in layers or name not in before or facts.same_bits(before[name], p.detach()), name

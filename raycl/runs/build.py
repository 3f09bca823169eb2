"""Construction of what a run's spec describes: the method, the network and the training loop.

A spec is a plain value, and this module makes objects of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from raycl import calls, devices, registry, streams
from raycl.method import Method, World
from raycl.methods._first import FirstTask
from raycl.networks import Start
from raycl.runs.inputs import method_of, network_of
from raycl.space import make_config
from raycl.specs import MaskSpec, RunSpec
from raycl.tasks import Benchmark
from raycl.training import Fit


def check_code(spec: RunSpec | MaskSpec) -> None:
    """Check that the classes found in this process are those from which the spec's key was made.

    Raises:
        UserError: If one of the user's files has changed since the key was made.
    """
    names = {"network": spec.network, "benchmark": spec.benchmark}
    if isinstance(spec, RunSpec) and spec.kind == "sequence":
        names["method"] = spec.method
    registry.check_code(spec.code, spec.home, names)


def check_configs(spec: RunSpec) -> None:
    """Make the Configs of a run's method and network.

    Raises:
        UserError: If one refuses the values of the run.
    """
    kind = FirstTask if spec.kind == "pretrain" else method_of(spec)
    make_config(kind.Config, spec.config, spec.method)
    _network_config(spec)


def make_fit(spec: RunSpec, **runtime: Any) -> Fit:
    """Return the run's training loop; `runtime` holds arguments that are in no key, such as the device."""
    config: Fit.Config = make_config(Fit.Config, spec.fit, "fit")
    return Fit(config, seed=spec.seed, **runtime)


def make_method(
    spec: RunSpec,
    benchmark: Benchmark,
    device: torch.device | str = "cpu",
    inputs: Mapping[str, Any] | None = None,
) -> Method:
    """Return a new method with its state on `device`; `inputs` becomes `World.inputs`."""
    kind = FirstTask if spec.kind == "pretrain" else method_of(spec)
    world = World(benchmark.input_shape, benchmark.classes, make_start(spec, benchmark), inputs or {})
    with devices.creating_on(device):
        streams.reseed(spec.seed, "method")
        return kind(world, make_config(kind.Config, spec.config, spec.method))


def make_start(spec: RunSpec, benchmark: Benchmark) -> Start:
    """Return a callable that builds the network with the initial weights of the run's seed."""
    return Start(network_of(spec), _network_config(spec), benchmark.input_shape, benchmark.classes, spec.seed)


def _network_config(spec: RunSpec) -> Any:
    kind = network_of(spec)
    settings = calls.parse(spec.network, "network").settings(kind.Config, "network")
    return make_config(kind.Config, settings, spec.network)

"""From the spec of a run to what is played: classes, data, network, training loop, and what it builds on.

A spec is a value; everything that is made of one is made here. What costs time is remembered with the spec.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

import torch

from raycl import calls, registry, streams, userfiles
from raycl.method import Method, World
from raycl.methods._first import BACKBONE, FirstTask
from raycl.networks import Network, Start
from raycl.space import make_config
from raycl.specs import MaskSpec, RunSpec, key_of
from raycl.tasks import Benchmark
from raycl.training import Fit

T = TypeVar("T")


def _once(spec: RunSpec, name: str, make: Callable[[], T]) -> T:
    """What `make` gives, made the first time that it is asked of this spec."""
    if name not in spec.derived:
        spec.derived[name] = make()
    found: T = spec.derived[name]
    return found


def method_of(spec: RunSpec) -> type[Method]:
    """The class of a run's method."""
    with userfiles.importing_from(spec.home):
        return registry.method(spec.method)


def network_of(spec: RunSpec) -> type[Network]:
    """The class of a run's network."""
    with userfiles.importing_from(spec.home):
        return registry.network(spec.network)


def masks_for(spec: RunSpec) -> tuple[MaskSpec, ...]:
    """The basis masks that a run needs, those that are drawn and not trained among them.

    Raises:
        UserError: it cannot have what it asks for.
    """

    def wanted() -> tuple[MaskSpec, ...]:
        kind = method_of(spec)
        with userfiles.importing_from(spec.home), userfiles.blamed(kind):
            return kind.required_masks(spec)

    return _once(spec, "masks", wanted)


def runs_for(spec: RunSpec) -> Mapping[str, RunSpec]:
    """The runs that a run builds on, by name.

    Raises:
        UserError: it cannot have what it asks for.
    """

    def wanted() -> Mapping[str, RunSpec]:
        if spec.kind == "pretrain":
            return {}
        kind = method_of(spec)
        with userfiles.importing_from(spec.home), userfiles.blamed(kind):
            return {name: with_inputs(run) for name, run in kind.required_runs(spec).items()}

    return _once(spec, "runs", wanted)


def parts_of(spec: RunSpec) -> tuple[RunSpec, ...]:
    """Runs of a task each that make a run up, where its tasks can be learnt side by side."""

    def found() -> tuple[RunSpec, ...]:
        alone = method_of(spec).independent and spec.part is None and spec.kind == "sequence"
        if not (alone and BACKBONE in runs_for(spec)) or spec.evaluate == "full":
            return ()  # a full matrix asks for tasks that are not learnt yet
        return tuple(replace(spec, part=task.index) for task in make_benchmark(spec).tasks)

    return _once(spec, "parts", found)


def with_inputs(spec: RunSpec) -> RunSpec:
    """The same run, its inputs named."""
    inputs = {name: run.key for name, run in runs_for(spec).items()}
    if masks := masks_for(spec):
        inputs["basis"] = key_of([mask.key for mask in masks])
    return replace(spec, inputs=inputs) if inputs else spec


def check_code(spec: RunSpec | MaskSpec) -> None:
    """See that the classes which are found here are those that the key stands for.

    Raises:
        UserError: a file of the user's has changed since the key was made.
    """
    texts = {"network": spec.network, "benchmark": spec.benchmark}
    if isinstance(spec, RunSpec) and spec.kind == "sequence":
        texts["method"] = spec.method
    registry.check_code(spec.code, spec.home, texts)


def make_benchmark(spec: RunSpec) -> Benchmark:
    """The tasks, mapped from prepared data."""
    with userfiles.importing_from(spec.home):
        return registry.load(spec.benchmark, spec.seed, spec.order, spec.identity)


def make_fit(spec: RunSpec, **runtime: Any) -> Fit:
    """The training loop; `runtime` is what a key does not hold: device, pulse."""
    config: Fit.Config = make_config(Fit.Config, spec.fit, "fit")
    return Fit(config, seed=spec.seed, **runtime)


def make_method(
    spec: RunSpec,
    benchmark: Benchmark,
    device: torch.device | str = "cpu",
    inputs: Mapping[str, Any] | None = None,
) -> Method:
    """A fresh method, its state on `device`; `inputs` as `World.inputs`."""
    kind = FirstTask if spec.kind == "pretrain" else method_of(spec)
    world = World(benchmark.input_shape, benchmark.classes, make_start(spec, benchmark), inputs or {})
    with torch.device(device):
        streams.reseed(spec.seed, "method")
        return kind(world, make_config(kind.Config, spec.config, spec.method))


def make_start(spec: RunSpec, benchmark: Benchmark) -> Start:
    """What builds the network with the seed's initial weights."""
    kind = network_of(spec)
    settings = calls.parse(spec.network, "network").settings(kind.Config, "network")
    config = make_config(kind.Config, settings, spec.network)
    return Start(kind, config, benchmark.input_shape, benchmark.classes, spec.seed)

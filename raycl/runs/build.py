"""Construction of what a run's spec describes: classes, data, network, training loop and required runs.

A spec is a plain value, and this module makes objects of it. Results that are expensive to compute are cached
in the spec.
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
    """Return the result of `make`, which is called once per spec and name and then cached in the spec."""
    if name not in spec.derived:
        spec.derived[name] = make()
    found: T = spec.derived[name]
    return found


def method_of(spec: RunSpec) -> type[Method]:
    """Return the class of a run's method."""
    with userfiles.importing_from(spec.home):
        return registry.method(spec.method)


def network_of(spec: RunSpec) -> type[Network]:
    """Return the class of a run's network."""
    with userfiles.importing_from(spec.home):
        return registry.network(spec.network)


def masks_for(spec: RunSpec) -> tuple[MaskSpec, ...]:
    """Return the specs of the basis masks that a run needs, including random masks that are not trained.

    Raises:
        UserError: If the method requires masks that this run cannot have.
    """

    def required() -> tuple[MaskSpec, ...]:
        kind = method_of(spec)
        with userfiles.importing_from(spec.home), userfiles.blamed(kind):
            return kind.required_masks(spec)

    return _once(spec, "masks", required)


def runs_for(spec: RunSpec) -> Mapping[str, RunSpec]:
    """Return the runs whose results a run requires, by name.

    Raises:
        UserError: If the method requires runs that this run cannot have.
    """

    def required() -> Mapping[str, RunSpec]:
        if spec.kind == "pretrain":
            return {}
        kind = method_of(spec)
        with userfiles.importing_from(spec.home), userfiles.blamed(kind):
            return {name: with_inputs(run) for name, run in kind.required_runs(spec).items()}

    return _once(spec, "runs", required)


def parts_of(spec: RunSpec) -> tuple[RunSpec, ...]:
    """Return the single-task runs that together make up a run whose tasks can be learnt in parallel.

    The result is empty for a run whose tasks must be learnt one after another.
    """

    def split() -> tuple[RunSpec, ...]:
        alone = method_of(spec).independent and spec.part is None and spec.kind == "sequence"
        if not (alone and BACKBONE in runs_for(spec)) or spec.evaluate == "full":
            return ()  # A full accuracy matrix also measures tasks that are not learnt yet.
        return tuple(replace(spec, part=task.index) for task in make_benchmark(spec).tasks)

    return _once(spec, "parts", split)


def with_inputs(spec: RunSpec) -> RunSpec:
    """Return the same run with the keys of its required masks and runs entered in `inputs`."""
    inputs = {name: run.key for name, run in runs_for(spec).items()}
    if masks := masks_for(spec):
        inputs["basis"] = key_of([mask.key for mask in masks])
    return replace(spec, inputs=inputs) if inputs else spec


def check_code(spec: RunSpec | MaskSpec) -> None:
    """Check that the classes found in this process are those from which the spec's key was made.

    Raises:
        UserError: If one of the user's files has changed since the key was made.
    """
    names = {"network": spec.network, "benchmark": spec.benchmark}
    if isinstance(spec, RunSpec) and spec.kind == "sequence":
        names["method"] = spec.method
    registry.check_code(spec.code, spec.home, names)


def make_benchmark(spec: RunSpec) -> Benchmark:
    """Return the run's benchmark, whose tasks are memory-mapped from prepared data."""
    with userfiles.importing_from(spec.home):
        return registry.load(spec.benchmark, spec.seed, spec.order, spec.identity)


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
    with torch.device(device):
        streams.reseed(spec.seed, "method")
        return kind(world, make_config(kind.Config, spec.config, spec.method))


def make_start(spec: RunSpec, benchmark: Benchmark) -> Start:
    """Return a callable that builds the network with the initial weights of the run's seed."""
    kind = network_of(spec)
    settings = calls.parse(spec.network, "network").settings(kind.Config, "network")
    config = make_config(kind.Config, settings, spec.network)
    return Start(kind, config, benchmark.input_shape, benchmark.classes, spec.seed)

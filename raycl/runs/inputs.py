"""What a run's spec refers to: its classes and data, and the masks and other runs that it needs first.

Answers that are expensive to compute are cached in the spec. Those about raycl's own methods are kept for
later processes as well (`raycl.remembering`), so that reading a finished study loads no method.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from raycl import registry, remembering, userfiles
from raycl.specs import MaskSpec, RunSpec, key_of

if TYPE_CHECKING:
    from raycl.method import Method
    from raycl.networks import Network
    from raycl.tasks import Benchmark

T = TypeVar("T")
REQUIRED = "required"
"""Name under which answers are kept: by the key of a run, the masks and runs that its method requires."""

_NOTHING: dict[str, Any] = {REQUIRED: ((), {}), "parts": ()}


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


def make_benchmark(spec: RunSpec) -> Benchmark:
    """Return the run's benchmark, whose tasks are memory-mapped from prepared data."""
    with userfiles.importing_from(spec.home):
        return registry.load(spec.benchmark, spec.seed, spec.order, spec.identity)


def require_nothing(spec: RunSpec) -> RunSpec:
    """Note that a run's method requires neither masks nor other runs, so that its class is not asked."""
    object.__setattr__(spec, "derived", _NOTHING)  # one for all, because a study may have a million specs
    return spec


def masks_for(spec: RunSpec) -> tuple[MaskSpec, ...]:
    """Return the specs of the basis masks that a run needs, including random masks that are not trained.

    Raises:
        UserError: If the method requires masks that this run cannot have.
    """
    return _once(spec, "required", lambda: _required(spec))[0]


def runs_for(spec: RunSpec) -> Mapping[str, RunSpec]:
    """Return the runs whose results a run requires, by name.

    Raises:
        UserError: If the method requires runs that this run cannot have.
    """
    return _once(spec, "required", lambda: _required(spec))[1]


def parts_of(spec: RunSpec) -> tuple[RunSpec, ...]:
    """Return the single-task runs that together make up a run whose tasks can be learnt in parallel.

    The result is empty for a run whose tasks must be learnt one after another.
    """

    def split() -> tuple[RunSpec, ...]:
        if spec.part is not None or spec.kind != "sequence" or not runs_for(spec):
            return ()
        from raycl.methods._first import BACKBONE  # imported here, because it loads torch

        alone = method_of(spec).independent and BACKBONE in runs_for(spec)
        if not alone or spec.evaluate == "full":
            return ()  # A full accuracy matrix also measures tasks that are not learnt yet.
        return tuple(replace(spec, part=task.index) for task in make_benchmark(spec).tasks)

    return _once(spec, "parts", split)


def with_inputs(spec: RunSpec) -> RunSpec:
    """Return the same run with the keys of its required masks and runs entered in `inputs`."""
    inputs = {name: run.key for name, run in runs_for(spec).items()}
    if masks := masks_for(spec):
        inputs["basis"] = key_of([mask.key for mask in masks])
    return replace(spec, inputs=inputs) if inputs else spec


_Required = tuple[tuple[MaskSpec, ...], Mapping[str, RunSpec]]


def _required(spec: RunSpec) -> _Required:
    """Return the masks and the runs that a run requires, as this or an earlier process asked its method."""
    # The key of a run on a user's own data leaves out their path, which its masks name.
    kept = not (spec.code or spec.identity or _names_own_class(spec))
    loaded = f"raycl.methods.{spec.method}" in sys.modules  # as in every worker: asking it costs less
    if kept and not loaded and (known := remembering.answer(REQUIRED, spec.key)) is not None:
        return _read(known, spec.home)
    kind = method_of(spec)
    with userfiles.importing_from(spec.home), userfiles.blamed(kind):
        masks = kind.required_masks(spec)
        named = {} if spec.kind == "pretrain" else kind.required_runs(spec)
        runs = {name: with_inputs(run) for name, run in named.items()}
    if kept:
        plain = {"masks": [mask.to_json() for mask in masks]}
        remembering.add(REQUIRED, spec.key, plain | {"runs": {n: run.to_json() for n, run in runs.items()}})
    return masks, runs


def _names_own_class(spec: RunSpec) -> bool:
    return any(":" in text.partition("(")[0] for text in (spec.method, spec.network, spec.benchmark))


def _read(plain: Mapping[str, Any], home: Path | None) -> _Required:
    masks = tuple(MaskSpec.from_json(mask, home) for mask in plain["masks"])
    return masks, {name: RunSpec.from_json(run, home) for name, run in plain["runs"].items()}

"""Checks of whether a cell can run on this machine: its network, its data, and its method on that network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from raycl import calls, registry, userfiles
from raycl.benchmarks import Recipe, sources
from raycl.domains import shown
from raycl.errors import Obstacle, UserError
from raycl.runs.build import make_method
from raycl.runs.inputs import masks_for, runs_for
from raycl.space import make_config
from raycl.study import limits, netcheck, notes
from raycl.study.cells import Cell, Data
from raycl.study.values import Grid, Search
from raycl.tasks import Benchmark


def check_needs(cell: Cell, place: str) -> None:
    """Check that the cell's network has the kind of structure that its method needs.

    Raises:
        UserError: If it does not.
    """
    settings = {k.partition(".")[2]: s.value for k, s in cell.settings.items() if k.startswith("net.")}
    kind = cell.network.variant(make_config(cell.network.Config, settings, place))
    missing = [need.__name__ for need in cell.method.needs if not issubclass(kind, need)]
    if missing:
        what = {"Heads": "a head of its own for each task", "Blocks": "blocks whose units can be gated"}
        lacks = ", ".join(what.get(name, name) for name in missing)
        raise UserError(
            f"{place}: {calls.name_of(cell.method)} needs a network with {lacks}, which "
            f"{calls.name_of(cell.network)} does not have; try mlp or alexnet"
        )


@dataclass(frozen=True)
class Found:
    """Outcome of checking a cell against its data.

    Attributes:
        blocked: What keeps the cell from running on this machine, or None.
        data: Facts about the data.
        notes: Notes on the cell.
    """

    blocked: Obstacle | None
    data: Data
    notes: tuple[str, ...] = ()


def check_benchmark(cell: Cell, recipe: Recipe, place: str) -> Found:
    """Check a cell against its data, and refuse a cell that can never run.

    Raises:
        UserError: If the cell can never run; the message names the value, the place and the remedy.
    """
    if (tasks := getattr(recipe, "tasks", 0)) > limits.TASKS:
        raise UserError(f"{place} on {recipe}: tasks = {tasks} is too many: at most {limits.TASKS}")
    with userfiles.blamed(type(recipe)):
        absent = [line for name in recipe.needs() if (line := sources.missing(name))]
    if absent:
        return Found(absent[0], Data(similar=recipe.similar, deviations=recipe.deviations()))
    try:
        with userfiles.blamed(type(recipe)):
            benchmark = registry.load(recipe, cell.trial_seed, 0)
    except UserError as error:
        if recipe.subset():  # with more of the data it may work
            blocked = Obstacle.of(str(error).removeprefix("benchmark "))
            return Found(blocked, Data(similar=recipe.similar, deviations=recipe.deviations()))
        raise UserError(f"{place.partition(': methods')[0]}: {error}") from None
    largest = _largest_network(cell, benchmark.input_shape, benchmark.classes, f"{place} on {recipe}")
    try:
        _check_method(cell, benchmark)
    except ValueError as error:
        raise UserError(f"{place} on {recipe}: {error}") from None
    if isinstance(cell.search, Search | Grid) and any(not len(task.val) for task in benchmark.tasks):
        raise UserError(
            f"{place} on {recipe}: the search needs validation samples, but there are none; "
            "give the benchmark some, or write search=None"
        )
    data = Data(benchmark.classes, benchmark.similar, benchmark.subset, recipe.deviations())
    return Found(None, data, notes.measured(cell, benchmark, largest, place))


def _largest_network(
    cell: Cell, input_shape: tuple[int, int, int], classes: Sequence[int], place: str
) -> netcheck.Measured:
    """Return the properties of the largest network that the cell's search may propose.

    The network is built with the cell's settings, and with each end and option of a domain in turn.

    Raises:
        UserError: If one of these networks cannot be built, or is too large.
    """
    values = notes.values_of(cell, "net")
    tried: list[tuple[dict[str, Any], str]] = [({}, "")]
    for key, options in notes.varied_of(cell).items():
        room, _, name = key.partition(".")
        if room == "net":
            tried += [({name: option}, f" with {key} = {shown(option)}") for option in options]
    found = []
    for change, how in tried:
        config = make_config(cell.network.Config, {**values, **change}, place)
        found.append(netcheck.measured(cell.network, config, input_shape, classes, place + how))
    return max(found, key=lambda network: network.parameters)


def _check_method(cell: Cell, benchmark: Benchmark) -> None:
    """Check that the method works on the network, and build a user's own method, before anything runs.

    Raises:
        UserError: If it does not work or cannot be built; the message names the layer, or file and line.
    """
    config = make_config(cell.network.Config, notes.values_of(cell, "net"), cell.name)
    with torch.device("meta"), userfiles.blamed(cell.network):
        net = cell.network.variant(config)(benchmark.input_shape, benchmark.classes, config)
    with userfiles.blamed(cell.method):
        cell.method.check_network(net, len(benchmark.classes))
    spec = cell.spec({}, cell.trial_seed)
    # A method that builds on masks or other runs cannot be built yet, because these are not there yet.
    if not userfiles.is_own(cell.method) or masks_for(spec) or runs_for(spec):
        return
    with torch.random.fork_rng(devices=[]), userfiles.blamed(cell.method):
        make_method(spec, benchmark)

"""Notes on a study: what a user should know before it runs, although nothing is wrong enough to be refused.

Notes are about settings that the author wrote and that have no effect, optimisers that break a property the
method promises, batches of one sample under batch normalisation, and sizes beyond this machine. Benchmarks
may add notes of their own.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from raycl.domains import Choice, Domain, ends
from raycl.errors import UserError
from raycl.method import Breaker
from raycl.study.cells import Cell
from raycl.study.limits import machine_bytes
from raycl.study.netcheck import Measured, fails_alone
from raycl.tasks import Benchmark
from raycl.training.fit import Fit
from raycl.training.presets import fit_of


def planned(cell: Cell, written: Collection[str]) -> tuple[str, ...]:
    """Return the notes on the settings of a cell.

    Args:
        cell: The cell.
        written: Dotted keys that the study's author gave, in `fit` or under the label.
    """
    values = values_of(cell, "fit")
    own = {key.removeprefix("fit.") for key in written if key.startswith("fit.")}
    return (*_without_effect(cell, values, own), *_broken(cell, values))


def _without_effect(cell: Cell, fit: Mapping[str, Any], own: Collection[str]) -> Iterator[str]:
    """Yield notes on settings that the author wrote and that nothing uses."""
    for name, why in cell.method.ignores.items():
        if name in own:
            yield f"fit.{name} has no effect: {why}"
    asked = {name for name in own if name not in cell.method.ignores}
    varied = set(varied_of(cell))
    if "fit.optimiser" not in varied:
        yield from _idle_momentum(fit, asked)
    if not varied & {"fit.schedule", "fit.stop"}:
        yield from _idle_schedule(fit, asked)
    if asked & {"lr", "lr_floor"} and not varied & {"fit.lr", "fit.lr_floor"}:
        yield from _floor_above(fit)
    if fit["schedule"] == "steps" and asked & {"schedule", "milestones", "epochs"}:
        beyond = [str(m) for m in fit["milestones"] if m >= fit["epochs"]]
        if beyond:
            yield f"milestones {', '.join(beyond)} lie beyond the {fit['epochs']} epochs and have no effect"


def _floor_above(fit: Mapping[str, Any]) -> Iterator[str]:
    """Yield a note on a floor that lies above the learning rate from the start."""
    if fit["schedule"] == "plateau" and fit["lr_span"] is None and fit["lr_floor"] > fit["lr"]:
        ends = fit["stop"] in ("below_floor", "first_plateau")
        what = "ends training" if ends else "raises the rate to it"
        above = f"fit.lr_floor = {fit['lr_floor']:g} lies above fit.lr = {fit['lr']:g}"
        yield f"{above}: the first plateau {what}"


def _idle_momentum(fit: Mapping[str, Any], asked: Collection[str]) -> Iterator[str]:
    optimiser = fit["optimiser"]
    if optimiser == "adam" and "momentum" in asked and fit["momentum"]:
        yield f"fit.momentum = {fit['momentum']:g} has no effect: optimiser = 'adam' has moments of its own"
    if optimiser != "sgd" and "nesterov" in asked and fit["nesterov"]:
        yield f"fit.nesterov = True has no effect: optimiser = {optimiser!r} does not have Nesterov steps"


def _idle_schedule(fit: Mapping[str, Any], asked: Collection[str]) -> Iterator[str]:
    schedule, stop = fit["schedule"], fit["stop"]
    plateau = schedule == "plateau"
    by_floor = plateau or stop == "floor_then_patience"
    by_plateau = plateau or stop in ("first_plateau", "floor_then_patience")
    looked_at = {
        "factor": plateau or schedule == "steps",
        "milestones": schedule == "steps",
        "lr_floor": by_floor and fit["lr_span"] is None,
        "lr_span": by_floor,
        "patience": by_plateau,
        "threshold": plateau or stop == "first_plateau",
    }
    for name, used in looked_at.items():
        if name in asked and not used and fit[name] not in ((), None):
            reason = f"schedule = {schedule!r} and stop = {stop!r} do not use it"
            if name == "lr_floor" and by_floor:
                reason = "lr_span determines the floor"
            yield f"fit.{name} has no effect: {reason}"
    if "stop" in asked and stop == "below_floor" and not plateau:
        yield f"fit.stop = 'below_floor' has no effect: schedule = {schedule!r} does not have a floor"


def _broken(cell: Cell, fit: Mapping[str, Any]) -> Iterator[str]:
    """Yield notes on properties that the method promises and its optimiser breaks."""
    breakers = cell.method.breakers(_config_of(cell))
    if not breakers:
        return
    tried = varied_of(cell)

    def can_be(name: str) -> list[Any]:
        return list(tried.get(f"fit.{name}", (fit[name],)))

    found: dict[Breaker, str] = {}
    ignored = cell.method.ignores
    if adaptive := [o for o in can_be("optimiser") if o != "sgd"]:
        found["adaptive"] = f"optimiser = {adaptive[0]!r}"
    for breaker, name in (("momentum", "momentum"), ("decay", "weight_decay")):
        if (most := max(can_be(name))) and not (name == "momentum" and "adam" in can_be("optimiser")):
            found[breaker] = f"{name} = {most:g}"  # type: ignore[index]
    for breaker, setting in found.items():
        if breaker in breakers and setting.partition(" ")[0] not in ignored:
            yield f"{setting} {breakers[breaker]}"


def measured(cell: Cell, benchmark: Benchmark, network: Measured, place: str) -> tuple[str, ...]:
    """Return the notes on a cell's data and network.

    Args:
        cell: The cell.
        benchmark: Its data.
        network: Properties of the largest network that the cell trains.
        place: Where the cell is defined, for messages.

    Raises:
        UserError: If a batch of one sample would meet batch normalisation that cannot handle it.
    """
    found = [str(note) for note in getattr(benchmark, "notes", ())]
    memory = machine_bytes()
    if memory and network.training_bytes > memory:
        found.append(
            f"training {network.parameters:.2g} parameters takes about {network.training_bytes / 2**30:.0f} "
            f"GiB, but this machine has {memory / 2**30:.0f}: run it on a machine with more memory"
        )
    if network.normalised and (lonely := _alone(cell, benchmark)):
        where, how = lonely
        remedy = "choose another batch size"
        if not _rests(cell) and _fails(cell, benchmark):
            raise UserError(
                f"{place} on {cell.shown}: {how} leaves one sample in a batch of {where}, but the "
                f"network's batch normalisation needs two; {remedy}"
            )
        found.append(
            f"{how} leaves one sample in a batch of {where}, and batch normalisation computes its "
            f"statistics from that one; {remedy}"
        )
    return tuple(found)


def _alone(cell: Cell, benchmark: Benchmark) -> tuple[str, str] | None:
    """Return a task that is trained with a batch of one sample and the setting that causes it, or None."""
    splits = [len(task.train) for task in benchmark.tasks]
    sizes = cell.method.samples_per_fit(_config_of(cell), splits)
    named = [f"task {n} ({size} samples)" for n, size in enumerate(sizes, 1)]
    if cell.method.joint:
        named = [f"all tasks together ({sum(splits)} samples)"]
    batches = {f"fit.batch = {b}": b for b in _batches(cell)}
    for how, batch in batches.items():
        for size, where in zip(sizes, named, strict=True):
            if _leaves_one(size, batch):
                return where, how
    if initial := getattr(_config_of(cell), "initial", ""):  # the preset with which the first task is trained
        batch = fit_of(initial).get("batch", Fit.Config().batch)
        if _leaves_one(len(benchmark.tasks[0].train), batch):
            return named[0], f"batch = {batch} of preset {initial}"
    return None


def _batches(cell: Cell) -> list[int]:
    """Return the batch sizes that a run may use: all where there are at most 1000, else the two ends."""
    domain: Domain | None = cell.space.get("fit.batch")
    if domain is None:
        return list(varied_of(cell).get("fit.batch", (cell.settings["fit.batch"].value,)))
    if isinstance(domain, Choice) or domain.high - domain.low > 1000:
        return list(ends(domain))
    return list(range(int(domain.low), int(domain.high) + 1))


def _leaves_one(size: int, batch: int) -> bool:
    return size > 0 and (batch == 1 or size % batch == 1)


def _fails(cell: Cell, benchmark: Benchmark) -> bool:
    """Return whether the cell's network cannot train on one sample."""
    config = cell.network.Config(**values_of(cell, "net"))
    return fails_alone(cell.network, config, benchmark.input_shape, benchmark.classes)


def _rests(cell: Cell) -> bool:
    """Return whether batch normalisation may use fixed statistics, so that one sample does no harm."""
    return cell.network.pretrained or cell.method.statistics_rest(_config_of(cell))


def _config_of(cell: Cell) -> Any:
    return cell.method.Config(**values_of(cell, "method"))


def values_of(cell: Cell, room: str) -> dict[str, Any]:
    """Return the values of the fields of one Config, "method", "net" or "fit", where nothing is searched."""
    settings = cell.settings.items()
    return {key.partition(".")[2]: s.value for key, s in settings if key.startswith(f"{room}.")}


def varied_of(cell: Cell) -> Mapping[str, tuple[Any, ...]]:
    """Return values that a search may try, by field: ends and options of domains, or the axes of a grid."""
    if cell.space:
        return {key: ends(domain) for key, domain in cell.space.items()}
    axes: Mapping[str, tuple[Any, ...]] = getattr(cell.search, "axes", {})
    return axes

"""The specs of the masks that form a basis (ImpressLearn section 3, step 1).

The spec of a mask covers all that the mask depends on, but not the basis or its size. So a basis shares masks
with the larger ones that contain it, and mask 0 of a heterogeneous basis is that of a homogeneous one.
"""

from __future__ import annotations

import functools
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

from raycl import registry, streams
from raycl.benchmarks import Recipe
from raycl.errors import UserError
from raycl.space import make_config
from raycl.specs import MaskSpec, RunSpec
from raycl.supermasks.rules import check_fit
from raycl.training.presets import fit_of
from raycl.training.settings import Config

KEPT = 100_000  # Specs of masks that a process keeps, because the runs of a study share most of them.
_RULES = ("density", "density_rule", "score_rank", "mask_values", "backbone_init")


@dataclass(frozen=True)
class Training:
    """How the masks of a basis are trained.

    Attributes:
        preset: Training preset.
        epochs, lr, optimiser: Settings instead of those of the preset; 0 and "" leave them as they are.
    """

    preset: str
    epochs: int = 0
    lr: float = 0.0
    optimiser: str = ""


def masks_of(
    spec: RunSpec,
    *,
    heterogeneous: int = 0,
    homogeneous: int = 0,
    random: int = 0,
    relearn: str = "",
    training: Training,
    **rules: Any,
) -> tuple[MaskSpec, ...]:
    """Return the specs of the masks of a basis, in the order heterogeneous, homogeneous, random.

    Scores, order of the data and backbone have random streams of their own; those of scores and order are
    derived from the run's seed and the mask's number. In a basis of both kinds the homogeneous masks are
    numbered from 1, because mask 0 is the same in both kinds.

    Args:
        spec: The run that uses the basis.
        heterogeneous: Number of masks that are trained on tasks 0, 1, ... of the benchmark's fixed sequence,
            one mask per task.
        homogeneous: Number of masks that are trained on task 0 and differ in initial scores and data order.
        random: Number of masks with ones at random places, which are not trained.
        relearn: The stage of the run if it meets the basis tasks themselves, or "" if it learns only tasks
            that follow them.
        training: How the masks are trained.
        rules: density, density_rule, score_rank, mask_values and backbone_init, as in `MaskSpec`.

    Raises:
        UserError: The benchmark does not have these tasks, or does not have them before the tasks that the
            run learns.
    """
    recipe = registry.recipe(spec.benchmark)
    _check_tasks(spec, recipe, heterogeneous, homogeneous, relearn)

    def mask(number: int, task: int, trained: bool = True) -> MaskSpec:
        return _mask(spec, recipe, number, task, trained, training, rules)

    after = min(heterogeneous, 1)
    return (
        *(mask(number, task=number) for number in range(heterogeneous)),
        *(mask(number, task=0) for number in range(after, after + homogeneous)),
        *(mask(number, task=0, trained=False) for number in range(random)),
    )


def _check_tasks(spec: RunSpec, recipe: Recipe, heterogeneous: int, homogeneous: int, relearn: str) -> None:
    """Raise UserError unless the benchmark has the basis tasks where `masks_of` takes them from."""
    needed = max(heterogeneous, min(homogeneous, 1))
    recipe.window(0, max(needed, 1))  # raises if the benchmark has no fixed sequence, or a shorter one
    first: int = getattr(recipe, "first", 0)
    if relearn and (first or spec.order):
        raise UserError(
            f"{spec.method}: stage = {relearn!r} meets the basis tasks in their own order, but benchmark "
            f"{recipe} starts at task {first} in order {spec.order}; set first=0 and orders=1"
        )
    if not relearn and needed > first:
        lower = f", or lower k to {first}" if heterogeneous and first else ""
        tasks = "task 0" if needed == 1 else f"the tasks 0 to {needed - 1}"
        raise UserError(
            f"{spec.method}: {tasks} should be for the basis masks alone, but benchmark {recipe} learns from "
            f"task {first} on; write first={needed} in the benchmark's name{lower}"
        )


def own_masks(spec: RunSpec, training: Training, **rules: Any) -> tuple[MaskSpec, ...]:
    """Return the spec of a mask for each task that the run learns.

    A heterogeneous basis of the same tasks has the same masks.

    Raises:
        UserError: The benchmark does not have a fixed sequence of tasks, or the run shuffles it.
    """
    recipe = registry.recipe(spec.benchmark)
    if spec.order:
        raise UserError(
            f"{spec.method}: bank = True needs tasks in their own order, but this is order {spec.order}; set "
            "orders=1"
        )
    recipe.window(0, 1)
    first, tasks = recipe.first, recipe.tasks  # type: ignore[attr-defined]
    return tuple(
        _mask(spec, recipe, number, number, True, training, rules) for number in range(first, first + tasks)
    )


def rules_of(config: Any) -> dict[str, Any]:
    """Return the fields of a method's Config that define its masks."""
    return {name: getattr(config, name) for name in _RULES}


def training_of(config: Any) -> Training:
    """Return the fields of a method's Config that say how its masks are trained."""
    return Training(config.basis_preset, config.basis_epochs, config.basis_lr, config.basis_optimiser)


def _mask(
    spec: RunSpec,
    recipe: Recipe,
    number: int,
    task: int,
    trained: bool,
    training: Training,
    rules: Mapping[str, Any],
) -> MaskSpec:
    """Return the spec of mask `number`, whose benchmark is the single task `task` of the sequence."""
    settings = {
        "network": spec.network,
        "benchmark": _text(spec.benchmark, recipe, task),
        "backbone_seed": spec.seed,
        "trained": trained,
        "numerics": spec.numerics,
        "home": spec.home,
        **rules,
    }
    parts = {
        "fit": _fit_of(training, spec.method) if trained else (),
        "identity": tuple(spec.identity.items()),
        "versions": tuple(entry for entry in spec.versions.items() if entry[0] != "method"),
        "code": tuple(entry for entry in spec.code.items() if entry[0] != "method"),
    }
    return _shared(number, tuple(settings.items()), tuple(parts.items()))


@functools.lru_cache(maxsize=KEPT)
def _shared(number: int, settings: tuple[Any, ...], parts: tuple[Any, ...]) -> MaskSpec:
    """Return the spec of mask `number`, the same object to all runs that need it."""
    given: dict[str, Any] = {**dict(settings), **{name: dict(entries) for name, entries in parts}}
    seed = given["backbone_seed"]
    order_seed = streams.seed_of(seed, "order", task=number, fit="basis order")
    return MaskSpec(
        task=0,
        score_seed=streams.seed_of(seed, "init", task=number, fit="basis scores"),
        order_seed=order_seed if given["trained"] else 0,
        **given,
    )


def _text(benchmark: str, recipe: Recipe, task: int) -> str:
    """Return the text of the benchmark that is a single task of the sequence.

    The texts of raycl's own recipes are kept. A class of the user's own may change under the same text.
    """
    own = ":" in benchmark.partition("(")[0]
    return str(recipe.window(task, 1)) if own else _kept_text(benchmark, task)


@functools.lru_cache(maxsize=KEPT)
def _kept_text(benchmark: str, task: int) -> str:
    return str(registry.recipe(benchmark).window(task, 1))


@functools.lru_cache(maxsize=1000)
def _fit_of(training: Training, place: str) -> tuple[tuple[str, Hashable], ...]:
    """Return the fields of `Fit.Config` that the training changes, after checking that they suit masks."""
    where = f"{place}: basis_preset"
    changed = fit_of(training.preset, training.epochs, where, lr=training.lr, optimiser=training.optimiser)
    check_fit(make_config(Config, changed, where), f"{where} = {training.preset!r}")
    return tuple(changed.items())

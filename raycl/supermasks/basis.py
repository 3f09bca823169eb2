"""Which masks a basis is made of (ImpressLearn section 4), as specs that say all that each depends on.

A mask's spec names neither the basis nor its size, so nested bases share masks, and so do kinds of basis:
mask 0 of a heterogeneous and of a homogeneous one are the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from raycl import registry, streams
from raycl.benchmarks import Recipe
from raycl.errors import UserError
from raycl.space import make_config
from raycl.specs import MaskSpec, RunSpec
from raycl.supermasks.rules import check_fit
from raycl.training.presets import fit_of
from raycl.training.settings import Config

_RULES = ("density", "density_rule", "score_rank", "mask_values", "backbone_init")


def masks_of(
    spec: RunSpec,
    *,
    heterogeneous: int = 0,
    homogeneous: int = 0,
    random: int = 0,
    relearn: bool = False,
    preset: str = "",
    epochs: int = 0,
    **rules: Any,
) -> tuple[MaskSpec, ...]:
    """The masks of a basis in order: heterogeneous, homogeneous, random.

    Scores, order of the data and backbone have streams of their own, all derived from the run's seed and the
    mask's number. In a basis of two kinds the homogeneous masks go on at number 1, since mask 0 is there.

    Args:
        heterogeneous: masks of tasks 0, 1, .. of the benchmark's fixed sequence, one each.
        homogeneous: masks of task 0 that differ by scores and order.
        random: masks in random places.
        relearn: the run learns the basis tasks themselves, and not tasks behind them.
        preset, epochs: how they are trained; 0 epochs are the preset's.
        rules: density, density_rule, score_rank, mask_values and backbone_init, as in `MaskSpec`.

    Raises:
        UserError: the benchmark has no such tasks, or not in front of those that the run learns.
    """
    recipe = registry.recipe(spec.benchmark)
    _check_tasks(spec, recipe, heterogeneous, homogeneous, relearn)

    def mask(number: int, task: int, trained: bool = True) -> MaskSpec:
        return _mask(spec, recipe, number, task, trained, preset, epochs, rules)

    after = min(heterogeneous, 1)
    return (
        *(mask(number, task=number) for number in range(heterogeneous)),
        *(mask(number, task=0) for number in range(after, after + homogeneous)),
        *(mask(number, task=0, trained=False) for number in range(random)),
    )


def _check_tasks(spec: RunSpec, recipe: Recipe, heterogeneous: int, homogeneous: int, relearn: bool) -> None:
    """See that the benchmark has the tasks of a basis where `masks_of` takes them from."""
    needed = max(heterogeneous, min(homogeneous, 1))
    recipe.window(0, max(needed, 1))  # refuses a benchmark without a fixed sequence, or with a shorter one
    first: int = getattr(recipe, "first", 0)
    if relearn and (first or spec.order):
        raise UserError(
            f"{spec.method}: stage = 'basis_gn' learns the basis tasks in their own order, and benchmark "
            f"{recipe} starts at task {first} in order {spec.order}; set first=0 and orders=1"
        )
    if not relearn and needed > first:
        lower = f" or lower k to {first}" if heterogeneous and first else ""
        raise UserError(
            f"{spec.method}: k = {heterogeneous or homogeneous} takes basis tasks 0..{needed - 1}, and "
            f"benchmark {recipe} has {first} in front of its new tasks; set first={needed}{lower}"
        )


def own_masks(spec: RunSpec, preset: str, epochs: int, **rules: Any) -> tuple[MaskSpec, ...]:
    """The mask of each task that the run learns; a heterogeneous basis of these tasks has the same.

    Raises:
        UserError: the benchmark has no fixed sequence of tasks, or the run shuffles it.
    """
    recipe = registry.recipe(spec.benchmark)
    if spec.order:
        raise UserError(
            f"{spec.method}: bank = True takes tasks in their own order, and this is order {spec.order}; set "
            "orders=1"
        )
    recipe.window(0, 1)
    first, tasks = recipe.first, recipe.tasks  # type: ignore[attr-defined]
    return tuple(
        _mask(spec, recipe, number, number, True, preset, epochs, rules)
        for number in range(first, first + tasks)
    )


def rules_of(config: Any) -> dict[str, Any]:
    """The fields of a method's Config that say what its masks are."""
    return {name: getattr(config, name) for name in _RULES}


def _mask(
    spec: RunSpec,
    recipe: Recipe,
    number: int,
    task: int,
    trained: bool,
    preset: str,
    epochs: int,
    rules: Mapping[str, Any],
) -> MaskSpec:
    """Mask `number` of a basis, of task `task` of the sequence: a window of one task, whatever the basis."""
    score_seed = streams.seed_of(spec.seed, "init", task=number, fit="basis scores")
    order_seed = streams.seed_of(spec.seed, "order", task=number, fit="basis order")
    return MaskSpec(
        network=spec.network,
        benchmark=str(recipe.window(task, 1)),
        task=0,
        backbone_seed=spec.seed,
        score_seed=score_seed,
        order_seed=order_seed if trained else 0,
        trained=trained,
        fit=_fit_of(preset, epochs, spec.method) if trained else {},
        numerics=spec.numerics,
        identity=dict(spec.identity),
        versions={part: version for part, version in spec.versions.items() if part != "method"},
        code={part: code for part, code in spec.code.items() if part != "method"},
        home=spec.home,
        **rules,
    )


def _fit_of(preset: str, epochs: int, place: str) -> dict[str, Any]:
    """Fields of `Fit.Config` that the presets change, which masks can be trained with."""
    changed = fit_of(preset, epochs, f"{place}: basis_preset")
    check_fit(make_config(Config, changed, f"{place}: basis_preset"), f"{place}: basis_preset = {preset!r}")
    return changed

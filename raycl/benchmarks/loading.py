"""From a recipe to its tasks, checked."""

from __future__ import annotations

from dataclasses import replace

from raycl.benchmarks.base import Recipe
from raycl.benchmarks.checks import checked
from raycl.errors import UserError
from raycl.tasks import Benchmark


def made_of(recipe: Recipe, seed: int, order: int = 0) -> Benchmark:
    """The tasks that a recipe makes from data that are prepared.

    Args:
        seed: the run's training seed, for recipes that depend on it.
        order: number of the task order; 0 is the benchmark's own.

    Raises:
        UserError: a user's own recipe makes what is no benchmark, or the published data are not whole.
    """
    made = recipe.make(seed, order)
    if not type(recipe).__module__.startswith("raycl."):
        made = checked(made, str(recipe))
    notes = ", ".join(note for note in (recipe.subset(), made.subset) if note)
    if not notes:
        _check_counts(recipe, made)
    return replace(made, name=str(recipe), subset=notes)


def _check_counts(recipe: Recipe, made: Benchmark) -> None:
    """The whole published data must make tasks of the paper's size: an error, and not a footnote."""
    wanted = recipe.counts()
    for task in made.tasks if wanted else ():
        have = (len(task.train), len(task.val), len(task.test))
        if have != wanted:
            raise UserError(
                f"benchmark {recipe}: task {task.index + 1} has {have} images in train, val and test, where "
                f"the paper's table says {wanted}; prepare {', '.join(recipe.needs())} again"
            )

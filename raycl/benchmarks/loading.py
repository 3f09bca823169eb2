"""This module makes the tasks of a recipe and checks them."""

from __future__ import annotations

from dataclasses import replace

from raycl.benchmarks.base import Recipe
from raycl.benchmarks.checks import checked
from raycl.datafolder import data_root
from raycl.errors import UserError
from raycl.tasks import Benchmark


def made_of(recipe: Recipe, seed: int, order: int = 0) -> Benchmark:
    """Return the tasks that a recipe makes from prepared data.

    Args:
        recipe: The recipe.
        seed: The training seed of the run, for recipes that depend on it.
        order: The number of the task order; 0 is the benchmark's own order.

    Raises:
        UserError: A user's own recipe does not make a valid benchmark, or the published data are incomplete.
    """
    made = recipe.make(seed, order)
    if not type(recipe).__module__.startswith("raycl."):
        made = checked(made, str(recipe))
    notes = ", ".join(note for note in (recipe.subset(), made.subset) if note)
    if not notes:
        _check_counts(recipe, made)
    return replace(made, name=str(recipe), subset=notes)


def _check_counts(recipe: Recipe, made: Benchmark) -> None:
    """Check that complete published data make tasks of the expected size.

    A difference is an error and not a note, because the results could not be compared with a paper's.
    """
    expected = recipe.counts()
    by = f" by {recipe.counted_by}" if recipe.counted_by else ""
    for task in made.tasks if expected else ():
        have = (len(task.train), len(task.val), len(task.test))
        if have != expected:
            raise UserError(
                f"benchmark {recipe}: task {task.index + 1} has {have} images in train, val and test, but "
                f"{expected} are expected{by}; {_remedy(recipe)}"
            )


def _remedy(recipe: Recipe) -> str:
    if not (sources := recipe.needs()):
        return f"{type(recipe).__name__}: build(self, seed) and counts(self) contradict each other"
    where = ", ".join(str(data_root() / source) for source in sources)
    return f"delete the prepared data ({where}), then type: raycl data prepare {' '.join(sources)}"

"""The printed numbers of a paper, looked up by table, benchmark, method and metric."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from raycl import registry
from raycl.catalogue import catalogue
from raycl.errors import UserError
from raycl.papers import printed
from raycl.papers.printed import Printed
from raycl.papers.tables import MEAN, tasks_in
from raycl.results.grammar import (
    Item,
    Metric,
    Place,
    expanded,
    parse_item,
    parse_metric,
    parse_place,
    split,
)

if TYPE_CHECKING:
    from raycl.benchmarks.base import Recipe


class Spot(NamedTuple):
    """The benchmark that a number is about, or a part or some tasks of it.

    Attributes:
        benchmark: The canonical form of the benchmark's name and settings.
        part: The name of a part, or "".
        tasks: Tasks counted from 1, or () for all of them.
    """

    benchmark: str
    part: str = ""
    tasks: tuple[int, ...] = ()


class MeanOver(NamedTuple):
    """The mean over several spots, in sorted order."""

    spots: tuple[Spot, ...]


Where: TypeAlias = Spot | MeanOver

Key: TypeAlias = tuple[str, Where, str, str]  # table, benchmark, method, metric


def printed_by_place(paper: str) -> dict[Key, Printed]:
    """Return the numbers of a paper by place.

    Places for which the paper prints several numbers and numbers that are arithmetic are left out.
    """
    found: dict[Key, Printed] = {}
    twice = set()
    for one in _numbers(paper):
        place = _place_of(one.benchmark)
        if place and not one.arithmetic:
            key = (one.table, place, same_item(one.method), same_metric(one.metric))
            twice |= {key} & found.keys()
            found[key] = one
    found = {key: one for key, one in found.items() if key not in twice}
    return _averages(found) | found


def _averages(found: Mapping[Key, Printed]) -> dict[Key, Printed]:
    """Return the accuracies over all tasks also under the mean over their tasks.

    Both are the same number where a paper prints the accuracies of the single tasks as well.
    """
    tasks: dict[Key, list[Spot]] = {}
    for table, place, method, metric in found:
        if isinstance(place, Spot) and place.tasks and metric == "acc":
            whole = (table, place._replace(tasks=()), method, metric)
            tasks.setdefault(whole, []).append(place)
    printed_too = {key: places for key, places in tasks.items() if key in found}
    return {(key[0], together(places), *key[2:]): found[key] for key, places in printed_too.items()}


def _numbers(paper: str) -> tuple[Printed, ...]:
    try:
        return printed.printed_numbers(paper) if paper else ()
    except UserError:  # The available text of some papers does not contain any numbers.
        return ()


def is_papers_own(label: str, place: Spot, paper: str) -> bool:
    """Return whether a place may hold numbers of the paper under a column's name.

    A name that the paper gives to a benchmark, or to a part or a task of one, means that place alone. Under
    any other name, all tasks and parts of the paper's benchmarks are the paper's own.
    """
    stated = printed.datasets(paper)
    if label in stated:
        return place == _place_of(stated[label])
    return place.benchmark in _benchmarks(paper)


def fewer_tasks(label: str, recipe: Recipe, paper: str) -> str:
    """Return how many of a paper's tasks a benchmark has, such as "5 of 20 tasks", or "".

    The result is "" unless the benchmark is one of the paper's in all other settings.

    Args:
        label: The column's name. If the paper gives it to a benchmark, no other one counts.
        recipe: The benchmark.
        paper: The name of the paper.
    """
    stated = _place_of(printed.datasets(paper).get(label, ""))
    for text in {stated.benchmark} if isinstance(stated, Spot) else _benchmarks(paper):
        whole = registry.recipe(text)
        have, all_of_it = (getattr(each, "tasks", 0) for each in (recipe, whole))
        if type(whole) is type(recipe) and have < all_of_it and replace(whole, **{"tasks": have}) == recipe:
            return f"{have} of {all_of_it} tasks"
    return ""


@functools.cache
def _benchmarks(paper: str) -> set[str]:
    """Return the benchmarks of a paper, in their canonical form."""
    named = [*printed.datasets(paper).values(), *(one.benchmark for one in _numbers(paper))]
    found = [_place_of(text) for text in [*named, *catalogue()["stand_ins"]]]
    return {place.benchmark for place in found if isinstance(place, Spot)}


def method_named(label: str, paper: str) -> str:
    """Return the method to which the paper gives this name in its tables, or ""."""
    return printed.methods(paper).get(label, "")


@functools.cache
def _place_of(text: str) -> Where | None:
    """Parse a place such as ``cifar100_super[first=5]#3`` or ``mean(spg_all)``.

    The result is None where there is no such benchmark.
    """
    inner = text.removeprefix(f"{MEAN}(").removesuffix(")")
    if inner != text:
        found = [_place_of(part) for part in split(expanded(inner))]
        spots = [place for place in found if isinstance(place, Spot)]
        return together(spots) if len(spots) == len(found) else None
    written, _, numbers = text.partition("#")
    place = parse_place(written)
    try:
        return Spot(str(registry.recipe(_call(place))), place.part, tasks_in(numbers)) if place else None
    except UserError:
        return None


def _call(place: Place) -> str:
    return f"{place.benchmark}({', '.join(f'{name}={value!r}' for name, value in place.fields)})"


def together(spots: Iterable[Spot]) -> MeanOver:
    """Return the mean over several spots, whatever their order."""
    return MeanOver(tuple(sorted(spots)))


def same_item(text: str) -> str:
    """Return a normal form of an item, which is equal for items that differ only in the order of fields."""
    item = parse_item(text)
    return text if item is None else str(Item(item.method, tuple(sorted(item.fields, key=repr))))


def same_metric(text: str) -> str:
    """Return a normal form of a metric, which does not depend on the order of its picks."""
    metric = parse_metric(text)
    return text if metric is None else str(Metric(metric.name, tuple(sorted(metric.picks))))

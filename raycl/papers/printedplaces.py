"""Where the numbers of a paper stand: by table, benchmark, method and metric."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from typing import NamedTuple, TypeAlias

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


class Spot(NamedTuple):
    """What a number is about: a benchmark, or a part or some tasks of it.

    Attributes:
        benchmark: its canonical text.
        tasks: counted from 1.
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
    """A paper's numbers by place; without places where it prints several, and without arithmetic."""
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
    """An accuracy over all tasks is the mean of those of the tasks, where a paper prints these as well."""
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
    except UserError:  # of some papers none survives
        return ()


def places_of(label: str, paper: str) -> set[Where | None]:
    """What a column of that name may hold: what the paper calls so, or else any of the papers' benchmarks."""
    stated = printed.datasets(paper)
    if label in stated:
        return {_place_of(stated[label])}
    known = [*stated.values(), *(one.benchmark for one in _numbers(paper)), *catalogue()["stand_ins"]]
    return {_place_of(text) for text in known}


@functools.cache
def _place_of(text: str) -> Where | None:
    """``cifar100_super[first=5]#3``, ``mean(spg_all)`` as a place; None where there is no such benchmark."""
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
    return MeanOver(tuple(sorted(spots)))


def same_item(text: str) -> str:
    """Equal for texts that differ in the order of fields alone."""
    item = parse_item(text)
    return text if item is None else str(Item(item.method, tuple(sorted(item.fields, key=repr))))


def same_metric(text: str) -> str:
    metric = parse_metric(text)
    return text if metric is None else str(Metric(metric.name, tuple(sorted(metric.picks))))

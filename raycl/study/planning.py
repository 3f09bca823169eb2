"""Checks of labels, grids and proposals that are made while a study is planned, before anything runs."""

from __future__ import annotations

import functools
import itertools
import math
import random
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from raycl.domains import Choice, shown
from raycl.errors import UserError
from raycl.method import Method
from raycl.runs.reports import default_evaluate
from raycl.space import made
from raycl.study.cells import Cell, Setting
from raycl.study.limits import LABEL, RUNS
from raycl.study.notes import values_of, varied_of
from raycl.study.values import Grid, Search
from raycl.text import counted
from raycl.training.fit import Fit

_ODD = ("Cc", "Cs", "Zl", "Zp")  # characters that move a cursor, break a line or cannot be encoded
_TURNING = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"  # change the direction of writing
COMBINATIONS = 64  # largest number of combinations of ends and options that are tried for a search

Values = tuple[tuple[str, Any], ...]
"""Fields of a Config by name, in a form that has a hash and can therefore be cached."""


def check_labels(labels: Iterable[Any], place: str) -> None:
    """Check that labels can be read, typed and told apart.

    Raises:
        UserError: If a label is empty or too long, contains a control character, or looks like another one.
    """
    seen: dict[str, str] = {}
    for label in labels:
        named = f"{place}: methods: the label {shown(label)}"
        if not label.strip():
            raise UserError(f"{named} is empty: give it a name")
        if len(label) > LABEL:
            raise UserError(f"{named} has {len(label)} characters, but at most {LABEL} are allowed")
        if odd := next((c for c in label if unicodedata.category(c) in _ODD or c in _TURNING), ""):
            raise UserError(f"{named} contains the control character {odd!a}: remove it")
        if label != label.strip():
            raise UserError(f"{named} begins or ends with a space: remove it")
        seen_as = unicodedata.normalize("NFKC", label).casefold()
        plain = " ".join("".join(c for c in seen_as if unicodedata.category(c) != "Cf").split())
        if plain in seen:
            raise UserError(f"{named} differs from {seen[plain]!r} only in spaces, case or form: rename one")
        seen[plain] = label


def check_grid(grid: Grid, settings: Mapping[str, Setting], fixed: Iterable[str], place: str) -> None:
    """Check that nothing else sets or searches the axes of a grid.

    Args:
        grid: The grid.
        settings: Every dotted field of the cell.
        fixed: Keys to which the label gives values.
        place: Where the label is defined, for messages.

    Raises:
        UserError: If the label gives an axis a value, or asks for a domain that is not an axis.
    """
    for key in fixed:
        if key in grid.axes:
            raise UserError(
                f"{place}: {key} has a value of its own and is an axis of the Grid, which would override it: "
                "remove one of them"
            )
    for key, setting in settings.items():
        if setting.domain is not None and setting.explicit and key not in grid.axes:
            raise UserError(
                f"{place}: {key} = {setting.domain!r} is a domain, but a Grid does not draw from domains; "
                "give it a value, or make it an axis of the Grid"
            )


def check_sampler(search: Search, settings: Mapping[str, Setting], place: str) -> None:
    """Check that the sampler of a search can handle the domains.

    Args:
        search: The search.
        settings: Every dotted field of the cell.
        place: Where the label is defined, for messages.

    Raises:
        UserError: If it cannot.
    """
    if search.sampler != "cmaes":
        return
    domains = {key: s.domain for key, s in settings.items() if s.domain is not None}
    ranges = [key for key, d in domains.items() if not isinstance(d, Choice) and d.low < d.high]
    if len(ranges) < 2:
        has = f"{ranges[0]} alone" if ranges else "none"
        raise UserError(
            f"{place}: search.sampler = 'cmaes' needs at least two ranges (Float or Int), but of "
            f"{', '.join(domains)} it has {has}; write sampler = 'tpe', 'random', 'qmc' or 'gp'"
        )


def check_pruning(cell: Cell, tasks: int, place: str) -> str:
    """Check that the trials of a cell's search can be judged where its rule wants to judge them.

    Args:
        cell: The cell.
        tasks: Number of tasks of its benchmark; 0 if it is not known, as the data are missing.
        place: Where the label is defined, for messages.

    Returns:
        A note, if no trial can be pruned; otherwise "".

    Raises:
        UserError: If they cannot.
    """
    search = cell.search
    if not (isinstance(search, Search) and search.prune and tasks):
        return ""
    where, rule = f"{place} on {cell.benchmark}: search.prune = {search.prune!r}", search.prune
    if rule.latest >= tasks:
        raise UserError(
            f"{where} judges trials after task {rule.latest}, but there {'is' if tasks == 1 else 'are'} "
            f"{counted(tasks, 'task')}, and nothing is saved after the last one: judge them earlier"
        )
    if (cell.evaluate or default_evaluate(tasks)) == "ends" and rule.latest > 1:
        raise UserError(
            f"{where} needs the accuracy on all tasks learnt so far, but of {tasks} tasks only the latest is "
            "measured: write evaluate='learnt' in the study, or remove prune"
        )
    if why := rule.without_effect(search.trials, search.concurrency):
        return f"search.prune = {rule!r} prunes nothing, because {why}"
    return ""


def check_objectives(cell: Cell, tasks: int, place: str) -> None:
    """Check that the runs of a cell can have every objective of its search.

    Args:
        cell: The cell.
        tasks: Number of tasks of its benchmark; 0 if it is not known, as the data are missing.
        place: Where the label is defined, for messages.

    Raises:
        UserError: If an objective needs accuracies that are not measured, or several tasks.
    """
    if not (isinstance(cell.search, Search) and tasks):
        return
    evaluate = cell.evaluate or default_evaluate(tasks)
    learnt, tested = np.indices((tasks, tasks))
    measured = tested == learnt if evaluate == "ends" else tested <= learnt
    if cell.method.joint:
        measured = np.zeros_like(measured)
    a = np.where(measured | (learnt == tasks - 1), 0.5, np.nan)
    for objective in cell.objectives:
        if not objective.is_accuracy or objective.of_matrix(a) is not None:
            continue
        named = f"{place} on {cell.benchmark}: search.objectives: {str(objective)!r}"
        if tasks == 1:
            raise UserError(f"{named} needs several tasks, but there is one: remove it")
        if cell.method.joint:
            raise UserError(
                f"{named} needs the accuracy after each task, but {cell.kinds.method} learns all tasks "
                "together: give the label a search of its own"
            )
        raise UserError(
            f"{named} needs the accuracy on all tasks learnt so far, but of {tasks} tasks only the latest is "
            "measured: write evaluate='learnt' in the study, or remove it"
        )


def check_proposals(cell: Cell, place: str) -> None:
    """Check that no trial of a cell's search can propose values that a Config refuses.

    The Configs are made with each end and option of every domain, one by one and in combinations, or with
    every point of a grid.

    Raises:
        UserError: If a Config refuses; the message names the field, the value and the Config's complaint.
    """
    varied = varied_of(cell)
    if not varied:
        return
    kinds = {"method": cell.method.Config, "net": cell.network.Config, "fit": _fit_config()}
    for room, kind in kinds.items():
        mine = {k.partition(".")[2]: v for k, v in varied.items() if k.startswith(f"{room}.")}
        if not mine:
            continue
        values = values_of(cell, room)
        fixed = {k: value for k, value in values.items() if k not in mine}
        start = {k: values[k] for k in mine}
        most = COMBINATIONS if cell.space else RUNS
        complaint = _first_refusal(
            kind, tuple(fixed.items()), tuple(start.items()), tuple(mine.items()), most
        )
        if complaint:
            key, value, text = complaint
            named = f"{room}.{key}" if key else f"{room}: together"
            raise UserError(f"{place}: the search can propose {named} = {value}: {text}; change its domain")
    _check_needs_of_proposals(cell, varied, place)


def _fit_config() -> type:
    return Fit.Config


@functools.lru_cache(maxsize=1024)
def _first_refusal(
    kind: type, fixed: Values, start: Values, varied: tuple[tuple[str, tuple[Any, ...]], ...], most: int
) -> tuple[str, str, str] | None:
    """Return field, value and complaint of the first Config that cannot be made, or None.

    The answer is cached, because many cells of a study have the same domains.
    """
    base = dict(fixed) | dict(start)
    for key, values in varied:
        for value in values:
            if text := _refusal(kind, base | {key: value}):
                return key, shown(value), text
    names, options = [key for key, _ in varied], [values for _, values in varied]
    for point in _combinations(options, most) if len(names) > 1 else ():
        found = dict(zip(names, point, strict=True))
        if text := _refusal(kind, base | found):
            return "", shown(found), text
    return None


def _combinations(options: list[tuple[Any, ...]], most: int) -> Iterable[tuple[Any, ...]]:
    """Return all combinations, or `most` random ones if there are more; the draws are always the same."""
    if math.prod(map(len, options)) <= most:
        return itertools.product(*options)
    draw = random.Random(0)
    return [tuple(draw.choice(values) for values in options) for _ in range(most)]


def _refusal(kind: type, values: Mapping[str, Any]) -> str:
    """Return the complaint of a Config about its values, or ""."""
    try:
        made(kind, values, "")
    except UserError as error:
        return str(error).removeprefix(": ")
    return ""


def _check_needs_of_proposals(cell: Cell, varied: Mapping[str, tuple[Any, ...]], place: str) -> None:
    """Check that the masks and runs which a proposal requires exist, where the method requires any."""
    own = (cell.method.required_masks.__func__, cell.method.required_runs.__func__)  # type: ignore[attr-defined]
    if own == (Method.required_masks.__func__, Method.required_runs.__func__):  # type: ignore[attr-defined]
        return
    for key, values in varied.items():
        for value in values:
            try:
                cell.spec({key: value}, cell.trial_seed)
            except UserError as error:
                raise UserError(f"{place}: the search can propose {key} = {shown(value)}: {error}") from None

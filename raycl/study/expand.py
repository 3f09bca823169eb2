"""From a study to its cells."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from raycl import benchmarks, calls, oldnames, process, registry, userfiles
from raycl.benchmarks import Recipe
from raycl.domains import repeated, shown
from raycl.errors import SCREEN, UserError, closest, nearest, quoted, screen_line
from raycl.patterns import Naming, chosen
from raycl.space import coerce
from raycl.specs import CORE_VERSION
from raycl.study import notes, planning
from raycl.study.cells import Cell, Setting
from raycl.study.checks import check_search, check_study
from raycl.study.runnable import check_benchmark, check_needs
from raycl.study.settings import SPECIAL, settings_of
from raycl.study.values import Grid, Resources, Search, Study
from raycl.userfiles import digest


def cells_of(study: Study, only: str | None = None, check: bool = True) -> list[Cell]:
    """All cells of a study, checked.

    Args:
        only: a pattern over ``label/benchmark``.
        check: also see whether data are here and networks fit; loads the benchmarks.

    Raises:
        UserError: names the value, the place and the remedy.
    """
    left: list[str] = []
    building = process.untouched(f"{notes.STUDY}{study.file}", left.append, "its classes were tried")
    with building, userfiles.importing_from(study.folder):
        found = _cells_of(study, only, check)
    if found and left:
        found[0] = dataclasses.replace(found[0], notes=(*left, *found[0].notes))
    return found


def _cells_of(study: Study, only: str | None, check: bool) -> list[Cell]:
    place = study.file
    check_study(study, place)
    recipes: dict[str, Recipe] = {}  # one of each, since a checksum of many files takes a while
    for text in [t for keys in study.methods.values() for t in keys.get("benchmarks", study.benchmarks)]:
        if text not in recipes:
            recipes[text] = registry.recipe(text, f"{place}: benchmarks")
    for label, keys in study.methods.items():
        named = [recipes[text] for text in keys.get("benchmarks", study.benchmarks)]
        if twice := [recipe for n, recipe in enumerate(named) if recipe in named[:n]]:
            raise UserError(f"{place}: benchmarks: '{twice[0]}' is named twice for {label!r}; name it once")
    planned = [
        (label, text, recipes[text], order)
        for label, keys in study.methods.items()
        for text in keys.get("benchmarks", study.benchmarks)
        for order in range(study.orders)
    ]
    namings = [
        Naming(label, (str(recipe), text), order if study.orders > 1 else None)
        for label, text, recipe, order in planned
    ]
    wanted = _chosen(only, namings, place)
    benchmarks.check_names([recipe for n, (_, _, recipe, _) in enumerate(planned) if n in wanted], place)
    requests, lost = _requests(study, namings)
    found = [
        _cell(study, label, dict(study.methods[label]), recipe, order, check, requests[n])
        for n, (label, _, recipe, order) in enumerate(planned)
        if n in wanted
    ]
    told = [notes.unmatched(pattern, study.methods) for pattern in lost]
    told += [f"{notes.STUDY}{line}" for line in userfiles.left_by(study.folder)]
    told += [f"{notes.STUDY}{line}" for line in oldnames.take_seen()]
    if found and told:
        found[0] = dataclasses.replace(found[0], notes=(*told, *found[0].notes))
    return found


def _chosen(only: str | None, namings: Sequence[Naming], place: str) -> set[int]:
    """Indices of the cells that ``--only`` takes.

    Raises:
        UserError: a part of it means no cell.
    """
    if only is None:
        return set(range(len(namings)))
    found, lost = chosen(only, namings)
    if lost:
        known = list(dict.fromkeys(f"{naming.label}/{naming.benchmarks[-1]}" for naming in namings))
        if len(known) > 6:
            known = (closest(lost[0], known, 3) or known[:3]) + ["..."]
        there = f"; there are: {screen_line(', '.join(known), 3 * SCREEN)}" if known else ""
        raise UserError(f"{place}: --only {quoted(lost[0])} matches no cell{there}")
    return found


def _requests(study: Study, namings: Sequence[Naming]) -> tuple[list[Resources], list[str]]:
    """What each cell's runs may use: the last pattern that means it holds; and patterns that mean none."""
    requests, lost = [Resources()] * len(namings), []
    for pattern, request in study.resources.items():
        meant, _ = chosen(pattern, namings)
        if not meant:
            lost.append(pattern)
        for n in meant:
            requests[n] = request
    return requests, lost


def references_left_out(study: Study, cells: Sequence[Cell]) -> list[Cell]:
    """Cells of the study's reference methods that a choice leaves out: transfer is measured from them too."""
    there = {cell.name for cell in cells}
    return [c for c in cells_of(study, check=False) if c.method.is_reference and c.name not in there]


def _cell(
    study: Study,
    label: str,
    keys: dict[str, Any],
    recipe: Recipe,
    order: int,
    check: bool,
    resources: Resources,
) -> Cell:
    place = f"{study.file}: methods[{label!r}]"
    special = {name: keys.pop(name) for name in SPECIAL if name in keys}
    method = registry.method(str(special.get("method", label)), place)
    text = special.get("network", study.network)
    where = f"{place}: network" if "network" in special else f"{study.file}: network"
    network = registry.network(text, where)
    search = special.get("search", study.search)
    check_search(search, place)
    preset, benchmark = special.get("preset", study.preset), calls.name_of(type(recipe))
    settings = settings_of(study, place, method, network, text, preset, keys, benchmark)
    search = _search_over(search, settings, keys, place)
    cell = Cell(
        label=label,
        benchmark=str(recipe),
        order=order,
        method=method,
        network=network,
        settings=settings,
        search=search,
        final=study.final,
        protocol=study.protocol,
        resources=resources,
        numerics=study.numerics,
        evaluate=study.evaluate,
        identity=_identity(recipe),
        versions={
            "core": CORE_VERSION,
            "method": method.version,
            "network": network.version,
            "benchmark": recipe.version,
        },
        code=_code(method=method, network=network, benchmark=type(recipe)),
        home=study.folder,
        orders=study.orders,
    )
    check_needs(cell, place)
    try:
        with userfiles.blamed(method):
            cell.spec({}, cell.trial_seed)
    except UserError as error:
        raise UserError(f"{place} on {recipe}: {error}") from None
    planning.check_proposals(cell, place)
    if not check:
        return cell
    blocked, more = check_benchmark(cell, recipe, place)
    written = {*keys, *(f"fit.{name}" for name in study.fit)}
    return dataclasses.replace(cell, blocked=blocked, notes=(*notes.planned(cell, written), *more))


def _search_over(
    search: Search | Grid | None, settings: Mapping[str, Setting], keys: Mapping[str, Any], place: str
) -> Search | Grid | None:
    """The search of a cell with these settings; None where there is nothing to vary."""
    if isinstance(search, Grid):
        search = _checked_grid(search, settings, place)
        planning.check_grid(search, settings, keys, place)
    if search is None:
        _refuse_domains(settings, place)
    if isinstance(search, Search) and not any(s.domain for s in settings.values()):
        return None  # one configuration
    return search


def _identity(recipe: Recipe) -> dict[str, str]:
    """What fixes the data beside the settings; a user's own recipe may say anything, or raise."""
    with userfiles.blamed(type(recipe)):
        facts = recipe.identity()
    if not isinstance(facts, Mapping) or not all(isinstance(text, str) for text in (*facts, *facts.values())):
        raise UserError(
            f"{userfiles.where(type(recipe))}: identity() gives {facts!r}; it should give a dictionary of "
            "texts, such as {'sha256': '...'}"
        )
    return dict(facts)


def _code(**kinds: type) -> dict[str, str]:
    """Digests of the code of a user's own classes, by part."""
    return {part: digest.digest_of(kind) for part, kind in kinds.items() if userfiles.is_own(kind)}


def _checked_grid(grid: Grid, settings: Mapping[str, Setting], place: str) -> Grid:
    axes = {}
    for key, values in grid.axes.items():
        if key not in settings:
            raise UserError(f"{place}: Grid: unknown key {key!r}{nearest(key, settings)}")
        field = settings[key].field
        axes[key] = [coerce(value, field.type, f"{place}: Grid: {key}", field) for value in values]
        if (twice := repeated(axes[key])) is not None:
            raise UserError(f"{place}: Grid: {key} has {shown(twice)} twice: drop one")
    return Grid(axes)


def _refuse_domains(settings: Mapping[str, Setting], place: str) -> None:
    for key, setting in settings.items():
        if setting.domain is not None and setting.explicit:
            raise UserError(
                f"{place}: {key} = {setting.domain!r} is a domain, and nothing is searched; "
                "give it a value, or the study a Search"
            )

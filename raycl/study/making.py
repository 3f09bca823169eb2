"""The cells of a study, made and checked from its classes and data, which loads torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from raycl import benchmarks, calls, process, registry, userfiles
from raycl.benchmarks import Recipe
from raycl.domains import repeated, shown
from raycl.errors import SCREEN, UserError, closest, nearest, quoted, screen_line
from raycl.method import Method, deviations_of
from raycl.networks import Network
from raycl.patterns import Naming, chosen
from raycl.process.surroundings import generators_kept
from raycl.runs.fingerprint import roots_of
from raycl.space import coerce
from raycl.specs import CORE_VERSION
from raycl.study import notes, planning
from raycl.study.cells import Cell, Kinds, Setting
from raycl.study.checks import check_search, check_study
from raycl.study.notelines import STUDY, unmatched, with_notes
from raycl.study.runnable import check_benchmark, check_needs
from raycl.study.settings import SPECIAL, settings_of
from raycl.study.values import Grid, Resources, Search, Study
from raycl.userfiles import digest


def made_cells(study: Study, only: str | None, check: bool) -> tuple[list[Cell], bool]:
    """Return the cells of a study as `raycl.study.expand.cells_of` does.

    Returns:
        The cells, and whether their notes say nothing about what happened in this process.
    """
    left: list[str] = []
    building = process.untouched(f"{STUDY}{study.file}", left.append, "its classes were tried")
    with building, userfiles.importing_from(study.folder), generators_kept():
        found = _cells_of(study, only, check)
    about_study = (*left, *(f"{STUDY}{line}" for line in userfiles.left_by(study.folder)))
    return with_notes(found, about_study), not about_study


def _cells_of(study: Study, only: str | None, check: bool) -> list[Cell]:
    place = study.file
    check_study(study, place)
    recipes: dict[str, Recipe] = {}  # each recipe is made once, because checksums of many files take a while
    for text in [t for keys in study.methods.values() for t in keys.get("benchmarks", study.benchmarks)]:
        if text not in recipes:
            recipes[text] = registry.recipe(text, f"{place}: benchmarks")
    for label, keys in study.methods.items():
        wanted = [recipes[text] for text in keys.get("benchmarks", study.benchmarks)]
        if twice := [recipe for n, recipe in enumerate(wanted) if recipe in wanted[:n]]:
            raise UserError(f"{place}: benchmarks: '{twice[0]}' is named twice for {label!r}; name it once")
    planned = [
        (label, text, recipes[text], order)
        for label, keys in study.methods.items()
        for text in keys.get("benchmarks", study.benchmarks)
        for order in range(study.orders)
    ]
    named = benchmarks.names_alone(recipes.values(), registry.recipes())
    namings = [
        Naming(
            label,
            (str(recipe), text, *([named[str(recipe)]] if str(recipe) in named else [])),
            order if study.orders > 1 else None,
        )
        for label, text, recipe, order in planned
    ]
    selected = _chosen(only, namings, place)
    benchmarks.check_names([recipe for n, (_, _, recipe, _) in enumerate(planned) if n in selected], place)
    requests, lost = _requests(study, namings)
    found = [
        _cell(study, label, dict(study.methods[label]), recipe, order, check, requests[n], named)
        for n, (label, _, recipe, order) in enumerate(planned)
        if n in selected
    ]
    if only is None and isinstance(study.search, Search) and study.search.prune:
        _refuse_nothing_to_prune(study.search, any(cell.search for cell in found), place)
    return with_notes(found, [unmatched(pattern, study.methods) for pattern in lost])


def _chosen(only: str | None, namings: Sequence[Naming], place: str) -> set[int]:
    """Return the indices of the cells that ``--only`` selects.

    Raises:
        UserError: If a part of the pattern matches no cell.
    """
    if only is None:
        return set(range(len(namings)))
    found, lost = chosen(only, namings)
    if lost:
        known = list(dict.fromkeys(f"{naming.label}/{naming.benchmarks[-1]}" for naming in namings))
        if len(known) > 6:
            known = (closest(lost[0], known, 3) or known[:3]) + ["..."]
        there = f" (known: {screen_line(', '.join(known), 3 * SCREEN)})" if known else ""
        raise UserError(f"{place}: --only {quoted(lost[0])} matches no cell{there}")
    return found


def _requests(study: Study, namings: Sequence[Naming]) -> tuple[list[Resources], list[str]]:
    """Return the resources of each cell, and the patterns that match no cell.

    Where several patterns match a cell, the last one holds.
    """
    requests, lost = [Resources()] * len(namings), []
    for pattern, request in study.resources.items():
        meant, _ = chosen(pattern, namings)
        if not meant:
            lost.append(pattern)
        for n in meant:
            requests[n] = request
    return requests, lost


def _cell(
    study: Study,
    label: str,
    keys: dict[str, Any],
    recipe: Recipe,
    order: int,
    check: bool,
    resources: Resources,
    named: Mapping[str, str],
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
    if isinstance(search, Search) and search.prune and "search" in special:
        _refuse_nothing_to_prune(search, any(s.domain for s in settings.values()), place)
    search = _search_over(search, settings, keys, place)
    together = ""
    if isinstance(search, Search) and search.prune and method.joint:
        search = dataclasses.replace(search, prune=None)
        together = f"{calls.name_of(method)} learns all tasks together, so its trials are not pruned"
    cell = Cell(
        label=label,
        benchmark=str(recipe),
        order=order,
        kinds=_kinds(method, network),
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
        sampler_code=_sampler_code(search, place),
        orders=study.orders,
        keep=study.keep,
        named=named.get(str(recipe), ""),
    )
    _check_spec(cell, recipe, place)
    if not check:
        return cell
    found = check_benchmark(cell, recipe, place)
    written = {*keys, *(f"fit.{name}" for name in study.fit)}
    planning.check_objectives(cell, len(found.data.classes), place)
    useless = planning.check_pruning(cell, len(found.data.classes), place)
    noted = (*notes.planned(cell, written), *found.notes, *filter(None, (together, useless)))
    return dataclasses.replace(cell, blocked=found.blocked, notes=noted, data=found.data)


def _kinds(method: type[Method], network: type[Network]) -> Kinds:
    return Kinds(
        method=calls.name_of(method),
        network=calls.name_of(network),
        is_reference=method.is_reference,
        deviations=deviations_of(method),
        requires=_may_require(method),
        roots=roots_of(method),
        loaded=(method, network),
    )


def _may_require(method: type[Method]) -> bool:
    """Return whether a method says itself what it requires; the base class requires nothing."""
    names = ("required_masks", "required_runs")
    return any(getattr(method, name).__func__ is not getattr(Method, name).__func__ for name in names)


def _check_spec(cell: Cell, recipe: Recipe, place: str) -> None:
    """Check that the network has what the method needs, and that a run can be made of any proposal.

    Raises:
        UserError: If not.
    """
    check_needs(cell, place)
    try:
        with userfiles.blamed(cell.method):
            cell.spec({}, cell.trial_seed)
    except UserError as error:
        raise UserError(f"{place} on {recipe}: {error}") from None
    planning.check_proposals(cell, place)


def _search_over(
    search: Search | Grid | None, settings: Mapping[str, Setting], keys: Mapping[str, Any], place: str
) -> Search | Grid | None:
    """Return the search of a cell with these settings; None if there is nothing to vary."""
    if isinstance(search, Grid):
        search = _checked_grid(search, settings, place)
        planning.check_grid(search, settings, keys, place)
    if search is None:
        _refuse_domains(settings, place)
    if isinstance(search, Search) and not any(s.domain for s in settings.values()):
        return None  # without a domain there is only one configuration
    if isinstance(search, Search):
        planning.check_sampler(search, settings, place)
    return search


def _refuse_nothing_to_prune(search: Search, searched: bool, place: str) -> None:
    """Refuse a rule of pruning where nothing is searched.

    Raises:
        UserError: If nothing is searched.
    """
    if not searched:
        raise UserError(
            f"{place}: search.prune = {search.prune!r}, but nothing is searched: give a setting a domain, "
            "such as 'fit.lr': Float(0.01, 0.5), or remove prune"
        )


def _identity(recipe: Recipe) -> dict[str, str]:
    """Return what determines the data besides the settings.

    The answer is checked, because a user's own recipe may return anything or raise.

    Raises:
        UserError: If the answer is not a dictionary of strings.
    """
    with userfiles.blamed(type(recipe)):
        facts = recipe.identity()
    if not isinstance(facts, Mapping) or not all(isinstance(text, str) for text in (*facts, *facts.values())):
        raise UserError(
            f"{userfiles.where(type(recipe))}: identity() returns {facts!r}; it should return a dictionary "
            "of strings, such as {'sha256': '...'}"
        )
    return dict(facts)


def _code(**kinds: type) -> dict[str, str]:
    """Return the digests of the code of a user's own classes, by part."""
    return {part: digest.digest_of(kind) for part, kind in kinds.items() if userfiles.is_own(kind)}


def _sampler_code(search: Search | Grid | None, place: str) -> str:
    """Return the digest of the code of a user's own sampler; "" if the search has none."""
    if not (isinstance(search, Search) and search.own_sampler):
        return ""
    found = registry.sampler(search.sampler, f"{place}: search.sampler")
    with userfiles.blamed(found):
        return digest.digest_of(found)


def _checked_grid(grid: Grid, settings: Mapping[str, Setting], place: str) -> Grid:
    axes = {}
    for key, values in grid.axes.items():
        if key not in settings:
            raise UserError(f"{place}: Grid: unknown key {key!r}{nearest(key, settings)}")
        field = settings[key].field
        axes[key] = [coerce(value, field.type, f"{place}: Grid: {key}", field) for value in values]
        if (twice := repeated(axes[key])) is not None:
            raise UserError(f"{place}: Grid: {key} contains {shown(twice)} twice; remove one")
    return Grid(axes)


def _refuse_domains(settings: Mapping[str, Setting], place: str) -> None:
    for key, setting in settings.items():
        if setting.domain is not None and setting.explicit:
            raise UserError(
                f"{place}: {key} = {setting.domain!r} is a domain, but nothing is searched; "
                "give it a value, or give the study a Search"
            )

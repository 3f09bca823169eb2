"""Checks of the fields of a study that are made before anything else uses them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from raycl.catalogue import catalogue
from raycl.errors import UserError, nearest, quoted
from raycl.filenames import check_study_name
from raycl.study import callbacks, limits, ownmetrics, planning
from raycl.study.values import KEEP, Grid, Resources, Search, Seeds, Sheet, Shown, Study


def check_study(study: Study, place: str) -> None:
    """Check the types and values of a study's own fields.

    Raises:
        UserError: If a field is wrong; the message names the field, its value and the remedy.
    """
    _check_text(study.name, "name", place)
    if study.name:  # else it is "study"
        check_study_name(study.name, place)
    _check_sheets(study, place)
    if study.sheets and not study.methods and not study.benchmarks:
        return
    if not isinstance(study.methods, Mapping) or not study.methods:
        raise UserError(
            f"{place}: methods = {quoted(study.methods)} should have at least one label, such as "
            '{"hat": {}}'
        )
    if not isinstance(study.benchmarks, list | tuple) or not study.benchmarks:
        raise UserError(
            f"{place}: benchmarks = {quoted(study.benchmarks)} should be a list of at least one name"
        )
    for name, allowed in (
        ("protocol", ("val", "paper")),
        ("numerics", ("strict", "fast")),
        ("evaluate", (None, "learnt", "ends", "full")),
        ("keep", KEEP),
    ):
        given = getattr(study, name)
        if not ((isinstance(given, str) or given is None) and given in allowed):
            raise UserError(f"{place}: {name} = {quoted(given)} should be one of {allowed}")
    if study.track_trials not in (None, True, False):
        raise UserError(
            f"{place}: track_trials = {quoted(study.track_trials)} should be one of (None, True, False)"
        )
    limits.whole(study.orders, f"{place}: orders", 1, limits.ORDERS)
    _check_kinds(study, place)
    planning.check_labels(study.methods, place)
    _check_size(study, place)
    _check_paper(study, place)
    ownmetrics.check(study.metrics, place)
    callbacks.check(study.callbacks, place)
    _check_shown(study.views, "views", study, place)
    _check_shown(study.tables, "tables", study, place)
    check_search(study.search, place)
    if not isinstance(study.final, Seeds) and not (
        isinstance(study.final, str) and study.final == "best trial"
    ):
        raise UserError(
            f"{place}: final = {quoted(study.final)} should be {_seeds(study.final)} or 'best trial'"
        )
    for pattern, request in study.resources.items():
        if not isinstance(request, Resources) or not isinstance(pattern, str):
            raise UserError(
                f"{place}: resources[{quoted(pattern)}] = {quoted(request)} should be "
                "Resources(cpus=..., gpus=...)"
            )


def _seeds(given: Any) -> str:
    """Return what a user probably meant by a number of seeds."""
    few = given if isinstance(given, int) and 1 <= given <= 5 else 0
    return f"Seeds({', '.join(map(str, range(1, few + 1))) or '...'})"


def _check_size(study: Study, place: str) -> None:
    """Refuse a study that has too many cells to be kept in memory."""
    lists = [keys.get("benchmarks", study.benchmarks) for keys in study.methods.values()]
    if (many := sum(map(len, lists)) * study.orders) > limits.CELLS:
        raise UserError(f"{place}: {many} cells are too many, at most {limits.CELLS}: split the study")


def _check_sheets(study: Study, place: str) -> None:
    sheets = study.sheets
    if not isinstance(sheets, list | tuple) or not all(isinstance(s, Sheet) or callable(s) for s in sheets):
        raise UserError(
            f"{place}: sheets = {quoted(sheets)} should be a list of sheets, such as [Sheet(...)]"
        )


def _check_kinds(study: Study, place: str) -> None:
    """Check that mappings are mappings and that names are strings, before anything else uses them."""
    for name in ("fit", "resources"):
        if not isinstance(getattr(study, name), Mapping):
            raise UserError(f"{place}: {name} = {quoted(getattr(study, name))} should be a dictionary")
    for label, keys in study.methods.items():
        where = f"{place}: methods[{quoted(label)}]"
        if not (
            isinstance(label, str) and isinstance(keys, Mapping) and all(isinstance(k, str) for k in keys)
        ):
            raise UserError(f"{where} = {quoted(keys)} should be a dictionary of keys, such as {{}}")
        for name in ("method", "network", "preset"):
            _check_text(keys.get(name), name, where, optional=True, or_class=name != "preset")
        own = keys.get("benchmarks", ())
        if not isinstance(own, list | tuple) or ("benchmarks" in keys and not own):
            raise UserError(f"{where}: benchmarks = {quoted(own)} should be a list of at least one name")
        for text in own:
            _check_text(text, "benchmarks: an entry", where, or_class=True)
    for text in study.benchmarks:
        _check_text(text, "benchmarks: an entry", place, or_class=True)
    _check_text(study.network, "network", place, or_class=True)
    _check_text(study.preset, "preset", place, optional=True)
    _check_text(study.paper, "paper", place)


def _check_text(value: Any, name: str, place: str, optional: bool = False, or_class: bool = False) -> None:
    """Check that a value is a string; `given.with_names` has replaced a class, where one is accepted."""
    if not (isinstance(value, str) or (optional and value is None)):
        or_what = " or a class" if or_class else ""
        raise UserError(f"{place}: {name} = {quoted(value)} should be a string{or_what}")


def _check_paper(study: Study, place: str) -> None:
    papers = catalogue()["papers"]
    if study.paper not in ("", *papers):
        raise UserError(
            f"{place}: unknown paper {quoted(study.paper)}{nearest(study.paper, papers)} "
            f"(known: {', '.join(papers)})"
        )


def _check_shown(items: Any, name: Literal["views", "tables"], study: Study, place: str) -> None:
    """Check views and tables now, because an error in the report would show only after hours of training."""
    example = {"views": "[Boxes(...)]", "tables": "[PaperTable(...)]"}[name]
    if not isinstance(items, list | tuple) or not all(
        isinstance(item, Shown) and item.belongs == name for item in items
    ):
        raise UserError(f"{place}: {name} = {quoted(items)} should be a list of {name}, such as {example}")
    for item in items:
        item.check(study, place)


def check_search(search: Any, place: str) -> None:
    """Check that a search is one of the kinds that a study can have.

    Raises:
        UserError: If it is not.
    """
    if not (search is None or isinstance(search, Search | Grid)):
        number = isinstance(search, int) and not isinstance(search, bool)
        trials = f"trials={quoted(search)}" if number and 0 < search <= limits.RUNS else "..."
        raise UserError(f"{place}: search = {quoted(search)} should be Search({trials}), Grid(...) or None")

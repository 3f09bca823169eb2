"""Checks of a study as a value, before anything looks into it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from raycl import registry
from raycl.errors import UserError, nearest, quoted
from raycl.filenames import check_study_name
from raycl.space import fields_of
from raycl.study import limits, planning
from raycl.study.values import Grid, R, Search, Seeds, Sheet, Study, View

if TYPE_CHECKING:
    pass


def check_study(study: Study, place: str) -> None:
    """Types of the fields of a study that no cell looks at."""
    _check_text(study.name, "name", place)
    if study.name:  # else it is "study"
        check_study_name(study.name, place)
    _check_sheets(study, place)
    if study.sheets and not study.methods and not study.benchmarks:
        return
    if not isinstance(study.methods, Mapping) or not study.methods:
        raise UserError(
            f'{place}: methods = {quoted(study.methods)} needs at least one label, such as {{"hat": {{}}}}'
        )
    if not isinstance(study.benchmarks, list | tuple) or not study.benchmarks:
        raise UserError(
            f"{place}: benchmarks = {quoted(study.benchmarks)} should be a list of at least one name"
        )
    for name, allowed in (("protocol", ("val", "paper")), ("numerics", ("strict", "fast")),
                          ("evaluate", (None, "learnt", "ends", "full"))):  # fmt: skip
        given = getattr(study, name)
        if not ((isinstance(given, str) or given is None) and given in allowed):
            raise UserError(f"{place}: {name} = {quoted(given)} is none of {allowed}")
    limits.whole(study.orders, f"{place}: orders", 1, limits.ORDERS)
    _check_kinds(study, place)
    planning.check_labels(study.methods, place)
    _check_size(study, place)
    _check_views(study, place)
    _check_metrics(study, place)
    _check_tables(study, place)
    check_search(study.search, place)
    if not isinstance(study.final, Seeds) and not (
        isinstance(study.final, str) and study.final == "best trial"
    ):
        raise UserError(f"{place}: final = {quoted(study.final)} is neither Seeds(...) nor 'best trial'")
    for pattern, request in study.resources.items():
        if not isinstance(request, R) or not isinstance(pattern, str):
            raise UserError(
                f"{place}: resources[{quoted(pattern)}] = {quoted(request)} is not R(cpus=..., gpus=...)"
            )


def _check_size(study: Study, place: str) -> None:
    """A study has a number of cells that can be kept in mind."""
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
    """Mappings are mappings and names are texts, before anything looks into them."""
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
            _check_text(keys.get(name), name, where, optional=True)
        own = keys.get("benchmarks", ())
        if not isinstance(own, list | tuple) or ("benchmarks" in keys and not own):
            raise UserError(f"{where}: benchmarks = {quoted(own)} should be a list of at least one name")
        for text in own:
            _check_text(text, "benchmarks: an entry", where)
    for text in study.benchmarks:
        _check_text(text, "benchmarks: an entry", place)
    _check_text(study.network, "network", place)
    _check_text(study.preset, "preset", place, optional=True)
    _check_text(study.paper, "paper", place)


def _check_text(value: Any, name: str, place: str, optional: bool = False) -> None:
    if not (isinstance(value, str) or (optional and value is None)):
        raise UserError(f"{place}: {name} = {quoted(value)} should be a text in quotes")


def _check_views(study: Study, place: str) -> None:
    """What a report needs is checked before anything runs for hours."""
    from raycl.papers.claims import papers  # here, because reports are made of studies

    if study.paper not in ("", *papers()):
        raise UserError(
            f"{place}: unknown paper {quoted(study.paper)}{nearest(study.paper, papers())} "
            f"(known: {', '.join(papers())})"
        )
    views = study.views
    if not isinstance(views, list | tuple) or not all(isinstance(view, View) for view in views):
        raise UserError(f"{place}: views = {quoted(views)} should be a list of views, such as [Boxes(...)]")
    methods = [registry.method(str(keys.get("method", label)), f"{place}: methods[{quoted(label)}]")
               for label, keys in study.methods.items()]  # fmt: skip
    known = {f"method.{name}" for method in methods for name in fields_of(method.Config)}
    for view in views:
        for key in view.settings:
            if key.startswith("method.") and key not in known:
                raise UserError(
                    f"{place}: views: {quoted(view.title)} asks for {quoted(key)}{nearest(key, known)}, "
                    "a setting of none of the study's methods"
                )


def _check_metrics(study: Study, place: str) -> None:
    from raycl.reporting import ownmetrics  # here, because reports are made of studies

    ownmetrics.check(study, place)


def _check_tables(study: Study, place: str) -> None:
    from raycl.papers import tables as papertables  # here, because reports are made of studies

    tables = study.tables
    if not isinstance(tables, list | tuple) or not all(isinstance(t, papertables.PaperTable) for t in tables):
        raise UserError(
            f"{place}: tables = {quoted(tables)} should be a list of tables, such as [PaperTable(...)]"
        )
    for table in tables:
        papertables.check(table, study, place)


def check_search(search: Any, place: str) -> None:
    if not (search is None or isinstance(search, Search | Grid)):
        raise UserError(f"{place}: search = {quoted(search)} is neither Search(...), Grid(...) nor None")

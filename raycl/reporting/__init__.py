"""Store -> tables, CSV and HTML. No method is named here."""

from __future__ import annotations

import sys
from pathlib import Path

from raycl import userfiles
from raycl.errors import UserError, nearest
from raycl.study.agenda import Agenda
from raycl.study.values import Study
from raycl.wholefiles import publish

FORMATS = ("table", "csv", "html", "latex")

__all__ = ["FORMATS", "render"]


def render(
    study: Study,
    agenda: Agenda,
    format: str = "table",
    *,
    path: Path | str | None = None,
    command: str = "",
    times: bool = True,
    claims: bool = False,
    points: bool = False,
    tables: bool = False,
) -> str:
    """The report of a study as text, from what the agenda read.

    Args:
        format: one of `FORMATS`.
        path: a file to write it to as well.
        command: what a reader types to make the study again (html).
        times: whether csv has its time columns; without them its bytes depend on nothing but results.
        claims: the papers' claims and what the results say of them, instead (table, csv) or as well (html).
        points: csv of the raw numbers behind the study's views instead.
        tables: csv of the paper's tables instead, a line per cell with ours, the printed number and the rest.

    Raises:
        UserError: no such format, or points or tables of another format than csv, or no such file name.
    """
    with userfiles.beside(study.folder):
        text = _text(study, agenda, format, command, times, claims, points, tables)
    text = text.encode("utf-8", "replace").decode()  # half a surrogate pair is in no file
    if path is not None:
        try:
            publish(Path(path), text)
        except UnicodeEncodeError:
            raise UserError(
                f"{str(path)!r} is no file name in this locale ({sys.getfilesystemencoding()}); set "
                "LC_ALL=C.UTF-8 and give the same command again: what is finished stays"
            ) from None
    return text


def _text(
    study: Study,
    agenda: Agenda,
    format: str,
    command: str,
    times: bool,
    claims: bool,
    points: bool,
    tables: bool,
) -> str:
    if points + tables + (claims and format in ("csv", "latex")) > 1 or (
        (points or tables) and format != "csv"
    ):
        raise UserError("points or tables: ask for them with --format csv, one at a time, claims apart")
    if claims and format == "latex":
        raise UserError("claims are not written as latex; ask for table, csv or html")
    if claims and format in ("table", "csv"):
        from raycl.papers import claimtext, verdicts
        from raycl.results.collect import collect

        found = verdicts.verdicts(study, collect(study, agenda))
        text = claimtext.claims_csv(found) if format == "csv" else claimtext.claims_text(study, found)
    elif format == "table":
        from raycl.reporting.table import table_text

        text = table_text(study, agenda)
    elif format == "csv":
        text = _csv(study, agenda, times, points, tables)
    elif format == "latex":
        from raycl.reporting.latex import latex_text

        text = latex_text(study, agenda)
    elif format == "html":
        from raycl.reporting.html import html_text  # here, because matplotlib takes a second to load

        text = html_text(study, agenda, command, claims=claims)
    else:
        raise UserError(f"unknown format {format!r}{nearest(format, FORMATS)} (known: {', '.join(FORMATS)})")
    return text


def _csv(study: Study, agenda: Agenda, times: bool, points: bool, tables: bool) -> str:
    from raycl.reporting.csvfile import points_csv, sheets_csv, tables_csv, to_csv
    from raycl.results.collect import collect

    rows = collect(study, agenda)
    if points:
        return points_csv(study, rows)
    if tables:
        return tables_csv(study, rows)
    return to_csv(study, rows, times=times) if rows or not study.sheets else sheets_csv(study)

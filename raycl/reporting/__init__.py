"""Store -> tables, CSV and HTML. No method is named here."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from raycl import userfiles
from raycl.errors import UserError, nearest
from raycl.papers import claimtext, verdicts
from raycl.reporting.csvfile import points_csv, sheets_csv, tables_csv, to_csv
from raycl.reporting.latex import latex_text
from raycl.reporting.table import table_text
from raycl.results.collect import collect
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
    with userfiles.importing_from(study.folder):
        text = _text(study, agenda, _Asked(format, command, times, claims, points, tables))
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


@dataclass(frozen=True)
class _Asked:
    """What a report is to be; `render` says what each field means."""

    format: str
    command: str
    times: bool
    claims: bool
    points: bool
    tables: bool

    def check(self) -> None:
        """Refuse what no format has."""
        instead = self.claims and self.format in ("csv", "latex")
        if self.points + self.tables + instead > 1 or ((self.points or self.tables) and self.format != "csv"):
            raise UserError("points or tables: ask for them with --format csv, one at a time, claims apart")
        if self.claims and self.format == "latex":
            raise UserError("claims are not written as latex; ask for table, csv or html")
        if self.format not in FORMATS:
            raise UserError(
                f"unknown format {self.format!r}{nearest(self.format, FORMATS)} (known: {', '.join(FORMATS)})"
            )


def _text(study: Study, agenda: Agenda, asked: _Asked) -> str:
    asked.check()
    if asked.format == "html":
        from raycl.reporting.html import html_text  # Imported where it is needed: matplotlib takes seconds.

        return html_text(study, agenda, asked.command, claims=asked.claims)
    if asked.claims:
        found = verdicts.verdicts(study, collect(study, agenda))
        csv = asked.format == "csv"
        return claimtext.claims_csv(found) if csv else claimtext.claims_text(study, found)
    if asked.format == "csv":
        return _csv(study, agenda, asked)
    return latex_text(study, agenda) if asked.format == "latex" else table_text(study, agenda)


def _csv(study: Study, agenda: Agenda, asked: _Asked) -> str:
    rows = collect(study, agenda)
    if asked.points:
        return points_csv(study, rows)
    if asked.tables:
        return tables_csv(study, rows)
    return to_csv(study, rows, times=asked.times) if rows or not study.sheets else sheets_csv(study)

"""Reports of a study as text, CSV, LaTeX, HTML and Markdown, made from the store; no method is named here."""

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

FORMATS = ("table", "csv", "html", "latex", "markdown")

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
    curves: bool = False,
) -> str:
    """Return the report of a study as a string, from what the agenda read.

    Args:
        study: The study.
        agenda: The agenda of the study, with its results.
        format: One of `FORMATS`.
        path: A file to which the report is also written. The figures of a markdown report are written to a
            folder beside it, which has the file's name without its extension; without a path it has none.
        command: The command that runs the study again, shown in the html and the markdown report.
        times: Whether csv has its time columns; without them its bytes depend only on the results.
        claims: Whether to report the verdicts on the papers' claims. They replace the report in the formats
            table and csv, and are added to it in html and markdown.
        points: Whether to write the raw numbers behind the study's views instead (csv only).
        tables: Whether to write the paper's tables instead, one line per entry with our number and the
            printed one (csv only).
        curves: Whether html shows training curves, which are read from the files of the final runs.

    Raises:
        UserError: If there is no such format, if points or tables are asked for in a format other than csv,
            or curves in one other than html, or if `path` is not a valid file name.
    """
    place = None if path is None else Path(path)
    folder = "" if place is None or (place.exists() and not place.is_file()) else place.stem
    with userfiles.importing_from(study.folder):
        text, figures = _text(
            study, agenda, _Asked(format, command, times, claims, points, tables, curves, folder)
        )
    text = text.encode("utf-8", "replace").decode()  # Half of a surrogate pair cannot be written to a file.
    if place is not None:
        try:
            _write(place, text)
            for name, svg in figures.items():
                publish(place.parent / name, svg)
        except UnicodeEncodeError:
            raise UserError(
                f"{str(path)!r} is not a valid file name in this locale ({sys.getfilesystemencoding()}); set "
                "LC_ALL=C.UTF-8 and run the same command again; finished runs are kept"
            ) from None
    return text


def _write(path: Path, text: str) -> None:
    """Write a text to a file as a whole or not at all, or to a device or a pipe."""
    if path.exists() and not path.is_file():
        path.write_text(text, encoding="utf-8")
    else:
        publish(path.resolve(), text)


@dataclass(frozen=True)
class _Asked:
    """The options of a report; `render` describes each field."""

    format: str
    command: str
    times: bool
    claims: bool
    points: bool
    tables: bool
    curves: bool
    folder: str

    def check(self) -> None:
        """Raise `UserError` for options that do not go together."""
        instead = self.claims and self.format in ("csv", "latex")
        if self.points + self.tables + instead > 1 or ((self.points or self.tables) and self.format != "csv"):
            raise UserError(
                "points and tables are written only in the format csv, and only one of points, tables and "
                "claims at a time"
            )
        if self.claims and self.format == "latex":
            raise UserError("claims are not written as latex; use another format")
        if self.curves and self.format != "html":
            raise UserError(
                "training curves are shown in the format html; frame(..., 'curves') has their numbers"
            )
        if self.format not in FORMATS:
            raise UserError(
                f"unknown format {self.format!r}{nearest(self.format, FORMATS)} (known: {', '.join(FORMATS)})"
            )


def _text(study: Study, agenda: Agenda, asked: _Asked) -> tuple[str, dict[str, str]]:
    """Return the report, and the figures that are written beside it, by name."""
    asked.check()
    # The formats with figures are imported here because matplotlib takes seconds to load.
    if asked.format == "html":
        from raycl.reporting.html import html_text

        return html_text(study, agenda, asked.command, asked.claims, asked.curves), {}
    if asked.format == "markdown":
        from raycl.reporting.markdown import markdown_page

        claims = True if asked.claims else None
        page = markdown_page(study, agenda, asked.command, claims=claims, folder=asked.folder)
        return page.text, page.figures
    if asked.claims:
        found = verdicts.verdicts(study, collect(study, agenda))
        csv = asked.format == "csv"
        return claimtext.claims_csv(found) if csv else claimtext.claims_text(study, found), {}
    if asked.format == "csv":
        return _csv(study, agenda, asked), {}
    return latex_text(study, agenda) if asked.format == "latex" else table_text(study, agenda), {}


def _csv(study: Study, agenda: Agenda, asked: _Asked) -> str:
    rows = collect(study, agenda)
    if asked.points:
        return points_csv(study, rows)
    if asked.tables:
        return tables_csv(study, rows)
    return to_csv(study, rows, times=asked.times) if rows or not study.sheets else sheets_csv(study)

"""A study's report as Markdown, with its figures as SVG files beside it: the form of `docs/results`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from raycl.metrics import all_metrics
from raycl.papers import claimtext, tabletext, verdicts
from raycl.papers.cells import FilledTable
from raycl.papers.findings import Verdict
from raycl.reporting import facts, plots, sensitivity, table
from raycl.reporting.fronts import Fronts
from raycl.reporting.view import View, methods_shown, views_across, views_of
from raycl.results.collect import collect, sections
from raycl.results.rows import CellRow, Group, Section
from raycl.specs import key_of
from raycl.study.agenda import Agenda
from raycl.study.values import Sheet, Study
from raycl.text import fraction, one_line, printable, quantity, seconds

# These characters would start a tag, a table cell, a link, a formula or another mark-up.
_MARKUP = str.maketrans({letter: f"\\{letter}" for letter in "\\|*_`[]#~$"} | {"<": "&lt;", "&": "&amp;"})


@dataclass
class Page:
    """A Markdown text with the figures to which it refers.

    Attributes:
        text: The Markdown text.
        figures: The content of each SVG file, by its name relative to the text.
    """

    text: str = ""
    figures: dict[str, str] = field(default_factory=dict)


def markdown_page(
    study: Study,
    agenda: Agenda,
    command: str = "",
    *,
    claims: bool | None = None,
    folder: str = "",
    level: int = 1,
) -> Page:
    """Return the report of a study: facts, tables with the printed numbers, figures, and verdicts.

    Args:
        study: The study.
        agenda: The agenda of the study, with its results.
        command: The command that runs the study again.
        claims: Whether to add the verdicts on the papers' claims: on those of the study's paper, or of all
            papers if it names none. With None, only a study that names its paper has them.
        folder: The folder of the figures relative to the text. With "", there are no figures, because a
            text alone cannot hold them.
        level: The level of the heading of the study.
    """
    return _Writer(study, agenda, folder, level).page(command, claims)


class _Writer:
    """Writes the page of a study."""

    def __init__(self, study: Study, agenda: Agenda, folder: str, level: int) -> None:
        self.study, self.agenda, self.folder, self.level = study, agenda, folder, level
        self.rows = collect(study, agenda)
        self.sections = sections(study, self.rows)
        self.styles = plots.styles_of(list(dict.fromkeys(row.cell.label for row in self.rows)))
        self.figures: dict[str, str] = {}

    def page(self, command: str, claims: bool | None) -> Page:
        study = self.study
        parts = [self.heading(study.name), escaped(facts.summary(self.rows, self.sections)) + "."]
        if command:
            parts.append(f"```sh\n{command}\n```")
        parts += [self.about()] if self.rows else []
        parts += [self.sheet(sheet) for sheet in study.written_sheets]
        papers = tabletext.tables_of(study, self.sections)
        known = tabletext.deviations(papers, methods_shown(study, self.rows))
        parts += [self.paper(paper, known) for paper in papers]
        for n, (view, section) in enumerate(views_across(study, self.sections)):
            parts += self.view(view, section, _plain(f"{study.name}-figure{n + 1}"))
        if known:
            parts += [self.heading("Deviations of the methods from their publications", 1)]
            parts += ["\n".join(f"{d.number}. {escaped(d.line)}" for d in known)]
        for section in self.sections:
            parts += self.section(section)
        if study.paper if claims is None else claims:
            parts += self.claims()
        if problems := [row for row in self.rows if row.reason]:
            parts += [self.heading("What is missing, and why", 1), _bullets(map(_problem, problems))]
        return Page("\n\n".join(part for part in parts if part) + "\n", self.figures)

    def heading(self, text: str, below: int = 0) -> str:
        return f"{'#' * (self.level + below)} {escaped(text)}"

    def about(self) -> str:
        """Return what was run, where and when, as a list."""
        pairs = [*facts.what(self.study, self.rows, self.sections), *facts.where(self.agenda)]
        return _bullets(f"{escaped(name)}: {escaped(text)}" for name, text in pairs)

    def sheet(self, sheet: Sheet) -> str:
        parts = [self.heading(sheet.title, 1), _table(sheet.header, sheet.rows), _notes(sheet.notes)]
        return "\n\n".join(part for part in parts if part)

    def paper(self, found: FilledTable, known: Sequence[tabletext.Deviation]) -> str:
        """Return a paper's table; each cell has our number, below it the printed one and the difference."""
        cells = {place: tabletext.texts(entry) for place, entry in found.entries.items()}
        words = {c: tabletext.whole_word([cells[row, c] for row in found.rows]) for c in found.columns}

        def named(label: str) -> str:
            marks = tabletext.marks(label, known)
            return escaped(label) + (f"<sup>{marks}</sup>" if marks else "")

        def shown(row: str, column: str) -> str:
            cell = cells[row, column]
            lines = [f"{escaped(cell.ours)}{_spread(cell.std)}"]
            if cell.paper and not words[column]:
                lines.append(f"paper {escaped(cell.paper)}{_spread(cell.paper_std)}")
            if cell.difference:
                lines.append(f"diff {escaped(cell.difference + cell.mark)}")
            return "<br>".join(lines)

        corner = "" if found.table.transpose else "method"
        header = [corner, *(named(c) + (f"<br>{words[c]}" if words[c] else "") for c in found.columns)]
        body = [[named(row), *(shown(row, column) for column in found.columns)] for row in found.rows]
        notes = [*tabletext.caption(self.study, found), *tabletext.notes(found)]
        return "\n\n".join([self.heading(tabletext.title(found), 1), _rows(header, body), _notes(notes)])

    def section(self, section: Section) -> list[str]:
        """Return the parts about a benchmark: its table, its views, and figures of all methods."""
        name = _plain(f"{self.study.name}-{section.name}")
        crowded = table.crowded(self.study, section) or len(section.groups) > plots.PANELS
        parts = [self.heading(table.title(self.study, section), 1)]
        if not table.crowded(self.study, section):
            parts += [self.numbers(section), _notes([*table.caption(section), *table.notes(section)])]
        else:
            parts += [_notes(table.notes(section))]
        for n, view in enumerate(views_of(self.study)):
            parts += self.view(view, section, f"{name}-view{n + 1}")
        parts += self.view(Fronts(), section, f"{name}-front")
        if not crowded:
            drawn = plots.curves(section, self.styles, f"{name}-curves")
            parts += self.figure(drawn, f"{name}-curves", "Accuracy while learning")
            drawn = plots.by_task(section, self.styles, f"{name}-tasks")
            parts += self.figure(drawn, f"{name}-tasks", "Task by task")
        return parts

    def numbers(self, section: Section) -> str:
        """Return the main numbers of each method, with standard deviations."""
        metrics = [metric for metric in all_metrics(self.study.metrics) if metric.main]
        header = ["method", *(metric.name for metric in metrics), "ps", "time (s)", "params", "stored"]
        marks = table.marked(section)

        def line(group: Group, marked: bool) -> list[str]:
            ct, params, stored = (group.stat(name).mean for name in ("ct", "params", "bytes_total"))
            pairs = [table.pair(group, metric) for metric in metrics]
            ps = fraction(sensitivity.sensitivity(group.rows).ps)
            return [
                one_line(group.label) + (" *" if marked else ""),
                *(f"{value} ± {std}" if std else value for value, std in pairs),
                *(ps, seconds(ct), quantity(params), quantity(stored, "B")),
            ]

        return _table(header, [line(group, mark) for group, mark in zip(section.groups, marks, strict=True)])

    def view(self, view: View, section: Section, name: str) -> list[str]:
        header, rows = view.lines(section)
        if not rows:
            return []
        drawn = view.figure(section, name, self.styles) if self.folder else ""
        caption = f"{view.title}. {view.caption}".strip()
        shown = self.figure(drawn, name, caption) if drawn else [f"**{escaped(view.title)}**"]
        return [*shown, _table(header, rows), _notes(view.notes)]

    def figure(self, svg: str, name: str, caption: str) -> list[str]:
        """Keep a figure, and return its image and its caption; [] where there is no figure."""
        if not svg or not self.folder:
            return []
        place = f"{self.folder}/{name}.svg"
        # Names of files are long, and an id must be unique within its file only.
        plain = re.sub(rf'(\bid="|url\(#|href="#){re.escape(name)}-', r"\g<1>", svg)
        self.figures[place] = plots.shrunk(plain)
        text = escaped(caption)
        return [f"![{text}]({place})", f"*{text.rstrip('.')}.*"]

    def claims(self) -> list[str]:
        judged = verdicts.verdicts(self.study, self.rows)
        summary = claimtext.summary(self.study, judged).replace("claims", "Claims", 1)
        return [self.heading(summary, 1), claims_table(judged)]


def claims_table(judged: Sequence[Verdict], others: Sequence[Verdict] = ()) -> str:
    """Return claims with their verdicts and the numbers behind them as a table, and what the words mean.

    Args:
        judged: The verdicts.
        others: Verdicts on the same claims. One that is not among the first, and compared as much of its
            claim or more, is printed below the numbers.
    """
    if not judged:
        return ""
    besides = {verdict.claim.id: verdict for verdict in others if verdict not in judged}
    lines = []
    for verdict in judged:
        (claim,) = claimtext.page_lines([verdict])
        numbers = list(map(escaped, claim["lines"]))
        second = besides.get(verdict.claim.id)
        if second is not None and second.compared >= verdict.compared:
            (other,) = claimtext.page_lines([second])
            amount = "more" if second.compared > verdict.compared else "as much"
            numbers += [f"where {amount} of it was compared: {_judged(other)}", *map(escaped, other["lines"])]
        lines.append(
            [
                escaped(f"{claim['id']}: {claim['text']} ({claim['where']})"),
                _judged(claim),
                "<br>".join([*numbers, *_remark(claim["note"])]),
            ]
        )
    return _rows(["claim", "verdict", "numbers"], lines) + f"\n\n{escaped(claimtext.LEGEND)}."


def _judged(claim: Mapping[str, Any]) -> str:
    """Return the verdict of a line of `claimtext.page_lines`, with how much of the claim was compared."""
    coverage = f" ({escaped(claim['coverage'])})" if claim["coverage"] else ""
    return f"**{escaped(claim['word'])}**{coverage}"


def _remark(note: str) -> list[str]:
    return [f"*note: {escaped(note)}*"] if note else []


def escaped(text: str) -> str:
    """Return a text as it is printed, with the characters escaped that Markdown would read as mark-up."""
    return printable(one_line(text)).translate(_MARKUP)


def _plain(name: str) -> str:
    """Return a name for files to which Markdown can link; other names get a digest, and stay distinct."""
    plain = re.sub(r"[^\w.-]+", "_", name, flags=re.ASCII).strip("_")
    return plain if plain == name else f"{plain}-{key_of(name)[:6]}"


def _problem(row: CellRow) -> str:
    return escaped(f"{row.cell.name}: {row.status}: {row.reason}")


def _spread(std: str) -> str:
    return f" ± {escaped(std)}" if std else ""


def _bullets(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _notes(lines: Sequence[str]) -> str:
    return _bullets(map(escaped, lines))


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return _rows([*map(escaped, header)], [[*map(escaped, row)] for row in rows])


def _rows(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table of cells that are Markdown already; names are aligned left and numbers right."""
    rule = [":--", *(":--" if name in ("verdict", "numbers") else "--:" for name in header[1:])]
    return "\n".join(f"| {' | '.join(line)} |" for line in [header, rule, *rows])

"""A study's report as one HTML file with inline styles and figures, which can be read offline and printed."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2

from raycl.metrics import Metric, all_metrics
from raycl.papers import claimtext, tabletext, verdicts
from raycl.papers.cells import FilledTable
from raycl.reporting import facts, plots, sensitivity, settings, standing, table, training
from raycl.reporting.fronts import Fronts
from raycl.reporting.importances import MOST, estimable, importances, resamples_for
from raycl.reporting.searches import Searches
from raycl.reporting.view import View, methods_shown, views_across, views_of
from raycl.results import measures
from raycl.results.collect import collect, sections
from raycl.results.numbers import TIMES
from raycl.results.rows import CellRow, Group, Section
from raycl.study.agenda import Agenda
from raycl.study.cells import Cell
from raycl.study.values import Study
from raycl.text import ABSENT, counted, fraction, one_line, plain_value, quantity, seconds
from raycl.wholefiles import publish

DEFINITIONS = {
    **sensitivity.DEFINITIONS,
    "ct": "seconds to learn all tasks, in fits and the method's own phases, without data loading and test "
    "evaluation; processor time on a CPU, which other work on the machine hardly changes, and wall time on "
    "an accelerator",
    "ct_wall, ct_cpu, ct_gpu": "the same as wall time, as processor time, and as the time for which the run "
    "had an accelerator",
    "ct_fits": "seconds of all fits, without the method's other phases",
    "ct_train": "seconds of the fits of the task itself, without the method's other phases and extra fits",
    "epochs": "mean number of epochs per task",
    "params": "learnable parameters after the last task",
    "stored": "bytes that must be stored after the last task, 1 kB = 1000 B",
}
"""Definitions of the numbers that are not metrics; metrics have definitions of their own."""

SLICED = 24  # Searches of a benchmark that have a figure of their fields.
CROWDED = "{} would crowd the curves, the figure by task and the accuracy matrices, which are left out"

# Control characters of terminals and of writing direction would affect the page outside their own string.
_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def write_html(study: Study, agenda: Agenda, path: Path | str, command: str = "") -> Path:
    """Write the report to a file, which is either complete or not written at all."""
    path = Path(path)
    publish(path, html_text(study, agenda, command))
    return path


def html_text(
    study: Study, agenda: Agenda, command: str = "", claims: bool = False, curves: bool = False
) -> str:
    """Return the report as one self-contained page; the same store gives the same bytes.

    Args:
        study: The study.
        agenda: The agenda of the study, with its results.
        command: The command that runs the study again.
        claims: Whether to test the claims of all papers; for a study that names its paper, the claims of that
            paper are always tested.
        curves: Whether to show the training curves of final runs.
    """
    rows = collect(study, agenda)
    found = sections(study, rows)
    styles = plots.styles_of(list(dict.fromkeys(row.cell.label for row in rows)))
    judged = verdicts.verdicts(study, rows) if claims or study.paper else []
    papers = tabletext.tables_of(study, found)
    deviations = tabletext.deviations(papers, methods_shown(study, rows))
    template, script = (_resource(name) for name in ("report.html.j2", "report.js"))
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    page = environment.from_string(template).render(
        study=study,
        script=script,
        means=standing.means(study, found),
        summary=facts.summary(rows, found),
        sheets=study.written_sheets,
        papers=[_paper(study, paper, deviations) for paper in papers],
        across=[
            _view(view, section, f"across{n}", styles)
            for n, (view, section) in enumerate(views_across(study, found))
            if view.lines(section)[1]
        ],
        deviations=deviations,
        what=facts.what(study, rows, found),
        where=facts.where(agenda),
        sections=[
            _section(study, section, styles, f"b{n}")
            | {"training": _training(section, agenda, styles, f"b{n}-training") if curves else ""}
            for n, section in enumerate(found, start=1)
        ],
        problems=[(row.cell.name, row.status, row.reason) for row in rows if row.reason],
        claims=claimtext.page_lines(judged),
        claims_summary=claimtext.summary(study, judged) if claims or study.paper else "",
        claims_legend=claimtext.LEGEND,
        definitions={metric.name: metric.definition for metric in all_metrics(study.metrics)} | DEFINITIONS,
        main=[metric.name for metric in all_metrics(study.metrics) if metric.main],
        command=command,
        enough=plots.ENOUGH,
    )
    return _UNSEEN.sub(" ", page)


def _resource(name: str) -> str:
    return resources.files("raycl.reporting").joinpath(name).read_text(encoding="utf-8")


def _training(section: Section, agenda: Agenda, styles: plots.Styles, name: str) -> str:
    found = training.trained_of(section, agenda.store)
    return plots.training(found, styles, f"training curves on {section.name}", name)


def _section(study: Study, section: Section, styles: plots.Styles, name: str) -> dict[str, Any]:
    """Return everything that the template shows of a benchmark.

    If there are too many labels, figures with a line for each label are left out.
    """
    crowded = table.crowded(study, section) or len(section.groups) > plots.PANELS
    standings = standing.marks(section)
    return {
        "tradeoff": "" if crowded else plots.tradeoff(section, styles, f"{name}-tradeoff"),
        "standings": standings,
        "views": [
            _view(view, section, f"{name}-view{n}", styles)
            for n, view in enumerate(views_of(study))
            if view.lines(section)[1]
        ],
        "crowded": CROWDED.format(counted(len(section.groups), "method")) if crowded else "",
        "name": name,
        "title": section.name,
        "header": table.title(study, section),
        "main": [
            _main_line(group, section, styles, mark) | {"standing": standings.get(group.label, "")}
            for group, mark in zip(section.groups, table.marked(section), strict=True)
        ],
        "more_header": [*(metric.name for metric in _further(section)), *_more(section)],
        "more": [_more_line(group, section) for group in section.groups],
        "counts": any(len(group.finals) < group.wanted for group in section.groups),
        "caption": table.caption(section),
        "notes": table.notes(section),
        "orders": [_order_line(row, section) for row in section.rows] if section.orders > 1 else [],
        "runs": "seeds and orders, by position in the order" if section.orders > 1 else "seeds",
        "curves": "" if crowded else plots.curves(section, styles, f"{name}-curves"),
        "by_task": "" if crowded else plots.by_task(section, styles, f"{name}-tasks"),
        "capacity": "" if crowded else plots.capacity(section, styles, f"{name}-capacity"),
        "heat_maps": "" if crowded else plots.heat_maps(section, f"{name}-heat"),
        "progress": plots.progress(section, styles, f"{name}-progress"),
        "spread": [
            _view(view, section, f"{name}-ps", styles) for view in [Searches()] if view.lines(section)[1]
        ],
        "fronts": [
            _view(view, section, f"{name}-front", styles) for view in [Fronts()] if view.lines(section)[1]
        ],
        "searches": _searches(section, styles, name),
        "pruned": any(row.lost("pruned") for row in section.rows),
        "left_out": _left_out(plots.searched(section)),
        **_configurations(section.rows),
    }


def _paper(study: Study, found: FilledTable, deviations: Sequence[tabletext.Deviation]) -> dict[str, Any]:
    """Return a paper's table; each cell shows our number, below it the printed one, then their difference."""
    cells = {place: tabletext.texts(entry) for place, entry in found.entries.items()}
    marks = {label: tabletext.marks(label, deviations) for label in (*found.rows, *found.columns)}
    words = [tabletext.whole_word([cells[row, column] for row in found.rows]) for column in found.columns]
    return {
        "title": tabletext.title(found),
        "compared": any(entry.printed for entry in found.all),
        "corner": "" if found.table.transpose else "method",
        "columns": [(label, marks[label], word) for label, word in zip(found.columns, words, strict=True)],
        "rows": [
            (
                row,
                marks[row],
                [(cells[row, column], not word) for column, word in zip(found.columns, words, strict=True)],
            )
            for row in found.rows
        ],
        "caption": tabletext.caption(study, found),
        "notes": tabletext.notes(found),
    }


def _view(view: View, section: Section, name: str, styles: plots.Styles) -> dict[str, Any]:
    header, rows = view.lines(section)
    return {
        "title": view.title,
        "header": header,
        "rows": rows,
        "caption": view.caption,
        "svg": view.figure(section, name, styles),
        "notes": view.notes,
    }


def _main_line(group: Group, section: Section, styles: plots.Styles, marked: bool) -> dict[str, Any]:
    ct, params, stored = (group.stat(name).mean for name in ("ct", "params", "bytes_total"))
    return {
        "label": one_line(group.label),
        "marked": marked,
        "colour": styles[group.label].colour,
        "n": f"{len(group.finals)}/{group.wanted}",
        "pairs": [*(table.pair(group, metric) for metric in section.metrics if metric.main), _ps(group.rows)],
        "single": [seconds(ct), quantity(params), quantity(stored, "B")],
    }


def _further(section: Section) -> list[Metric]:
    """Return the metrics that the main table leaves out; those that are blank for the reference come last."""
    further = [metric for metric in section.metrics if not metric.main]
    return sorted(further, key=lambda metric: metric.blank_for_reference)


def _times(section: Section) -> list[str]:
    """Return the times that any run of a benchmark has."""
    return [name for name in TIMES if any(group.stat(name).values for group in section.groups)]


def _more(section: Section) -> list[str]:
    """Return the columns after the metrics in "More numbers"."""
    return [*(f"{name} (s)" for name in _times(section)), "epochs"]


def _more_line(group: Group, section: Section) -> dict[str, Any]:
    """Return the line of a group in "More numbers": the metrics of `_further`, times and epochs."""
    pairs = [table.pair(group, metric) for metric in _further(section)]
    for name in _times(section):
        stat = group.stat(name)
        pairs.append((seconds(stat.mean), "" if stat.std is None else seconds(stat.std)))
    epochs = group.stat("epochs_mean").mean
    pairs.append((ABSENT if epochs is None else f"{epochs:.1f}", ""))
    return {"label": one_line(group.label), "pairs": pairs}


def _order_line(row: CellRow, section: Section) -> dict[str, Any]:
    stats = [(metric, row.stat(metric.name)) for metric in section.metrics if metric.main]
    values = [(measures.format_value(m, stat.mean), measures.format_std(m, stat.std)) for m, stat in stats]
    return {
        "label": one_line(row.cell.label),
        "order": row.cell.order,
        "pairs": [*values, _ps([row])],
    }


def _ps(rows: Sequence[CellRow]) -> tuple[str, str]:
    found = sensitivity.sensitivity(rows)
    return fraction(found.ps), found.printed_interval


def _searches(section: Section, styles: plots.Styles, name: str) -> list[dict[str, Any]]:
    found = []
    rows = plots.searched(section)
    forests = [row for row in rows[:SLICED] if estimable(row)][:MOST]
    resamples = resamples_for(len(forests))
    for n, row in enumerate(rows[:SLICED]):
        drawn = plots.slices(row, styles[row.cell.label], f"{name}-slice{n}")
        if drawn:
            order = f", order {row.cell.order}" if row.cell.orders > 1 else ""
            matters = importances(row, resamples) if any(row is each for each in forests) else None
            found.append(
                {
                    "label": one_line(row.cell.label) + order,
                    "n": counted(len(row.trials), "trial"),
                    "few": not plots.enough_trials(row),
                    "svg": drawn,
                    "importance": plots.importances(matters, styles[row.cell.label], f"{name}-importance{n}")
                    if matters
                    else "",
                    "importance_note": matters.note if matters else "",
                }
            )
    return found


def _left_out(rows: Sequence[CellRow]) -> str:
    """Return a line that says which searches lack figures, "" if none does."""
    limits = {
        "in the figures of all searches": (plots.PANELS, len(rows)),
        "shown by field": (SLICED, len(rows)),
        "analysed for importance": (MOST, sum(map(estimable, rows))),
    }
    parts = [
        f"{many - most} of {many} are not {what}" for what, (most, many) in limits.items() if many > most
    ]
    if not parts:
        return ""
    return f"Of the searches, {', '.join(parts)}. Choose others by --only; the tables and the csv have all."


def _configurations(rows: Sequence[CellRow]) -> dict[str, Any]:
    """Return the configuration of each row; what all rows share and no label fixes is shown only once."""
    fixed = [settings.fixed(row.cell) for row in rows]
    shared = [
        each
        for each in fixed[0]
        if len(rows) > 1 and each.source not in ("label", "method") and all(each in other for other in fixed)
    ]
    own = [[each for each in found if each not in shared] for found in fixed]
    return {
        "configurations": [_configuration(row, mine) for row, mine in zip(rows, own, strict=True)],
        "shared": _by_source(rows[0].cell, shared),
    }


def _by_source(cell: Cell, found: Sequence[settings.Fixed]) -> list[tuple[str, str]]:
    """Return pairs of a source ("" for the label) and its settings, ``fit.lr = 0.1, method.smax = 400.0``."""
    sources = dict.fromkeys(each.source for each in found)
    first = sorted(sources, key=lambda source: (source not in settings.BY_THE_STUDY, source != "label"))
    pairs = []
    for source in first:
        texts = [f"{each.key} = {each.value}" for each in found if each.source == source]
        pairs.append(("" if source == "label" else settings.whose(cell, source), ", ".join(texts)))
    return pairs


def _configuration(row: CellRow, fixed: Sequence[settings.Fixed]) -> dict[str, Any]:
    """Return the winner of a search, rounded for reading and exact for copying, and the fixed settings."""
    best = row.best
    exact = "" if best is None else ", ".join(f'"{key}": {json.dumps(value)}' for key, value in best.items())
    shown = "" if best is None else ", ".join(f"{key} = {plain_value(value)}" for key, value in best.items())
    order = f", order {row.cell.order}" if row.cell.orders > 1 else ""
    return {
        "label": one_line(row.cell.label) + order,
        "shown": "the search is not finished" if best is None else shown or "nothing searched",
        "exact": exact,
        "fixed": _by_source(row.cell, fixed),
        "trials": str(len(row.trials)) if row.trials else ABSENT,
        "val": row.cell.objectives[0].text(row.best_objective),
    }

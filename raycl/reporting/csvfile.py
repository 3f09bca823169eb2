"""The numbers of a report as CSV, in full precision: one row per final run, and one for their mean."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from raycl.errors import UserError
from raycl.metrics import Metric, all_metrics
from raycl.papers import tabletext
from raycl.reporting.sensitivity import sensitivity
from raycl.reporting.settings import canonical, fixed
from raycl.reporting.view import views_across, views_of
from raycl.results.collect import sections, subset_of
from raycl.results.numbers import FACTS, TIMES
from raycl.results.rows import COMPLETE, DIVERGED, MISSING, CellRow, FinalRun, Group, Stat
from raycl.study.values import Search, Study
from raycl.text import Lines

_LEADING = [
    *("benchmark", "subset", "order", "label", "seed", "status", "n"),
    *("trials", "trials_diverged", "trials_invalid"),
]
TABLE_COLUMNS = [
    *("table", "number", "row", "column", "benchmark", "method", "label", "metric", "n", "ours", "std"),
    *("printed", "printed_std", "difference", "half_width", "beyond", "word", "status", "reason"),
]
TIME_COLUMNS = [
    *(column for name in TIMES for column in (name, f"{name}_std")),
    *("ct_task", "cpu_share", "peak_bytes", "search_seconds"),
]


def columns(own: Sequence[Metric] = ()) -> list[str]:
    """Return the columns that `to_csv` always has; `own` are metrics that a study adds to raycl's."""
    return _columns(own, pruned=False)


def _columns(own: Sequence[Metric], pruned: bool) -> list[str]:
    """Return the columns of a study, one more if a search prunes."""
    return [
        *_LEADING,
        *(["trials_pruned"] if pruned else []),
        *(column for metric in all_metrics(own) for column in (metric.name, f"{metric.name}_std")),
        *("ps", "ps_low", "ps_high"),
        *FACTS,
        *("config", "key", "matrix", "fixed", "inherited"),
    ]


def to_csv(study: Study, rows: Sequence[CellRow], times: bool = True) -> str:
    """Write the rows of a study as CSV.

    Floats are written by `repr`, and a missing number is an empty string. Labels are written as the study has
    them, even if a spreadsheet would take them for formulas, because a changed label would be another label.

    `matrix` is JSON of the test accuracies, [learnt][tested]. `config` is JSON of the searched fields.
    `fixed` holds what the study fixes besides them (its network, its fit, the label), and `inherited` the
    values of its preset and its method that nothing overrides; both are sorted by name and look like
    ``fit.lr=0.1; method.smax=400.0``. A study with several orders also has rows with order "mean", whose
    deviations are over orders. `subset` says why a benchmark's numbers cannot be compared with published
    ones. `ps_low` and `ps_high` are the interval of `ps`; `search_seconds` is the run time of all trials.
    `trials_pruned` is there if a search of the study prunes; `ps` is over the other trials.
    `cpu_share` is the share of a processor that a run had while it learnt.

    Args:
        study: The study.
        rows: Its rows.
        times: Whether to add the columns that differ when the same study is run again (seconds and memory).
    """
    out = Lines()
    prunes = any(isinstance(row.cell.search, Search) and row.cell.search.prune for row in rows)
    header = _columns(study.metrics, prunes) + (TIME_COLUMNS if times else [])
    writer = csv.DictWriter(out, header, restval="", extrasaction="ignore")
    writer.writeheader()
    names = [*(metric.name for metric in all_metrics(study.metrics)), *FACTS, *TIMES]
    subsets = {cell.benchmark: subset_of(cell) for cell in {r.cell.benchmark: r.cell for r in rows}.values()}
    for group in _groups(rows):
        lines = [line for row in group.rows for line in [*_seed_lines(row, names), _mean_line(row, names)]]
        if len(group.rows) > 1:
            lines.append(_order_line(group, names))
        writer.writerows(_texts(line | {"subset": subsets[line["benchmark"]]}) for line in lines)
    return out.getvalue()


def points_csv(study: Study, rows: Sequence[CellRow]) -> str:
    """Write the raw numbers behind a study's views as CSV, one line each.

    A column that a view does not have is empty.

    Raises:
        UserError: If the study has no views.
    """
    if not study.views:
        raise UserError(f"{study.file}: this study has no views, and so no points; add views=[...]")
    found = sections(study, rows)
    shown = [*views_across(study, found), *((view, each) for view in views_of(study) for each in found)]
    points = [point for view, section in shown for point in view.points(section)]
    out = Lines()
    columns = list(dict.fromkeys(key for point in points for key in point))
    writer = csv.DictWriter(out, columns, restval="")
    writer.writeheader()
    writer.writerows(_texts(point) for point in points)
    return out.getvalue()


def tables_csv(study: Study, rows: Sequence[CellRow]) -> str:
    """Write the paper's tables of a study as CSV, one line per cell, in fractions, seconds, bytes and counts.

    `word` says why there is no printed number (subset, substitute), and `status` why there is none of ours.
    `half_width` is the half-width of the 95 % confidence interval of the difference (Student's t); `beyond`
    is 1 where the difference is larger than that and than the printed number's rounding.

    Raises:
        UserError: If the study has no such tables.
    """
    if not study.tables:
        raise UserError(f"{study.file}: this study has no tables of a paper; add tables=[PaperTable(...)]")
    out = Lines()
    writer = csv.DictWriter(out, TABLE_COLUMNS)
    writer.writeheader()
    for found in tabletext.tables_of(study, sections(study, rows)):
        for entry in found.all:
            ours, printed = entry.ours, entry.printed
            line = {
                "table": found.table.title,
                "number": printed.table if printed else found.table.table,
                **{name: getattr(entry, name) for name in TABLE_COLUMNS if hasattr(entry, name)},
                "n": len(entry.values),
                "ours": ours.mean,
                "std": ours.std,
                "printed": printed.value if printed else None,
                "printed_std": printed.std if printed else None,
                "beyond": int(entry.beyond) if entry.half_width is not None else None,
            }
            writer.writerow(_texts(line))
    return out.getvalue()


def sheets_csv(study: Study) -> str:
    """Write the sheets of a study without runs as CSV, separated by empty lines."""
    out = Lines()
    writer = csv.writer(out)
    for number, sheet in enumerate(study.written_sheets):
        if number:
            out.write("")
        writer.writerows([sheet.header, *sheet.rows])
    return out.getvalue()


def _groups(rows: Sequence[CellRow]) -> list[Group]:
    """Group the rows by benchmark and label, in the order of their occurrence."""
    found: dict[tuple[str, str], list[CellRow]] = {}
    for row in rows:
        found.setdefault((row.cell.benchmark, row.cell.label), []).append(row)
    return [Group(label, tuple(mine)) for (_, label), mine in found.items()]


def _seed_lines(row: CellRow, names: Sequence[str]) -> list[dict[str, Any]]:
    finals = {final.seed: final for final in row.finals}
    lines = []
    for seed in row.seeds:
        final = finals.get(seed)
        line = _about(row) | {"seed": seed, "config": _config(row)}
        if final is None:
            line["status"] = DIVERGED if seed in row.diverged else MISSING
        else:
            line |= {"status": COMPLETE, "n": 1} | _numbers(final, names)
        lines.append(line)
    return lines


def _numbers(final: FinalRun, names: Sequence[str]) -> dict[str, Any]:
    found: dict[str, Any] = {name: final.value(name) for name in names}
    found |= {"key": final.key, "peak_bytes": final.peak_bytes, "cpu_share": final.cpu_share}
    matrix = [[None if math.isnan(value) else value for value in line] for line in final.a.tolist()]
    return found | {"matrix": json.dumps(matrix), "ct_task": json.dumps(list(final.ct_task))}


def _mean_line(row: CellRow, names: Sequence[str]) -> dict[str, Any]:
    line = _about(row) | {
        "seed": "mean",
        "status": row.status,
        "n": len(row.finals),
        "trials": len(row.trials),
        "trials_diverged": row.lost("diverged"),
        "trials_invalid": row.lost("invalid"),
        "trials_pruned": row.lost("pruned"),
        "config": _config(row),
    }
    return line | _search([row]) | _stats({name: row.stat(name) for name in names})


def _order_line(group: Group, names: Sequence[str]) -> dict[str, Any]:
    """Return the line of the mean over orders; its status is that of the rows if all have the same."""
    statuses = {row.status for row in group.rows}
    line = _about(group.rows[0]) | {
        "order": "mean",
        "seed": "mean",
        "status": statuses.pop() if len(statuses) == 1 else "incomplete",
        "n": len(group.finals),
    }
    return line | _search(group.rows) | _stats({name: group.stat(name) for name in names})


def _search(rows: Sequence[CellRow]) -> dict[str, Any]:
    found = sensitivity(rows)
    return {"ps": found.ps, "ps_low": found.low, "ps_high": found.high, "search_seconds": found.seconds}


def _stats(stats: Mapping[str, Stat]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, stat in stats.items():
        found |= {name: stat.mean, f"{name}_std": stat.std}
    return found


def _about(row: CellRow) -> dict[str, Any]:
    cell, settings = row.cell, fixed(row.cell)
    return {
        "benchmark": cell.benchmark,
        "order": cell.order,
        "label": cell.label,
        "fixed": canonical(each for each in settings if each.explicit),
        "inherited": canonical(each for each in settings if not each.explicit),
    }


def _config(row: CellRow) -> str:
    return "" if row.best is None else json.dumps(row.best, sort_keys=True)


def _texts(line: Mapping[str, Any]) -> dict[str, str]:
    return {key: _text(value) for key, value in line.items()}


def _text(value: Any) -> str:
    if value is None:
        return ""
    return repr(float(value)) if isinstance(value, float) else str(value)

"""Trends of a metric along an axis: the levels of the axis, and the finding on each benchmark."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from raycl.papers.cases import Case, Group
from raycl.papers.findings import ClaimFinding
from raycl.papers.judging import NOT_RUN, judge_trend
from raycl.papers.matching import grid_of, paired_fields
from raycl.papers.samples import ItemRows, Sample, Where, by_unit, level_of, levels_along, shared_keys
from raycl.results.grammar import RUNNING, VARIANTS, Item, Side
from raycl.results.numbers import ABSENT, along
from raycl.results.rows import CellRow
from raycl.study.values import Grid


@dataclass(frozen=True)
class Levels:
    """The levels of a trend.

    Attributes:
        wanted: How many levels the claim is about, as far as the study plans them.
        planned: Whether the study has a trend at all.
        lacking: What is missing where fewer than two have numbers.
        samples: The printed name and the sample of each level that has numbers.
        rows: The labels of the rows behind them, as in `ItemRows.labels`.
        unit, source: As in `ClaimFinding`.
    """

    wanted: int
    planned: bool
    lacking: str
    samples: list[tuple[str, Sample]] = field(default_factory=list)
    rows: tuple[str, ...] = ()
    unit: str = "seed"
    source: str = ""


def trends(case: Case, left: Side, group: Group) -> Iterator[ClaimFinding]:
    """Test a trend on each benchmark of a group on which the study has two levels."""
    assert isinstance(left, Item)
    found = {where: levels_of(case, left, where) for where in group.wheres}
    planned = [where for where, levels in found.items() if levels.planned]
    for where in planned or group.wheres[:1]:
        finding = _finding(case, left, found[where], where)
        asked = max(found[where].wanted, 1) * group.count
        known = 1 if case.claim.averaged else group.count
        yield replace(finding, asked=asked, compared=finding.compared * known)


def _finding(case: Case, left: Item, levels: Levels, where: Where) -> ClaimFinding:
    """Return the finding on a trend, which counts the levels that have numbers."""
    assert case.claim.axis is not None
    samples = [sample for _, sample in levels.samples]
    if len(samples) < 2:
        return ClaimFinding(NOT_RUN, where=str(where), reason=levels.lacking)
    units = by_unit(samples)
    if not units.size:
        reason = f"{case.claim.metric} has no {levels.unit} in common{where.clause}"
        return ClaimFinding(NOT_RUN, where=str(where), reason=reason)
    (word, lean), difference, half_width, step = judge_trend(case.claim, units)
    worth = 1 if case.axis in RUNNING else len(samples)
    return ClaimFinding(
        word,
        lean,
        where=case.named(where, samples),
        subset=where.subset,
        other_data=where.other_data,
        left=str(left),
        right=case.claim.axis.name,
        left_rows=levels.rows,
        values=tuple(units.mean(1).tolist()),
        levels=tuple(label for label, _ in levels.samples),
        difference=difference,
        half_width=half_width,
        n=units.shape[1],
        unit=levels.unit,
        source=levels.source,
        step=step,
        compared=worth * case.covered(samples, where),
    )


def levels_of(case: Case, left: Item, where: Where) -> Levels:
    """Return the levels of the axis of a trend, with the sample of each that has numbers."""
    assert case.claim.axis is not None
    if case.axis == VARIANTS:
        return _of_variants(case, case.claim.axis.variants, where)
    run = case.rows_of(left, where)
    fields = [name for name in paired_fields([run.rows]) if name != f"method.{case.axis}"]
    if case.axis in RUNNING:
        return _of_running(case, run, fields, where)
    found: dict[Any, list[CellRow]] = {}
    for row in run.rows:
        if (level := level_of(row, case.axis)) is not ABSENT:
            found.setdefault(level, []).append(row)
    grid = {value for row in run.rows for value in grid_of(row, f"method.{case.axis}")}
    if len(found) < 2 <= len(grid):
        return _of_grid(case, run, fields, grid, where)
    order = sorted(found)[-case.claim.largest :]  # A `largest` of 0 keeps all levels.
    samples = [(_short(level), case.reader.sample(left, found[level], fields, where)) for level in order]
    planned = "finished runs of " if len(order) > 1 else ""
    # With one row at each level there was no choice; a reader asks for the rows only where there was one.
    chosen = run.others or any(len({row.cell.label for row in rows}) > 1 for rows in found.values())
    return Levels(
        wanted=len(order),
        planned=len(order) > 1,
        lacking=f"needs {planned}{left} at two values of {case.claim.axis.name}{where.clause}",
        samples=_known(samples),
        rows=run.labels if chosen else (),
        unit=case.unit,
    )


def _of_variants(case: Case, variants: Sequence[Item], where: Where) -> Levels:
    """Return a level for each variant."""
    found = [case.rows_of(item, where) for item in variants]
    fields = paired_fields(*([run.rows] for run in found))
    samples = [(str(run), case.reader.sample(run.item, run.rows, fields, where)) for run in found]
    absent = [str(run.item) for run in found if not run.rows]
    if not absent:
        absent = ["finished runs of two of " + ", ".join(map(str, variants))]
    lacking = f"needs {', '.join(absent)}{where.clause}"
    planned = sum(bool(run.rows) for run in found) > 1
    return Levels(len(variants), planned, lacking, _known(samples), unit=case.unit)


def _of_running(case: Case, run: ItemRows, fields: Sequence[str], where: Where) -> Levels:
    """Return a level for each task, layer or step that all runs have; together they count as one."""
    metric, samples = case.reading.metric, []
    for level in levels_along(run.rows, metric, case.axis):

        def read(row: CellRow, final: Any, tasks: Sequence[int], level: Any = level) -> float | None:
            return along(final, metric, case.axis).get(level)

        samples.append((str(level), case.reader.sample(run.item, run.rows, fields, where, read)))
    lacking = f"needs {run.item}{where.clause}"
    if run.rows:
        lacking = f"needs a finished run of {run.item}{where.clause}"
    if run.finished:
        lacking = f"needs {case.claim.metric} of {run.item} at two values of {case.axis}{where.clause}"
    return Levels(1, bool(run.rows), lacking, _known(samples), run.labels, case.unit)


def _of_grid(case: Case, run: ItemRows, fields: Sequence[str], grid: set[Any], where: Where) -> Levels:
    """Return a level for each value of a field over which a search is a grid, read from its trials.

    A trial has the accuracy by which the search chooses, and no other metric.
    """
    axis, order = f"method.{case.axis}", sorted(grid)[-case.claim.largest :]
    assert case.claim.axis is not None
    at_two = f"at two values of {case.claim.axis.name}{where.clause}"
    if str(case.claim.metric) != "acc" or run.item.tasks:
        only = f"the trials of a grid have acc only, not {case.claim.metric}"
        return Levels(len(order), True, f"needs final runs of {run.item} {at_two}: {only}")
    found = case.reader.of_trials(run.rows, axis, fields)
    samples = _known([(_short(level), found.get(level, {})) for level in order])
    trials = len(samples) * len(shared_keys([sample for _, sample in samples])) if samples else 0
    splits = {"test" if row.cell.protocol == "paper" else "validation" for row in run.rows}
    others = {key for row in run.rows if isinstance(row.cell.search, Grid) for key in row.cell.search.axes}
    paired = [key.removeprefix("method.") for key in sorted({*others, *fields} - {axis})]
    return Levels(
        wanted=len(order),
        planned=True,
        lacking=f"needs finished trials of {run.item} {at_two}",
        samples=samples,
        rows=run.labels,
        unit=case.unit if case.unit == "order" else "setting",
        source=f"{trials} trials on {' and '.join(sorted(splits))} data, all of one seed"
        + (f", paired by {' and '.join(paired)}" if paired else ""),
    )


def _known(samples: Sequence[tuple[str, Sample]]) -> list[tuple[str, Sample]]:
    return [(label, sample) for label, sample in samples if sample]


def _short(level: Any) -> str:
    return f"{level:g}" if isinstance(level, float) else str(level)

"""The verdicts of a store on claims: paired differences by seed, a word, and how much of a claim it covers.

Both sides are paired by seed (by order, where a study has several orders) and by every setting that both
have, that varies and that neither names, such as a density. Values are averaged over a setting that only one
side has. A field that one side of a claim names must have its default value on the other side, and so must a
switch (any field that is not a number) that varies.

A claim asks for elementary comparisons: each method of one side with each of the other, on each benchmark.
The alternatives of ``best(...)`` count one by one, as do the members of a mean, the values of `each` that the
study has, and the levels of a trend. A verdict says how many of them it covers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TypeAlias

from raycl.catalogue import catalogue
from raycl.metrics import smaller_is_better
from raycl.papers.arithmetic import accounted, trunk_bytes
from raycl.papers.cases import Case, Group, items_of, size_of
from raycl.papers.claims import Claim, claims
from raycl.papers.findings import ClaimFinding, Verdict
from raycl.papers.judging import NOT_RUN, gravity, judge
from raycl.papers.matching import paired_fields, switched
from raycl.papers.samples import ItemRows, Sample, Where, by_unit, mean_lead
from raycl.papers.trends import trends
from raycl.results.collect import subset_of
from raycl.results.grammar import Best, Side, Stored, Trunk
from raycl.results.numbers import setting
from raycl.results.rows import CellRow
from raycl.study.values import Study

FEW = 2  # At most this many methods that were not run are named.

Alternative: TypeAlias = tuple[ItemRows, Sample]
"""A method that a side may stand for, and its numbers, which may be {}."""


def verdicts(study: Study, rows: Sequence[CellRow]) -> list[Verdict]:
    """Return a verdict on every claim of the study's paper.

    For a study without a paper, return a verdict on every claim of any paper that its cells can test.
    """
    cells = {row.cell.benchmark: row.cell for row in rows}
    subsets = {text: subset_of(cell) for text, cell in cells.items()}
    asked = [c for c in claims(study.paper) if study.paper or not isinstance(c.left[0], Stored)]
    found = [verdict(claim, rows, subsets, claims(claim.paper)) for claim in asked]
    return [v for v in found if study.paper or v.word != NOT_RUN]


def verdict(
    claim: Claim,
    rows: Sequence[CellRow],
    subsets: Mapping[str, str] | None = None,
    others: Sequence[Claim] = (),
) -> Verdict:
    """Test a claim against the rows of a study.

    Args:
        claim: The claim.
        rows: The rows of the study, finished or not.
        subsets: By benchmark, the reason why its numbers cannot be compared with published ones, or "".
        others: The claims of the paper; no stand-in speaks for two benchmarks of which they say opposite
            things.
    """
    if isinstance(claim.left[0], Stored):
        return Verdict(claim, tuple(accounted(claim, *pair) for pair in claim.pairs))
    case = Case(claim, rows, subsets or {}, others)
    return Verdict(claim, tuple(_findings(case)))


def _findings(case: Case) -> Iterator[ClaimFinding]:
    """Yield a finding for each pair of sides on each benchmark, and one for each missing benchmark."""
    axis = case.claim.axis
    groups, missing = case.groups()
    for left, right in case.claim.pairs:
        for group in groups:
            yield from trends(case, left, group) if axis else _compared(case, left, right, group)
    sizes = [len(axis.variants) or 1 if axis else size_of(a) * size_of(b) for a, b in case.claim.pairs]
    for reason in missing:
        yield ClaimFinding(NOT_RUN, reason=reason, asked=sum(sizes))


def _compared(case: Case, left: Side, right: Side | None, group: Group) -> Iterator[ClaimFinding]:
    """Compare left with right on each benchmark of a group on which the study has both.

    The windows of a benchmark on which it has only one of them, or does not measure the metric, do not count
    unless there is no other window.
    """
    asked = size_of(left) * size_of(right) * group.count
    known = 1 if case.claim.averaged else group.count
    lacking = ""
    found: list[ClaimFinding] = []
    for where in group.wheres:
        lefts, rights = case.alternatives(left, where), case.alternatives(right, where)
        absent = [side for side, rows in ((left, lefts), (right, rights)) if items_of(side) and not rows]
        if absent:
            lacking = lacking or _needs(case, absent[0], where)
        else:
            found += _at_each(case, lefts, rights, right, where)
    unmeasured = sorted(
        (one for one in found if one.unmeasured), key=lambda one: not one.reason.endswith("has it")
    )[:1]
    found = [one for one in found if not one.unmeasured] or unmeasured
    found = found or [ClaimFinding(NOT_RUN, where=str(group.wheres[0]), reason=lacking)]
    yield from (replace(one, asked=asked, compared=one.compared * known) for one in found)


def _needs(case: Case, side: Side | None, where: Where) -> str:
    """Return the sentence that the study does not have a side on some benchmarks."""
    own = next((item.place for item in items_of(side) if item.place), None)
    if own is None:
        return f"needs {side}{where.clause}"
    refused = case.places.of_item(own).refused
    return f"needs {side}" + (f": {refused}" if refused else "")


def _at_each(
    case: Case, lefts: Sequence[ItemRows], rights: Sequence[ItemRows], right: Side | None, where: Where
) -> list[ClaimFinding]:
    """Compare two sides, at each value of a field that both have where the claim asks for it."""
    each = case.claim.each
    if not each:
        return [_judged(case, lefts, rights, right, where)]
    key = f"method.{catalogue()['axes'][each]}"
    values = [{setting(row, key) for run in side for row in run.rows} for side in (lefts, rights)]
    shared = sorted(values[0] & values[1])
    if not shared:
        reason = f"needs a {each} that both sides have{where.clause}"
        return [ClaimFinding(NOT_RUN, where=str(where), reason=reason)]
    found = []
    for value in shared:
        first, second = (
            [replace(run, rows=tuple(r for r in run.rows if setting(r, key) == value)) for run in side]
            for side in (lefts, rights)
        )
        there = replace(where, name=f"{where}, {each} = {value}")
        found.append(_judged(case, first, second, right, there))
    return found


def _judged(
    case: Case, lefts: Sequence[ItemRows], rights: Sequence[ItemRows], right: Side | None, where: Where
) -> ClaimFinding:
    """Return the finding on the best alternative of the left side and the decisive one of the right side."""
    fields = paired_fields([run.rows for run in lefts], [run.rows for run in rights])
    all_left, all_right = (
        [(run, case.reader.sample(run.item, run.rows, fields, where)) for run in side]
        for side in (lefts, rights)
    )
    first, of_left = _best(case, all_left, None)
    finding = ClaimFinding(
        NOT_RUN,
        where=str(where),
        subset=where.subset,
        other_data=where.other_data or first.where.other_data,
        left=str(first),
        left_rows=first.labels,
        unit=case.unit,
    )
    if rights:
        second, of_right = _deciding_alternative(case, all_right, of_left)
        best = _chosen_as(right, case, all_right, of_left, second) if isinstance(right, Best) else ""
        finding = replace(
            finding,
            right=str(second) + best,
            right_rows=second.labels,
            chosen=isinstance(right, Best),
            other_data=tuple(dict.fromkeys((*finding.other_data, *second.where.other_data))),
        )
    else:
        constant = trunk_bytes(first.rows[0]) if isinstance(right, Trunk) else right
        if isinstance(right, Trunk) and constant is None:
            return replace(finding, reason=f"needs the data of {where} to build its network")
        written = f"{right:g}" if isinstance(right, float) else str(right or "")
        finding = replace(finding, right=written)
        of_right = dict.fromkeys(of_left, float(constant) if isinstance(constant, int | float) else 0.0)
    units = by_unit([of_left, of_right])
    if not units.size:
        return _unpaired(case, [*all_left, *all_right], where)
    (word, lean), half_width = judge(case.claim, units[0], units[1])
    values = tuple(units.mean(1).tolist())
    return replace(
        finding,
        word=word,
        lean=lean,
        where=case.named(where, [of_left, of_right]),
        values=values[:1] if right is None else values,
        n=units.shape[1],
        difference=values[0] - values[1] * (case.claim.margin if case.claim.kind == "ratio" else 1.0),
        half_width=half_width,
        compared=_compared_pairs(case, all_left, all_right, where),
    )


def _chosen_as(side: Best, case: Case, run: Sequence[Alternative], other: Sample, chosen: ItemRows) -> str:
    """Return as what an alternative was chosen, among how many, and which were not run if they are few."""
    known = [one.item for one, sample in run if sample]
    absent = [str(item) for item in side.items if item not in known]
    without = f" without {' and '.join(absent)}" if len(absent) in range(1, FEW + 1) else ""
    best = _best(case, run, other)[0] is chosen
    kind = "the best of" if best else "the gravest of" if _against_all(case) else "the mildest of"
    return f", {kind} {len(known)} run of {len(side.items)}{without}"


def _against_all(case: Case) -> bool:
    """Return whether a claim about the best of several must hold against each of them.

    It must if it says that the left side is as good as the best, or better. If it says that the left side is
    not much better than the best, one of them is enough.
    """
    return (case.claim.direction == "up") != _smaller_is_better(case)


def _deciding_alternative(case: Case, side: Sequence[Alternative], other: Sample) -> Alternative:
    """Return the alternative on which the verdict depends; of several with the same outcome, the best one.

    The alternative with the best mean need not be the one that decides: its lead over the left side may be
    within noise, while that of another one is not.
    """
    best = _best(case, side, other)
    if case.claim.direction not in ("up", "down") or case.claim.kind == "formula":
        return best
    found = [best, *(one for one in side if one is not best)]
    graded = [
        (gravity(*judge(case.claim, *units)[0]), alternative)
        for alternative in found
        if (units := by_unit([other, alternative[1]])).size
    ]
    if not graded:
        return best
    return (min if _against_all(case) else max)(graded, key=lambda pair: pair[0])[1]


def _best(case: Case, side: Sequence[Alternative], other: Sample | None) -> Alternative:
    """Return the alternative with the best mean lead over the other side, or with the best mean.

    Which value is the better one depends on the metric, and not on what is claimed: a claim that CAT is at
    most .05 above the best of the others is about the most accurate of them.
    """
    sign = -1 if _smaller_is_better(case) else 1

    def lead(alternative: Alternative) -> float:
        found = mean_lead(alternative[1], other)
        return -math.inf if found is None else sign * found

    return max(side, key=lead)


def _smaller_is_better(case: Case) -> bool:
    """Return whether less of the claim's metric is better; of most diagnostics, its direction says so."""
    found = smaller_is_better(case.reading.metric.name)
    return case.claim.direction == "down" if found is None else found


def _compared_pairs(
    case: Case, lefts: Sequence[Alternative], rights: Sequence[Alternative], where: Where
) -> int:
    """Return how many pairs of alternatives have numbers; in a mean, each counts on each of its places."""
    if not rights:
        return sum(case.covered([sample], where) for _, sample in lefts)
    return sum(case.covered([mine, theirs], where) for _, mine in lefts for _, theirs in rights)


def _unpaired(case: Case, sides: Sequence[Alternative], where: Where) -> ClaimFinding:
    """Return why there are no pairs; where another row has measured the metric, it is named."""
    run = next((run for run, sample in sides if not sample), None)
    if run is None:
        lacking = f"no {case.unit} in common{where.clause}"
        if case.claim.averaged and len(where.texts) > 1:
            lacking = f"no {case.unit} that all have of {where}"
        return ClaimFinding(NOT_RUN, where=str(where), reason=lacking)
    if not run.finished:
        return ClaimFinding(
            NOT_RUN, where=str(where), reason=f"needs a finished run of {run}{_at(run, where)}"
        )
    has = _measured_by(case, run, where)
    return ClaimFinding(
        NOT_RUN,
        where=str(where),
        reason=f"{case.claim.metric} was not measured by {run}{_at(run, where)}"
        + (f"; {has} has it" if has else ""),
        unmeasured=True,
    )


def _measured_by(case: Case, run: ItemRows, where: Where) -> str:
    """Return which other rows that fit an item have measured the metric, or ""."""
    measured = [row for row in run.others if case.reader.sample(run.item, [row], (), where)]
    if not measured:
        return ""
    switches = switched(measured, run.rows)
    if not switches:
        return measured[0].cell.label
    return str(replace(run.item, fields=(*run.item.fields, *switches)))


def _at(run: ItemRows, where: Where) -> str:
    return "" if run.item.place else where.clause

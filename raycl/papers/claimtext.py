"""Claims and their verdicts as text, as CSV, and as lines of the HTML report."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from raycl.papers.claims import Claim
from raycl.papers.findings import ClaimFinding, Verdict
from raycl.papers.judging import HOLDS, NO_VERDICT, NOT_RUN, REVERSED, UNDECIDED, gravity
from raycl.results.grammar import VARIANTS
from raycl.results.numbers import format_metric
from raycl.study.values import Study
from raycl.text import Lines, counted, fraction, wrapped

SHOWN = 3  # The terminal shows this many comparisons of a claim.
LEVELS = 6  # At most this many values along an axis are shown.
ROWS = 2  # At most this many labels of rows are shown of a side.

COLUMNS = [
    "claim",
    "paper",
    "where",
    "kind",
    "metric",
    "direction",
    "margin",
    "verdict",
    "compared",
    "asked",
    "data",
    "comparison",
    "lean",
    "benchmark",
    "subset",
    "left",
    "right",
    "left_value",
    "right_value",
    "left_rows",
    "right_rows",
    "levels",
    "values",
    "difference",
    "half_width",
    "n",
    "unit",
    "source",
    "reason",
    "text",
    "note",
]

LEGEND = (
    "+- is the half-width of the 95 % confidence interval of the paired difference (Student's t). holds: the "
    "claim is met by more than that; reversed: it is missed by more; undecided: it is met or missed in the "
    "mean, but by less. Fewer than three seeds give no verdict. so far (2 of 9): two of nine comparisons "
    "that the claim asks for were run; on a subset or substitute of the paper's data, every verdict is so far"
)


def claims_text(study: Study, verdicts: Sequence[Verdict]) -> str:
    """Write a paragraph for each claim that was run and a line for each that was not, in 80 columns."""
    width = max((len(v.claim.id) for v in verdicts), default=0) + 2
    indent = " " * width
    parts, missing = [wrapped(summary(study, verdicts))], []
    for verdict in verdicts:
        claim = verdict.claim
        if verdict.word == NOT_RUN:
            missing += wrapped(f"{claim.id:<{width}}not run: {_first_reason(verdict)}", indent)
            continue
        amount = asked(claim)
        more = f" (asked: {amount})" if amount else ""
        lines = wrapped(f"{claim.id:<{width}}{claim.text}{more}", indent)
        for text in [*verdict_lines(verdict), *([f"note: {claim.note}"] if claim.note else [])]:
            lines += wrapped(indent + text, indent + "  ")
        parts.append(lines)
    legend = wrapped(LEGEND) if len(parts) > 1 else []
    return "\n\n".join("\n".join(lines) for lines in [*parts, missing, legend] if lines) + "\n"


def summary(study: Study, verdicts: Sequence[Verdict]) -> str:
    """Return a summary such as ``claims of spg: 2 hold, 1 undecided, 3 not run``."""
    of = f" of {study.paper}" if study.paper else ""
    if not verdicts:
        return f"claims{of}: none is about the methods and benchmarks of this study"
    return f"claims{of}: {_tallied(Counter(v.said for v in verdicts))}"


def _tallied(counts: Mapping[str, int]) -> str:
    """Return the counts in words, such as ``2 hold, 1 holds so far, 1 undecided``."""
    words = (HOLDS, UNDECIDED, REVERSED, NO_VERDICT)
    order = [said for word in words for said in (word, f"{word} so far")] + [NOT_RUN]
    forms = {word: word.replace("holds", "hold", 1) if counts.get(word, 0) > 1 else word for word in order}
    return ", ".join(f"{counts[word]} {forms[word]}" for word in order if counts.get(word))


def verdict_lines(verdict: Verdict, most: int = SHOWN, word: bool = True) -> list[str]:
    """Return lines with the gravest comparison first, then others, then the number of those left out.

    Args:
        verdict: The verdict to write.
        most: At most this many comparisons are shown.
        word: Whether to begin with the word of the verdict; False where a column of its own shows it.
    """
    found = sorted(verdict.findings, key=lambda finding: gravity(finding.word, finding.lean))
    run = [finding for finding in found if finding.word != NOT_RUN]
    covered = f" ({verdict.coverage})" if verdict.coverage else ""
    lines: list[str] = []
    for finding in run[:most]:
        known = finding.word == verdict.word and (bool(lines) or not word)
        said = finding.word if lines else f"{verdict.said}{covered}"
        lines.append(("" if known else f"{said}: ") + finding_text(verdict, finding))
    rest = Counter(finding.word for finding in found[len(lines) :])
    if rest[NOT_RUN]:  # counted as the coverage counts
        rest[NOT_RUN] = verdict.asked - verdict.compared
    if rest:
        missing = list(dict.fromkeys(f.reason for f in found if f.word == NOT_RUN))
        why = f" ({missing[0]}{', and others' if len(missing) > 1 else ''})" if missing else ""
        lines.append(f"others: {_tallied(rest)}{why}")
    return lines


def finding_text(verdict: Verdict, finding: ClaimFinding) -> str:
    """Write one comparison, such as ``digits_split: -.172 vs -.034 (3 seeds, +-.020)``."""
    claim, metric = verdict.claim, verdict.claim.metric
    if finding.word == NOT_RUN:
        return finding.reason
    values = [format_metric(metric, value) for value in finding.values]
    if claim.unit:
        values = [f"{value:.1f} {claim.unit}" for value in finding.values]
    apart = not finding.where and not verdict.arithmetic  # Sides with places of their own are always named.
    left = _side(finding.left, finding.left_rows, len(claim.left) > 1 or not finding.right or apart)
    right = _side(finding.right, finding.right_rows, len(claim.right) > 1 or finding.chosen or apart)
    if verdict.arithmetic and len(verdict.findings) > 1:  # Accounts are compared with numbers in order.
        left, right = f"{finding.left} ", ""
    if finding.levels:
        text = _along(finding, values)
    elif len(values) == 1:
        text = f"{left}{values[0]}"
    else:
        text = f"{left}{values[0]} vs {right}{values[1]}"
    if claim.kind == "ratio" and len(values) == 2 and finding.values[1]:
        text += f", a ratio of {finding.values[0] / finding.values[1]:.3g}"
        if finding.n and finding.difference is not None:
            text += f", left - {claim.margin:g} right = {format_metric(metric, finding.difference)}"
    where = f"{finding.where}: " if finding.where else ""
    if not finding.n:
        return f"{where}{text}"
    facts = [counted(finding.n, finding.unit)]
    if finding.half_width is not None:
        facts.append(f"+-{format_metric(metric, finding.half_width).removeprefix('+')}")
    facts += [f"{finding.lean} in the mean"] if finding.lean else []
    facts += [finding.source] if finding.source else []
    return f"{where}{text} ({', '.join(facts)})" + _step_text(finding)


def _step_text(finding: ClaimFinding) -> str:
    """Return the step that decides a trend, such as ``, decided by the step 3 to 4: -.025 (+-.003)``."""
    if (step := finding.step) is None:
        return ""
    noise = "" if step.half_width is None else f" (+-{fraction(step.half_width)})"
    first, second = finding.levels[step.place : step.place + 2]
    return f", decided by the step {first} to {second}: {fraction(step.change)}{noise}"


def _side(name: str, rows: Sequence[str], named: bool = True) -> str:
    """Return what is printed before a number: the side, the rows of the study that stand for it, or both.

    Rows are given where the study has several that fit the side, such as ``pmask (pmask-lr)``.
    """
    more = f" and {len(rows) - ROWS + 1} more" if len(rows) > ROWS else ""
    shown = ", ".join(rows[: ROWS - 1] if more else rows) + more
    if not named and len(rows) == 1:
        return f"{shown} "
    return f"{name} " * named + (f"({shown}) " if rows else "")


def _along(finding: ClaimFinding, values: Sequence[str]) -> str:
    pairs = list(zip(finding.levels, values, strict=True))
    if finding.right == VARIANTS:
        return ", ".join(f"{level} {value}" for level, value in pairs)
    if len(pairs) > LEVELS:
        pairs = [*pairs[: LEVELS - 2], ("..", ".."), pairs[-1]]
    numbers, levels = " ".join(value for _, value in pairs), ", ".join(level for level, _ in pairs)
    change = fraction(finding.difference) if finding.difference is not None else ""
    return f"{_side(finding.left, finding.left_rows)}{numbers} at {finding.right} = {levels}, change {change}"


def _first_reason(verdict: Verdict) -> str:
    """Return why a claim was not run; what is said of data that the study has comes first."""
    told = sorted(verdict.findings, key=lambda finding: not finding.informative)
    reasons = list(dict.fromkeys(finding.reason for finding in told))
    return reasons[0] + (f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else "")


def claims_csv(verdicts: Sequence[Verdict]) -> str:
    """Write the verdicts as CSV, one line per comparison, in full precision."""
    out = Lines()
    writer = csv.DictWriter(out, COLUMNS, restval="")
    writer.writeheader()
    for verdict in verdicts:
        writer.writerows(_line(verdict, finding) for finding in verdict.findings)
    return out.getvalue()


def _line(verdict: Verdict, finding: ClaimFinding) -> dict[str, Any]:
    claim, values = verdict.claim, finding.values
    pair = dict(zip(("left_value", "right_value"), values, strict=False)) if not finding.levels else {}
    along = (
        {"levels": ";".join(finding.levels), "values": ";".join(map(repr, values))} if finding.levels else {}
    )
    line = {
        "claim": claim.id,
        "paper": claim.paper,
        "where": claim.where,
        "kind": claim.kind,
        "metric": str(claim.metric),
        "direction": claim.direction,
        "margin": claim.margin,
        "verdict": verdict.said,
        "compared": verdict.compared,
        "asked": verdict.asked,
        "data": ";".join(finding.other_data),
        "comparison": finding.word,
        "lean": finding.lean,
        "benchmark": finding.where,
        "subset": finding.subset,
        "left": finding.left,
        "right": finding.right,
        "left_rows": ";".join(finding.left_rows),
        "right_rows": ";".join(finding.right_rows),
        "difference": finding.difference,
        "half_width": finding.half_width,
        "n": finding.n,
        "unit": finding.unit if finding.n else "",
        "source": finding.source,
        "reason": finding.reason,
        "text": claim.text,
        "note": claim.note,
    }
    return line | pair | along


def asked(claim: Claim) -> str:
    """Return the tolerance or the factor of a claim, such as ``by more than .05``; "" if it has none."""
    amount = abs(claim.margin)
    number = fraction(amount).rstrip("0") if amount < 1 else f"{amount:g}"
    up = claim.direction == "up"
    if claim.kind == "ratio":
        return f"a ratio of at {'least' if up else 'most'} {claim.margin:g}"
    if not claim.margin:
        return ""
    match claim.kind:
        case "greater":
            return f"by more than {number}"
        case "at_least":
            return f"up to {number} {'less' if up else 'more'} counts as well"
        case "zero" if claim.direction != "equal":
            sign = "-" if (claim.margin > 0) == up else ""
            return f"at {'least' if up else 'most'} {sign}{number}"
        case "trend" if claim.direction != "flat":
            return f"single steps back of up to {number} count as well"
        case _:
            return f"within {number}"


def where_and_asked(claim: Claim) -> str:
    """Return where a paper makes a claim, and its tolerance, as they stand in parentheses after it."""
    amount = asked(claim)
    return claim.where + (f"; asked: {amount}" if amount else "")


def page_lines(verdicts: Sequence[Verdict]) -> list[dict[str, Any]]:
    """Return what the HTML report shows of each claim, including all comparisons."""
    return [
        {
            "id": v.claim.id,
            "text": v.claim.text,
            "where": where_and_asked(v.claim),
            "word": v.said,
            "coverage": v.coverage,
            "lines": [_first_reason(v)]
            if v.word == NOT_RUN
            else verdict_lines(v, most=len(v.findings), word=False),
            "note": v.claim.note,
        }
        for v in verdicts
    ]

"""Claims and their verdicts as text, as CSV, and as lines of the HTML report."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from raycl.papers.findings import ClaimFinding, Verdict
from raycl.papers.judging import GRAVEST, HOLDS, IN_THE_MEAN, NO_VERDICT, NOT_RUN, REVERSED, UNDECIDED
from raycl.results.grammar import VARIANTS
from raycl.results.numbers import format_metric
from raycl.study.values import Study
from raycl.text import Lines, counted, fraction, wrapped

SHOWN = 3  # The terminal shows this many comparisons of a claim.
LEVELS = 6  # At most this many values along an axis are shown.

COLUMNS = [
    "claim",
    "paper",
    "where",
    "kind",
    "metric",
    "direction",
    "margin",
    "verdict",
    "comparison",
    "benchmark",
    "subset",
    "left",
    "right",
    "left_value",
    "right_value",
    "levels",
    "values",
    "difference",
    "half_width",
    "n",
    "reason",
    "text",
    "note",
]

LEGEND = (
    "+- is the half-width of the 95 % confidence interval of the paired difference (Student's t). holds: the "
    "claim is met by more than that; holds in the mean: met, but by less; undecided: missed, but by less; "
    "reversed: missed by more. Fewer than three seeds give no verdict"
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
        lines = wrapped(f"{claim.id:<{width}}{claim.text}", indent)
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
    counts = Counter(v.word for v in verdicts)
    return f"claims{of}: {_tallied(counts)}"


def _tallied(counts: Mapping[str, int]) -> str:
    """Return the counts in words, such as ``2 hold, 1 undecided``."""
    words = (HOLDS, IN_THE_MEAN, UNDECIDED, REVERSED, NO_VERDICT, NOT_RUN)
    forms = {word: word.replace("holds", "hold", 1) if counts.get(word, 0) > 1 else word for word in words}
    return ", ".join(f"{counts[word]} {forms[word]}" for word in words if counts.get(word))


def verdict_lines(verdict: Verdict, most: int = SHOWN, word: bool = True) -> list[str]:
    """Return lines with the gravest comparison first, then others, then the number of those left out.

    Args:
        verdict: The verdict to write.
        most: At most this many comparisons are shown.
        word: Whether to begin with the word of the verdict; False where a column of its own shows it.
    """
    found = sorted(verdict.findings, key=lambda f: GRAVEST.index(f.word))
    run = [finding for finding in found if finding.word != NOT_RUN]
    lines: list[str] = []
    for finding in run[:most]:
        known = finding.word == verdict.word and (bool(lines) or not word)
        lines.append(("" if known else f"{finding.word}: ") + finding_text(verdict, finding))
    rest = Counter(finding.word for finding in found[len(lines) :])
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
    left = f"{finding.left} " if len(claim.left) > 1 or not finding.right else ""
    right = f"{finding.right} " if len(claim.right) > 1 or finding.chosen else ""
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
    where = f"{finding.where}: " if finding.where else ""
    if not finding.n:
        return f"{where}{text}"
    seeds = counted(finding.n, "order" if verdict.orders else "seed")
    error = ""
    if finding.half_width is not None:
        error = f", +-{format_metric(metric, finding.half_width).removeprefix('+')}"
    return f"{where}{text} ({seeds}{error})"


def _along(finding: ClaimFinding, values: Sequence[str]) -> str:
    pairs = list(zip(finding.levels, values, strict=True))
    if finding.right == VARIANTS:
        return ", ".join(f"{level} {value}" for level, value in pairs)
    if len(pairs) > LEVELS:
        pairs = [*pairs[: LEVELS - 2], ("..", ".."), pairs[-1]]
    numbers, levels = " ".join(value for _, value in pairs), ", ".join(level for level, _ in pairs)
    change = fraction(finding.difference) if finding.difference is not None else ""
    return f"{finding.left} {numbers} at {finding.right} = {levels}, change {change}"


def _first_reason(verdict: Verdict) -> str:
    reasons = list(dict.fromkeys(finding.reason for finding in verdict.findings))
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
        "verdict": verdict.word,
        "comparison": finding.word,
        "benchmark": finding.where,
        "subset": finding.subset,
        "left": finding.left,
        "right": finding.right,
        "difference": finding.difference,
        "half_width": finding.half_width,
        "n": finding.n,
        "reason": finding.reason,
        "text": claim.text,
        "note": claim.note,
    }
    return line | pair | along


def page_lines(verdicts: Sequence[Verdict]) -> list[dict[str, Any]]:
    """Return what the HTML report shows of each claim, including all comparisons."""
    return [
        {
            "id": v.claim.id,
            "text": v.claim.text,
            "where": v.claim.where,
            "word": v.word,
            "lines": [_first_reason(v)]
            if v.word == NOT_RUN
            else verdict_lines(v, most=len(v.findings), word=False),
            "note": v.claim.note,
        }
        for v in verdicts
    ]

"""The doctor's report on one place, as lines of 80 columns."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass, field

from raycl.tune.fitness.judging import Fault

WIDTH = 80


@dataclass
class DoctorReport:
    """The doctor's report on one place.

    Attributes:
        title: Name of the place.
        rows: Pairs of label and text.
        table: Lines that are printed unchanged, above the rows.
        findings: Problems and notes.
    """

    title: str
    rows: list[tuple[str, str]] = field(default_factory=list)
    table: list[str] = field(default_factory=list)
    findings: list[Fault] = field(default_factory=list)

    @property
    def misses(self) -> list[Fault]:
        """The problems that prevent a study from running."""
        return [fault for fault in self.findings if fault.level == "miss"]

    def __str__(self) -> str:
        lines = [self.title, *(f"  {line}" for line in self.table)]
        lines += [line for label, text in self.rows for line in _wrapped(f"  {label:<11}", text)]
        lines += [
            line for fault in self.findings if fault.level == "note" for line in _wrapped("note  ", fault)
        ]
        lines += [line for fault in self.misses for line in _wrapped("MISS  ", fault)]
        return "\n".join(lines)


def _wrapped(label: str, text: object) -> list[str]:
    return textwrap.wrap(
        str(text), WIDTH, initial_indent=label, subsequent_indent=" " * len(label), break_on_hyphens=False
    )


def size_text(count: float) -> str:
    """Return a number of bytes in MB, GB or TB."""
    if count < 1e8:
        return f"{count / 1e6:,.1f} MB"
    if count < 1e12:
        return f"{count / 1e9:,.1f} GB" if count < 1e10 else f"{count / 1e9:,.0f} GB"
    return f"{count / 1e12:,.1f} TB"

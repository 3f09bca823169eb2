"""The view of what a search tried."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from raycl import metrics
from raycl.reporting.sensitivity import PERCENT, counted_trials, sensitivity
from raycl.reporting.shapes import Styles
from raycl.reporting.view import View
from raycl.results.rows import Section
from raycl.text import ABSENT, fraction, one_line, seconds


@dataclass(frozen=True)
class Searches(View):
    """A line per method that was searched: spread over trials, and the cost of the search."""

    title: str = "Parameter sensitivity and cost of the search"
    notes: Sequence[str] = (
        f"interval: {PERCENT} bootstrap over trials, none under {metrics.FEWEST}; search: all their run time",
    )

    @property
    def caption(self) -> str:
        return (
            f"Left: test accuracy of every completed trial, its density where there are {metrics.FEWEST} or "
            "more, and mean and standard deviation, which is ps; the ringed trial is the one that the search "
            f"chose. Right: ps and its {PERCENT} bootstrap interval over trials. No search saw these numbers "
            "unless the protocol says so"
        )

    def lines(self, section: Section) -> tuple[list[str], list[list[str]]]:
        header = ["method", "ps", "interval", "trials", "diverged", "search (s)", "per trial (s)"]
        rows = []
        for group in section.groups:
            found = sensitivity(group.rows)
            if found.trials:
                texts = [
                    fraction(found.ps),
                    found.printed_interval or ABSENT,
                    counted_trials(group.rows),
                    fraction(found.lost),
                    seconds(found.seconds),
                    seconds(found.per_trial),
                ]
                rows.append([one_line(group.label), *texts])
        return header, rows

    def figure(self, section: Section, name: str, styles: Styles | None = None) -> str:
        from raycl.reporting import plots  # here, because matplotlib takes a second to load

        labels = [group.label for group in section.groups]
        return plots.sensitivity(section, styles or plots.styles_of(labels), name)

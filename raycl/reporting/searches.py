"""The view of the trials of a search."""

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
    """A line for each searched method with the spread over its trials and the cost of its search."""

    title: str = "Parameter sensitivity and cost of the search"
    notes: Sequence[str] = (
        f"interval: {PERCENT} bootstrap, from {metrics.FEWEST} trials on; search: run time of all trials",
    )

    @property
    def caption(self) -> str:
        return (
            f"Left: test accuracy of every completed trial, the density if there are {metrics.FEWEST} or "
            "more, and the mean and the standard deviation, which is ps; a ring marks the trial that the "
            f"search chose. Right: ps and its {PERCENT} bootstrap interval over trials. The search did not "
            "use these numbers unless the protocol says so"
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
        from raycl.reporting import plots  # Imported here because matplotlib takes a second to load.

        labels = [group.label for group in section.groups]
        return plots.sensitivity(section, styles or plots.styles_of(labels), name)

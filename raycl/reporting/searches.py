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
            "Left: test accuracy of every completed trial, the density if there are 30 or more, and the mean "
            "and the standard deviation, which is ps; a ring marks the trial that the search chose. "
            f"Right: ps and its {PERCENT} bootstrap interval over trials. The search did not "
            "use these numbers unless the protocol says so"
        )

    def lines(self, section: Section) -> tuple[list[str], list[list[str]]]:
        found_of = {group.label: sensitivity(group.rows) for group in section.groups}
        prunes = any(found.pruned for found in found_of.values())
        header = ["method", "ps", "interval", "trials", *(["pruned"] if prunes else [])]
        # Pruned trials have learnt fewer tasks than others, so that a mean over all of them says little.
        header += ["diverged", "search (s)", *([] if prunes else ["per trial (s)"])]
        rows = []
        for group in section.groups:
            found = found_of[group.label]
            if found.trials:
                texts = [
                    fraction(found.ps),
                    found.printed_interval or ABSENT,
                    counted_trials(group.rows),
                    *([str(found.pruned)] if prunes else []),
                    fraction(found.lost),
                    seconds(found.seconds),
                    *([] if prunes else [seconds(found.per_trial)]),
                ]
                rows.append([one_line(group.label), *texts])
        return header, rows

    def figure(self, section: Section, name: str, styles: Styles | None = None) -> str:
        from raycl.reporting import plots  # Imported here because matplotlib takes a second to load.

        labels = [group.label for group in section.groups]
        return plots.sensitivity(section, styles or plots.styles_of(labels), name)

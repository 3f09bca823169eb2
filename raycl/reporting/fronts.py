"""The view of the Pareto fronts of searches with several objectives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from raycl.reporting.shapes import Styles
from raycl.reporting.view import View
from raycl.results.rows import CellRow, Member, Section, stat_of
from raycl.study.objectives import TIMES, Objective
from raycl.text import ABSENT, fraction, one_line


@dataclass(frozen=True)
class Fronts(View):
    """A line for each trial that no other trial of its search beats in all objectives."""

    title: str = "Pareto front"
    notes: Sequence[str] = (
        "a * marks the knee, which is closest to the best value of every objective, each scaled to its range "
        "on the front; the other tables show it",
        "test acc is the mean over final runs, or that of the trial itself where there is none (0 seeds); "
        'frame(..., "trials") has the settings of each trial',
    )

    @property
    def caption(self) -> str:
        return (
            "Every completed trial of a search with several objectives. Filled dots are the trials that no "
            "other one beats, and a ring marks the knee"
        )

    def lines(self, section: Section) -> tuple[list[str], list[list[str]]]:
        rows = [row for group in section.groups for row in group.rows if row.front]
        objectives = objectives_of(rows)
        header = ["method", "trial", *(_heading(each, rows) for each in objectives), "test acc", "seeds"]
        return header, [_line(row, member, objectives) for row in rows for member in _sorted(row)]

    def figure(self, section: Section, name: str, styles: Styles | None = None) -> str:
        from raycl.reporting import plots  # Imported here because matplotlib takes a second to load.

        labels = [group.label for group in section.groups]
        return plots.fronts(section, styles or plots.styles_of(labels), name)


def objectives_of(rows: Sequence[CellRow]) -> list[Objective]:
    """Return the objectives of all rows, each of them once."""
    return list(dict.fromkeys(each for row in rows for each in row.cell.objectives))


def _heading(objective: Objective, rows: Sequence[CellRow]) -> str:
    if not objective.is_accuracy:
        return f"{objective.name} (s)" if objective.name in TIMES else objective.name
    split = "test" if any(row.cell.split == "test" for row in rows) else "val"
    return f"{split} {objective.name}"


def _sorted(row: CellRow) -> list[Member]:
    """Return the trials on the front, the one that is best in the first objective first."""
    first = row.cell.objectives[0]
    found = [(member.trial.objective or 0.0, member) for member in row.front]
    return [member for _, member in sorted(found, key=lambda pair: pair[0], reverse=not first.smaller)]


def _line(row: CellRow, member: Member, objectives: Sequence[Objective]) -> list[str]:
    order = f", order {row.cell.order}" if row.cell.orders > 1 else ""
    mine = dict(zip(row.cell.objectives, member.trial.values, strict=True))
    test = stat_of([final.value("acc") for final in member.finals]).mean
    return [
        one_line(row.cell.label) + order,
        f"{member.trial.n}{' *' if member.best else ''}",
        *(each.text(mine[each]) if each in mine else ABSENT for each in objectives),
        fraction(test if test is not None else member.trial.acc),
        f"{len(member.finals)}/{member.wanted}" if member.wanted else "0",
    ]

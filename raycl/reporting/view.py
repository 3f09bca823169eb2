"""The base class of views, which a report shows besides its tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Literal

from raycl import registry
from raycl.errors import UserError, nearest, quoted
from raycl.patterns import labels_chosen
from raycl.reporting.shapes import Styles
from raycl.results.rows import CellRow, Group, Section
from raycl.space import fields_of
from raycl.study.cells import Kinds
from raycl.study.values import Study


class View:
    """Base class of the figures and tables that a report shows besides its main tables.

    `raycl.Boxes` is an example. A study can define a view of its own as a class in its file, which has to
    define `lines`, and also `figure` if it can be drawn.

    Attributes:
        title: The title of its figure and its table.
        notes: Notes that are printed under them.
        settings: The dotted fields that the view uses. They are checked before anything runs.
        across: Whether a report shows the view once, with the results of all benchmarks as one section,
            instead of once per benchmark.
    """

    belongs: ClassVar[Literal["views"]] = "views"
    across: ClassVar[bool] = False
    title: str
    notes: Sequence[str]

    @property
    def settings(self) -> Sequence[str]:
        """The dotted fields that the view uses."""
        return ()

    @property
    def caption(self) -> str:
        """The text under its figure, without a full stop."""
        return ""

    def lines(self, section: Section) -> tuple[list[str], list[list[str]]]:
        """Return header and rows of its table of a benchmark; no rows mean that there is nothing to show."""
        raise NotImplementedError(f"{type(self).__qualname__} does not define lines(section)")

    def figure(self, section: Section, name: str, styles: Styles | None = None) -> str:
        """Return its figure of a benchmark as SVG, or "" if there is none.

        Args:
            section: The results of a study on the benchmark.
            name: The prefix of the ids of the SVG element.
            styles: The style of each method in the report.
        """
        return ""

    def points(self, section: Section) -> list[dict[str, Any]]:
        """Return the raw numbers behind the view, one dictionary for each point."""
        return []

    def check(self, study: Study, place: str) -> None:
        """Check that the settings that the view uses exist.

        Raises:
            UserError: If none of the study's methods has a setting of that name.
        """
        methods = [
            registry.method(str(keys.get("method", label)), f"{place}: methods[{quoted(label)}]")
            for label, keys in study.methods.items()
        ]
        known = {f"method.{name}" for method in methods for name in fields_of(method.Config)}
        for key in self.settings:
            if key.startswith("method.") and key not in known:
                raise UserError(
                    f"{place}: views: {quoted(self.title)} uses {quoted(key)}, which is not a setting of any "
                    f"of the study's methods{nearest(key, known)}"
                )


def views_of(study: Study, across: bool = False) -> list[View]:
    """Return the views of a study that show each benchmark by itself, or those that show all together."""
    return [view for view in study.views if isinstance(view, View) and view.across == across]


def views_across(study: Study, found: Sequence[Section]) -> list[tuple[View, Section]]:
    """Return the views that show all benchmarks of a study together, and the section that they show."""
    if not found:
        return []
    whole = joined(found)
    return [(view, whole) for view in views_of(study, across=True)]


def methods_shown(study: Study, rows: Iterable[CellRow]) -> dict[str, Kinds]:
    """Return the methods whose deviations a report lists besides those in the paper's tables, by name.

    They are all methods of a study that has views or belongs to a paper.
    """
    if not study.views and not study.paper:
        return {}
    return {_plain(row.cell.kinds.method): row.cell.kinds for row in rows}


def joined(found: Sequence[Section]) -> Section:
    """Return the results on all benchmarks as one section, which is named after the benchmarks."""
    names = dict.fromkeys(section.named or section.benchmark.partition("(")[0] for section in found)
    subsets = dict.fromkeys(section.subset for section in found if section.subset)
    return replace(
        found[0],
        benchmark=", ".join(names),
        named="",
        tasks=0,
        classes=(),
        similar=None,
        subset="; ".join(subsets),
        deviations=tuple(dict.fromkeys(text for section in found for text in section.deviations)),
        groups=tuple(group for section in found for group in section.groups),
    )


def _plain(method: str) -> str:
    """Return the id of a method, or the name of a class of a user's own file."""
    return method.rpartition(":")[2]


def groups_meant(pattern: str, section: Section) -> list[Group]:
    """Return the groups of a section whose labels match a pattern, in the study's order."""
    wanted = labels_chosen(pattern, [group.label for group in section.groups])
    return [group for group in section.groups if group.label in wanted]

"""The base class of what a report shows besides its tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from raycl import registry
from raycl.errors import UserError, nearest, quoted
from raycl.patterns import labels_chosen
from raycl.reporting.shapes import Styles
from raycl.results.rows import Group, Section
from raycl.space import fields_of
from raycl.study.values import Study


class View:
    """What a report shows besides its tables, such as `raycl.Boxes`.

    A study's own view is a class of its file that defines `lines`, and `figure` where it can be drawn.

    Attributes:
        title: of its figure and its table.
        notes: printed under it.
        settings: dotted fields by which it sorts, so that a wrong name is told before anything runs.
    """

    belongs: ClassVar[Literal["views"]] = "views"
    title: str
    notes: Sequence[str]

    @property
    def settings(self) -> Sequence[str]:
        return ()

    @property
    def caption(self) -> str:
        """What its figure shows, without a full stop."""
        return ""

    def lines(self, section: Section) -> tuple[list[str], list[list[str]]]:
        """Header and rows of its table of a benchmark; no rows where it has nothing to show."""
        raise NotImplementedError(f"{type(self).__qualname__} does not define lines(section)")

    def figure(self, section: Section, name: str, styles: Styles | None = None) -> str:
        """SVG of a benchmark, its ids beginning with `name`, or ""; methods look as `styles` says."""
        return ""

    def points(self, section: Section) -> list[dict[str, Any]]:
        """The raw numbers behind it, a dictionary each."""
        return []

    def check(self, study: Study, place: str) -> None:
        """See that the settings by which it sorts are there.

        Raises:
            UserError: none of the study's methods has a setting of that name.
        """
        methods = [
            registry.method(str(keys.get("method", label)), f"{place}: methods[{quoted(label)}]")
            for label, keys in study.methods.items()
        ]
        known = {f"method.{name}" for method in methods for name in fields_of(method.Config)}
        for key in self.settings:
            if key.startswith("method.") and key not in known:
                raise UserError(
                    f"{place}: views: {quoted(self.title)} asks for {quoted(key)}{nearest(key, known)}, "
                    "a setting of none of the study's methods"
                )


def views_of(study: Study) -> list[View]:
    """The views of a study."""
    return [view for view in study.views if isinstance(view, View)]


def groups_meant(pattern: str, section: Section) -> list[Group]:
    """The groups of a section whose labels a pattern means, in the study's order."""
    wanted = labels_chosen(pattern, [group.label for group in section.groups])
    return [group for group in section.groups if group.label in wanted]

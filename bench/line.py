"""One measured figure, as it is printed."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Line:
    """One measured thing: what, how much, and in which unit.

    Attributes:
        goal: what the value should be, as text; "" if there is no goal.
    """

    what: str
    value: float
    unit: str
    goal: str = ""

    def __str__(self) -> str:
        goal = f"   (goal {self.goal})" if self.goal else ""
        return f"  {self.what:<52}{self.value:>10,.3g} {self.unit}{goal}"

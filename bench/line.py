"""A measured value, as it is printed."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Line:
    """Measured value with its description and unit.

    Attributes:
        what: Description of the value.
        value: The value.
        unit: Unit of the value.
        goal: What the value should be, in words; "" if there is no goal.
    """

    what: str
    value: float
    unit: str
    goal: str = ""

    def __str__(self) -> str:
        goal = f"   (goal {self.goal})" if self.goal else ""
        return f"  {self.what:<52}{self.value:>10,.3g} {self.unit}{goal}"

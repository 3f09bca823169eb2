"""The section "Equations:" of docstrings, in which a method states the formulas that it computes."""

from __future__ import annotations

import inspect
import re
import textwrap


def equations_of(kind: type) -> str:
    """Return the section of a class's own docstring, without its indentation.

    The result is empty if the docstring does not have the section. Those of base classes do not count.
    """
    return _divided(kind.__doc__)[1]


def base_with_equations(kind: type) -> type | None:
    """Return the nearest base class that has the section, or None if there is none."""
    return next((base for base in kind.__mro__[1:] if equations_of(base)), None)


def without_equations(docstring: str | None) -> str:
    """Return a docstring without its indentation and without the section."""
    return _divided(docstring)[0]


def _divided(docstring: str | None) -> tuple[str, str]:
    """Return a docstring without the section, and the section, both without indentation.

    The section ends at the first line that is not indented further than its header.
    """
    text = inspect.cleandoc(docstring or "")
    before, _, rest = f"\n{text}".partition("\nEquations:\n")
    section, *after = re.split(r"\n(?=\S)", rest, maxsplit=1)
    others = [part.strip() for part in (before, *after)]
    return "\n\n".join(part for part in others if part), textwrap.dedent(section).strip("\n")

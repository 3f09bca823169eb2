"""What `raycl benchmarks npz` and `folder` print: what own data must contain, and what they contain."""

from __future__ import annotations

import inspect
import re

from raycl.benchmarks import Recipe
from raycl.benchmarks.own import OwnData
from raycl.space import fields_of
from raycl.terminal.columns import named_texts, paragraph


def layout_text(kind: type[OwnData]) -> str:
    """Return what a user's own data must contain, and their settings."""
    lines = paragraph(f"{kind.id}: {kind.summary}, as in {kind.example}")
    lines += ["", *named_texts(kind.layout, 2), ""]
    meanings = _meanings(kind)
    rows = []
    for field in fields_of(kind).values():
        default = f" (default {field.default!r})" if field.default not in ("", ()) else ""
        rows.append((field.name, meanings.get(field.name, field.describe()) + default))
    return "\n".join([*lines, *named_texts(rows, 2)])


def array_lines(recipe: Recipe) -> list[str]:
    """Return a line for each array of a user's own data, with its shape and type."""
    if not isinstance(recipe, OwnData):
        return []
    arrays = recipe.located(recipe.identity()).folder.open()
    rows = [
        (name, f"{list(array.shape)} {array.dtype}")
        for name, array in arrays.items()
        if not name.endswith("_digests")
    ]
    return ["  arrays", *named_texts(rows, 4)]


def _meanings(kind: type) -> dict[str, str]:
    """Return the meaning of each field, from the sections "Attributes:" of the docstrings."""
    found: dict[str, str] = {"data_seed": "The seed of the draws that hold images out."}
    for base in reversed(kind.__mro__):
        section = inspect.cleandoc(base.__doc__ or "").partition("Attributes:\n")[2].partition("\n\n")[0]
        for name, text in re.findall(r"^ {4}(\w+): (.+(?:\n {8}.+)*)", section, flags=re.M):
            found[name] = " ".join(text.split()).replace("``", "")
    return found

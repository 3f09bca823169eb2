"""Comments of fields, and lines that compute an equation: what only the source of a class says."""

from __future__ import annotations

import ast
import functools
import inspect
import io
import re
import sys
import textwrap
import tokenize
from dataclasses import dataclass

EQUATION = re.compile(r"\b(?:eqs?\.|equations?) ?\(?\d")


@dataclass(frozen=True)
class Statement:
    """A line of code whose comment says which equation it computes."""

    code: str
    comment: str


@functools.cache
def comments_of(kind: type) -> dict[str, str]:
    """Return the comment of each field of a class and its bases, by name.

    The comment of a field stands behind it, or in the lines directly above it. A class whose docstring has a
    section "Attributes:" describes its fields there.
    """
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        if not base.__module__.startswith("builtins"):
            found |= _own_comments(base)
    return found


def _own_comments(kind: type) -> dict[str, str]:
    try:
        text = textwrap.dedent(inspect.getsource(kind))
    except (OSError, TypeError):
        return {}
    tree = ast.parse(text).body[0]
    assert isinstance(tree, ast.ClassDef)
    lines = text.splitlines()
    comments = _comments(text)
    found = _attributes(ast.get_docstring(tree) or "")
    for node in tree.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            above: list[str] = []
            row = node.lineno - 1
            while row in comments and lines[row - 1].lstrip().startswith("#"):
                above.insert(0, comments[row])
                row -= 1
            behind = comments.get(node.end_lineno or node.lineno, "")
            if comment := " ".join([*above, behind]).strip():
                found[node.target.id] = comment
    return found


def _comments(text: str) -> dict[int, str]:
    """Return the comments of a text, without the sign, by line."""
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    return {t.start[0]: t.string.lstrip("# ").strip() for t in tokens if t.type == tokenize.COMMENT}


def _attributes(docstring: str) -> dict[str, str]:
    """Return the descriptions of the section "Attributes:" of a docstring, by name."""
    _, _, section = docstring.partition("\nAttributes:\n")
    section = re.split(r"\n\S", section)[0]
    parts = re.findall(r"^    (\w[\w, ]*): (.*(?:\n {8,}.*)*)", section, flags=re.M)
    return {
        name.strip(): " ".join(text.split()).rstrip(".") for names, text in parts for name in names.split(",")
    }


def without_attributes(docstring: str) -> str:
    """Return a docstring without its section "Attributes:", which a table of fields repeats."""
    text = inspect.cleandoc(docstring)
    before, _, section = text.partition("\n\nAttributes:\n")
    after = re.split(r"\n(?=\S)", section, maxsplit=1)
    return "\n\n".join([before, *after[1:]]).strip()


@functools.cache
def statements_of(kind: type) -> tuple[Statement, ...]:
    """Return the lines of a class's file whose comments name an equation, in their order."""
    text = inspect.getsource(sys.modules[kind.__module__])
    lines, comments = text.splitlines(), _comments(text)
    found = []
    for row, comment in comments.items():
        code = lines[row - 1].partition("  # ")[0].strip()
        if EQUATION.search(comment) and not code.startswith("#") and "Annotated[" not in code:
            found.append(Statement(code, comment))
    return tuple(found)

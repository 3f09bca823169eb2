"""The lists of methods and benchmarks that `raycl methods` and `raycl benchmarks` print."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from textwrap import shorten
from typing import Any

from raycl import userfiles
from raycl.errors import UserError

# Imports are inside functions, because `raycl --help` loads this module and must not wait for torch and rich.


def methods(arguments: Any) -> int:
    """Print all methods, or one in detail; return the exit code."""
    with userfiles.importing_from(Path.cwd()):  # "mine:Mine" is a class of a file in the current folder
        return _show_methods(arguments)


def _show_methods(arguments: Any) -> int:
    from raycl import registry
    from raycl.space import fields_of

    def summary(kind: type) -> str:
        return _first_line(sys.modules[kind.__module__].__doc__ or kind.__doc__)

    def needs(kind: Any) -> str:
        called = {"Heads": "a head per task", "Blocks": "blocks"}
        return ", ".join(called.get(need.__name__, need.__name__) for need in kind.needs) or "any network"

    if not arguments.name:
        kinds = {name: registry.method(name) for name in registry.method_names()}
        _print_columns([(name, summary(k).partition(":")[0], needs(k)) for name, k in kinds.items()])
        return 0
    kind = registry.method(arguments.name)
    facts = {
        "version": kind.version,
        "earlier logits never change": "yes" if kind.keeps_logits else "no",
        "tasks are learnt in parallel": "yes, after the first" if kind.independent else "no",
        "needs": needs(kind),
        **{f"fit.{name}": value for name, value in kind.fit_defaults.items()},
    }
    print(f"{arguments.name}: {summary(kind)}")
    print("\n".join(f"  {fact}: {value}" for fact, value in facts.items()))
    for field in fields_of(kind.Config).values():
        print(f"  method.{field.name}: {field.describe()}")
    return 0


def benchmarks(arguments: Any) -> int:
    """Print all benchmarks, or some in detail; return the exit code."""
    with userfiles.importing_from(Path.cwd()):
        return _show_benchmarks(arguments)


def _show_benchmarks(arguments: Any) -> int:
    from raycl.terminal import datasets

    if arguments.out and len(arguments.names) != 1:
        raise UserError(f"--out {arguments.out}: name exactly one benchmark to write a picture of")
    if not arguments.names:
        if arguments.show:
            raise UserError("raycl benchmarks --show: name a benchmark, as in raycl benchmarks NAME --show")
        _print_columns(datasets.benchmark_rows())
    elif len(arguments.names) == 1:
        print(datasets.benchmark_text(arguments.names[0]))
    else:
        print(datasets.benchmarks_table(arguments.names))
    for name in arguments.names if arguments.show or arguments.out else ():
        print(datasets.write_sheet(name, arguments.out))
    return 0


def _first_line(text: str | None) -> str:
    return (text or "").strip().splitlines()[0].rstrip(".") if (text or "").strip() else ""


def _print_columns(rows: Sequence[tuple[str, str, str]], width: int = 80) -> None:
    """Print rows of name, text and note, where the text is cut to fit the screen."""
    from raycl import texttable

    rest = max(len(row[0]) for row in rows) + max(len(row[2]) for row in rows) + 2 * texttable.GAP
    room = width - rest
    table = [(name, shorten(text, room, placeholder=" ..."), note) for name, text, note in rows]
    columns = [texttable.Column(), texttable.Column(width=room), texttable.Column()]
    print("\n".join(texttable.lines(table, columns)))

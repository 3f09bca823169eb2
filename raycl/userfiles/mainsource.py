"""The source of the classes that a script or the cells of a notebook define.

Python calls the module of a script, and of a notebook, ``__main__``. No other process can import it, and to
execute a script again would start its study again. Therefore the statements that a class needs are taken out
of it and written into a module of their own (`raycl.userfiles.given`).
"""

from __future__ import annotations

import ast
import builtins
import inspect
import linecache
import sys
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from raycl.errors import UserError
from raycl.userfiles import digest

MAIN = "__main__"
NOTEBOOK = "notebook"  # Name of the module that the cells of a notebook become.


@dataclass(frozen=True)
class Cell:
    """A cell of a notebook as it was executed, or a whole script.

    Attributes:
        number: Number of the execution; 0 for a script.
        text: The source.
    """

    number: int
    text: str


@dataclass
class MainSource:
    """The top-level statements of ``__main__``, indexed by the names that they bind or change.

    Attributes:
        name: Name of the module that is written: that of the script, or `NOTEBOOK`.
        statements: The statements in the order of their execution, with the cell that holds each.
        binds: Indices of the statements that bind or change a name.
        stars: Indices of ``from module import *``.
        futures: Indices of ``from __future__ import ...``, which hold for all statements.
    """

    name: str
    statements: list[tuple[Cell, ast.stmt]] = field(default_factory=list)
    binds: dict[str, list[int]] = field(default_factory=dict)
    stars: list[int] = field(default_factory=list)
    futures: list[int] = field(default_factory=list)

    def reached(self, names: Collection[str], place: str) -> list[int]:
        """Return the indices of the statements that these names depend on, directly or indirectly.

        Args:
            names: Names of classes.
            place: The classes, for messages.

        Raises:
            UserError: If code looks names up while it runs, or the source of a name is not the one that was
                executed.
        """
        found: set[int] = {*self.futures}
        todo, seen = [*names], set(names)
        while todo:
            name = todo.pop()
            chosen = self._of(name, place)
            if not chosen and not hasattr(builtins, name):
                chosen = self.stars
            for index in chosen:
                if index in found:
                    continue
                found.add(index)
                fresh = digest.names_in(self.statements[index][1]) - seen
                if dynamic := fresh & digest.DYNAMIC:
                    raise UserError(
                        f"{place} uses {min(dynamic)}, so that the code it needs cannot be told from its "
                        f"source: {remedy(place)}"
                    )
                todo += fresh
                seen |= fresh
        return sorted(found)

    def text(self, chosen: Collection[int]) -> str:
        """Return these statements as a module; those of a script keep the numbers of their lines."""
        lines: list[str] = []
        last: Cell | None = None
        for index in chosen:
            cell, statement = self.statements[index]
            if cell.number and cell is not last:
                lines += [""] * bool(lines) + [f"# In [{cell.number}]:"]
            start = _first_line(statement)
            lines += [""] * (start - 1 - len(lines)) if not cell.number else []
            lines += _lines_of(cell, statement)
            last = cell
        return "\n".join(lines) + "\n"

    def _of(self, name: str, place: str) -> list[int]:
        """Return the statements that bind or change a name; in a notebook, those since it was last bound."""
        places = self.binds.get(name, [])
        if not places or not self.statements[places[0]][0].number:
            return places
        fresh = [n for n, index in enumerate(places) if _binds_anew(self.statements[index][1], name)]
        places = places[fresh[-1] :] if fresh else places
        cell, statement = self.statements[places[0]]
        if (executed := _cell_of(vars(sys.modules[MAIN]).get(name))) is not None:
            written = "\n".join(_lines_of(cell, statement))
            if written not in executed:
                raise UserError(
                    f"the cell that defines {name} did not run to its end: run it again ({place})"
                )
        return places


def remedy(place: str) -> str:
    """Return what to do with a class whose source cannot be had."""
    name = place.rpartition(" ")[2]
    return f"write it into a file, such as {name.lower()}.py, and name it as '{name.lower()}:{name}'"


def main_source(place: str) -> MainSource:
    """Return the statements of the script that runs, or of the cells that were executed.

    Args:
        place: The class that is wanted, for messages.

    Raises:
        UserError: If there is neither, such as in a session of Python's own prompt.
    """
    file = getattr(sys.modules[MAIN], "__file__", None)
    if file is not None and Path(file).is_file():
        name = Path(file).stem
        found = MainSource(name if name.isidentifier() and name != MAIN else "script")
        cells = [Cell(0, Path(file).read_text(encoding="utf-8", errors="replace"))]
    else:
        found, cells = MainSource(NOTEBOOK), _executed()
        if not cells:
            raise UserError(
                f"the source of {place} cannot be read, as it is neither in a file nor in a cell of a "
                f"notebook: {remedy(place)}"
            )
    for cell in cells:
        _index(found, cell)
    return found


def _executed() -> list[Cell]:
    """Return the cells of this notebook that were executed, in this order; [] if this is not a notebook."""
    shell_of = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)
    shell: Any = shell_of()
    if shell is None or shell.user_module.__dict__ is not vars(sys.modules[MAIN]):
        return []
    return [Cell(n, text) for n, text in enumerate(shell.history_manager.input_hist_parsed) if n]


def _index(found: MainSource, cell: Cell) -> None:
    try:
        body = ast.parse(cell.text).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return  # Nothing of it was executed.
    for statement in body:
        if _is_for_main_alone(statement):
            continue
        index = len(found.statements)
        found.statements.append((cell, statement))
        for name in _bound(statement):
            found.binds.setdefault(name, []).append(index)
        if isinstance(statement, ast.ImportFrom):
            if statement.module == "__future__":
                found.futures.append(index)
            elif any(alias.name == "*" for alias in statement.names):
                found.stars.append(index)


def _is_for_main_alone(statement: ast.stmt) -> bool:
    """Return whether a statement is ``if __name__ == "__main__":``, which does not hold in a module."""
    return isinstance(statement, ast.If) and MAIN in ast.unparse(statement.test)


def _bound(statement: ast.stmt) -> set[str]:
    """Return the names that a statement binds, or whose objects it changes.

    Of calls, only methods of an object count as changing it (``TABLE.append(3)``): a call such as
    ``run_study(Study(...))`` names the class as well, and must not be executed again.
    """
    if isinstance(statement, ast.Expr):
        call = statement.value
        changing = isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute)
        return digest.root_of(call.func) if changing else set()  # type: ignore[attr-defined]
    found = digest.bound_by(statement, ())
    for node in digest.without_scopes(statement):
        if isinstance(node, ast.Import | ast.ImportFrom):
            found |= {alias.asname or alias.name.partition(".")[0] for alias in node.names}
    return found


def _binds_anew(statement: ast.stmt, name: str) -> bool:
    """Return whether a name means something new after a statement, whatever it meant before."""
    if isinstance(statement, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        return statement.name == name
    if isinstance(statement, ast.Import | ast.ImportFrom):
        return True
    if isinstance(statement, ast.Assign | ast.AnnAssign) and statement.value is not None:
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        plain = {
            node.id
            for target in targets
            for node in ast.walk(target)
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
        }
        return name in plain and name not in digest.names_in(ast.Expr(statement.value))
    return False


def _cell_of(live: Any) -> str | None:
    """Return the text of the cell that defined a function or a class; None if it is not known."""
    live = inspect.unwrap(live) if callable(live) else live
    if getattr(live, "__module__", "") != MAIN:
        return None
    inner = vars(live).values() if isinstance(live, type) else [live]
    files = (code.co_filename for one in inner if (code := getattr(one, "__code__", None)) is not None)
    lines = next((lines for file in files if (lines := linecache.getlines(file))), [])
    return "".join(lines) or None


def _first_line(statement: ast.stmt) -> int:
    decorators: list[ast.expr] = getattr(statement, "decorator_list", [])
    return min([statement.lineno, *(decorator.lineno for decorator in decorators)])


def _lines_of(cell: Cell, statement: ast.stmt) -> list[str]:
    """Return the lines of a statement as they were written, unless it shares one with another statement."""
    start, end = _first_line(statement), statement.end_lineno or statement.lineno
    lines = cell.text.splitlines()[start - 1 : end]
    try:
        alone = len(ast.parse("\n".join(lines)).body) == 1
    except SyntaxError:
        alone = False
    return lines if alone else ast.unparse(statement).splitlines()


def modules_of(statements: Collection[ast.stmt]) -> Iterator[tuple[str, int]]:
    """Yield the modules that statements import, and how many levels a relative import goes up."""
    for statement in statements:
        for node in ast.walk(statement):
            if isinstance(node, ast.Import):
                yield from ((alias.name, 0) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                yield node.module or "", node.level
                yield from ((f"{node.module}.{alias.name}", node.level) for alias in node.names)

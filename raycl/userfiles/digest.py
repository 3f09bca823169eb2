"""Digests of the code that a user's class depends on, so that results of different code have different keys.

The digest covers the class statement and everything that it refers to by name, directly or indirectly:
functions, classes, constants and modules of the user's own files. Anything else does not change it: the study
itself, a view, another class, comments, docstrings and formatting. Names are followed by reading the source.
Therefore code that looks names up while it runs (`globals()`, `eval`, `importlib`) depends on its whole file.
What a file reads from the disk or from the environment is not covered; use `Recipe.identity` for that.
"""

from __future__ import annotations

import ast
import builtins
import functools
import hashlib
import importlib.util
import symtable
import sys
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from raycl import installed, userfiles
from raycl.errors import UserError

DYNAMIC = frozenset({"globals", "eval", "exec", "__import__", "importlib", "import_module"})
_BUILTIN = frozenset(vars(builtins))
_SCOPES = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
WHOLE = "*"  # Used in place of a name, it means everything in a module.


@functools.lru_cache(maxsize=512)
def digest_of(kind: Any) -> str:
    """Return 16 hexadecimal digits that change with the user's code that a class or a function depends on.

    Two of them with the same digest have the same source, wherever their files are.

    Raises:
        UserError: If the source cannot be read, or another file changes what it depends on.
    """
    return hashlib.sha256(_reached(kind).text().encode()).hexdigest()[:16]


@functools.lru_cache(maxsize=512)
def raycl_imports_of(kind: type) -> frozenset[str]:
    """Return the raycl modules that the code reached from a user's class imports."""
    return frozenset(_reached(kind).raycl)


def _reached(kind: Any) -> _Reached:
    module, name = userfiles.origin(kind)
    reached = _Reached()
    if not reached.begin(module, name):
        raise UserError(
            f"the source of {_noun(kind)} {kind.__qualname__} cannot be read (module "
            f"{userfiles.short(module)!r}); write the {_noun(kind)} into a file of its own beside the study"
        )
    for place, how in reached.changed():
        raise UserError(
            f"{place}, on which {kind.__qualname__} depends, is changed by another file that is imported "
            f"({how}), which the key cannot cover: write the value into its own file, or make it a setting"
        )
    return reached


def _noun(kind: Any) -> str:
    return "class" if isinstance(kind, type) else "function"


@dataclass(frozen=True)
class Import:
    """What an import statement imports: a module, or an attribute of one."""

    module: str
    attribute: str = ""
    level: int = 0


@dataclass
class _File:
    """The top-level statements of a module, indexed by name.

    Attributes:
        name: Name of the module.
        body: The statements.
        binds: Statements that bind or change each name.
        imports: What each imported name refers to in other modules.
        stars: Modules that are imported with ``import *``.
    """

    name: str
    body: list[ast.stmt]
    binds: dict[str, list[ast.stmt]] = field(default_factory=dict)
    imports: dict[str, list[Import]] = field(default_factory=dict)
    stars: list[Import] = field(default_factory=list)


class _Reached:
    """The code that is reached from a name, collected by following names."""

    def __init__(self) -> None:
        self.raycl: set[str] = set()
        self._files: dict[str, _File | None] = {}
        self._seen: set[tuple[str, str]] = set()
        self._texts: dict[tuple[str, int, str], str] = {}  # By module and position in it.

    def begin(self, module: str, name: str) -> bool:
        """Collect all code reached from a name of a module; return False if its source cannot be read."""
        file = self._file(module)
        if file is None or not file.body:
            return False
        known = name in file.binds or name in file.imports
        todo = [(module, name if known else WHOLE)]
        while todo:
            where = todo.pop()
            if where in self._seen:
                continue
            self._seen.add(where)
            here = self._file(where[0])
            if here is not None:
                todo += self._step(here, where[1])
        return True

    def changed(self) -> Iterator[tuple[str, str]]:
        """Yield the reached names whose values another file changed when it was imported, and how."""
        for module, name in sorted(self._seen):
            for known, how in userfiles.changed(module).items():
                if name in (known, WHOLE):
                    yield f"{userfiles.short(module)}.{known}", how

    def text(self) -> str:
        """Return the canonical text of all reached code, without the line numbers of statements."""
        return "\n".join(text for _, text in sorted(self._texts.items()))

    def _step(self, file: _File, name: str) -> Iterator[tuple[str, str]]:
        """Record the statements that define a name, and yield the names that these refer to."""
        statements = file.body if name == WHOLE else file.binds.get(name, [])
        taken = file.imports.get(name, [])
        if not (statements or taken) and name not in _BUILTIN:
            for star in file.stars:
                yield from self._imported(file, star, name)
        for what in taken:
            target = userfiles.short(resolved(file.name, what))
            self._note(file, -1, f"{name} = {target}.{what.attribute}")
            yield from self._imported(file, what, what.attribute or WHOLE)
        for statement in statements:
            self._note(file, file.body.index(statement), canonical(statement))
            for found in names_in(statement):
                yield file.name, WHOLE if found in DYNAMIC else found
            for inner in ast.walk(statement):
                if isinstance(inner, ast.Import | ast.ImportFrom):
                    for _, what in _imports(inner):
                        yield from self._imported(file, what, what.attribute or WHOLE)

    def _note(self, file: _File, place: int, text: str) -> None:
        self._texts[userfiles.short(file.name), place, text] = text

    def _imported(self, file: _File, what: Import, name: str) -> Iterator[tuple[str, str]]:
        """Yield what an import leads to in the user's own files: a name of a module, or a whole module."""
        target = resolved(file.name, what)
        if target.partition(".")[0] == "raycl":
            self.raycl |= {target} if name == WHOLE else {target, f"{target}.{name}"}
            return
        if name != WHOLE and self._file(f"{target}.{name}") is not None:  # from package import module
            yield f"{target}.{name}", WHOLE
        yield target, name

    def _file(self, name: str) -> _File | None:
        """Return a user's module parsed into its statements; None if there is none of this name."""
        if name not in self._files:
            source = source_of_module(name)
            self._files[name] = _parsed(name, source) if source is not None else None
        return self._files[name]


def canonical(node: ast.AST) -> str:
    """Return a statement as text, independent of comments, docstrings, formatting and Python's version."""

    def text(value: Any) -> str:
        if isinstance(value, ast.AST):
            return dumped(value)
        if isinstance(value, list):
            return f"[{','.join(map(text, value))}]"
        return repr(value)

    def dumped(node: ast.AST) -> str:
        parts = []
        for name, value in ast.iter_fields(node):
            if name == "body" and isinstance(value, list):
                value = _without_docstring(node, value)
            if value is None or value == [] or name in ("ctx", "kind", "type_comment", "type_ignores"):
                continue
            parts.append(f"{name}={text(value)}")
        return f"{type(node).__name__}({','.join(parts)})"

    return dumped(node)


def _without_docstring(node: ast.AST, body: list[ast.stmt]) -> list[ast.stmt]:
    if not isinstance(node, (*_SCOPES, ast.Module)) or not body:
        return body
    first = body[0]
    plain = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    return body[1:] if plain and isinstance(first.value.value, str) else body  # type: ignore[attr-defined]


def _parsed(name: str, source: bytes) -> _File:
    try:
        body = ast.parse(source).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return _File(name, [])
    file = _File(name, [statement for statement in body if not _is_docstring(statement)])
    for statement in file.body:
        for node in without_scopes(statement):  # This includes imports inside `if` and `try`.
            if isinstance(node, ast.Import | ast.ImportFrom):
                _note_imports(file, node)
    for statement in file.body:
        for bound in bound_by(statement, file.imports.keys()):
            file.binds.setdefault(bound, []).append(statement)
    return file


def _is_docstring(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def _note_imports(file: _File, statement: ast.Import | ast.ImportFrom) -> None:
    for bound, what in _imports(statement):
        if bound == WHOLE:
            file.stars.append(what)
        else:
            file.imports.setdefault(bound, []).append(what)


def _imports(statement: ast.Import | ast.ImportFrom) -> Iterator[tuple[str, Import]]:
    """Yield the names that an import statement binds, and what each refers to."""
    for alias in statement.names:
        if isinstance(statement, ast.ImportFrom):
            source = statement.module or ""
            if alias.name == "*":
                yield WHOLE, Import(source, "", statement.level)
            else:
                yield alias.asname or alias.name, Import(source, alias.name, statement.level)
        elif alias.asname:
            yield alias.asname, Import(alias.name)
        else:  # The statement `import a.b` binds `a` and loads both modules.
            parts = alias.name.split(".")
            for end in range(1, len(parts) + 1):
                yield parts[0], Import(".".join(parts[:end]))


def bound_by(statement: ast.stmt, imported: Collection[str]) -> set[str]:
    """Return the names that a top-level statement binds, or whose objects it may change."""
    if isinstance(statement, _SCOPES):
        return {statement.name}
    found: set[str] = set()
    for node in without_scopes(statement):
        if isinstance(node, _SCOPES):
            found.add(node.name)
        elif isinstance(node, ast.Name | ast.Attribute | ast.Subscript) and not isinstance(
            node.ctx, ast.Load
        ):
            found |= root_of(node)
        elif isinstance(node, ast.Expr):
            found |= _changed_by(node.value, imported)
        elif isinstance(node, ast.ExceptHandler) and node.name:
            found.add(node.name)
    return found


def _changed_by(expression: ast.expr, imported: Collection[str]) -> set[str]:
    """Return names whose objects an expression statement may change: `TABLE.append(3)`, `register(Mine)`."""
    if not isinstance(expression, ast.Call):
        return set()
    if isinstance(expression.func, ast.Name) and expression.func.id == "print":
        return set()
    named = {node.id for node in ast.walk(expression) if isinstance(node, ast.Name)}
    return (named - set(imported)) | (
        root_of(expression.func) if isinstance(expression.func, ast.Attribute) else set()
    )


def without_scopes(statement: ast.stmt) -> Iterator[ast.AST]:
    """Yield the nodes of a statement, without the inside of functions and classes in it."""
    todo: list[ast.AST] = [statement]
    while todo:
        node = todo.pop()
        yield node
        if not isinstance(node, (*_SCOPES, ast.Lambda)):
            todo += ast.iter_child_nodes(node)


def root_of(node: ast.expr) -> set[str]:
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    return {node.id} if isinstance(node, ast.Name) else set()


def names_in(statement: ast.stmt) -> set[str]:
    """Return the module-level names that a statement reads, including those in string annotations."""
    found: set[str] = set()
    try:
        tables = [symtable.symtable(ast.unparse(statement), "?", "exec")]
    except (
        SyntaxError,
        ValueError,
        RecursionError,
        MemoryError,
    ):  # The statement cannot stand alone, such as `return`, or is nested too deeply.
        return {node.id for node in ast.walk(statement) if isinstance(node, ast.Name)}
    while tables:
        table = tables.pop()
        tables += table.get_children()
        inside = table.get_type() == "function"  # Local names of a function are not names of the module.
        found |= {
            symbol.get_name()
            for symbol in table.get_symbols()
            if (symbol.is_global() if inside else symbol.is_referenced())
        }
    for node in ast.walk(statement):
        if isinstance(node, ast.AnnAssign | ast.arg) and node.annotation is not None:
            for inner in ast.walk(node.annotation):
                if isinstance(inner, ast.Constant) and isinstance(inner.value, str):
                    found |= _names_of_text(inner.value)
    return found


@functools.lru_cache(maxsize=1024)
def _names_of_text(text: str) -> frozenset[str]:
    try:
        tree = ast.parse(text, mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return frozenset()
    return frozenset(node.id for node in ast.walk(tree) if isinstance(node, ast.Name))


def resolved(importing: str, what: Import) -> str:
    """Return the full name of the module to which an import statement in the module `importing` refers."""
    if what.level:
        base = importing.split(".")
        module = sys.modules.get(importing)
        package = module is not None and hasattr(module, "__path__")
        base = base[: len(base) - what.level + package]
        return ".".join([*base, *([what.module] if what.module else [])])
    folder = userfiles.folder_of(importing)
    if folder is not None and userfiles.holds(folder, what.module):
        return f"{'.'.join(importing.split('.', 2)[:2])}.{what.module}"
    return what.module


def source_of_module(name: str) -> bytes | None:
    """Return the source of a user's module: as it was executed, or that of its file if it is not loaded yet.

    The result is None for any other module.
    """
    top = name.partition(".")[0]
    if top in userfiles.TAKEN or top in sys.stdlib_module_names:
        return None
    module = sys.modules.get(name)
    if module is not None:
        file = getattr(module, "__file__", None)
        if file is None or not (top == userfiles.PREFIX or installed.is_own_file(Path(file))):
            return None
        return userfiles.source_of(module)
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError, AttributeError):
        return None
    if spec is None or not spec.origin or not spec.origin.endswith(".py"):
        return None
    path = Path(spec.origin)
    if not (top == userfiles.PREFIX or installed.is_own_file(path)):
        return None
    try:
        return path.read_bytes()
    except OSError:
        return None

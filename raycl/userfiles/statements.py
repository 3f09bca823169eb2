"""Recognition of files that only name values, so that importing them changes nothing in the process.

Most studies are such files: they import names of `raycl`, and make a `Study` of constants, containers,
comprehensions and calls of these names. They need not be watched while they are imported, which saves the
seconds that loading torch takes (`raycl.process`). A file with anything else in it counts as one that may
change the process.
"""

from __future__ import annotations

import ast

VALUES = {
    *("Boxes", "Choice", "Curves", "Float", "Form", "Grid", "GridMap", "Int"),
    *("Layers", "PaperTable", "Resources", "Search", "Seeds", "Sheet", "Study", "View"),
}
"""Names of `raycl` that make values; calling them does nothing else."""

BUILTINS = {
    *("abs", "all", "any", "bool", "dict", "enumerate", "float", "frozenset", "int", "len", "list", "max"),
    *("min", "range", "reversed", "round", "set", "sorted", "str", "sum", "tuple", "zip"),
}
METHODS = {
    "copy",
    "format",
    "get",
    "items",
    "join",
    "keys",
    "lower",
    "replace",
    "split",
    "upper",
    "values",
    "with_",
}
_PERMITTED = (
    *(ast.Module, ast.Expr, ast.Assign, ast.AnnAssign, ast.If, ast.For, ast.Pass, ast.Assert, ast.alias),
    *(ast.Constant, ast.Name, ast.Attribute, ast.Subscript, ast.Slice, ast.Starred, ast.keyword, ast.Call),
    *(ast.List, ast.Tuple, ast.Dict, ast.Set, ast.JoinedStr, ast.FormattedValue, ast.IfExp, ast.Compare),
    *(ast.ListComp, ast.DictComp, ast.SetComp, ast.GeneratorExp, ast.comprehension),
    *(ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.operator, ast.unaryop, ast.boolop, ast.cmpop, ast.expr_context),
)


def only_names_values(source: bytes) -> bool:
    """Return whether a file consists of nothing but statements that name values."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return all(_permitted(node) for node in ast.walk(tree)) and _uses_known_names(tree)


def _permitted(node: ast.AST) -> bool:
    if isinstance(node, ast.ImportFrom):
        known = (
            VALUES if node.module == "raycl" else {"annotations"} if node.module == "__future__" else set()
        )
        return not node.level and all(alias.name in known and not alias.asname for alias in node.names)
    if isinstance(node, ast.Call):
        if isinstance(node.func, ast.Attribute):
            return node.func.attr in METHODS
        return isinstance(node.func, ast.Name) and node.func.id in VALUES | BUILTINS
    if isinstance(node, ast.Attribute | ast.Subscript) and not isinstance(node.ctx, ast.Load):
        return False
    if isinstance(node, ast.Attribute):
        return not node.attr.startswith("_")
    return isinstance(node, _PERMITTED)


def _uses_known_names(tree: ast.Module) -> bool:
    """Return whether a file reads only its own names and callable ones, and does not redefine the latter."""
    names = [node for node in ast.walk(tree) if isinstance(node, ast.Name)]
    read = {node.id for node in names if isinstance(node.ctx, ast.Load)}
    own = {node.id for node in names if not isinstance(node.ctx, ast.Load)}
    return read <= own | VALUES | BUILTINS and not own & (VALUES | BUILTINS)

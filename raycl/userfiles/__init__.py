"""Loads the Python files that users write: studies, and what stands beside them.

A file is loaded under a name that is made of its own folder, ``raycl_files.f3a9….mine``, in the driver, on
workers and in checkpoints alike. So files of one name in two folders never meet, and since a folder never
joins Python's path, a file called ``ray.py`` beside a study shadows nothing. Within such a file,
``import helper`` and ``from .helper import ...`` find ``helper.py`` beside it.

What is executed is compiled from bytes that are kept, never from a cached ``.pyc`` file:
`raycl.userfiles.digest` reads the same bytes, so that a key says what was executed.
"""

from __future__ import annotations

import builtins
import collections
import contextlib
import contextvars
import hashlib
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import os
import re
import sys
import time
import traceback
import types
import weakref
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from raycl.errors import UserError
from raycl.installed import is_own_file

PREFIX = "raycl_files"


# Packages that a file beside a study must not stand in for, since raycl itself uses them.
_TAKEN = (
    *("raycl", "torch", "torchvision", "numpy", "scipy", "sklearn", "pandas", "PIL", "matplotlib", "jinja2"),
    *("rich", "filelock", "ray", "optuna", "mlflow", "pytest"),
)


TAKEN = frozenset(_TAKEN)


_FOLDER = re.compile(rf"{PREFIX}\.f[0-9a-f]{{12}}(\.)?")


_STARTED = time.time()


_FOLDERS: dict[str, Path] = {}  # package of a folder -> the folder


_LEFT: dict[str, list[str]] = collections.defaultdict(list)  # by package: what imports left behind


_SOURCES: dict[str, bytes] = {}  # name of a module -> what was executed


_ENDED: dict[str, dict[str, tuple[Any, str]]] = {}  # by module: its names, when its own file had ended


_CHANGED: dict[str, dict[str, str]] = {}  # by module: names that other files changed, and how


_OVERSEEN: list[bool] = []


_PLAIN = (bool, int, float, complex, str, bytes, type(None), tuple)


_ORIGINS: weakref.WeakKeyDictionary[type, tuple[str, str]] = weakref.WeakKeyDictionary()


_HOME: contextvars.ContextVar[Path | None] = contextvars.ContextVar("home", default=None)


@contextlib.contextmanager
def beside(folder: Path | str | None) -> Iterator[None]:
    """Let ``"mine:Mine"`` mean the class in ``mine.py`` of this folder; None: of Python's path alone."""
    token = _HOME.set(Path(folder) if folder is not None else None)
    try:
        yield
    finally:
        _HOME.reset(token)


def home() -> Path | None:
    """The folder beside whose files names are looked up at present."""
    return _HOME.get()


def load(folder: Path, name: str) -> ModuleType:
    """Load the module `name` of a folder, or return it where it is loaded already.

    Args:
        folder: where ``name.py``, or the package ``name``, lies.
        name: dotted for a module of a package; any file's stem otherwise.

    Raises:
        UserError: it cannot be imported; names the file and the line.
    """
    full = f"{_package(folder)}.{name}"
    known = sys.modules.get(full)
    if known is not None:
        return known
    from raycl import process  # here, because it loads torch

    try:
        with process.untouched(shown(_file_of(folder, name)), _LEFT[_package(folder)].append), _overseen():
            return importlib.import_module(full)
    except UserError:
        raise
    except (KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:  # a file that calls sys.exit must not end the program in silence
        raise UserError(_import_fault(error, folder, name)) from None


def holds(folder: Path, name: str) -> bool:
    """Whether a folder has a file or a package that ``import name`` may mean in its files."""
    top = name.partition(".")[0]
    if top in TAKEN or top in sys.stdlib_module_names:
        return False
    place = folder / top
    return place.with_name(f"{top}.py").is_file() or _is_package(place)


def find(name: str) -> ModuleType:
    """The module that the text ``"name:Class"`` means: beside the study, or else on Python's path.

    A user's file on Python's path is loaded as one beside a study is, unless this process imported it before
    raycl was asked for it, and it has not changed since.

    Raises:
        ModuleNotFoundError: there is none.
        UserError: it cannot be imported.
    """
    folder = home()
    if folder is not None and _beside(folder, name):
        return load(folder, name)
    known = sys.modules.get(name)
    if known is not None and not _changed(known):
        return known
    if not name.startswith("raycl.") and (root := _root_of(name)) is not None:
        return load(root, name)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and name.split(".")[0] == error.name.split(".")[0]:
            raise
        raise UserError(f"{name}: {type(error).__name__}: {error}") from None
    except Exception as error:
        raise UserError(fault(error) or f"{name}: {type(error).__name__}: {_first_line(error)}") from None


def refresh() -> None:
    """Forget all files of a folder in which one has changed, so that they are read again."""
    for package, folder in list(_FOLDERS.items()):
        names = [name for name in sys.modules if name.startswith(f"{package}.")]
        if any(_stale(name) for name in names if name in _SOURCES):
            for name in names:
                del sys.modules[name]
                for kept in (_SOURCES, _ENDED, _CHANGED):
                    kept.pop(name, None)
            _LEFT.pop(package, None)
            importlib.invalidate_caches()
            _FOLDERS[package] = folder


def changed(module: str) -> Mapping[str, str]:
    """Names of a user's module whose values another file changed when it was imported, and how."""
    return _CHANGED.get(module, {})


@contextlib.contextmanager
def _overseen() -> Iterator[None]:
    """While files are imported: note which of them change the values of others.

    No digest of source code could tell, since the statement that does it is not reached by name.
    """
    if _OVERSEEN:  # an import within an import
        yield
        return
    for name in _SOURCES.keys() & sys.modules.keys():
        _ENDED[name] = _values(sys.modules[name])  # what runs did since is their own affair
    _OVERSEEN.append(True)
    try:
        yield
    finally:
        _OVERSEEN.clear()
        for name in _ENDED.keys() & sys.modules.keys():
            before, now = _ENDED[name], _values(sys.modules[name])
            for key in before.keys() | now.keys():
                if not _same(before.get(key), now.get(key)):
                    told = f"{_told(before.get(key))} became {_told(now.get(key))}"
                    _CHANGED.setdefault(name, {})[key] = told


def _values(module: ModuleType) -> dict[str, tuple[Any, str]]:
    """Each name of a module with its value, and the text of a list or dictionary of plain values."""
    return {
        name: (value, repr(value) if _is_plain_container(value) else "")
        for name, value in vars(module).items()
        if not (name.startswith("__") or isinstance(value, ModuleType))
    }


def _is_plain_container(value: Any) -> bool:
    if type(value) not in (list, dict, set) or len(value) > 1000:
        return False
    inner = [*value, *value.values()] if isinstance(value, dict) else value
    return all(isinstance(item, _PLAIN) for item in inner)


def _same(before: tuple[Any, str] | None, now: tuple[Any, str] | None) -> bool:
    if before is None or now is None:
        return before is now
    if before[0] is now[0]:
        return before[1] == now[1] or not now[1]  # what holds classes or functions is a register of them
    return type(before[0]) is type(now[0]) and isinstance(now[0], _PLAIN) and before[0] == now[0]


def _told(held: tuple[Any, str] | None) -> str:
    if held is None:
        return "nothing"
    text = held[1] or repr(held[0])
    return text if len(text) <= 40 else f"{text[:38]}.."


def left_by(folder: Path | None) -> tuple[str, ...]:
    """What importing the files of a folder changed of this process, and what was put back; a line each."""
    return tuple(dict.fromkeys(_LEFT[_package(folder)])) if folder is not None else ()


def short(module: str) -> str:
    """The name of a module as a user knows it: without the folder that it was loaded from."""
    parts = module.split(".", 2)
    return parts[2] if parts[0] == PREFIX and len(parts) == 3 else module


def folder_of(module: str) -> Path | None:
    """The folder that a user's module was loaded from; None of any other module."""
    return _FOLDERS.get(".".join(module.split(".", 2)[:2]))


def source_of(module: ModuleType) -> bytes:
    """What was executed when a module was loaded, or its file's bytes where Python loaded it; b"" if none."""
    if module.__name__ in _SOURCES:
        return _SOURCES[module.__name__]
    try:
        return Path(str(getattr(module, "__file__", ""))).read_bytes()
    except OSError:
        return b""


def remember(kind: type, module: ModuleType, name: str) -> None:
    """Keep by which name of which module a class was found."""
    _ORIGINS.setdefault(kind, (module.__name__, name))


def origin(kind: type) -> tuple[str, str]:
    """Module and name of the top level under which a class is found again.

    Its own where it can be, so that it does not matter in which file it was found; else that of `remember`.
    """
    module, top = kind.__module__, kind.__qualname__
    if getattr(sys.modules.get(module), top, None) is kind:
        return module, top
    return _ORIGINS.get(kind, (module, top.partition(".")[0]))


def is_own(kind: type) -> bool:
    """Whether a class is a user's, and not one of raycl's."""
    return kind.__module__ != "builtins" and kind.__module__.partition(".")[0] != "raycl"


@contextlib.contextmanager
def blamed(kind: type) -> Iterator[None]:
    """Turn what a user's class raises into one line that names its file and line.

    Whatever one of raycl's own classes raises passes unchanged.

    Raises:
        UserError: instead of any other exception.
    """
    try:
        yield
    except (KeyboardInterrupt, GeneratorExit):
        raise
    except UserError as error:
        if not is_own(kind) or f"{short(kind.__module__)}.py" in str(error):
            raise
        raise UserError(f"{where(kind)}: {error}") from None
    except BaseException as error:
        if not is_own(kind):
            raise
        raise UserError(fault(error) or f"{where(kind)}: {_described(error)}") from None


def fault(error: BaseException) -> str:
    """``mine.py:7: NameError: …``: the innermost line of a user's own file that led to it; "" if none did."""
    if isinstance(error, SyntaxError) and error.filename and is_own_file(Path(error.filename)):
        return f"{shown(Path(error.filename))}:{error.lineno}: {error.msg}"
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if frame.filename.startswith("<"):
            continue
        if is_own_file(Path(frame.filename).absolute()):
            return f"{shown(Path(frame.filename))}:{frame.lineno}: {_described(error)}"
    return ""


def where(kind: type) -> str:
    """``mine.py:4 (class Mine)``: where a class is written."""
    import inspect

    file = str(getattr(sys.modules.get(kind.__module__), "__file__", "") or short(kind.__module__))
    try:
        line = f":{inspect.getsourcelines(kind)[1]}"
    except (OSError, TypeError):
        line = ""
    return f"{shown(Path(file))}{line} (class {kind.__qualname__})"


def shown(path: Path) -> str:
    """A path as its user would write it: relative to the current folder where it lies below that."""
    with contextlib.suppress(OSError, ValueError):
        return str(path.absolute().relative_to(Path.cwd()))
    return str(path)


def _described(error: BaseException) -> str:
    if isinstance(error, SystemExit):
        code = "" if error.code is None else repr(error.code)
        return f"it calls sys.exit({code}), which ends no study"
    return f"{type(error).__name__}: {_first_line(error)}".removesuffix(": ")


def _first_line(error: BaseException) -> str:
    line = next(iter(str(error).strip().splitlines()), "")
    return _FOLDER.sub(lambda found: "" if found[1] else "its folder", line)


def _import_fault(error: BaseException, folder: Path, name: str) -> str:
    if said := fault(error):
        return said
    file = _file_of(folder, name)
    if isinstance(error, ValueError | SyntaxError) and "null byte" in str(error):
        return f"{shown(file)}: it is no Python file: it contains a null byte"
    if isinstance(error, UnicodeDecodeError):
        return f"{shown(file)}: it is no UTF-8 text: save it as UTF-8"
    if isinstance(error, OSError):
        return f"{shown(file)} cannot be read: {error.strerror or error}"
    return f"{shown(file)}: {_described(error)}"


def _file_of(folder: Path, name: str) -> Path:
    place = folder.joinpath(*name.split("."))
    return place / "__init__.py" if place.is_dir() else place.with_name(f"{place.name}.py")


def _package(folder: Path) -> str:
    """The package that stands for a folder; made when it is first asked for."""
    folder = folder.resolve()
    name = f"{PREFIX}.f{hashlib.sha256(os.fsencode(folder)).hexdigest()[:12]}"
    if name not in sys.modules:
        _FOLDERS[name] = folder
        top = sys.modules.setdefault(PREFIX, types.ModuleType(PREFIX))
        top.__path__ = []
        made = types.ModuleType(name)
        made.__path__ = [str(folder)]
        made.__package__ = name
        sys.modules[name] = made
        setattr(top, name.partition(".")[2], made)
        if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
            sys.meta_path.insert(0, _Finder())
    return name


class _Finder(importlib.abc.MetaPathFinder):
    """Finds modules below the packages that stand for folders, as Python would, and loads them afresh."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if not fullname.startswith(f"{PREFIX}.") or path is None:
            return None
        name = fullname.rpartition(".")[2]
        for place in map(Path, path):
            package = place / name / "__init__.py"
            if package.is_file():
                return _spec(fullname, package, [str(package.parent)])
            if (file := place / f"{name}.py").is_file():
                return _spec(fullname, file, None)
            if (place / name).is_dir():
                return _spec(fullname, None, [str(place / name)])
        return None


def _spec(name: str, file: Path | None, inside: list[str] | None) -> importlib.machinery.ModuleSpec:
    loader = _Loader(name, str(file)) if file else None
    spec = importlib.machinery.ModuleSpec(name, loader, origin=str(file) if file else None)
    spec.submodule_search_locations = inside
    spec.has_location = file is not None
    return spec


class _Loader(importlib.machinery.SourceFileLoader):
    """Compiles the bytes of a file, which it keeps, and resolves imports beside the file first."""

    def get_code(self, fullname: str) -> CodeType:
        source = self.get_data(self.path)
        _SOURCES[fullname] = source
        code: CodeType = compile(source, self.path, "exec", dont_inherit=True)
        return code

    def exec_module(self, module: ModuleType) -> None:
        module.__dict__["__builtins__"] = {**vars(builtins), "__import__": _importer(module.__name__)}
        super().exec_module(module)
        _ENDED[module.__name__] = _values(module)


def _importer(importing: str) -> Any:
    package = ".".join(importing.split(".", 2)[:2])
    folder = _FOLDERS[package]

    def imported(
        name: str,
        globals: Mapping[str, object] | None = None,
        locals: Mapping[str, object] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        if level >= len(str((globals or {}).get("__package__")).split(".")):
            raise ImportError(f"from {'.' * level}{name}: it leads out of the folder of the study")
        if level or not holds(folder, name):
            return builtins.__import__(name, globals, locals, fromlist or (), level)
        found = builtins.__import__(f"{package}.{name}", globals, locals, fromlist or ("*",), 0)
        return found if fromlist else sys.modules[f"{package}.{name.partition('.')[0]}"]

    return imported


def _beside(folder: Path, name: str) -> bool:
    """Whether a text ``"name:Class"`` means a file of the folder: there even a taken name is the user's."""
    top = folder / name.partition(".")[0]
    return name.partition(".")[0] != "raycl" and (
        top.with_name(f"{top.name}.py").is_file() or _is_package(top)
    )


def _is_package(place: Path) -> bool:
    try:
        return place.is_dir() and any(entry.suffix == ".py" for entry in place.iterdir())
    except OSError:  # a folder that nobody may look into
        return False


def _root_of(name: str) -> Path | None:
    """The folder of Python's path that holds a user's module; None of an installed one, or where none is."""
    top = name.partition(".")[0]
    if top in TAKEN or top in sys.stdlib_module_names:
        return None
    for entry in sys.path:
        place = Path(entry or ".").absolute()
        if _beside(place, name) and is_own_file(place / top):
            return place
    return None


def _changed(module: ModuleType) -> bool:
    """Whether the file of a module that Python loaded may have changed since."""
    try:
        return Path(str(module.__file__)).stat().st_mtime > _STARTED and _is_own_module(module)
    except (OSError, AttributeError, TypeError):
        return False


def _is_own_module(module: ModuleType) -> bool:
    return module.__name__.partition(".")[0] != "raycl" and is_own_file(Path(str(module.__file__)))


def _stale(name: str) -> bool:
    try:
        return Path(str(sys.modules[name].__file__)).read_bytes() != _SOURCES[name]
    except OSError:
        return True

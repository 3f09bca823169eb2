"""Checkpoints of unfinished runs: one after each task, and further ones within a task that takes long.

A checkpoint holds a method as pickled Python objects, and anyone who can write to the store could replace the
file. Therefore a checkpoint may refer only to what methods consist of: tensors, arrays, plain values, torch's
layers, and classes of raycl's core and of the user's own method file. A file that refers to anything else is
rejected before any of it is executed, and the run starts from the beginning.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import io
import json
import pickle
import shutil
import sys
import time
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from raycl import userfiles
from raycl.method import Method
from raycl.plainfiles import Unfit, number, read_bytes
from raycl.registry import load
from raycl.runs.records import LATEST, check_reports
from raycl.runs.reports import TaskReport
from raycl.runs.unpickling import Refused, Unpickler, finding
from raycl.tasks import Benchmark, Task
from raycl.training.fit_checkpoints import FitCheckpoint
from raycl.wholefiles import publish

LONG = 20.0  # Seconds: a fit that took less is not saved, since repeating it is cheap.
EVERY = 180.0  # Seconds between two checkpoints of a fit that is still running.
MOST = 2 * 2**30  # Bytes that the checkpoints of one task may occupy.

_ROOMS = (
    "method",
    "methods",
    "networks",
    "masks",
    "supermasks",
    "probes",
    "tasks",
    "benchmarks",
    "training",
    "space",
)
_PLAIN = {
    "builtins": {"bytes", "set", "frozenset", "slice", "complex", "bytearray", "range"},
    "collections": {"OrderedDict", "defaultdict", "Counter", "deque"},
    "torch": {"Size", "device", "dtype", "float16", "bfloat16", "float32", "float64", "int8", "int16",
              "int32", "int64", "uint8", "bool"},
    "torch._utils": {"_rebuild_tensor_v2", "_rebuild_parameter", "_rebuild_parameter_with_state"},
    "torch.serialization": {"_get_layout"},
    "numpy": {"dtype", "ndarray"},
    "numpy._core.multiarray": {"_reconstruct", "scalar"},
    "numpy._core.numeric": {"_frombuffer"},
    "numpy.random._pickle": {"__generator_ctor", "__bit_generator_ctor"},
    "numpy.random._pcg64": {"PCG64"},
    "numpy.random.bit_generator": {"SeedSequence", "__pyx_unpickle_SeedSequence"},
    "_codecs": {"encode"},
}  # fmt: skip


class CheckpointFormat:
    """Reader and writer of the objects of one run.

    Args:
        benchmark: The run's benchmark, or a function that returns it and is called when it is first needed.
            Tasks are stored by reference and looked up in it when they are read.
        *kinds: The classes of the run's method and network. A checkpoint may also refer to other classes of
            their modules, and of a user's modules that are loaded from the same folder.
    """

    def __init__(self, benchmark: Benchmark | Callable[[], Benchmark] | None, *kinds: type) -> None:
        self._given = benchmark
        self.own = {base.__module__ for kind in kinds for base in kind.__mro__} - {"builtins"}

    @functools.cached_property
    def benchmark(self) -> Benchmark | None:
        """The run's benchmark."""
        return self._given() if callable(self._given) else self._given

    @staticmethod
    def to_bytes(content: Any) -> bytes:
        """Serialise `content`, including its tensors."""
        buffer = io.BytesIO()
        torch.save(content, buffer, pickle_protocol=4)
        return buffer.getvalue()

    def from_bytes(self, raw: bytes, device: torch.device | str) -> Any:
        """Return the content from which `to_bytes` made these bytes.

        Raises:
            Refused: If the bytes refer to something that no checkpoint may hold; nothing was executed.
            Exception: Of any kind, if the bytes are truncated or damaged.
        """
        reader = self._reader(_sizes(raw))
        return torch.load(io.BytesIO(raw), device, pickle_module=reader, weights_only=False)

    def _reader(self, sizes: Mapping[str, int]) -> Any:
        """Return a `pickle_module` for `torch.load` whose unpickler finds only what a checkpoint may name."""
        found = self.found

        class Reading(Unpickler):
            def __init__(self, file: Any, **options: Any) -> None:
                super().__init__(file, found, sizes, **options)

        class Reader:
            __name__ = "raycl.runs.checkpoints"
            Unpickler = Reading

            @staticmethod
            def load(file: Any, **options: Any) -> Any:
                return Reading(file, **options).load()

        return Reader

    def found(self, module: str, name: str) -> Any:
        """Return the class of that name, or one of the few functions that rebuild tensors and arrays.

        Raises:
            Refused: If a checkpoint may not refer to it.
        """
        if (module, name) == (load.__module__, load.__name__):
            return self._benchmark
        if (module, name) == ("raycl.tasks", "_task_of"):
            return self._task
        if name in _PLAIN.get(module, ()):
            return getattr(importlib.import_module(module), name)
        if module == "torch" and name.endswith("Storage") and "." not in name:
            return getattr(torch, name)
        module = self._here(module)
        rooms = module.split(".")
        ours = rooms[0] == "raycl" and len(rooms) > 1 and rooms[1] in _ROOMS
        if not (ours or module.startswith(("torch.nn.modules.", "torch.nn.parameter")) or module in self.own):
            raise Refused(f"{module}.{name} is not allowed in a checkpoint")
        kind: Any = importlib.import_module(module)
        for part in name.split("."):
            kind = vars(kind).get(part)
        if not isinstance(kind, type) or kind.__module__ != module:
            raise Refused(f"{module}.{name} is not a class of that file")
        return kind

    def _here(self, module: str) -> str:
        """Return the name of a module in this process, where a user's files may be in another folder."""
        short = userfiles.short(module)
        if short == module:
            return module
        packages = {".".join(own.split(".")[:2]) for own in self.own if userfiles.folder_of(own)}
        found = [name for package in packages if (name := f"{package}.{short}") in sys.modules]
        if len(found) != 1:
            raise Refused(f"{short} is not a file of this run")
        self.own.add(found[0])
        return found[0]

    @finding
    def _task(self, benchmark: Any, index: Any) -> Task:
        if self.benchmark is None or benchmark is not self.benchmark or type(index) is not int or index < 0:
            raise Refused("it refers to a task of another benchmark")
        return self.benchmark.tasks[index]

    @finding
    def _benchmark(self, *recipe: Any) -> Benchmark:
        if self.benchmark is None or self.benchmark.recipe is None or self.benchmark.recipe[1] != recipe:
            raise Refused(f"benchmark {recipe!r} is not the benchmark of this run")
        return self.benchmark


def _sizes(raw: bytes) -> dict[str, int]:
    """Return the number of bytes of each of an archive's tensors, by key.

    Raises:
        Refused: If it is not an archive as `CheckpointFormat.to_bytes` writes it.
    """
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        about = archive.infolist()
    paths = [one.filename.partition("/")[2] for one in about]
    if "data.pkl" not in paths or "constants.pkl" in paths:  # torch would load the latter as TorchScript.
        raise Refused("this is not a checkpoint")
    if len(set(paths)) < len(paths) or len({one.filename.partition("/")[0] for one in about}) > 1:
        raise Refused("the archive has two members of the same name")
    if any(one.compress_type for one in about) or sum(one.file_size for one in about) > len(raw):
        raise Refused("the members of the archive are larger than the file")
    return {
        path.removeprefix("data/"): one.file_size
        for path, one in zip(paths, about, strict=True)
        if path.startswith("data/")
    }


def save(
    path: Path, form: CheckpointFormat, method: Method, reports: Sequence[TaskReport], seconds: float = 0.0
) -> None:
    """Save the state of a run after a task; the run continues without a checkpoint if that fails.

    Args:
        path: File to write.
        form: Format of the run's checkpoints.
        method: The method after its latest task.
        reports: Reports of all finished tasks.
        seconds: Time spent on the run so far, including earlier attempts.
    """
    plain = [report.to_json() for report in reports]
    content = {"run": path.parent.name, "method": method, "reports": plain, "seconds": seconds}
    _write(path, lambda: form.to_bytes(content))


def resume(path: Path, form: CheckpointFormat, device: str) -> tuple[Method, list[TaskReport], float] | None:
    """Return the method, the reports and the seconds spent up to the last finished task.

    The result is None if there is no usable checkpoint. A checkpoint of another run, or one whose reports
    cannot be the reports of any run, is removed.
    """
    state = _read(path, form, device)
    if state is None:
        return None
    try:
        if state["run"] != path.parent.name or not isinstance(state["method"], Method):
            raise ValueError("the checkpoint belongs to another run")
        check_reports(json.loads(json.dumps(state["reports"])), "diverged")
        seconds = number(state["seconds"], "seconds", LATEST)
        return state["method"], [TaskReport.from_json(r) for r in state["reports"]], seconds
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError):
        _drop(path)
        return None


class TaskJournal:
    """A `raycl.training.fit_checkpoints.FitJournal` that writes ``fit-<task>-<number>.pt`` to a run's folder.

    Args:
        folder: The run's folder.
        form: Format of the run's checkpoints.
        device: Device to which tensors are loaded.
        long: Seconds after which a finished fit is worth saving; `LONG` by default.
        every: Seconds between two checkpoints of a running fit; `EVERY` by default.
        most: Bytes that the checkpoints of one task may occupy; `MOST` by default.
    """

    def __init__(
        self, folder: Path, form: CheckpointFormat, device: str, *, long: float | None = None,
        every: float | None = None, most: int | None = None,
    ) -> None:  # fmt: skip
        self.folder, self.form, self.device = folder, form, device
        self.long = LONG if long is None else long
        self.every = EVERY if every is None else every
        self.most = MOST if most is None else most
        self.task, self._last, self._sizes = -1, time.monotonic(), dict[int, int]()

    def begin(self, task: int) -> None:
        """Start a task, and delete the fit checkpoints of all other tasks."""
        self.task, self._last, self._sizes = task, time.monotonic(), {}
        with contextlib.suppress(OSError):
            for path in self.folder.glob("fit-*.pt"):
                if not path.name.startswith(f"fit-{task}-"):
                    path.unlink(missing_ok=True)

    def recall(self, n: int) -> FitCheckpoint | None:
        """Return the checkpoint of the task's fit number `n`, or None; an unreadable file is deleted."""
        path = self._path(n)
        moment = _read(path, self.form, self.device)
        if moment is None:
            return None
        if not isinstance(moment, FitCheckpoint):
            _drop(path)
            return None
        with contextlib.suppress(OSError):
            self._sizes[n] = path.stat().st_size
        return moment

    def is_due(self, seconds: float, ended: bool) -> bool:
        """Return whether to save now: at the end of a long fit, and every few minutes while it runs."""
        due = seconds >= self.long if ended else time.monotonic() - self._last >= self.every
        return due and sum(self._sizes.values()) < self.most

    def note(self, n: int, moment: FitCheckpoint) -> None:
        """Save a checkpoint of fit number `n`, unless it is too large or cannot be pickled or written."""
        self._last = time.monotonic()
        tensors = sum(t.numel() * t.element_size() for t in moment.tensors)
        if tensors + sum(self._sizes.values()) > self.most:
            return
        written: list[int] = []

        def content() -> bytes:
            raw = self.form.to_bytes(moment)
            written.append(len(raw))
            if len(raw) + sum(size for k, size in self._sizes.items() if k != n) > self.most:
                raise OverflowError
            return raw

        if _write(self._path(n), content):
            self._sizes[n] = written[0]

    def _path(self, n: int) -> Path:
        return self.folder / f"fit-{self.task}-{n}.pt"


def _write(path: Path, content: Callable[[], bytes]) -> bool:
    """Write a file and return whether it worked; a missing checkpoint costs time, but never a result."""
    try:
        raw = content()
    except (pickle.PicklingError, AttributeError, TypeError, OverflowError):  # Methods may be unpicklable.
        return False
    try:
        publish(path, raw, mode=0o600, synced=False)  # A truncated file is detected when it is read.
    except OSError:  # The disk may be full, or another driver may have removed the folder.
        return False
    return True


def _read(path: Path, form: CheckpointFormat, device: str) -> Any:
    """Return the content of a checkpoint; None if there is none, or it cannot be read or trusted."""
    try:
        raw = read_bytes(path, None)
    except OSError:
        return None
    except (Unfit, MemoryError):  # The path is a folder or a pipe, or the file does not fit in memory.
        _drop(path)
        return None
    try:
        return form.from_bytes(raw, device)
    except Exception:  # A crash may have truncated it, older code or somebody else may have written it.
        _drop(path)
        return None


def _drop(path: Path) -> None:
    """Remove whatever is in a checkpoint's place; if that is not permitted, it stays and is not used."""
    with contextlib.suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)

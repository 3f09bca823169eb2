"""Where an unfinished run stands, on disk: after each task, and within a long one after its fits.

A file here holds a method as Python objects, and whoever can write to a store could lay another in its place.
So a file can name nothing but what methods are made of: tensors, arrays, plain values, torch's layers, and
classes of raycl's core and of the user's own method file. One that names anything else is not read, nothing
of it is executed, and the run is played from the start.
"""

from __future__ import annotations

import contextlib
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
from raycl.runs.sequence import TaskReport
from raycl.runs.unpickling import Refused, Unpickler, finding
from raycl.tasks import Benchmark, Task
from raycl.training.fit_checkpoints import FitCheckpoint
from raycl.wholefiles import publish

LONG = 20.0  # seconds; a fit that took less is made again
EVERY = 180.0  # seconds between two notes of a fit that runs
MOST = 2 * 2**30  # bytes that notes of one task may take

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
    """Reads and writes the objects of one run.

    Args:
        benchmark: the run's own; tasks travel as its name and are found in it again.
        kinds: the classes of the run's method and network; their modules may define further ones, and so may
            a user's modules that are loaded from beside them.
    """

    def __init__(self, benchmark: Benchmark | None, *kinds: type) -> None:
        self.benchmark = benchmark
        self.own = {base.__module__ for kind in kinds for base in kind.__mro__} - {"builtins"}

    @staticmethod
    def to_bytes(content: Any) -> bytes:
        """`content`, tensors and all."""
        buffer = io.BytesIO()
        torch.save(content, buffer, pickle_protocol=4)
        return buffer.getvalue()

    def from_bytes(self, raw: bytes, device: torch.device | str) -> Any:
        """What `to_bytes` made.

        Raises:
            Refused: it names something that no checkpoint holds; nothing was executed.
            Exception: of any kind, where the bytes are torn.
        """
        reader = self._reader(_sizes(raw))
        return torch.load(io.BytesIO(raw), device, pickle_module=reader, weights_only=False)

    def _reader(self, sizes: Mapping[str, int]) -> Any:
        """A module as `torch.load` wants it, whose unpickler finds nothing but what a checkpoint may name."""
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
        """The class of that name, or one of the few functions that put tensors and arrays together.

        Raises:
            Refused: it has no place in a checkpoint.
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
            raise Refused(f"{module}.{name} has no place in a checkpoint")
        kind: Any = importlib.import_module(module)
        for part in name.split("."):
            kind = vars(kind).get(part)
        if not isinstance(kind, type) or kind.__module__ != module:
            raise Refused(f"{module}.{name} is no class of that file")
        return kind

    def _here(self, module: str) -> str:
        """The module that a name stands for here, where a user's files may lie in another folder."""
        short = userfiles.short(module)
        if short == module:
            return module
        packages = {".".join(own.split(".")[:2]) for own in self.own if userfiles.folder_of(own)}
        found = [name for package in packages if (name := f"{package}.{short}") in sys.modules]
        if len(found) != 1:
            raise Refused(f"{short} is no file of the run's")
        self.own.add(found[0])
        return found[0]

    @finding
    def _task(self, benchmark: Any, index: Any) -> Task:
        if self.benchmark is None or benchmark is not self.benchmark or type(index) is not int or index < 0:
            raise Refused("a task of another benchmark")
        return self.benchmark.tasks[index]

    @finding
    def _benchmark(self, *recipe: Any) -> Benchmark:
        if self.benchmark is None or self.benchmark.recipe is None or self.benchmark.recipe[1] != recipe:
            raise Refused(f"benchmark {recipe!r} is not the run's")
        return self.benchmark


def _sizes(raw: bytes) -> dict[str, int]:
    """Bytes of an archive's tensors, by key.

    Raises:
        Refused: it is no archive of the kind that `CheckpointFormat.to_bytes` writes.
    """
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        about = archive.infolist()
    paths = [one.filename.partition("/")[2] for one in about]
    if "data.pkl" not in paths or "constants.pkl" in paths:  # the latter would be run as a script
        raise Refused("this is no checkpoint")
    if len(set(paths)) < len(paths) or len({one.filename.partition("/")[0] for one in about}) > 1:
        raise Refused("a member stands there twice")
    if any(one.compress_type for one in about) or sum(one.file_size for one in about) > len(raw):
        raise Refused("its members are larger than the file")
    return {
        path.removeprefix("data/"): one.file_size
        for path, one in zip(paths, about, strict=True)
        if path.startswith("data/")
    }


def save(
    path: Path, form: CheckpointFormat, method: Method, reports: Sequence[TaskReport], seconds: float = 0.0
) -> None:
    """Write down where a run stands after a task; if that cannot be done, it goes on without.

    Args:
        seconds: that it took so far, earlier attempts included.
    """
    plain = [report.to_json() for report in reports]
    content = {"run": path.parent.name, "method": method, "reports": plain, "seconds": seconds}
    _write(path, lambda: form.to_bytes(content))


def resume(path: Path, form: CheckpointFormat, device: str) -> tuple[Method, list[TaskReport], float] | None:
    """Method, reports and seconds after the last finished task; None where there is nothing to go on from.

    What another run left, or one whose reports none can have come to, is removed.
    """
    state = _read(path, form, device)
    if state is None:
        return None
    try:
        if state["run"] != path.parent.name or not isinstance(state["method"], Method):
            raise ValueError("it is another run's")
        check_reports(json.loads(json.dumps(state["reports"])), "diverged")
        seconds = number(state["seconds"], "seconds", LATEST)
        return state["method"], [TaskReport.from_json(r) for r in state["reports"]], seconds
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError):
        _drop(path)
        return None


class TaskJournal:
    """A `raycl.training.fit_checkpoints.FitJournal` of files: ``fit-<task>-<number>.pt``, in a run's folder.

    Args:
        long, every, most: as `LONG`, `EVERY` and `MOST`, which they default to.
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
        """A task begins: notes of others go."""
        self.task, self._last, self._sizes = task, time.monotonic(), {}
        with contextlib.suppress(OSError):
            for path in self.folder.glob("fit-*.pt"):
                if not path.name.startswith(f"fit-{task}-"):
                    path.unlink(missing_ok=True)

    def recall(self, n: int) -> FitCheckpoint | None:
        """What was noted of the task's fit number `n`; a file that cannot be read is dropped."""
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
        """An end is noted if the fit was long, a moment before it every few minutes."""
        due = seconds >= self.long if ended else time.monotonic() - self._last >= self.every
        return due and sum(self._sizes.values()) < self.most

    def note(self, n: int, moment: FitCheckpoint) -> None:
        """Write it down, unless it cannot be pickled, is too large, or the disk refuses."""
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
    """Publish a file, if it can be; what cannot be written costs time after a crash, and no result."""
    try:
        raw = content()
    except (pickle.PicklingError, AttributeError, TypeError, OverflowError):  # a method's own business
        return False
    try:
        publish(path, raw, mode=0o600, synced=False)  # a torn one is found when it is read
    except OSError:  # a full disk, a folder that another driver tidied away
        return False
    return True


def _read(path: Path, form: CheckpointFormat, device: str) -> Any:
    """The content of a checkpoint; None where there is none, or none that can be trusted or read."""
    try:
        raw = read_bytes(path, None)
    except OSError:
        return None
    except (Unfit, MemoryError):  # a folder or a pipe stands there, or a file larger than any memory
        _drop(path)
        return None
    try:
        return form.from_bytes(raw, device)
    except Exception:  # torn by a machine that died, of older code, or laid there by somebody else
        _drop(path)
        return None


def _drop(path: Path) -> None:
    """Remove what stands where a checkpoint should be; where that is refused, it stays and is not read."""
    with contextlib.suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)

"""Checkpoints of a fit, from which an interrupted run resumes in the middle of a long task.

After a crash, `learn` is called again from the start of the task. Since all its random numbers come from
named streams, it makes the same fits in the same order. A fit whose end was saved is not run again: it
returns the saved outcome, and every object is brought into the state in which that fit left it. A fit that
was interrupted resumes after the last epoch that was saved.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from raycl.tasks import Benchmark, Task

Path = tuple[Any, ...]
_WHOLE = (Task, Benchmark, np.random.Generator)


@dataclass
class FitCheckpoint:
    """State of a fit after an epoch, or at its end.

    Attributes:
        learner: The learner in its present state.
        origins: Result of the function `origins` for the objects that existed when the fit began.
        tensors: Values of the tensors that the optimiser changes, in its order.
        state: State of the optimiser for each of these tensors.
        lrs: Learning rates of the groups of the optimiser.
        lr: Base learning rate.
        schedule: Attributes of the schedule.
        best: Tensors of the best epoch, to be restored at the end; empty if no epoch was recorded as best.
        best_loss: Validation loss of the best epoch.
        epochs, updates: Numbers of epochs and of updates so far.
        val_loss: Validation loss of the last epoch.
        seconds: Wall-clock time so far.
        cpu_seconds: Time that processors spent so far; 0 in checkpoints of earlier versions.
        curves: State of the `EpochCurve` of the fit; None in checkpoints of earlier versions.
        fitted: Fields of the outcome of the fit if it has ended, else None.
    """

    learner: Any
    origins: dict[Path, Path]
    tensors: list[Tensor]
    state: list[dict[str, Any]]
    lrs: list[float]
    lr: float
    schedule: dict[str, Any]
    best: list[Tensor]
    best_loss: float
    epochs: int
    updates: int
    val_loss: float
    seconds: float
    fitted: dict[str, Any] | None = None
    cpu_seconds: float = 0.0
    curves: dict[str, Any] | None = None


class FitJournal(Protocol):
    """Keeper of the checkpoints of the current task; `raycl.runs.checkpoints` implements it with files."""

    def begin(self, task: int) -> None:
        """Begin a task; checkpoints of other tasks are no longer valid."""
        ...

    def recall(self, n: int) -> FitCheckpoint | None:
        """Return the latest checkpoint of fit number `n` of the task, on its original device, or None."""
        ...

    def is_due(self, seconds: float, ended: bool) -> bool:
        """Return whether a checkpoint is worth its cost now, `seconds` after the fit began."""
        ...

    def note(self, n: int, moment: FitCheckpoint) -> None:
        """Save a checkpoint of fit number `n` if possible; it replaces earlier ones of the same fit."""
        ...


def nodes(root: Any) -> dict[Path, Any]:
    """Return every tensor and container within an object, by the first path that leads to it."""
    found: dict[Path, Any] = {}
    seen: set[int] = set()

    def walk(node: Any, path: Path) -> None:
        parts = _parts(node)
        if parts is None or id(node) in seen:
            return
        seen.add(id(node))
        found[path] = node
        for name, part in parts.items():
            walk(part, (*path, name))

    walk(root, ())
    return found


def origins(before: Mapping[Path, Any], root: Any) -> dict[Path, Path]:
    """Map the present path of every object within `root` that is also in `before` to its path there."""
    then = {id(node): path for path, node in before.items()}
    return {path: then[id(node)] for path, node in nodes(root).items() if id(node) in then}


def put_back(live: Any, saved: Any, origins: Mapping[Path, Path]) -> None:
    """Bring `live` into the state of `saved`.

    Objects that have an origin are changed in place, because other parts of the program refer to them.
    """
    known = nodes(live)
    done: dict[int, Any] = {}

    def merged(node: Any, path: Path) -> Any:
        parts = _parts(node)
        if parts is None or id(node) in done:
            return done.get(id(node), node)
        target: Any = known.get(origins[path]) if path in origins else None
        target = done[id(node)] = node if type(target) is not type(node) else target
        new = {name: merged(part, (*path, name)) for name, part in parts.items()}
        if isinstance(node, Tensor):
            _copy(target, node)
        elif isinstance(node, tuple):
            if any(new[name] is not part for name, part in enumerate(target)):
                target = done[id(node)] = tuple.__new__(type(node), new.values())
        elif isinstance(node, list):
            target[:] = new.values()
        else:
            own = target if isinstance(target, dict) else vars(target)
            own.clear()
            own.update(new)
        return target

    merged(saved, ())


def _copy(live: Tensor, saved: Tensor) -> None:
    if live is saved:
        return
    if live.is_leaf and live.requires_grad != saved.requires_grad:
        live.requires_grad_(saved.requires_grad)
    expanded = any(step == 0 and size > 1 for step, size in zip(live.stride(), live.shape, strict=True))
    if expanded or live.shape != saved.shape or live.dtype != saved.dtype:
        live.data = saved.data
    else:
        with torch.no_grad():
            live.copy_(saved)


def _parts(node: Any) -> dict[Any, Any] | None:
    """Return the parts of a container by name, {} for a tensor, and None for any other value."""
    if isinstance(node, Tensor):
        return {}
    if isinstance(node, dict):
        return dict(node)
    if isinstance(node, list | tuple):
        return dict(enumerate(node))
    plain = not (callable(node) or isinstance(node, _WHOLE)) or isinstance(node, nn.Module)
    return dict(vars(node)) if plain and hasattr(node, "__dict__") else None

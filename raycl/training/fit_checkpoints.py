"""Where a fit stands, so that a run that was cut off goes on in the middle of a long task.

After a crash `learn` runs again from the start of the task. Everything it does is drawn from named streams,
so it comes to the same fits in the same order; one that was written down is not made again, but gives back
what it came to, and leaves every object in the state it left it in. One that was cut off goes on after its
last epoch noted.
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
    """A fit after an epoch, or at its end.

    Attributes:
        who: what is trained, as it stands.
        origins: of its objects that were there when the fit began, by `origins`.
        tensors: values of what the optimiser moves, in its order.
        state: of the optimiser, for each of these.
        lrs: of its groups; `lr` is the base rate.
        schedule: attributes of the schedule.
        best: the tensors that go back at the end, and their validation loss; empty where none were better.
        fitted: what the fit came to, at its end.
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


class FitJournal(Protocol):
    """Keeps moments of the task that is being learnt; `raycl.runs.checkpoints` has one of files."""

    def begin(self, task: int) -> None:
        """A task begins; moments of other tasks mean nothing any more."""
        ...

    def recall(self, n: int) -> FitCheckpoint | None:
        """What is known of the task's fit number `n`, on the device it was on."""
        ...

    def is_due(self, seconds: float, ended: bool) -> bool:
        """Whether a fit that has run for so long is worth a note now."""
        ...

    def note(self, n: int, moment: FitCheckpoint) -> None:
        """Keep it, if that can be done; the latest of a fit is what counts."""
        ...


def nodes(of: Any) -> dict[Path, Any]:
    """Every tensor and container within an object, by the first path that leads there."""
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

    walk(of, ())
    return found


def origins(before: Mapping[Path, Any], of: Any) -> dict[Path, Path]:
    """Of every object in `of` that was in `before` already: its path now, and its path then."""
    then = {id(node): path for path, node in before.items()}
    return {path: then[id(node)] for path, node in nodes(of).items() if id(node) in then}


def put_back(live: Any, saved: Any, origins: Mapping[Path, Path]) -> None:
    """Bring `live` into the state of `saved`; what has an origin is changed in place, so that all see it."""
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
    """Parts of a container by name, nothing of a tensor; None of what is neither."""
    if isinstance(node, Tensor):
        return {}
    if isinstance(node, dict):
        return dict(node)
    if isinstance(node, list | tuple):
        return dict(enumerate(node))
    plain = not (callable(node) or isinstance(node, _WHOLE)) or isinstance(node, nn.Module)
    return dict(vars(node)) if plain and hasattr(node, "__dict__") else None

"""Trained methods that a store keeps besides the results of their runs: one file each, ``models/??/KEY.pt``.

A file has the restricted form of checkpoints (`raycl.runs.checkpoints`): reading it executes nothing that it
contains. It holds the method after its last task, the reports of the run that trained it, and for each task
what makes inputs of images, so that the method can be used where the data are not.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from raycl.errors import screen_line
from raycl.method import Method
from raycl.plainfiles import read_bytes
from raycl.runs.checkpoints import CheckpointFormat
from raycl.runs.patience import patiently
from raycl.runs.records import check_reports
from raycl.runs.reports import TaskReport
from raycl.runs.store import model_path
from raycl.tasks import ArraySplit, Benchmark, Inputs, Split
from raycl.wholefiles import publish

FORMAT = 1  # Version of the content of a file.


class Unusable(Exception):
    """Raised if a file does not hold the trained method of its run; the message says why."""


@dataclass(frozen=True)
class Ports:
    """What a task looks like from outside: the images that it takes and the classes that it answers.

    Attributes:
        inputs: What makes inputs of images; None if the task has splits of a class of its own.
        class_names: Names of the classes 0, 1, ..
    """

    inputs: Inputs | None
    class_names: tuple[str, ...]


@dataclass(frozen=True)
class Kept:
    """Content of a file.

    Attributes:
        method: The method after its last task, in evaluation mode.
        reports: Reports of the run that trained it.
        ports: One entry per task; empty if they cannot be stored, so that they must be made from the data.
    """

    method: Method
    reports: Sequence[TaskReport]
    ports: tuple[Ports, ...]


def ports_of(benchmark: Benchmark) -> tuple[Ports, ...]:
    """Return the ports of a benchmark's tasks; classes without names are named by their numbers."""
    return tuple(
        Ports(_inputs_of(task.test), task.class_names or tuple(str(c) for c in range(task.classes)))
        for task in benchmark.tasks
    )


def _inputs_of(split: Split) -> Inputs | None:
    """Return what makes inputs of the images of a split, with all numbers as Python's own."""
    if not isinstance(split, ArraySplit):
        return None
    mean, std = (tuple(map(float, numbers)) for numbers in (split.mean, split.std))
    return Inputs(split.inputs.shape, mean, std, tuple(split.transforms))


def to_bytes(key: str, form: CheckpointFormat, kept: Kept) -> bytes:
    """Return the content of the file of a run.

    Raises:
        Unusable: If the method has a state that cannot be stored, or not be read back.
    """
    plain = [report.to_json() for report in kept.reports]
    content = {"format": FORMAT, "run": key, "method": kept.method, "reports": plain}
    names: list[Any] = [list(port.class_names) for port in kept.ports]
    inputs: list[Any] = [port.inputs and vars(port.inputs) for port in kept.ports]
    complaint: Exception | None = None
    whole = {"names": names, "inputs": inputs}
    without_ports: dict[str, list[Any]] = {"names": [], "inputs": []}
    for more in (
        whole,
        without_ports,
    ):  # A transform of the user's own may be a function, which cannot be stored.
        try:
            raw = form.to_bytes(content | more)
            from_bytes(raw, key, form)  # What cannot be read back has not been kept.
        except Unusable as error:
            complaint = error
        except Exception as error:  # The user's own classes may raise anything when they are pickled.
            complaint = Unusable(f"{type(error).__name__}: {screen_line(str(error))}")
        else:
            return raw
    assert complaint is not None
    raise complaint


def from_bytes(raw: bytes, key: str, form: CheckpointFormat, device: torch.device | str = "cpu") -> Kept:
    """Return the content of the file of a run.

    Raises:
        Unusable: If it is not that content.
    """
    try:
        found = form.from_bytes(raw, device)
        if found["format"] != FORMAT or found["run"] != key or not isinstance(found["method"], Method):
            raise ValueError("it is of another run, or of another version of raycl")
        check_reports(json.loads(json.dumps(found["reports"])), "done")
        reports = [TaskReport.from_json(report) for report in found["reports"]]
        inputs = [given and _checked(Inputs(**given)) for given in found["inputs"]]
        ports = [Ports(*pair) for pair in zip(inputs, map(tuple, found["names"]), strict=True)]
    except Exception as error:  # A damaged or altered file may raise anything.
        raise Unusable(f"{type(error).__name__}: {screen_line(str(error))}") from None
    found["method"].eval()
    return Kept(found["method"], reports, tuple(ports))


def _checked(inputs: Inputs) -> Inputs:
    """Return the inputs if their numbers are numbers."""
    if not all(type(size) is int for size in inputs.shape) or type(inputs.transforms) is not tuple:
        raise ValueError("its images have no shape")
    if not all(type(value) is float for value in (*inputs.mean, *inputs.std)):
        raise ValueError("its normalisation is not made of numbers")
    return inputs


def write(store: Path, key: str, form: CheckpointFormat, kept: Kept) -> str:
    """Write the file of a run, and return "", or why the method cannot be kept.

    Raises:
        OSError: If the file cannot be written for a reason that does not pass by itself.
    """
    try:
        raw = to_bytes(key, form, kept)
    except Unusable as error:
        return str(error)
    patiently(functools.partial(publish, model_path(store, key), raw), store)
    return ""


def read(file: Path, key: str, form: CheckpointFormat, device: torch.device | str = "cpu") -> Kept:
    """Read the file of a run.

    Raises:
        FileNotFoundError: If there is no such file.
        Unusable: If the file cannot be read, or does not hold the trained method of the run.
    """
    try:
        raw = read_bytes(file, None)
    except FileNotFoundError:
        raise
    except Exception as error:
        raise Unusable(f"{type(error).__name__}: {screen_line(str(error))}") from None
    return from_bytes(raw, key, form, device)


def plain_ports(ports: Sequence[Ports]) -> list[dict[str, Any]]:
    """Return ports as plain values, in which a transform is a string."""
    return [
        {
            "classes": list(port.class_names),
            **(
                {
                    "image": list(port.inputs.shape),
                    "mean": list(port.inputs.mean),
                    "std": list(port.inputs.std),
                    "transforms": [_shown(each) for each in port.inputs.transforms],
                }
                if port.inputs
                else {}
            ),
        }
        for port in ports
    ]


def _shown(transform: Any) -> str:
    return getattr(transform, "__name__", None) or screen_line(repr(transform))

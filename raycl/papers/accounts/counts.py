"""Sizes of benchmarks and methods, compared with those that a paper prints; no runs are needed."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from raycl import calls, registry
from raycl.errors import NotPrepared, UserError
from raycl.method import World
from raycl.networks import Start
from raycl.papers.printed import printed
from raycl.registry import load, recipe
from raycl.space import make_config
from raycl.study.values import Sheet


@dataclass(frozen=True)
class Shape:
    """The properties of a benchmark on which the number of parameters depends.

    Attributes:
        benchmark: The id of the benchmark.
        inputs: The shape of one input.
        classes: The number of classes of each task.
    """

    benchmark: str
    inputs: tuple[int, int, int]
    classes: tuple[int, ...]


def row(name: str) -> list[str]:
    """Return the table row of one benchmark.

    The row holds the name, the number of tasks and of classes, the images per task in train, val and test,
    the expected numbers of these images, and the result of the comparison.
    """
    wanted = recipe(name).counts()
    expected = "/".join(map(str, wanted)) if wanted else "-"
    try:
        benchmark = load(name)
    except NotPrepared:
        return [name, "-", "-", "-", expected, "not prepared"]
    except UserError:
        return [name, "-", "-", "-", expected, "too few"]
    sizes = [sorted({len(getattr(t, part)) for t in benchmark.tasks}) for part in ("train", "val", "test")]
    ours = "/".join(f"{s[0]}" if len(s) == 1 else f"{s[0]}-{s[-1]}" for s in sizes)
    classes = sorted(set(benchmark.classes))
    # Complete data with other counts than expected never get here, because the benchmark refuses to load.
    verdict = "subset" if benchmark.subset else "equal" if wanted else "-"
    return [name, str(len(benchmark.tasks)), "-".join(map(str, classes)), ours, expected, verdict]


def counts(title: str, names: Sequence[str], expected: str = "paper", notes: Sequence[str] = ()) -> Sheet:
    """Return a sheet with one line for each benchmark in `names`.

    Args:
        title: The title of the sheet.
        names: The benchmarks.
        expected: The header of the column with the expected numbers, which says who states them.
        notes: Further notes under the sheet.
    """
    known = [recipe(name) for name in names]
    deviating = dict.fromkeys(text for found in known for text in found.deviations())
    own = [
        f"not as published: {', '.join(str(r) for r in known if text in r.deviations())}: {text}"
        for text in deviating
    ]
    return Sheet(
        title=title,
        header=["benchmark", "tasks", "classes", "train/val/test", expected, ""],
        rows=[row(name) for name in names],
        notes=[
            "images per task; complete data that differ from the expected numbers would be an error",
            "too few: the part of the data that is available does not have that many tasks",
            *notes,
            *own,
        ],
    )


@functools.cache  # Building many networks takes time even on the meta device, where nothing is allocated.
def parameters(method: str, shape: Shape, network: str) -> int:
    """Count the learnable parameters of a method such as ``"hat"`` or ``"hat(smax=10)"``.

    The network is built on the meta device, so that no memory is allocated.

    Raises:
        UserError: If there is no such method or network.
    """
    kind, net = registry.method(calls.parse(method, "method").name), registry.network(network)
    config = make_config(kind.Config, calls.parse(method, "method").settings(kind.Config, method), method)
    about = make_config(net.Config, calls.parse(network, "network").settings(net.Config, network), network)
    with torch.device("meta"):
        start = Start(net, about, shape.inputs, shape.classes, seed=0)
        return kind(World(shape.inputs, shape.classes, start), config).count_parameters()


def sizes(
    title: str,
    paper: str,
    table: str,
    methods: Mapping[str, str],
    shapes: Mapping[str, Shape],
    network: str,
    instead: Mapping[tuple[str, str], str] | None = None,
    notes: Sequence[str] = (),
) -> Sheet:
    """Return a sheet that compares the number of learnable parameters with the printed numbers.

    The sheet has one line for each method and one column for each benchmark.

    Args:
        title: The title of the sheet.
        paper: The paper whose numbers are looked up.
        table: The table of that paper.
        methods: A mapping from printed label to method.
        shapes: A mapping from printed label to shape.
        network: The network of all methods.
        instead: A mapping from (label of a method, label of a benchmark) to the method that replaces the
            row's method in that column; "" leaves the place empty.
        notes: Further notes under the sheet.
    """
    rows, compared, off = [], 0, 0
    for label, method in methods.items():
        line = [label]
        for column, shape in shapes.items():
            here = (instead or {}).get((label, column), method)
            ours = parameters(here, shape, network) if here else None
            wanted = printed(paper, table, shape.benchmark, calls.parse(method, label).name, "params")
            mark = "" if wanted is None else "=" if ours == wanted.value else "!"
            compared, off = compared + (wanted is not None), off + (mark == "!")
            line.append("-" if ours is None else f"{ours:,} {mark}".rstrip() if mark else f"{ours:,}  ")
        rows.append(line)
    known = (
        f"= equals the printed number ({compared - off} of {compared} do), ! differs; unmarked: none is known"
    )
    return Sheet(title=title, header=["", *shapes], rows=rows, notes=[known, *notes])

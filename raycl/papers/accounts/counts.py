"""Sizes of benchmarks and of methods beside those that a paper prints; takes no runs."""

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
    """What parameters depend on of a benchmark: its id, its inputs, and the classes of its tasks."""

    benchmark: str
    inputs: tuple[int, int, int]
    classes: tuple[int, ...]


def row(name: str) -> list[str]:
    """Tasks, classes and images of train, val and test per task, the paper's, and what to make of both."""
    wanted = recipe(name).counts()
    paper = "/".join(map(str, wanted)) if wanted else "-"
    try:
        benchmark = load(name)
    except NotPrepared:
        return [name, "-", "-", "-", paper, "not here"]
    except UserError:
        return [name, "-", "-", "-", paper, "too few"]
    sizes = [sorted({len(getattr(t, part)) for t in benchmark.tasks}) for part in ("train", "val", "test")]
    ours = "/".join(f"{s[0]}" if len(s) == 1 else f"{s[0]}-{s[-1]}" for s in sizes)
    classes = sorted(set(benchmark.classes))
    # What is whole and not equal does not load at all: the benchmark refuses it.
    verdict = "subset" if benchmark.subset else "equal" if wanted else "-"
    return [name, str(len(benchmark.tasks)), "-".join(map(str, classes)), ours, paper, verdict]


def counts(title: str, names: Sequence[str]) -> Sheet:
    """A line for each benchmark."""
    return Sheet(
        title=title,
        header=["benchmark", "tasks", "classes", "train/val/test", "paper", ""],
        rows=[row(name) for name in names],
        notes=[
            "images per task; whole data that are not equal to the paper's would be an error",
            "too few: the part of the data that is here has not so many tasks",
        ],
    )


@functools.cache  # a hundred columns of networks take a while even where nothing is allocated
def parameters(method: str, shape: Shape, network: str) -> int:
    """Learnable parameters of a method such as ``"hat"`` or ``"hat(smax=10)"``; nothing is allocated.

    Raises:
        UserError: no such method or network.
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
    """A line for each method and a column for each benchmark: learnable parameters beside the printed ones.

    Args:
        methods: printed label -> method.
        shapes: printed label -> shape.
        instead: (label of a method, of a benchmark) -> the method as it is there; "" where there is none.
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
        f"= is the number printed ({compared - off} of {compared} equal), ! is not; unmarked: none is known"
    )
    return Sheet(title=title, header=["", *shapes], rows=rows, notes=[known, *notes])

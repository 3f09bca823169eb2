"""Sizes of benchmarks beside those of a paper, as its first table has them; takes no runs."""

from __future__ import annotations

from collections.abc import Sequence

from raycl.benchmarks import load
from raycl.errors import UserError
from raycl.names import recipe
from raycl.study import Sheet


def row(name: str) -> list[str]:
    """Tasks, classes and images of train, val and test per task, the paper's, and what to make of both."""
    wanted = recipe(name).counts()
    paper = "/".join(map(str, wanted)) if wanted else "-"
    try:
        benchmark = load(name)
    except UserError as error:
        absent = "is not in data folder" in str(error)
        return [name, "-", "-", "-", paper, "not here" if absent else "too few"]
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

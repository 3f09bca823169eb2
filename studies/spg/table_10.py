"""SPG, Table 10: learnable parameters of sixteen methods, counted without training.

The available text of the paper contains twenty numbers of this table. Those of CAT show that its attention
had a different number of heads on FC-10. PGN and PathNet have the settings of HAT's code.
"""

from functools import partial

from raycl import Study
from raycl.papers.accounts.counts import Shape, sizes

from .common import COLUMNS, ROWS

COLOUR, GREY = (3, 32, 32), (1, 28, 28)
TASKS = {  # the number of tasks, and of classes in each task
    "C-10": (10, 10),
    "C-20": (20, 5),
    "T-10": (10, 20),
    "T-20": (20, 10),
    "I-100": (100, 10),
    "FC-10": (10, 2),
    "FC-20": (20, 2),
    "FE-10": (10, 62),
    "FE-20": (20, 62),
}
SHAPES = {
    label: Shape(COLUMNS.full[label], GREY if label.startswith("FE") else COLOUR, (classes,) * tasks)
    for label, (tasks, classes) in TASKS.items()
}
INSTEAD = {("CAT", "FC-10"): "cat(n_head=3)", ("CAT", "I-100"): ""}
NOTES = (
    "ONE: the sum over all networks. Buffers (importance, Fisher information, memory) are not counted",
    "CAT: n_head = 3 on FC-10, a power of two elsewhere; not run on I-100",
    "PathNet: the paper says that it needs more parameters than SPG; with the settings of HAT's code it has "
    "fewer on I-100, FE-10 and FE-20",
)
BLOCKS = (("C-10", "C-20", "T-10"), ("T-20", "I-100", "FC-10"), ("FC-20", "FE-10", "FE-20"))


def sheet(labels):
    """Return the part of the table for some benchmarks, narrow enough for a terminal."""
    title = f"Table 10 of SPG, learnable parameters: {', '.join(labels)}"
    shapes = {label: SHAPES[label] for label in labels}
    return sizes(title, "spg", "10", ROWS, shapes, "alexnet", INSTEAD, NOTES)


STUDY = Study(paper="spg", sheets=[partial(sheet, labels) for labels in BLOCKS])
SMALL = STUDY

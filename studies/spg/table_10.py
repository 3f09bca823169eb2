"""SPG, Table 10: learnable parameters of sixteen methods, counted without training.

Of the paper's table twenty numbers survive; CAT's prove that its attention had another number of heads on
FC-10. PGN and PathNet stand with the settings of HAT's code.
"""

from functools import partial

from raycl import Study
from raycl.papers.accounts.counts import Shape, sizes

from .common import COLUMNS, ROWS

COLOUR, GREY = (3, 32, 32), (1, 28, 28)
TASKS = {  # tasks, classes of each
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
    "ONE: all networks together. Buffers (importance, Fisher information, memory) are not counted",
    "CAT: n_head = 3 on FC-10, a power of two elsewhere; not run on I-100",
)
BLOCKS = (("C-10", "C-20", "T-10"), ("T-20", "I-100", "FC-10"), ("FC-20", "FE-10", "FE-20"))


def sheet(labels):
    """A part of the table, as wide as a terminal."""
    title = f"Table 10 of SPG, learnable parameters: {', '.join(labels)}"
    shapes = {label: SHAPES[label] for label in labels}
    return sizes(title, "spg", "10", ROWS, shapes, "alexnet", INSTEAD, NOTES)


STUDY = Study(paper="spg", sheets=[partial(sheet, labels) for labels in BLOCKS])
SMALL = STUDY

"""KSM, Table 3: the effect of the task on which the backbone is trained, with one of several tasks first.

The paper compares all rows with the averages of Table 1, in which task 1 comes first. PackNet and CPG are
therefore trained with that first task alone; Piggyback is trained with all of them, which the paper is not.
"""

from raycl import PaperTable

from .common import FOOTING, METHODS, PAPER, RATES

STARTS = (1, 5, 10, 15, 20)


def places(starts, more=""):
    """Return benchmarks that each begin with one of these tasks."""
    return {start: f"cifar100_super(first={start}{more})" for start in starts}


def tables(benchmarks, tasks, rate):
    """Return the averages by initial task, and for each of these the accuracies by task."""
    return [
        PaperTable(
            "Table 3: average accuracy by initial task",
            table="3, 1",
            rows={
                "Ours": "ksm",
                "Piggyback": "piggyback",
                "Piggyback, BN trained": "piggyback-trained",
                "PackNet": "packnet",
                "CPG": "cpg",
            },
            columns={f"initial task {start}": text for start, text in benchmarks.items()},
            unit="percent",
            transpose=True,
            paper_seeds=1,
            notes=[
                FOOTING,
                rate,
                "the other methods' printed averages are those of Table 1; raycl adds Piggyback with other "
                "initial tasks",
                "the printed 79.3 for initial task 10 is the mean 79.17 of its printed tasks",
                "Piggyback's printed average is 77.1, its printed tasks' mean 77.9",
            ],
        ),
        *(by_place(start, text, tasks) for start, text in benchmarks.items()),
    ]


def by_place(start, benchmark, tasks):
    """Return the accuracy on each task, under the paper's number of the task, with task `start` first."""
    order = [start, *(t for t in range(1, 21) if t != start)][:tasks]
    places = {f"task {t}": f"{benchmark}#{order.index(t) + 1}" for t in sorted(order)}
    return PaperTable(
        f"Table 3: accuracy by task, initial task {start}",
        table="3",
        rows={"Ours": "ksm", "Piggyback": "piggyback"},
        columns=places | {"avg": benchmark},
        unit="percent",
        transpose=True,
        paper_seeds=1,
        notes=[f"task {start} is the backbone itself; one of a task's 500 images is .2 %"],
    )


def methods(form, first):
    """Return masks on all benchmarks, and the others, as in the paper, on the one that begins with task 1."""
    return {
        label: keys if label in ("ksm", "piggyback") else keys | {"benchmarks": [first]}
        for label, keys in form.items()
    }


PLACES = places(STARTS, ", val=0.1")
STUDY = PAPER.full.with_(
    methods=methods(METHODS.full, PLACES[1]),
    benchmarks=list(PLACES.values()),
    tables=tables(PLACES, 20, RATES.full),
)
DESK_PLACES = places(STARTS, ", tasks=5, val=0.2")
SMALL = PAPER.small.with_(
    methods=methods(METHODS.small, DESK_PLACES[1]),
    benchmarks=list(DESK_PLACES.values()),
    tables=tables(DESK_PLACES, 5, RATES.small),
)

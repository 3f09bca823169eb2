"""KSM, Table 4: effects of granularity, the softmax trick and soft factors, with equal batch normalisation.

The paper's Piggyback numbers come from a paper that freezes batch normalisation, and its own code trains
scales and shifts for each task. Therefore every row is shown twice, with batch normalisation frozen and
trained. The learning rates and the schedule are the same for all rows.
"""

from raycl import PaperTable

from .common import MASKS, PAPER, RATES, TASKS

VARIANTS = {
    "Piggyback": ("piggyback", "element", False),
    "Piggyback-KerWise": ("piggyback", "kernel", False),
    "Piggyback-Soft": ("piggyback", "element", True),
    "Ours-Softmax": ("ksm", "element", False),
    "Ours-EleWise": ("ksm", "element", True),
    "Ours-Full": ("ksm", "kernel", True),
}  # printed row: (method, granularity, soft factors)
MODES = {"trained": "affine_stats", "frozen": "frozen"}


def label_of(name, mode, on=""):
    return f"{name.lower()}-{mode}{on}"


def methods(masks, on=""):
    """Return every variant, with batch normalisation trained and with it frozen."""
    return {
        label_of(name, mode, on): masks
        | {
            "method": method,
            "method.bn_mode": bn,
            "method.granularity": granularity,
            "method.soft": soft,
        }
        for name, (method, granularity, soft) in VARIANTS.items()
        for mode, bn in MODES.items()
    }


def tables(benchmark, columns, rate, title="Table 4", on=""):
    """Return the accuracy of the six rows in each mode, and a table of dropped entries and total size.

    Args:
        benchmark: The benchmark.
        columns: The columns of the accuracies.
        rate: The note on the learning rates.
        title: The beginning of the titles of the accuracies.
        on: The end of the labels of the rows.
    """
    return [
        *(
            PaperTable(
                f"{title}, batch normalisation {mode}",
                table="4",
                rows={name: label_of(name, mode, on) for name in VARIANTS},
                columns=columns,
                unit="percent",
                paper_seeds=1,
                notes=[
                    "the paper does not say whether it trained batch normalisation, so its numbers stand "
                    "beside both; those of Piggyback are copied from its publication, which freezes it",
                    rate,
                ],
            )
            for mode in MODES
        ),
        PaperTable(
            f"Entries dropped, and what all tasks take: {benchmark}",
            rows={f"{name}, {mode}": label_of(name, mode, on) for name in VARIANTS for mode in MODES},
            columns={"dropped": (benchmark, "soft_share[t=T]"), "MiB": (benchmark, "bytes_total")},
            unit={"bytes_total": "MiB"},
        ),
    ]


ON_CIFAR = "Table 4 on CIFAR-100"
SKETCH = "imagenet_to_sketch(val=0.1)"
PARTS = {name: f"{SKETCH}[{name}]" for name in ("CUBS", "Cars", "Flowers", "WikiArt", "Sketch")}
SKETCHES = MASKS.full | {"network": "resnet50(norm='affine', weights='imagenet')", "benchmarks": [SKETCH]}

DESK_PARTS = {f"task {t}": f"{TASKS.small}#{t}" for t in range(2, 6)} | {"five tasks": TASKS.small}

STUDY = PAPER.full.with_(
    methods=methods(MASKS.full) | methods(SKETCHES, "-sketch"),
    tables=[
        *tables(SKETCH, PARTS, RATES.full, on="-sketch"),
        *tables(TASKS.full, {"twenty tasks": TASKS.full}, RATES.full, ON_CIFAR),
    ],
)
SMALL = PAPER.small.with_(
    methods=methods(MASKS.small), tables=tables(TASKS.small, DESK_PARTS, RATES.small, ON_CIFAR)
)

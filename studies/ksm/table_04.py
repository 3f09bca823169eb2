"""KSM, Table 4: effects of granularity, the softmax trick and soft factors, with equal batch normalisation.

The paper's Piggyback numbers come from a paper that freezes batch normalisation, and its own code trains
scales and shifts for each task. Therefore every row is shown twice, with batch normalisation frozen and
trained. The learning rates and the schedule are the same for all rows.
"""

from raycl import PaperTable

from .common import MASKS, PAPER, TASKS

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


def tables(benchmark, columns, on=""):
    """Return the accuracy of the six rows in each mode, and a table of dropped entries and total size."""
    return [
        *(
            PaperTable(
                f"Table 4, batch normalisation {mode}",
                table="4",
                rows={name: label_of(name, mode, on) for name in VARIANTS},
                columns=columns,
                unit="percent",
                paper_seeds=1,
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


SKETCH = "imagenet_to_sketch(val=0.1)"
PARTS = {name: f"{SKETCH}[{name}]" for name in ("CUBS", "Cars", "Flowers", "WikiArt", "Sketch")}
SKETCHES = MASKS.full | {"network": "resnet50(norm='affine', weights='imagenet')", "benchmarks": [SKETCH]}

STUDY = PAPER.full.with_(
    methods=methods(MASKS.full) | methods(SKETCHES, "-sketch"),
    tables=[*tables(SKETCH, PARTS, "-sketch"), *tables(TASKS.full, {"twenty tasks": TASKS.full})],
)
SMALL = PAPER.small.with_(
    methods=methods(MASKS.small), tables=tables(TASKS.small, {"five tasks": TASKS.small})
)

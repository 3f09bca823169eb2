"""KSM, Table 4: what granularity, the softmax trick and soft factors do, with batch normalisation held equal.

The paper's Piggyback numbers come from a paper that freezes batch normalisation, its own code trains scales
and shifts of each task. So every row stands here twice: with batch normalisation frozen, and trained. Rates
and schedule are the same for all.
"""

from ksm_common import DESK as SMALL
from ksm_common import DESK_MASKS, FIVE, FULL, MASKS, TWENTY

from raycl import PaperTable, Study

VARIANTS = {
    "Piggyback": ("piggyback", {"granularity": "element", "soft": False}),
    "Piggyback-KerWise": ("piggyback", {"granularity": "kernel", "soft": False}),
    "Piggyback-Soft": ("piggyback", {"granularity": "element", "soft": True}),
    "Ours-Softmax": ("ksm", {"granularity": "element", "soft": False}),
    "Ours-EleWise": ("ksm", {"granularity": "element", "soft": True}),
    "Ours-Full": ("ksm", {"granularity": "kernel", "soft": True}),
}
MODES = {"trained": "affine_stats", "frozen": "frozen"}


def label_of(name, mode, on=""):
    return f"{name.lower()}-{mode}{on}"


def methods(masks, on=""):
    """Every variant with batch normalisation trained and frozen."""
    return {
        label_of(name, mode, on): masks
        | {"method": method, "method.bn_mode": bn}
        | {f"method.{field}": value for field, value in fields.items()}
        for name, (method, fields) in VARIANTS.items()
        for mode, bn in MODES.items()
    }


def tables(benchmark, columns, on=""):
    """Accuracy of the six rows in either mode, then what masks drop and what all tasks take."""
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
SKETCHES = MASKS | {"network": "resnet50(norm='affine', weights='imagenet')", "benchmarks": [SKETCH]}

STUDY = Study(
    methods=methods(MASKS) | methods(SKETCHES, "-sketch"),
    benchmarks=[TWENTY],
    tables=[*tables(SKETCH, PARTS, "-sketch"), *tables(TWENTY, {"twenty tasks": TWENTY})],
    **FULL,
)
DESK = Study(
    methods=methods(DESK_MASKS), benchmarks=[FIVE], tables=tables(FIVE, {"five tasks": FIVE}), **SMALL
)

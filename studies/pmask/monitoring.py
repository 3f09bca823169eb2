"""PMASK's masks over time: capacity, reuse compared with chance, moving gates, and the cost of compression.

The labels `open-c` start with all gates open, as in HAT's study of compression. They show the share of
parameters that the first task keeps and its accuracy, for growing strength c of the regulariser.
"""

from raycl import Curves, PaperTable

from .common import DIGITS, PAPER

OPEN = {f"open-{c:g}": c for c in (0.1, 0.75, 2.5)}
METHODS = {
    "pmask": {"method.emb_lr_mult": 1.0},
    "pmask-100": {"method": "pmask", "method.emb_lr_mult": 100.0},
    "random_mask": {},
    "hat": {},
    **{
        label: {
            "method": "pmask",
            "method.embedding_init": "open",
            "method.emb_lr_mult": 100.0,
            "method.lamb": c,
        }
        for label, c in OPEN.items()
    },
}
SHARES = ("capacity_used", "reuse_lift", "kept_share", "polarised_share", "flip_share")
VIEWS = [Curves(name, value=f"{name}[t]", rows="pmask*,random_mask,hat") for name in SHARES]


def tables(benchmark):
    """Return a table of the share that the first task keeps, and of its accuracy right after learning it."""
    columns = {
        "share kept": (benchmark, "kept_share[t=1]"),
        "hard accuracy": (benchmark, "hard_val_acc[t=1]"),
        "soft accuracy": (benchmark, "soft_val_acc[t=1]"),
    }
    rows = {label: label for label in METHODS if label != "hat"}
    return [
        PaperTable("The first task: parameters kept, and accuracy on validation", rows=rows, columns=columns)
    ]


STUDY = PAPER.full.with_(
    methods=METHODS, benchmarks=["cifar10_5"], search=None, tables=tables("cifar10_5"), views=VIEWS
)
SMALL = DIGITS.with_(methods=METHODS, search=None, tables=tables("digits_split(size=32)"), views=VIEWS)

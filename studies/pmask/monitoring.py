"""What becomes of PMASK's masks: capacity, reuse against chance, gates that move; and what compressing costs.

`open-c` starts with all gates open, as HAT measures compressibility: the share that the first task keeps,
beside its accuracy, for growing strength c of the regulariser.
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
    """Share kept by the first task, and its accuracy when just learnt."""
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

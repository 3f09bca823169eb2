"""PMASK's masks over time: capacity, reuse compared with chance, moving gates, and the cost of compression.

The labels `open-c` start with all gates open, as in HAT's study of compression. They show the share of
parameters that the first task keeps and its accuracy, for growing strength c of the regulariser. The labels
`soft-s` keep the gates of finished tasks as they are instead of cutting them to bits, for growing s_max.
"""

from raycl import Curves, PaperTable

from .common import DIGITS, PAPER

SOFT = {f"soft-{smax:g}": smax for smax in (1.0, 5.0, 25.0, 100.0, 400.0)}
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
    **{
        label: {
            "method": "pmask",
            "method.store": "soft",
            "method.emb_lr_mult": 1.0,
            "method.smax": smax,
        }
        for label, smax in SOFT.items()
    },
}
SHARES = ("capacity_used", "reuse_lift", "kept_share", "polarised_share", "flip_share")
VIEWS = [Curves(name, value=f"{name}[t]", rows="pmask*,random_mask,hat") for name in SHARES]


def tables(benchmark):
    """Return a table of what the first task keeps, and one of what is forgotten with soft gates."""
    kept = {
        "share kept": (benchmark, "kept_share[t=1]"),
        "hard accuracy": (benchmark, "hard_val_acc[t=1]"),
        "soft accuracy": (benchmark, "soft_val_acc[t=1]"),
    }
    soft = {"just learnt": (benchmark, "acc_just"), "acc": (benchmark, "acc"), "bwt": (benchmark, "bwt")}
    return [
        PaperTable(
            "The first task: parameters kept, and accuracy on validation",
            rows={label: label for label in METHODS if label != "hat" and label not in SOFT},
            columns=kept,
        ),
        PaperTable(
            "Gates kept as they are: what a low s_max forgets, and what a high one learns",
            rows={f"s_max = {smax:g}": label for label, smax in SOFT.items()},
            columns=soft,
        ),
    ]


STUDY = PAPER.full.with_(
    methods=METHODS, benchmarks=["cifar10_5"], search=None, tables=tables("cifar10_5"), views=VIEWS
)
SMALL = DIGITS.with_(methods=METHODS, tables=tables("digits_split(size=32)"), views=VIEWS)

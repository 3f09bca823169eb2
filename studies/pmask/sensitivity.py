"""PMASK's sensitivity: accuracy over the paper's grid of s_max (`smax`) and c (`lamb`)."""

from raycl import Grid, GridMap

from .common import DIGITS, PAPER

SMAX = [25.0, 50.0, 100.0, 200.0, 400.0, 800.0]
LAMB = [0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.5]
METHODS = {
    "pmask": {"method.emb_lr_mult": 1.0},
    "pmask-100": {"method": "pmask", "method.emb_lr_mult": 100.0},
}
VIEWS = [GridMap("Accuracy over s_max and c", vertical="method.smax", horizontal="method.lamb")]

STUDY = PAPER.full.with_(
    methods=METHODS,
    benchmarks=["cifar10_5"],
    search=Grid({"method.smax": SMAX, "method.lamb": LAMB}),
    views=VIEWS,
)
SMALL = DIGITS.with_(
    methods=METHODS,
    search=Grid({"method.smax": [25.0, 100.0, 400.0], "method.lamb": [0.1, 0.75, 2.5]}),
    views=VIEWS,
)

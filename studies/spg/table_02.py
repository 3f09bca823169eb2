"""SPG, Table 2: accuracy of sixteen methods. Tables 3, 4, 5, 7, 9, 11 and Figures 2, 3 show the same runs.

CAT trains t networks before task t. Like the paper, this file does not run it on 100 tasks.
"""

from raycl import Curves, PaperTable

from .common import COLUMNS, DIVISOR, FEW, METHODS, PAPER, ROWS, moments, table

WITHOUT_MTL = {label: method for label, method in ROWS.items() if label != "MTL"}
OTHERS = {label: method for label, method in WITHOUT_MTL.items() if label != "NCL"}
GATED = {"HAT": "hat", "SPG": "spg"}
LAYERS = ("conv1", "conv2", "conv3", "fc1", "fc2")
ISOLATING = "spg,pnn,pathnet,hat,cat"


def tables(columns):
    """Return the tables in which the paper shows these runs."""
    blocked = {"unit": "percent", "mean": False}
    times = ("1", "T/2", "T")
    by_layer = {
        f"{layer}: {label}": entry
        for layer in LAYERS
        for label, entry in moments("blocked", GATED, times, layer).items()
    }
    whole = moments("blocked", GATED, times)
    fits = "time of all fits, including CAT's similarity test, without importance"
    everything = "time of all fits, importance and whatever else a method computes"
    times_notes = [
        "compare times only within a column: the paper used another machine",
        "SPG's released code does not time the measuring of importance; the paper does not say",
        "CAT computes earlier tasks' logits in every epoch of its similarity test, and here only once",
    ]
    return [
        table("2", "accuracy", "acc", ROWS, columns),
        table("3", "forward transfer", "fwt_vs_one", WITHOUT_MTL, columns),
        table("4", "backward transfer", "bwt", WITHOUT_MTL, columns, notes=[DIVISOR]),
        table("5", "parameters blocked completely", "blocked", whole, columns, **blocked),
        table("7", "parameters blocked completely, by layer", "blocked", by_layer, columns, **blocked),
        table("9", fits, "ct_fits", ROWS, columns, unit="minutes", notes=times_notes),
        table("9", everything, "ct", ROWS, columns, unit="minutes", table=""),
        table("11", "gain over NCL", "gain_over_ncl", OTHERS, columns),
        PaperTable(
            "Annex: share of tasks that CAT finds similar to an earlier one",
            rows={"CAT": "cat"},
            columns=columns,
            metric="similar[any]",
            notes=["the paper says 2 of the 10 tasks of FE-10"],
        ),
    ]


VIEWS = [Curves("Figures 2 and 3: forward transfer", value="fwt_vs_one[t]", rows=ISOLATING)]

STUDY = PAPER.full.with_(
    methods=METHODS.full | {"cat": METHODS.full["cat"] | {"benchmarks": FEW}},
    tables=tables(COLUMNS.full),
    views=VIEWS,
)
SMALL = PAPER.small.with_(tables=tables(COLUMNS.small), views=VIEWS)

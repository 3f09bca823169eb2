"""SPG, Table 2: accuracy of sixteen methods. Tables 3, 4, 5, 7, 9, 11 and Figures 2, 3 show the same runs.

CAT trains t networks before task t, and the paper leaves it out on 100 tasks; so does this file.
"""

from spg_common import COLUMNS, DESK_COLUMNS, DESK_METHODS, METHODS, ROWS, desk, full, moments, table

from raycl import Curves

WITHOUT_MTL = {label: method for label, method in ROWS.items() if label != "MTL"}
OTHERS = {label: method for label, method in WITHOUT_MTL.items() if label != "NCL"}
GATED = {"HAT": "hat", "SPG": "spg"}
LAYERS = ("conv1", "conv2", "conv3", "fc1", "fc2")
ISOLATING = "spg,pnn,pathnet,hat,cat"


def tables(columns, **keys):
    """What the paper shows of these runs."""
    per_layer = {
        f"{layer}: {label}": entry
        for layer in LAYERS
        for label, entry in moments("blocked", GATED, ("1", "T/2", "T"), layer).items()
    }
    percent = {"unit": "percent", "mean": False} | keys
    return [
        table("2", "accuracy", "acc", ROWS, columns, **keys),
        table("3", "forward transfer", "fwt_vs_one", WITHOUT_MTL, columns, **keys),
        table("4", "backward transfer", "bwt", WITHOUT_MTL, columns, **keys),
        table("5", "parameters blocked completely", "blocked", moments("blocked", GATED, ("1", "T/2", "T")),
              columns, **percent),
        table("7", "parameters blocked completely, by layer", "blocked", per_layer, columns, **percent),
        table("9", "training time", "ct_train", ROWS, columns, unit="minutes", **keys,
              notes=["compare times within a column; the paper's machine is another one"]),
        table("9", "time with importance and similarity too, which the paper leaves out", "ct", ROWS, columns,
              unit="minutes", **(keys | {"table": ""})),
        table("11", "gain over NCL", "gain_over_ncl", OTHERS, columns, **keys),
    ]  # fmt: skip


VIEWS = [Curves("Figures 2 and 3: forward transfer", value="fwt_vs_one[t]", rows=ISOLATING)]
FEW = [benchmark for benchmark in COLUMNS.values() if benchmark != "imagenet32_100"]

STUDY = full(
    METHODS | {"cat": METHODS["cat"] | {"benchmarks": FEW}},
    list(COLUMNS.values()),
    tables=tables(COLUMNS),
    views=VIEWS,
)

DESK = desk(DESK_METHODS, tables=tables(DESK_COLUMNS), views=VIEWS)

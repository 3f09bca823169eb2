"""SPG, Table 6: the epoch at which importance is measured, and the effect of cross-head importance.

Table 8 shows the same runs.
"""

from raycl import Curves

from .common import COLUMNS, PAPER, table

ROWS = {
    "SPG": "spg",
    "SPG @e1": "spg[importance_epoch=1]",
    "SPG @e10": "spg[importance_epoch=10]",
    "SPG @e20": "spg[importance_epoch=20]",
    "SPG -CHI": "spg[chi=false]",
}
METHODS = {
    "spg": {},
    **{f"spg-e{n}": {"method": "spg", "method.importance_epoch": n} for n in (1, 10, 20)},
    "spg-chi": {"method": "spg", "method.chi": False},
}
EACH = {"F-each": "f_each", "G-each": "g_each", "F-total": "f_total", "G-total": "g_total"}


def tables(columns):
    """Return Tables 6 and 8."""
    by_moment = {
        f"{name}, t = {t}": ("spg", f"{metric}[t={t}]")
        for name, metric in EACH.items()
        for t in ("2", "T/2", "T")
    }
    return [
        table("6", "accuracy", "acc", ROWS, columns),
        table("6", "epochs, mean", "epochs_mean", {"Cvg.": "spg"}, columns, mean=False, unit="count"),
        table("8", "what cross-head importance lifts", "f_each", by_moment, columns, mean=False),
    ]


VIEWS = [Curves("Elements that older heads lift above the own head", value="f_each[t]", rows="spg")]

STUDY = PAPER.full.with_(methods=METHODS, tables=tables(COLUMNS.full), views=VIEWS)
SMALL = PAPER.small.with_(methods=METHODS, tables=tables(COLUMNS.small), views=VIEWS)

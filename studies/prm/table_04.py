"""PRM, Table 4: ten methods on the mixed sequences #5 and #6, three orders; Figure 3 shows the same runs."""

from raycl import Curves, Form

from .common import DIGITS, PAPER, tables

TIMES = [
    Curves("Figure 3: seconds to learn each task", value="ct_task[t]"),
    Curves("Figure 3: seconds so far", value="ct_task[t]", cumulative=True),
]

COLUMNS = Form(
    full={"#5": "prm_5", "#6": "prm_6"},
    small={f"digits like {label}": benchmark for label, benchmark in DIGITS.items()},
)

STUDY = PAPER.full.with_(
    benchmarks=list(COLUMNS.full.values()), tables=tables("4", COLUMNS.full), views=TIMES
)
SMALL = PAPER.small.with_(
    benchmarks=list(COLUMNS.small.values()), tables=tables("4", COLUMNS.small), views=TIMES
)

"""PRM, Table 4: ten methods on the mixed sequences #5 and #6, three orders; Figure 3 shows the same runs."""

from prm_common import desk, full, tables

from raycl import Curves

TIMES = [
    Curves("Figure 3: seconds to learn each task", value="ct_task[t]"),
    Curves("Figure 3: seconds so far", value="ct_task[t]", cumulative=True),
]

STUDY = full(["prm_5", "prm_6"], tables=tables("4", {"#5": "prm_5", "#6": "prm_6"}), views=TIMES)
DESK_COLUMNS = {"mixed digits": "digits_mixed"}
DESK = desk(list(DESK_COLUMNS.values()), tables=tables("4", DESK_COLUMNS), views=TIMES)

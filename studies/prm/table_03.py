"""PRM, Table 3: ten methods on sequence #3 (F-EMNIST-10T) and #4 (F-CelebA-10T), three orders."""

from raycl import Form

from .common import PAPER, tables

COLUMNS = Form(
    full={"#3": "prm_3", "#4": "prm_4"},
    small={"#3, subset": "femnist_10_prm", "digits like #4": "digits_writers(label='parity')"},
)

STUDY = PAPER.full.with_(benchmarks=list(COLUMNS.full.values()), tables=tables("3", COLUMNS.full))
SMALL = PAPER.small.with_(benchmarks=list(COLUMNS.small.values()), tables=tables("3", COLUMNS.small))

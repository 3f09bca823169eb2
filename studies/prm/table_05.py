"""PRM, Table 5: which tasks count as dissimilar, and learning in two stages; with controls that raycl adds.

PRM(R) draws at random as many tasks as clustering found. If it does equally well, the clusters carry no
information. `shared` starts the embeddings of all tasks from one draw, and `drift` clusters how far they
moved. PRM(T) is given the types of the tasks. Only the mixed sequences #5 and #6 have types, so the paper
runs it on these two. HAT is a row of its own because PRM(D) is HAT: both must give the same numbers.
"""

from raycl import Form, PaperTable

from .common import DIGITS, PAPER

VARIANTS = {
    "prm-s": {"method.dissimilar": "none"},
    "prm-d": {"method.dissimilar": "all"},
    "prm-t": {"method.dissimilar": "type"},
    "prm": {},
    "prm-1stage": {"method.two_stage": False},
    "prm-r": {"method.dissimilar": "random"},
    "prm-shared": {"method.embedding_init": "shared"},
    "prm-drift": {"method.dtd_feature": "drift"},
}
ROWS = {  # as claims write them, so that printed numbers are found
    "HAT": "hat",
    "PRM(S)": "prm[dissimilar=none]",
    "PRM(D)": "prm[dissimilar=all]",
    "PRM(T)": "prm[dissimilar=type]",
    "PRM": "prm",
    "PRM w/o 2SO": "prm[two_stage=false]",
    "PRM(R)": "prm[dissimilar=random]",
    "shared start": "prm[embedding_init=shared]",
    "drift": "prm[dtd_feature=drift]",
}
METHODS = {"hat": {}, **{label: {"method": "prm", **keys} for label, keys in VARIANTS.items()}}
COLUMNS = Form(
    full={f"#{n}": f"prm_{n}" for n in range(1, 7)},
    small={
        "digits like #4": "digits_writers(label='parity')",
        **{f"digits like {label}": benchmark for label, benchmark in DIGITS.items()},
    },
)
TYPED = Form(full=[COLUMNS.full[label] for label in DIGITS], small=list(DIGITS.values()))


def methods(typed):
    """Return the settings of the rows; PRM(T) runs on the benchmarks whose tasks have types."""
    return METHODS | {"prm-t": METHODS["prm-t"] | {"benchmarks": typed}}


def tables(columns):
    """Return Table 5, and a table of what clustering found."""
    found = {"PRM": "prm", "shared start": "prm-shared", "drift": "prm-drift"}
    return [
        PaperTable("Table 5", table="5, 2, 3, 4", rows=ROWS, columns=columns, paper_seeds=3),
        PaperTable(
            "Clusters of tasks: share found dissimilar, pairs of one type found together, drift",
            rows={
                f"{row}: {metric}": (label, metric)
                for row, label in found.items()
                for metric in ("dtd_size", "dtd_agreement", "drift_rms")
            },
            columns=columns,
        ),
    ]


STUDY = PAPER.full.with_(
    methods=methods(TYPED.full),
    benchmarks=list(COLUMNS.full.values()),
    tables=tables(COLUMNS.full),
)
SMALL = PAPER.small.with_(
    methods=methods(TYPED.small),
    benchmarks=list(COLUMNS.small.values()),
    tables=tables(COLUMNS.small),
)

"""PRM, Table 5: which tasks count as dissimilar, and learning in two stages; with controls that raycl adds.

PRM(R) draws at random as many tasks as clustering found. If it does equally well, the clusters carry no
information. `shared` starts the embeddings of all tasks from one draw, and `drift` clusters how far they
moved. PRM(T) is given the types of the tasks. Only the mixed sequences #5 and #6 have types, so the paper
runs it on these two.
"""

from raycl import PaperTable

from .common import PAPER

VARIANTS = {
    "PRM(S)": ("prm-s", {"method.dissimilar": "none"}),
    "PRM(D)": ("prm-d", {"method.dissimilar": "all"}),
    "PRM(T)": ("prm-t", {"method.dissimilar": "type"}),
    "PRM": ("prm", {}),
    "PRM w/o 2SO": ("prm-1stage", {"method.two_stage": False}),
    "PRM(R)": ("prm-r", {"method.dissimilar": "random"}),
    "shared start": ("prm-shared", {"method.embedding_init": "shared"}),
    "drift": ("prm-drift", {"method.dtd_feature": "drift"}),
}
ROWS = {printed: label for printed, (label, _) in VARIANTS.items()}
METHODS = {label: {"method": "prm", **keys} for label, keys in VARIANTS.values()}
SEQUENCES = {f"#{n}": f"prm_{n}" for n in range(1, 7)}
MIXED = {"benchmarks": [SEQUENCES["#5"], SEQUENCES["#6"]]}


def tables(columns):
    """Return Table 5, and a table of what clustering found."""
    found = {"PRM": "prm", "shared start": "prm-shared", "drift": "prm-drift"}
    return [
        PaperTable("Table 5", table="5", rows=ROWS, columns=columns, paper_seeds=3),
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
    methods=METHODS | {"prm-t": METHODS["prm-t"] | MIXED},
    benchmarks=list(SEQUENCES.values()),
    tables=tables(SEQUENCES),
)
SMALL = PAPER.small.with_(
    methods=METHODS, benchmarks=["digits_mixed"], tables=tables({"mixed digits": "digits_mixed"})
)

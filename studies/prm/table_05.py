"""PRM, Table 5: which tasks count as dissimilar, and learning in two stages; with controls of our own.

PRM(R) draws as many tasks at random as clustering found: if it does as well, the clusters carry no
information. `shared` starts all tasks' embeddings from one draw, `drift` clusters how far they moved.
PRM(T) knows the tasks' types, which the single sequences do not have: the paper runs it on #5 and #6 alone.
"""

from prm_common import desk, full

from raycl import PaperTable

VARIANTS = {
    "PRM(S)": ("prm-s", {"dissimilar": "none"}),
    "PRM(D)": ("prm-d", {"dissimilar": "all"}),
    "PRM(T)": ("prm-t", {"dissimilar": "type"}),
    "PRM": ("prm", {}),
    "PRM w/o 2SO": ("prm-1stage", {"two_stage": False}),
    "PRM(R)": ("prm-r", {"dissimilar": "random"}),
    "shared start": ("prm-shared", {"embedding_init": "shared"}),
    "drift": ("prm-drift", {"dtd_feature": "drift"}),
}
ROWS = {printed: label for printed, (label, _) in VARIANTS.items()}
METHODS = {
    label: {"method": "prm", **{f"method.{key}": value for key, value in fields.items()}}
    for label, fields in VARIANTS.values()
}
SEQUENCES = {f"#{n}": f"prm_{n}" for n in range(1, 7)}
MIXED = {"benchmarks": [SEQUENCES["#5"], SEQUENCES["#6"]]}


def tables(columns):
    """Table 5, and what clustering came to."""
    found = {"PRM": "prm", "shared start": "prm-shared", "drift": "prm-drift"}
    return [
        PaperTable("Table 5", table="5", rows=ROWS, columns=columns, paper_seeds=3),
        PaperTable(
            "Clusters of tasks: share found dissimilar, pairs of one type found together, drift",
            rows={f"{row}: {metric}": (label, metric) for row, label in found.items()
                  for metric in ("dtd_size", "dtd_agreement", "drift_rms")},
            columns=columns,
        ),
    ]  # fmt: skip


STUDY = full(
    list(SEQUENCES.values()), METHODS | {"prm-t": METHODS["prm-t"] | MIXED}, tables=tables(SEQUENCES)
)
DESK_COLUMNS = {"mixed digits": "digits_mixed"}
DESK = desk(list(DESK_COLUMNS.values()), METHODS, tables=tables(DESK_COLUMNS))

"""Section 5, text: signed and real-valued masks instead of 0/1 masks, for several densities.

Two kinds of real-valued masks keep all weights. They have no density, so they run only once.
"""

from collections.abc import Sequence

from raycl import Boxes

from .common import DENSITIES, KINDS, PAPER, ROTATED, Methods, bases

SPARSE = ("binary", "signed", "soft", "signed_soft")
WHOLE = ("weight_norm", "signed_weight_norm")
VIEWS = [
    Boxes(
        "New tasks of rotated MNIST by the kind of mask",
        x="method.density",
        colour="method.mask_values",
        point=["seed"],
        reference="weight_norm-*,signed_weight_norm-*",
        notes=["weight_norm and signed_weight_norm keep all weights"],
    )
]


def methods(densities: Sequence[float], k: int) -> Methods:
    """Return a heterogeneous basis of k masks for every kind of mask value and every density."""
    sparse = {
        f"{values}-{label}": keys
        for values in SPARSE
        for label, keys in bases({"het": (k,)}, densities, {"method.mask_values": values}).items()
    }
    whole = {
        f"{values}-het-{k}": {
            "method": "impresslearn",
            "method.basis": KINDS["het"],
            "method.k": k,
            "method.mask_values": values,
        }
        for values in WHOLE
    }
    return sparse | whole


STUDY = PAPER.full.with_(
    methods=methods(DENSITIES.full, 20), benchmarks=[ROTATED.full.new_tasks], views=VIEWS
)
SMALL = PAPER.small.with_(
    methods=methods((0.05, 0.25), 10), benchmarks=[ROTATED.small.new_tasks], views=VIEWS
)

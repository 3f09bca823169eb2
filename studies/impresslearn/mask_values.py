"""Section 5, text: signed and real-valued masks instead of 0/1 masks, for several densities."""

from .common import DENSITIES, PAPER, ROTATED, Methods, bases

VALUES = ("binary", "signed", "soft", "signed_soft", "weight_norm", "signed_weight_norm")


def methods(densities: tuple[float, ...], k: int) -> Methods:
    """Return a heterogeneous basis of k masks for every kind of mask value and every density."""
    return {
        f"{values}-{label}": keys
        for values in VALUES
        for label, keys in bases({"het": (k,)}, densities, {"method.mask_values": values}).items()
    }


STUDY = PAPER.full.with_(methods=methods(DENSITIES.full, 20), benchmarks=[ROTATED.full.new_tasks])
SMALL = PAPER.small.with_(methods=methods((0.05, 0.25), 10), benchmarks=[ROTATED.small.new_tasks])

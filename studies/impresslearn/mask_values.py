"""Section 5, text: signed and real-valued masks instead of 0/1 masks, by density."""

from impresslearn_common import DENSITIES, ROTATED, ROTATED_DESK, Data, Keys, bases, figure

from raycl import Study

VALUES = ("binary", "signed", "soft", "signed_soft", "weight_norm", "signed_weight_norm")


def methods(densities: tuple[float, ...], k: int) -> Keys:
    """A heterogeneous basis of k masks of every kind of value."""
    return {
        f"{values}-{label}": keys
        for values in VALUES
        for label, keys in bases({"het": (k,)}, densities, method__mask_values=values).items()
    }


def study(data: Data, densities: tuple[float, ...], k: int) -> Study:
    return figure(data, methods(densities, k), "Rotated MNIST, new tasks, by the values of masks", views=[])


STUDY = study(ROTATED, DENSITIES, 20)
DESK = study(ROTATED_DESK, (0.05, 0.25), 10)

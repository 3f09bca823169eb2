"""Figure 7: random against homogeneous bases on rotated MNIST. Runs of figure 2 are shared."""

from impresslearn_common import DENSITIES, DESK_DENSITIES, ROTATED, ROTATED_DESK, bases, figure, own

SIZES = (5, 10, 25, 50, 100, 250)
DESK_SIZES = (5, 10, 25)

STUDY = figure(
    ROTATED,
    bases({"random": SIZES, "hom": SIZES}, DENSITIES) | own(DENSITIES),
    "Rotated MNIST, random and homogeneous bases",
)
DESK = figure(
    ROTATED_DESK,
    bases({"random": (*DESK_SIZES, 100), "hom": DESK_SIZES}, DESK_DENSITIES) | own(DESK_DENSITIES),
    "Rotated MNIST, random and homogeneous bases",
)

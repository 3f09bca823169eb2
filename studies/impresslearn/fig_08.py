"""Figure 8: random against homogeneous bases on permuted MNIST. Runs of figure 3 are shared."""

from impresslearn_common import DENSITIES, DESK_DENSITIES, PERMUTED, PERMUTED_DESK, bases, figure, own

SIZES = (5, 10, 25, 50, 100, 250)
DESK_SIZES = (5, 10, 25)

STUDY = figure(
    PERMUTED,
    bases({"random": SIZES, "hom": SIZES}, DENSITIES) | own(DENSITIES),
    "Permuted MNIST, random and homogeneous bases",
)
DESK = figure(
    PERMUTED_DESK,
    bases({"random": (*DESK_SIZES, 100), "hom": DESK_SIZES}, DESK_DENSITIES) | own(DESK_DENSITIES),
    "Permuted MNIST, random and homogeneous bases",
)

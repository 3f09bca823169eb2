"""Figure 8: random against homogeneous bases on permuted MNIST. Runs of figure 3 are shared."""

from impresslearn_common import PERMUTED, PERMUTED_DESK, random_and_homogeneous

STUDY, DESK = random_and_homogeneous(PERMUTED, PERMUTED_DESK, "Permuted MNIST, random and homogeneous bases")

"""Figure 8: random against homogeneous bases on permuted MNIST. Runs of figure 3 are shared."""

from .common import PERMUTED, random_and_homogeneous

STUDY, SMALL = random_and_homogeneous(PERMUTED, "Permuted MNIST, random and homogeneous bases")

"""Figure 8: random and homogeneous bases on permuted MNIST. It shares runs with Figure 3."""

from .common import PERMUTED, random_and_homogeneous

STUDY, SMALL = random_and_homogeneous(PERMUTED, "Permuted MNIST, random and homogeneous bases")

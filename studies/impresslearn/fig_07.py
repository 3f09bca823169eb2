"""Figure 7: random and homogeneous bases on rotated MNIST. It shares runs with Figure 2."""

from .common import ROTATED, random_and_homogeneous

STUDY, SMALL = random_and_homogeneous(ROTATED, "Rotated MNIST, random and homogeneous bases")

"""Figure 7: random against homogeneous bases on rotated MNIST. Runs of figure 2 are shared."""

from .common import ROTATED, random_and_homogeneous

STUDY, SMALL = random_and_homogeneous(ROTATED, "Rotated MNIST, random and homogeneous bases")

"""Figure 7: random against homogeneous bases on rotated MNIST. Runs of figure 2 are shared."""

from impresslearn_common import ROTATED, ROTATED_DESK, random_and_homogeneous

STUDY, DESK = random_and_homogeneous(ROTATED, ROTATED_DESK, "Rotated MNIST, random and homogeneous bases")

"""Checks of whether this machine and the nodes of a cluster can run a study."""

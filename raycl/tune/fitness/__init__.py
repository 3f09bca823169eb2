"""Whether this machine and the nodes of a cluster can play a study."""

"""The studies of the PRM paper, with a file for each table."""

"""The PRM paper, a file for each table."""

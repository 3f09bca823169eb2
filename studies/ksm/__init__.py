"""The KSM paper, a file for each table."""

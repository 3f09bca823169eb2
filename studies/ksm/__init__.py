"""The studies of the KSM paper, with a file for each table."""

"""The studies of the SPG paper, with a file for each table."""

"""The SPG paper, a file for each table."""

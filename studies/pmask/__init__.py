"""The PMASK paper, a file for each table or figure."""

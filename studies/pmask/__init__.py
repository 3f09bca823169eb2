"""The studies of the PMASK paper, with a file for each table or figure."""

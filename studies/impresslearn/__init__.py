"""The studies of the ImpressLearn paper, with a file for each figure or table."""

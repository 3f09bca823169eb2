"""The ImpressLearn paper, a file for each figure or table."""

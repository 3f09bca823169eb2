"""The five papers: their printed numbers, their claims, and the comparison of our results with both."""

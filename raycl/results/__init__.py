"""The results of a study as plain rows and numbers, read from the store."""

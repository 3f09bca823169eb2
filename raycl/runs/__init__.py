"""Runs and how they are executed: this package imports everything that a worker process needs."""

"""Studies to begin with, one thing shown in each."""

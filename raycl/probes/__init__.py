"""Analyses of trained masks, which measure and train little, and do not change the objects they look at."""

"""Analyses of trained masks: they measure, train next to nothing, and leave what they look at as it was."""

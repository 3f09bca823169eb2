"""Studies: the values that a researcher writes, the cells they expand to, and the agenda of runs."""

"""Tables of the papers that are arithmetic and take no runs."""

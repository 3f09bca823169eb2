"""Tables of the papers that are pure arithmetic and need no runs."""

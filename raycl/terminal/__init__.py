"""The terminal: what the commands print, and how they end."""

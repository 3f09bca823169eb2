"""From the store to plain rows and numbers."""

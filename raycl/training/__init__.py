"""The training loop that a method's `learn` receives, and its settings."""

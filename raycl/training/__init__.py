"""The training loop that a method's `learn` receives, and its settings."""

from raycl.training.fit import Diverged, Fit, Fitted, Pulse

__all__ = ["Diverged", "Fit", "Fitted", "Pulse"]

"""The training loop that `Method.learn` receives, and the settings of that loop."""

from raycl.training.fit import Diverged, Fit, Fitted, Pulse

__all__ = ["Diverged", "Fit", "Fitted", "Pulse"]

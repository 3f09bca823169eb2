"""Ray Tune, Optuna and MLflow: the only room that imports them."""

"""Execution with Ray Tune, search with Optuna and tracking with MLflow; no other package imports these."""

import os

# MLflow reads these variables when it is imported, so they are set before any module here imports it.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # otherwise two lines per run

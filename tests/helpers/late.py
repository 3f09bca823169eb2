"""The modules that commands load late, for processes that import them beforehand and are then forked."""

LATE = (
    "raycl.study.local",
    "raycl.terminal.view",
    "raycl.reporting.html",
    "raycl.tune.tracking",
    "raycl.tune.proposals",
    "mlflow.store.tracking.sqlalchemy_store",
    "alembic.command",
)

from __future__ import annotations

import pytest

from tests.helpers.hosts import Cluster, Tracking, no_tracking


@pytest.fixture(scope="module")
def tracking(cluster: Cluster) -> Tracking:
    """MLflow on PostgreSQL, on two hosts beside those of the module's cluster."""
    if reason := no_tracking():
        pytest.skip(reason)
    return Tracking(cluster)

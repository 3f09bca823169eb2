"""Shared by all tests: one thread, prepared data in a folder of the session's own."""

from __future__ import annotations

import os
import signal
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.helpers.balance import pytest_collection_modifyitems, pytest_terminal_summary

__all__ = ["pytest_collection_modifyitems", "pytest_terminal_summary"]

os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
# A shell that starts the tests in the background has them ignore Ctrl-C, and with them all that they start.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
# Before raycl is imported, which puts back after each run what it found then. Two processes of two threads
# each would wait for one another on two cores.
torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def _data_of_the_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    before = os.environ.get("RAYCL_DATA")
    os.environ["RAYCL_DATA"] = str(tmp_path_factory.mktemp("data"))
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    yield
    if before is None:
        del os.environ["RAYCL_DATA"]
    else:
        os.environ["RAYCL_DATA"] = before


@pytest.fixture(autouse=True)
def _nothing_remembered(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test begins without the answers of earlier processes, and keeps its own to itself."""
    monkeypatch.setenv("RAYCL_CACHE", str(tmp_path_factory.getbasetemp() / f"cache-{uuid.uuid4().hex}"))


@pytest.fixture
def real_data() -> Path:
    """The folder of real data sets, or a skip that says why."""
    folder = os.environ.get("RAYCL_TEST_DATA")
    if not folder:
        pytest.skip("RAYCL_TEST_DATA names no folder of real data sets")
    return Path(folder).resolve()


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[int]:
    """A Ray cluster of four pretended CPUs on this machine, for all tests that play studies."""
    import ray

    from raycl.tune.launch import cluster

    with cluster(None, None, cpus=4) as cpus:
        assert ray.is_initialized()
        yield int(cpus)


@pytest.fixture(scope="module")
def mlflow_tables() -> Iterator[None]:
    """MLflow's tables are copied into new databases, for tests that play studies in this process."""
    from tests.helpers.databases import copy_empty_databases

    end = copy_empty_databases()
    yield
    end()


@pytest.fixture
def float64() -> Iterator[None]:
    """New tensors in double precision, for numbers that are compared to many digits."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)

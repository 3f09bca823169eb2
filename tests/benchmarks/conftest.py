from __future__ import annotations

from pathlib import Path

import pytest

from raycl.benchmarks import sources


@pytest.fixture(scope="session")
def shared_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One data folder for the tests that only read."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture
def data(shared_root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The shared data folder, with the digits in it."""
    monkeypatch.setenv("RAYCL_DATA", str(shared_root))
    sources.arrays("digits")
    return shared_root


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder with nothing in it."""
    monkeypatch.setenv("RAYCL_DATA", str(tmp_path / "data"))
    return tmp_path / "data"

"""A store of its own for each test."""

from pathlib import Path

import pytest

from raycl import registry
from raycl.runs.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")


@pytest.fixture
def as_published(monkeypatch: pytest.MonkeyPatch) -> None:
    """Methods that tables on hand-made stores are made of, without their footnotes."""
    for name in ("one", "spg", "hat", "ewc"):
        monkeypatch.setattr(registry.method(name), "deviations", ())

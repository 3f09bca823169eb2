"""The process with a pretended accelerator, one for all tests of a session."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.helpers.pretend import PretendProcess


@pytest.fixture(scope="session")
def pretend() -> Iterator[PretendProcess]:
    process = PretendProcess()
    yield process
    process.close()

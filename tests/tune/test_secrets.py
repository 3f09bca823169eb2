"""Secrets of the environment reach no file, Ray's logs included; a cluster's token is its owner's."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import ray

from raycl import Seeds
from raycl.tune.fitness import address_check
from tests.helpers.tiny import on_ray, tiny

pytestmark = pytest.mark.slow  # these tests start clusters, servers or drivers of their own

CANARIES = {name: f"canary-{n}-of-the-test" for n, name in enumerate((
    "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN", "HF_TOKEN",
    "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "WANDB_API_KEY", "DATABASE_URL"))}  # fmt: skip


def test_secrets_reach_no_file_of_ray_or_of_the_store(
    ray_cluster: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ray._private import worker

    for name, value in CANARIES.items():
        monkeypatch.setenv(name, value)
    methods = {"finetune": {}, "raises": {"method": "misbehaving:Raises"}}
    agenda = on_ray(tiny(methods, search=None, final=Seeds(1)), tmp_path / "s")
    assert agenda.over and ray.is_initialized()
    session = Path(worker._global_node.get_session_dir_path())  # type: ignore[union-attr]
    asked = [path for root in (session, tmp_path) for path in root.rglob("*") if path.is_file()]
    assert any(path.name == "runtime_env_agent.log" for path in asked), "Ray writes elsewhere now"
    told = {path.name for path in asked for value in CANARIES.values() if value.encode() in path.read_bytes()}
    assert told == set()
    from ray.tune.execution import class_cache

    assert "AWS_SECRET_ACCESS_KEY" in class_cache.ENV_VARS_TO_PROPAGATE, "put back, or Ray has changed"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def test_a_token_is_made_for_its_owner_alone(home: Path) -> None:
    before = os.umask(0o000)
    try:
        assert address_check.check_address(None) is None
    finally:
        os.umask(before)
    file = home / ".ray" / "auth_token"
    assert file.stat().st_mode & 0o777 == 0o600 and len(file.read_text()) == 64
    assert [p.name for p in file.parent.iterdir()] == ["auth_token"]
    written = file.read_text()
    file.chmod(0o644)  # as Ray has made it
    assert address_check.check_address(None) is None
    assert file.stat().st_mode & 0o777 == 0o600 and file.read_text() == written


def test_no_token_is_made_where_none_is_wanted(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    assert address_check.check_address(None) is None and not (home / ".ray").exists()
    monkeypatch.setenv("RAY_AUTH_MODE", "")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "a" * 64)
    assert address_check.check_address(None) is None and not (home / ".ray").exists()


def test_a_token_file_that_the_user_names_is_told_and_left(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = Path(home) / "token"
    file.write_text("0" * 64)
    file.chmod(0o644)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(file))
    monkeypatch.setattr(address_check, "open_to_others", lambda file: bool(file.stat().st_mode & 0o044))
    address_check.keep_token_private()
    assert file.stat().st_mode & 0o777 == 0o644
    assert address_check.token_warning().endswith(
        f"can be read by other users of this machine: chmod 600 {file}"
    )
    file.chmod(0o600)
    assert address_check.token_warning() == ""

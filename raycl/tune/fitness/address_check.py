"""Check whether this process can join the Ray cluster at an address, within seconds and with clear errors.

Ray itself tries for 20 to 60 s and prints messages meanwhile, and where a token is missing, parts of it end
the process. The functions here therefore check first, in the order in which connecting can fail.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import secrets
import socket
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from raycl.errors import UserError

# Ray is imported where it is needed, because its import takes seconds and `raycl doctor` works without it.

SECONDS = 10.0  # seconds that each answer may take
HERE_SECONDS = 5.0  # seconds until the head must know Ray's process on this machine
# The bytes that open a connection of HTTP/2, on which gRPC is built: the preface and an empty SETTINGS frame
# (RFC 9113).
_GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"
_SETTINGS = 4


def check_address(address: str | None) -> str | None:
    """Check that a Ray cluster can be joined, or started on this machine.

    Returns:
        The address for `ray.init`; None to start Ray on this machine.

    Raises:
        UserError: If nothing answers, or something that is not a Ray head; if the token, Ray or Python
            differ; or if this machine does not belong to the cluster.
    """
    if address is None:
        if auth_mode() != "disabled":  # a cluster on this machine asks for a token as well
            check_token()
            keep_token_private(make=True)
        return None
    if address in ("", "local"):
        raise UserError(f"--address {address!r} is not a cluster; leave out --address to use this machine")
    found = _found(address)
    if auth_mode() == "token":
        check_token()
    if auth_mode() != "disabled":
        keep_token_private()
    shown = address if address == found else f"{address}, which is {found},"
    _knock(shown, found)
    _ask(shown, found)
    return address


def auth_mode() -> str:
    """Return RAY_AUTH_MODE, or "" if it is not set."""
    return os.environ.get("RAY_AUTH_MODE", "").strip().lower()


def token_place() -> tuple[str, Path | None]:
    """Return the name of the place from which Ray takes its token, and the file if it is one."""
    if os.environ.get("RAY_AUTH_TOKEN"):
        return "RAY_AUTH_TOKEN", None
    if given := os.environ.get("RAY_AUTH_TOKEN_PATH"):
        return f"RAY_AUTH_TOKEN_PATH={given}", Path(given).expanduser()
    return "~/.ray/auth_token", Path.home() / ".ray" / "auth_token"


def token_problem() -> str:
    """Return why there is no token, or ""."""
    called, file = token_place()
    if file is None:
        return ""
    try:
        return (
            ""
            if file.read_text(encoding="utf-8", errors="replace").strip()
            else f"the token file {called} is empty"
        )
    except FileNotFoundError:
        return f"there is no token file {called}"
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", "") or "it is not text"
        return f"the token file {called} cannot be read ({reason})"


def open_to_others(file: Path) -> bool:
    """Return whether other users can read a file, by its own permissions and those of the folders above."""
    try:
        if not file.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH):
            return False
        above = [folder.stat().st_mode for folder in file.resolve().parents]
    except OSError:
        return False
    return all(mode & (stat.S_IXGRP | stat.S_IXOTH) for mode in above)


def keep_token_private(make: bool = False) -> None:
    """Make ``~/.ray/auth_token`` private, because Ray creates it readable for all users.

    A file that RAY_AUTH_TOKEN_PATH names is left unchanged, since it is the user's; `token_warning` reports
    it.

    Args:
        make: Whether to create the token if there is none, as Ray does for a cluster on this machine.
    """
    _, file = token_place()
    if file is None or os.environ.get("RAY_AUTH_TOKEN_PATH"):
        return
    with contextlib.suppress(OSError):  # if this fails, Ray and the doctor report the problem
        if make and not file.exists():
            _make_token(file)
        if file.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            file.chmod(0o600)


def _make_token(file: Path) -> None:
    """Create a token as Ray does, in a file that other users cannot read at any moment."""
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_name(f".{file.name}-{os.getpid()}-{secrets.token_hex(4)}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "w") as out:
            out.write(secrets.token_hex(32))
        with contextlib.suppress(FileExistsError):  # another process was faster, and its token is valid
            os.link(draft, file)
    finally:
        draft.unlink()


def token_warning() -> str:
    """Return a warning if the token in use can be read by other users of this machine; otherwise ""."""
    called, file = token_place()
    if file is None or auth_mode() == "disabled" or token_problem() or not open_to_others(file):
        return ""
    return f"the token file {called} can be read by other users of this machine: chmod 600 {file}"


def check_token() -> None:
    """Check that a token file that is named contains a token; if none is named, Ray creates one itself.

    Raises:
        UserError: If it does not; the message says what is wrong with the file.
    """
    problem = token_problem()
    if problem and (os.environ.get("RAY_AUTH_TOKEN_PATH") or auth_mode() == "token"):
        raise UserError(
            f"{problem}; make one with `ray get-auth-token --generate`, or copy the cluster's, and name it "
            "in RAY_AUTH_TOKEN_PATH"
        )


def no_cluster(address: str, reason: str) -> UserError:
    """Return the error for an address at which there is no cluster."""
    return UserError(
        f"no Ray cluster answers at --address {address} ({reason}); start one with `ray start --head` (under "
        "the same RAY_AUTH_TOKEN_PATH, if it asks for a token), or leave out --address to use this machine"
    )


def _found(address: str) -> str:
    """Return the host and port that Ray would connect to."""
    from ray._private import services

    private: Any = services
    given = os.environ.get("RAY_ADDRESS") if address == "auto" else ""
    if "://" in (given or address):
        raise UserError(
            f"--address {given or address}: raycl does not support Ray's client; run it on a machine of the "
            "cluster, with --address HOST:PORT of its head"
        )
    try:
        with muted():
            found = private.canonicalize_bootstrap_address(address)
            if address == "auto" and not given:
                _send_token_as_ray_does()
    except ConnectionError:
        raise no_cluster(address, "this machine belongs to no cluster") from None
    except (ValueError, OSError) as error:
        raise no_cluster(address, _one_line(error)) from None
    if not found:  # RAY_ADDRESS=local
        raise no_cluster(address, f"RAY_ADDRESS={given}")
    return str(found)


def _send_token_as_ray_does() -> None:
    """Send this machine's token to a cluster that Ray finds by itself, since that one is on this machine."""
    with contextlib.suppress(ImportError):
        from ray._private.authentication.authentication_token_setup import (
            maybe_enable_token_auth_if_token_available,
        )

        if not token_problem():
            maybe_enable_token_auth_if_token_available(warn_if_disabled=False)


def _knock(shown: str, found: str) -> None:
    """Check that a gRPC server listens there, which sends its settings as soon as a connection opens."""
    host, _, port = found.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=SECONDS) as connection:
            if os.environ.get("RAY_USE_TLS", "0").lower() in ("1", "true"):
                return
            connection.settimeout(SECONDS)
            connection.sendall(_GREETING)
            received = b""
            while len(received) < 9 and (more := connection.recv(9 - len(received))):
                received += more
    except TimeoutError:
        raise no_cluster(shown, f"no answer for {SECONDS:.0f} s") from None
    except (ConnectionResetError, BrokenPipeError):
        received = b""
    except (OSError, ValueError, OverflowError) as error:
        raise no_cluster(shown, _one_line(error)) from None
    if len(received) < 9 or received[3] != _SETTINGS:
        raise no_cluster(shown, "what listens there is not a Ray head")


def _ask(shown: str, found: str) -> None:
    """Ask the head for its versions and nodes, as `ray.init` would."""
    import ray
    from ray import _raylet

    private: Any = _raylet
    try:
        with muted():
            client = private.GcsClient(address=found)
            metadata = client.internal_kv_get(b"CLUSTER_METADATA", namespace=b"cluster", timeout=SECONDS)
            _check_versions(shown, json.loads(metadata or b"{}"))
            _check_membership(shown, found, client)
    except (AttributeError, TypeError):  # these functions are private to Ray and may change
        return
    except (ray.exceptions.RayError, RuntimeError, OSError) as error:
        if type(error).__name__ == "AuthenticationError":
            raise refused(shown) from None
        reason = f"what listens there is not a head of Ray {ray.__version__}: {_one_line(error)}"
        raise no_cluster(shown, reason) from None


def refused(shown: str) -> UserError:
    """Return the error for a cluster that refuses this process's token, or the lack of one."""
    if auth_mode() != "token":
        return UserError(
            f"the Ray cluster at --address {shown} asks for a token, but RAY_AUTH_MODE is not 'token' "
            "here; set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN_PATH to a file with the token of its head"
        )
    return UserError(
        f"the Ray cluster at --address {shown} refuses the token of {token_place()[0]}; name a file with "
        "the token of its head in RAY_AUTH_TOKEN_PATH"
    )


def _check_versions(shown: str, theirs: dict[str, str]) -> None:
    """Check that the cluster has the same Ray and Python as this machine, which Ray requires."""
    import ray

    parts = 2 if os.environ.get("RAY_DEFAULT_PYTHON_VERSION_MATCH_LEVEL") == "minor" else 3
    ours = {"ray_version": ray.__version__, "python_version": platform.python_version()}
    for key, called in (("ray_version", "Ray"), ("python_version", "Python")):
        there = theirs.get(key, ours[key])
        length = parts if called == "Python" else None
        if there.split(".")[:length] != ours[key].split(".")[:length]:
            raise UserError(
                f"the Ray cluster at --address {shown} runs {called} {there}, this machine {called} "
                f"{ours[key]}; install the same version on all machines"
            )


def _check_membership(shown: str, found: str, client: Any) -> None:
    """Check that a Ray process of the cluster runs on this machine, without which no driver can connect."""
    from ray._private import services

    private: Any = services
    until = time.monotonic() + HERE_SECONDS
    while True:
        alive = {node.hex() for node, about in client.get_all_node_info(timeout=SECONDS).items()
                 if about.state == about.GcsNodeState.Value("ALIVE")}  # fmt: skip
        if alive & set(private.find_node_ids()):
            return
        if time.monotonic() > until:
            raise UserError(
                f"this machine is not a node of the Ray cluster at --address {shown}; run raycl on one of "
                f"its {len(alive)} nodes, or join it with `ray start --address={found} --num-cpus=0`"
            )
        time.sleep(0.5)


def _one_line(error: BaseException) -> str:
    """Return an exception's message on one line."""
    return " ".join((getattr(error, "strerror", None) or str(error) or type(error).__name__).split())[:200]


@contextlib.contextmanager
def muted() -> Iterator[None]:
    """Discard everything written to the error stream, because Ray's compiled part does not use a logger."""
    try:
        original = os.dup(2)
    except OSError:  # there is no error stream
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(original, 2)
        os.close(original)
        os.close(nowhere)

"""Connecting to the dashboard of a cluster, through which Ray takes jobs, with clear errors.

Ray's own client waits without a limit where nothing answers, and reports a wrong token in ten lines. The
functions here therefore check first, in the order in which connecting can fail.
"""

from __future__ import annotations

import contextlib
import http.client
import importlib.util
import json
import logging
import os
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from typing import TYPE_CHECKING, TypeAlias

from raycl.errors import UserError, quoted, screen_line
from raycl.tune.fitness.address_check import (
    SECONDS,
    auth_mode,
    check_token,
    keep_token_private,
    muted,
    refused,
)

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

    Client: TypeAlias = JobSubmissionClient

PORT = 8265  # of the dashboard, unless `ray start` was told another
_TALKATIVE = (  # loggers of Ray that report each step
    "ray.dashboard.modules.dashboard_sdk",
    "ray.dashboard.modules.job.sdk",
    "ray._private.runtime_env.packaging",
)
_MOST_BYTES = 100_000  # of an answer that is read
# Either of them would replace the address that the user wrote.
_REPLACING = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")


def check_dashboard_address(address: str) -> str:
    """Return the address of a dashboard, without a slash at its end.

    Raises:
        UserError: If it is not of the form ``http://HOST:PORT``.
    """
    example = f"write the address of the head's dashboard, such as http://HEAD:{PORT}"
    if not address.startswith(("http://", "https://")):
        if "://" in address or address in ("", "auto", "local"):
            elsewhere = f"{example}; on a machine of the cluster, use raycl run --address auto"
            raise UserError(f"--address {quoted(address)} is not the address of a dashboard; {elsewhere}")
        raise UserError(f"--address {address} has no http://; {example}")
    try:
        parts = urllib.parse.urlsplit(address)
        usable = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:  # the port is not a number, or too large
        usable = False
    if not usable or parts.query or parts.fragment or any(c.isspace() for c in address):
        raise UserError(f"--address {quoted(address)} names no host and port; {example}")
    return address.rstrip("/")


def connect(address: str) -> Client:
    """Return a client of the job service of the cluster at a checked address.

    Raises:
        UserError: If a package of Ray is missing here, if no dashboard answers, or if it refuses the token.
    """
    _check_packages()
    _knock(address)
    if auth_mode() == "token":
        check_token()
    if auth_mode() != "disabled":
        keep_token_private()
    try:
        from ray.exceptions import AuthenticationError
        from ray.job_submission import JobSubmissionClient
    except Exception as error:  # a broken installation may raise anything
        reason = screen_line(f"{type(error).__name__}: {error}")
        raise UserError(f"Ray's job client cannot be loaded ({reason}); {_INSTALL}") from None
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        with _own_address(), muted():
            return JobSubmissionClient(address)
    except AuthenticationError:
        raise refused(address) from None
    except (RuntimeError, OSError, ValueError, KeyError) as error:
        raise no_dashboard(address, screen_line(str(error) or type(error).__name__)) from None


_INSTALL = "install it with pip install 'raycl[cluster]'"


def _check_packages() -> None:
    """Check that Ray is installed with what its job client needs.

    Raises:
        UserError: If a package is missing.
    """
    if importlib.util.find_spec("ray") is None:
        raise UserError(f"ray is not installed; {_INSTALL}")
    lacking = [name for name in ("aiohttp", "pydantic", "requests") if importlib.util.find_spec(name) is None]
    if lacking:
        raise UserError(f"ray[default] is not installed ({', '.join(lacking)} missing); {_INSTALL}")


def no_dashboard(address: str, reason: str) -> UserError:
    """Return the error for an address at which no dashboard answers."""
    return UserError(
        f"no Ray dashboard answers at --address {address} ({reason}); start the head with it (`ray start "
        f"--head`, where 'raycl[cluster]' is installed), from another machine connect with `ssh -L "
        f"{PORT}:127.0.0.1:{PORT} HEAD`, or use `raycl run --address auto` on the head"
    )


def _knock(address: str) -> None:
    """Check, without the token, that a dashboard answers.

    Raises:
        UserError: If nothing answers, or something that is not a dashboard.
    """
    try:
        with urllib.request.urlopen(f"{address}/api/version", timeout=SECONDS) as answer:
            body = answer.read(_MOST_BYTES)
        known = "ray_version" in json.loads(body)
    except urllib.error.HTTPError as error:
        with error:
            known = error.code in (401, 403) and b"authentication token" in error.read(_MOST_BYTES)
    except urllib.error.URLError as error:
        raise no_dashboard(address, _reason(error.reason)) from None
    except (TimeoutError, ConnectionError) as error:
        raise no_dashboard(address, _reason(error)) from None
    except (OSError, ValueError, TypeError, http.client.HTTPException):
        known = False
    if not known:
        raise no_dashboard(address, "what listens there is not a Ray dashboard")


def _reason(error: object) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer for {SECONDS:.0f} s"
    return screen_line(getattr(error, "strerror", None) or str(error) or type(error).__name__)


@contextlib.contextmanager
def _own_address() -> Iterator[None]:
    """Hide the variables that Ray would use instead of the address."""
    hidden = {name: os.environ.pop(name) for name in _REPLACING if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(hidden)

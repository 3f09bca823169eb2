"""Secrets that are kept from Ray, because it writes the environment of its workers into its logs."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import Any

from ray.tune.execution import class_cache

_SECRET = re.compile(r"AWS_|SECRET|TOKEN|PASSW|CREDENTIAL|KEY")


@contextlib.contextmanager
def kept_from_workers() -> Iterator[None]:
    """Keep secret variables out of the description of Tune's workers.

    Tune puts AWS_* of this process into that description, and Ray logs it in clear text. Nothing that runs on
    a worker needs these variables, since results and artefacts are written by the driver. A worker on this
    machine still inherits the environment of this process, but no file contains it.
    """
    module: Any = class_cache
    before = module.ENV_VARS_TO_PROPAGATE
    module.ENV_VARS_TO_PROPAGATE = {name for name in before if not _SECRET.search(name)}
    try:
        yield
    finally:
        module.ENV_VARS_TO_PROPAGATE = before

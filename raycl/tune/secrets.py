"""What Ray is not told: it writes what its workers are given for an environment into its logs."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import Any

from ray.tune.execution import class_cache

_SECRET = re.compile(r"AWS_|SECRET|TOKEN|PASSW|CREDENTIAL|KEY")


@contextlib.contextmanager
def kept_from_workers() -> Iterator[None]:
    """Tune hands AWS_* of this process to its workers as part of their description, which Ray logs in clear.

    Nothing that runs there needs them: results and artefacts are written from here. On this machine a worker
    has this process's environment all the same, which no file holds.
    """
    module: Any = class_cache
    before = module.ENV_VARS_TO_PROPAGATE
    module.ENV_VARS_TO_PROPAGATE = {name for name in before if not _SECRET.search(name)}
    try:
        yield
    finally:
        module.ENV_VARS_TO_PROPAGATE = before

"""Names that studies, tables and claims share: papers, sets of benchmarks, axes, derived metrics, figures."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from importlib import resources
from typing import Any


@functools.cache
def catalogue() -> Mapping[str, Any]:
    """What `catalogue.json` holds.

    Its entries are ``papers`` (keys of the papers that are covered), ``sets`` (of benchmarks), ``axes`` (the
    field that an axis of a claim means), ``readings`` (metrics derived from others), ``diagnostics`` (numbers
    that methods report of themselves) and ``stand_ins`` (benchmarks that stand in for others).
    """
    text = resources.files("raycl").joinpath("catalogue.json").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text)
    return found

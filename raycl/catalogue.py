"""Names that studies, tables and claims share, such as papers, sets of benchmarks and derived metrics."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from importlib import resources
from typing import Any


@functools.cache
def catalogue() -> Mapping[str, Any]:
    """Return the content of `catalogue.json`.

    Its entries are ``papers`` (keys of the papers that are covered), ``sets`` (of benchmarks), ``axes`` (the
    field to which an axis of a claim refers), ``readings`` (metrics derived from others), ``diagnostics``
    (numbers that methods report of themselves) and ``stand_ins`` (benchmarks that replace others).
    """
    text = resources.files("raycl").joinpath("catalogue.json").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text)
    return found

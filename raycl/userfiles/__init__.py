"""Loads the Python files that users write: studies, and what stands beside them.

A file is loaded under a name that is made of its own folder (`folders`), and within it ``import helper`` and
``from .helper import ...`` find ``helper.py`` beside it (`finder`). What its code is, is in the keys of runs
(`digest`); what it raises is told as one line that names its place (`blame`).
"""

from raycl.userfiles.blame import blamed, fault, is_own, shown, where
from raycl.userfiles.changes import changed
from raycl.userfiles.finder import source_of
from raycl.userfiles.folders import PREFIX, TAKEN, folder_of, holds, home, importing_from, short
from raycl.userfiles.loading import find, left_by, load, refresh
from raycl.userfiles.origins import origin, remember

__all__ = [
    "PREFIX",
    "TAKEN",
    "blamed",
    "changed",
    "fault",
    "find",
    "folder_of",
    "holds",
    "home",
    "importing_from",
    "is_own",
    "left_by",
    "load",
    "origin",
    "refresh",
    "remember",
    "short",
    "shown",
    "source_of",
    "where",
]

"""Loading of the Python files that users write: studies, and the modules in the same folder.

A file is loaded under a module name that is derived from its folder (`folders`), and within it
``import helper`` and ``from .helper import ...`` find ``helper.py`` in the same folder (`finder`). The keys
of runs include a digest of its code (`digest`). An exception that it raises is reported as one line with file
and line number (`blame`).
"""

from raycl.userfiles.blame import blamed, fault, is_own, located, shown, where
from raycl.userfiles.changes import changed
from raycl.userfiles.finder import source_of
from raycl.userfiles.folders import PREFIX, SHIPPED, TAKEN, folder_of, holds, home, importing_from, short
from raycl.userfiles.loading import find, left_by, load, refresh
from raycl.userfiles.origins import origin, remember
from raycl.userfiles.packing import pack

__all__ = [
    "PREFIX",
    "SHIPPED",
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
    "located",
    "origin",
    "pack",
    "refresh",
    "remember",
    "short",
    "shown",
    "source_of",
    "where",
]

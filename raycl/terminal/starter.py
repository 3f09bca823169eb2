"""What `raycl init` writes: a folder with a study, a method and data of one's own, and a test."""

from __future__ import annotations

import shlex
from pathlib import Path

from raycl import userfiles
from raycl.errors import UserError, typed_path

HOME = Path(__file__).parent.parent / "starter"
FILES = {
    "study.py": "a study: the method below and others, on the data below",
    "l2.py": "a method of your own",
    "make_data.py": "writes data.npz, data of your own",
    "test_l2.py": "tests of the method and of the study",
    "quickstart.py": "a study of raycl's own methods on its own benchmarks",
}


def write_starter(folder: Path) -> str:
    """Write the folder, and return what it contains and what to type next.

    Raises:
        UserError: If the folder exists and is not empty, or cannot be written.
    """
    try:
        if folder.exists() and not folder.is_dir():
            raise UserError(f"init: {typed_path(folder)} is a file and not a folder; name another folder")
        if folder.exists() and any(folder.iterdir()):
            raise UserError(f"init: {typed_path(folder)} exists and is not empty; name another folder")
        folder.mkdir(parents=True, exist_ok=True)
        for name in FILES:
            (folder / name).write_bytes((HOME / name).read_bytes())
        userfiles.load(folder, "make_data").main()
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"init: {typed_path(folder)} cannot be written ({reason})") from None
    width = max(map(len, FILES))
    lines = [f"{folder}:", *(f"  {name:<{width}}  {text}" for name, text in FILES.items())]
    lines += ["next:", f"  cd {shlex.quote(str(folder))}", "  raycl run study.py", "  python -m pytest"]
    return "\n".join(lines)

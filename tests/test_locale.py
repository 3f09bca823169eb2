"""Any locale: files are UTF-8, and a screen that cannot show a character says which it is."""

from __future__ import annotations

import ast
import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest

HOME = Path(__file__).parent.parent
STUDY = """
from raycl import *
STUDY = Study(methods={"größe": {"method": "finetune"}, "漢字": {"method": "ewc"}}, search=None,
              benchmarks=["digits_split"], network="mlp(hidden=16)", final=Seeds(1), fit={"epochs": 1})
"""
BINARY = {"Image", "tarfile", "gzip", "zipfile", "os", "packed", "archive", "io"}  # whose `open` reads bytes


def files() -> list[Path]:
    return sorted([*(HOME / "raycl").rglob("*.py"), *(HOME / "studies").rglob("*.py")])


def unsaid(path: Path) -> list[str]:
    """Calls that read or write text in the encoding of whatever locale there is."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        of, keywords = node.func, {keyword.arg: keyword.value for keyword in node.keywords}
        name = of.attr if isinstance(of, ast.Attribute) else getattr(of, "id", "")
        texts = [n.value for n in ast.walk(node) if isinstance(n, ast.Constant) and isinstance(n.value, str)]
        mode = any(set(text) <= set("rwabt+x") and "b" in text for text in texts)
        owner = ast.unparse(of.value) if isinstance(of, ast.Attribute) else ""
        opened = name == "open" and not mode and owner not in BINARY and (not owner or bool(texts))
        text = "text" in keywords and name in ("run", "Popen", "check_output")
        if "encoding" not in keywords and (name in ("read_text", "write_text") or opened or text):
            found.append(f"{path.name}:{node.lineno}: {ast.unparse(node)}")
    return found


@pytest.mark.parametrize("path", files(), ids=lambda p: p.relative_to(HOME).as_posix())
def test_every_text_file_is_opened_as_utf_8(path: Path) -> None:
    assert unsaid(path) == []


def raycl(folder: Path, *words: str) -> subprocess.CompletedProcess[bytes]:
    """A command in the ASCII locale, in which Python must not take UTF-8 by itself."""
    environment = os.environ | {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0",
                                "PYTHONWARNDEFAULTENCODING": "0", "COLUMNS": "80"}  # fmt: skip
    environment.pop("PYTHONIOENCODING", None)
    command = [sys.executable, "-m", "raycl.cli", *words]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, timeout=300)
    assert b"Traceback" not in done.stderr, done.stderr.decode(errors="replace")[-2000:]
    done.stdout.decode("ascii")
    return done


@pytest.mark.slow
def test_a_study_of_any_alphabet_in_an_ascii_locale(tmp_path: Path) -> None:
    """Planned, played, projected and reported; the files are what UTF-8 gives."""
    (tmp_path / "mine.py").write_text(STUDY, encoding="utf-8")
    planned = raycl(tmp_path, "plan", "mine.py")
    assert planned.returncode == 0 and rb"gr\xf6\xdfe" in planned.stdout
    played = raycl(tmp_path, "run", "mine.py", "--local")
    assert played.returncode == 0 and rb"\u6f22\u5b57" in played.stdout
    page = (tmp_path / "results" / "mine.html").read_text(encoding="utf-8")
    assert "größe" in page and "漢字" in page
    assert raycl(tmp_path, "report", "mine.py", "--format", "csv", "--out", "csv").returncode == 0
    lines = csv.DictReader((tmp_path / "csv").read_text(encoding="utf-8").splitlines())
    assert {line["label"] for line in lines} == {"größe", "漢字"}

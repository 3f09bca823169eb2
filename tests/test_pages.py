"""Every code block of the documentation runs, except those that say why not; the notebook runs too."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from raycl import Study
from raycl.errors import NoStudy
from raycl.study.expand import cells_of
from raycl.study.file import read_study
from tests.helpers.pages import ELSEWHERE, HOME, ONE_EPOCH, SEARCH, CodeBlock, code_blocks, type_command

DOCS = HOME / "docs"
PAGES = sorted(p.relative_to(DOCS).as_posix() for p in DOCS.rglob("*.md") if p.parent.name != "results")
WITH_BLOCKS = [
    page for page in PAGES if any(b.language not in ("", "text") for b in code_blocks(DOCS / page))
]
OUTPUT = ("", "text")
SLOW = {"data.md", "own_method.md", "papers.md", "searches.md", "start.md"}  # pages with several studies
AS_WRITTEN = {"models.md"}  # pages whose Python reads what their commands computed
LEFT_OUT = {
    "start.md": 3,
    "own_method.md": 1,
    "cluster.md": 4,
    "models.md": 1,
}  # blocks of a page that say why they are not run


def study_options(folder: Path, line: str) -> list[str]:
    """Return options that make a study small: its epochs and seeds, and its trials if TPE searches it."""
    files = [folder / word for word in line.split() if word.endswith(".py")]
    searched = any("search=Search(" in file.read_text(encoding="utf-8") for file in files if file.is_file())
    return [*(SEARCH if searched else []), *ONE_EPOCH]


def save(block: CodeBlock, folder: Path) -> None:
    """Save a block as the file that its title names, and read it as `raycl run` would."""
    file = folder / block.title
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(block.text, encoding="utf-8")
    with contextlib.suppress(NoStudy):  # a method, a network, or what studies share
        assert isinstance(read_study(file), Study)


@pytest.mark.slow
@pytest.mark.parametrize(
    "page", [pytest.param(page, marks=pytest.mark.slow) if page in SLOW else page for page in WITH_BLOCKS]
)
def test_every_block_runs(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(HOME / "studies", tmp_path / "studies")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)  # as in a notebook
    method = next(block for block in code_blocks(DOCS / "own_method.md") if block.title == "l2.py")
    save(method, tmp_path)  # other pages name it too
    names: dict[str, Any] = {}
    left_out = 0
    for block in code_blocks(DOCS / page):
        if block.not_run:
            left_out += 1
        elif block.language == "python" and block.title:
            save(block, tmp_path)
        elif block.language == "python":
            exec(compile(block.text, block.place, "exec"), names)
        elif block.language == "sh":
            for line in block.commands:
                if line not in ELSEWHERE:
                    small = [] if page in AS_WRITTEN else study_options(tmp_path, line)
                    type_command(tmp_path, line, small)
        else:
            assert block.language in OUTPUT, f"{block.place}: no test runs {block.language}"
    assert left_out == LEFT_OUT.get(page, 0)
    if isinstance(study := names.get("STUDY"), Study):
        assert all(not cell.blocked for cell in cells_of(study))


def test_all_pages_with_code_are_tested() -> None:
    assert set(WITH_BLOCKS) >= {"index.md", "start.md", "own_method.md", "own_network.md", "searches.md"}
    assert set(LEFT_OUT) <= set(WITH_BLOCKS)


def test_a_block_is_found_with_its_title_and_its_reason(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        '# A\n\n```python title="a.py"\nx = 1\n```\n\n<!-- not run: it takes days -->\n```sh\n'
        "raycl run a.py  # b\n# c\n```\n\n```\nout\n```\n"
    )
    first, second, third = code_blocks(page)
    assert (first.language, first.title, first.text, first.not_run) == ("python", "a.py", "x = 1\n", "")
    assert (second.place, second.commands, second.not_run) == (
        "page.md:8",
        ["raycl run a.py"],
        "it takes days",
    )
    assert (third.language, third.title, third.not_run) == ("", "", "")


@pytest.mark.parametrize("page", PAGES)
def test_every_file_and_target_that_a_page_names_exists(page: str) -> None:
    text = (DOCS / page).read_text(encoding="utf-8")
    named = re.findall(r"`((?:studies|raycl|docs|bench|tests)/[\w./]+\w)`", text)
    assert not [name for name in named if "demo" not in name and not (HOME / name).exists()]
    makefile = (HOME / "Makefile").read_text(encoding="utf-8")
    targets = re.findall(r"`make ([\w-]+)`", text)
    assert not [target for target in targets if not re.search(rf"^{target}:", makefile, flags=re.M)]


@pytest.mark.slow
def test_the_notebook_runs(tmp_path: Path) -> None:
    from sitepages.notebook import executed

    found = executed(DOCS / "notebook.ipynb", tmp_path)
    said = ["".join(o.get("text", "")) for c in found.cells if c.cell_type == "code" for o in c.outputs]
    assert "complete\n" in said
    assert any(re.search(r"^l2 +\.\d", text, flags=re.M) for text in said)
    predicted, labels = (re.findall(r"\d", line) for line in said[-1].splitlines())
    assert len(predicted) == len(labels) == 8
    assert sum(p == y for p, y in zip(predicted, labels, strict=True)) >= 7  # the task that was learnt last
    assert any(
        "<table" in o.data.get("text/html", "")
        for c in found.cells
        if c.cell_type == "code"
        for o in c.outputs
        if "data" in o
    )  # the data frame
    kinds = [set(o.data) for c in found.cells if c.cell_type == "code" for o in c.outputs if "data" in o]
    assert any("image/png" in kind for kind in kinds)


def test_the_notebook_is_kept_with_its_outputs() -> None:
    cells = json.loads((DOCS / "notebook.ipynb").read_text(encoding="utf-8"))["cells"]
    shown = [cell for cell in cells if cell["cell_type"] == "code" and cell["outputs"]]
    assert len(shown) >= 5
    text = json.dumps([cell["outputs"] for cell in shown])
    assert "digits_split" in text and "image/png" in text
    assert "/tmp" not in text and "/home" not in text and "Traceback" not in text

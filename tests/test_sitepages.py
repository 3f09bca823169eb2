"""Pages that are made of classes say what the classes say; a site that loads from elsewhere is refused."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pytest

from raycl import Float, registry
from raycl.cli import main
from raycl.docstrings import base_with_equations, equations_of, without_equations
from raycl.method import Method, deviations_of
from raycl.methods.hat import HAT
from raycl.networks import Network
from raycl.space import fields_of
from sitepages import classes, notebook, site
from sitepages.sources import _attributes, comments_of, statements_of, without_attributes


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    return classes.pages()


def rows(page: str) -> dict[str, list[str]]:
    """Return the cells of the tables of a page, by the first cell without its backquotes."""
    lines = [line[2:-2].split(" | ") for line in page.splitlines() if line.startswith("| ")]
    return {line[0].strip("`"): [cell.strip() for cell in line[1:]] for line in lines}


def plain(page: str) -> str:
    """Return a page without backslashes and code marks."""
    return page.replace("\\", "").replace("`", "").replace("&lt;", "<").replace("&amp;", "&")


@pytest.mark.parametrize("name", registry.method_names())
def test_a_methods_page_has_its_fields_and_deviations(name: str, pages: dict[str, str]) -> None:
    kind, page = registry.method(name), pages[f"methods/{name}.md"]
    shown = rows(page.partition("## Source")[0])
    for field in fields_of(kind.Config).values():
        _, default, domain, _ = shown[f"method.{field.name}"]
        value = default.strip("`")
        assert value == repr(field.default) or float(value) == pytest.approx(field.default, rel=1e-5)
        assert domain == (f"`{field.domain}`" if field.domain is not None else "not searched")
    for line in deviations_of(kind):
        assert line.replace("`", "") in plain(page)
    for preset, changes in kind.preset_overrides.items():
        assert all(f"| `{preset}` | `{key}` |" in page for key in changes)
    assert all(f"`fit.{key}`" in page for key in kind.fit_defaults)


def test_a_methods_page_has_what_its_base_says(pages: dict[str, str]) -> None:
    page = pages["methods/ehat.md"]
    shown = rows(page)
    assert shown["method.lamb"] == ["`float`", "`0.75`", "`0.1..4 (log)`", "c, weight of the regulariser"]
    assert shown["method.ewc_lamb"][-1] == "lambda of EWC"
    assert "the slope reaches smax with the last batch" in page  # of HAT
    assert "raycl/methods/ehat.py" in page and "class EHAT(HAT):" in page
    assert shown["step_context"][-1] == "`hat`"


def test_a_methods_page_names_its_equations_and_its_network(pages: dict[str, str]) -> None:
    shown = rows(pages["methods/spg.md"])
    assert shown["torch.maximum(old, new, out=old)"] == ["eq. 4"]
    assert "The network needs a head for each task." in pages["methods/spg.md"]
    assert "The method works on any network." in pages["methods/finetune.md"]
    assert "An optimiser with weight decay breaks the method" in pages["methods/hat.md"]


@pytest.mark.parametrize("name", registry.method_names())
def test_a_methods_equations_are_on_its_page_and_printed(
    name: str, pages: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    kind = registry.method(name)
    block = equations_of(kind)
    lines = block.splitlines()
    formulas, _, symbols = block.partition("\n\n")
    assert re.search(r" = | <- | ~ |starts", formulas) and symbols
    assert block.isascii() and max(map(len, lines)) <= 72  # 80 columns in help(), which indents them by 8
    before, _, section = pages[f"methods/{name}.md"].partition("## Equations\n\n")
    section = section.partition("\n## ")[0]
    assert section.startswith(f"```text\n{block}\n```\n")
    assert "Equations:" not in before and formulas not in before
    assert ("| code | equation |" in section) == bool(statements_of(kind))
    assert main(["methods", name]) == 0
    printed = capsys.readouterr().out.partition("  equations:\n")[2].splitlines()
    assert printed[: len(lines)] == [f"    {line}".rstrip() for line in lines]
    base = kind.__mro__[1]
    if base.__module__.startswith("raycl.methods.") and not base.__module__.startswith("raycl.methods._"):
        its = base.__module__.rpartition(".")[2]
        assert f"equations of [`{its}`]({its}.md)" in section and equations_of(base) in section
        assert printed[len(lines) + 1] == f"    The equations of {its} hold otherwise (raycl methods {its})."


class _Plain(HAT):
    pass


def test_a_method_without_equations_has_those_of_its_base() -> None:
    assert equations_of(_Plain) == "" and base_with_equations(_Plain) is HAT
    assert base_with_equations(HAT) is None and not base_with_equations(Method)
    text = "First.\n\n    Equations:\n        a = b\n\n          c\n\n    More.\n    "
    kind = type("Kind", (), {"__doc__": text})
    assert equations_of(kind) == "a = b\n\n  c" and without_equations(text) == "First.\n\nMore."
    assert without_equations(None) == "" and without_equations("Only\nEquations: no") == "Only\nEquations: no"


@pytest.mark.parametrize("name", registry.recipes())
def test_a_benchmarks_page_has_its_settings(name: str, pages: dict[str, str]) -> None:
    kind, page = registry.recipes()[name], pages[f"benchmarks/{name}.md"]
    shown = rows(page.partition("## Source")[0])
    assert list(shown)[2:] == list(fields_of(kind)) or not fields_of(kind)
    assert kind.summary[1:] in plain(page)
    try:
        recipe = kind()
    except ValueError:
        assert name in ("npz", "folder")
    else:
        assert all(f"`{need}`" in page for need in recipe.needs())
        assert all(line in plain(page) for line in recipe.deviations())


def test_a_benchmarks_page_has_ranges_and_descriptions(pages: dict[str, str]) -> None:
    shown = rows(pages["benchmarks/digits_mixed.md"])
    assert shown["size"] == ["`one of 8, 28, 32`", "`8`", "", "Height and width in pixels"]  # of its base
    assert shown["data_seed"][2] == "`0..4294967295`"
    assert shown["permuted"][-1].startswith("Whether the pixels of the split tasks are permuted")
    assert "Attributes:" not in pages["benchmarks/digits_mixed.md"].partition("## Source")[0]


def test_every_class_has_a_page_and_every_page_a_place(pages: dict[str, str]) -> None:
    for name in registry.network_names():
        assert f"`{name}`" in pages["networks/index.md"]
        assert all(f"`net.{field}`" in pages[f"networks/{name}.md"] for field in fields_of(_config(name)))
    navigation = json.dumps(site.navigation(["index.md", {"How it works": []}], sorted(pages)))
    missing = [page for page in pages if f'"{page}"' not in navigation]
    assert missing == ["reference/training.md"]  # has a place in mkdocs.yml
    assert '"reference/training.md"' not in navigation
    assert "reference/training.md" in site.CONFIG.read_text(encoding="utf-8")


def _config(name: str) -> type:
    kind: type[Network] = registry.network(name)
    return kind.Config


def test_the_page_of_presets_has_each_with_its_values(pages: dict[str, str]) -> None:
    page = pages["reference/training.md"]
    assert rows(page)["fit.clip"] == [
        "`float or None`",
        "`None`",
        "not searched",
        "the largest global gradient norm",
    ]
    spg = page.partition("### spg\n")[2].partition("###")[0]
    assert "`fit.lr` = `0.25`" in spg and "`fit.epochs` = `500`" in spg


class _Commented(Method):
    """A method for this test."""

    @dataclass(frozen=True, kw_only=True)
    class Config(Method.Config):
        # What stands above it,
        # in two lines.
        above: int = 1
        behind: Annotated[float, Float(0.0, 1.0)] = 0.5  # what stands `behind` | it
        none: bool = False

        # About nothing.

        apart: int = 2


def test_comments_belong_to_the_field_that_they_stand_at() -> None:
    assert comments_of(_Commented.Config) == {
        "above": "What stands above it, in two lines.",
        "behind": "what stands `behind` | it",
    }
    assert statements_of(registry.method("finetune")) == ()


def test_the_section_of_attributes_is_read_and_left_out() -> None:
    text = "First.\n\nMore.\n\nAttributes:\n    a: One\n        thing.\n    b, c: Others."
    text += "\n\nRaises:\n    No: never."
    assert _attributes(text) == {"a": "One thing", "b": "Others", "c": "Others"}
    assert without_attributes(text) == "First.\n\nMore.\n\nRaises:\n    No: never."


def test_prose_keeps_code_and_escapes_the_rest() -> None:
    assert classes.prose("a_b `c_d` e*f\ng <h>") == r"a\_b `c_d` e\*f g &lt;h>"
    assert classes.prose("one `x`,\n\n``y|z`` two") == "one `x`,\n\n`y|z` two"


def test_what_is_loaded_from_elsewhere_is_found(tmp_path: Path) -> None:
    (tmp_path / "good.html").write_text(
        '<a href="https://a.org">a link</a><script src="assets/a.js"></script>'
        "<img src=data:image/png;base64,aa>"
    )
    assert site.loaded_from_elsewhere(tmp_path) == []
    (tmp_path / "bad.html").write_text(
        '<script async src="https://b.org/x.js"></script><img src=//c.org/y.png>'
    )
    (tmp_path / "bad.css").write_text("@import 'https://d.org/z.css'; a { background: url(http://e.org/f) }")
    assert site.loaded_from_elsewhere(tmp_path) == [
        "bad.css: https://d.org/z.css",
        "bad.css: http://e.org/f",
        "bad.html: https://b.org/x.js",
        "bad.html: //c.org/y.png",
    ]


def test_pages_of_results_get_a_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "spg.md").write_text("# SPG: Continual Learning\n\ntext\n")
    known = ["index.md", {"How it works": []}]
    assert len(site.navigation(known, [])) == 5 + bool(list(site.DOCS.glob("results/*.md")))
    monkeypatch.setattr(site, "DOCS", tmp_path)
    assert site.navigation(known, [])[1] == {"Results": [{"SPG": "results/spg.md"}]}


def test_the_page_of_a_notebook_has_its_cells_and_outputs(tmp_path: Path) -> None:
    png = base64.b64encode(b"a picture").decode()
    outputs = [
        {"output_type": "stream", "name": "stdout", "text": ["\x1b[31mred\x1b[0m\n", "line\n"]},
        {"output_type": "display_data", "data": {"image/png": png, "text/plain": ["<Figure>"]}},
    ]
    cells = [
        {"cell_type": "markdown", "source": ["# Title\n", "words"]},
        {"cell_type": "code", "source": ["print(1)"], "outputs": outputs},
    ]
    file = tmp_path / "nb.ipynb"
    file.write_text(json.dumps({"cells": cells}))
    found = notebook.pages(file)
    assert found["nb-1-1.png"] == b"a picture"
    assert found["nb.md"] == (
        "# Title\nwords\n\n```python\nprint(1)\n```\n\n```text\nred\nline\n```\n\n"
        "![Output of the cell above](nb-1-1.png)\n"
    )

"""The studies that ship: each can be read and planned in both forms, and a figure plays to its end."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

from raycl import Form, Seeds, run_study
from raycl.errors import UserError
from raycl.reporting import render
from raycl.runs.inputs import masks_for
from raycl.study.expand import cells_of
from raycl.study.file import read_study
from raycl.study.values import Search, Study
from studies.impresslearn.common import PAPER, Data, bases, boxes, own, recovered

HOME = Path(__file__).parent.parent / "studies"
FILES = [path for path in sorted(HOME.rglob("*.py")) if "STUDY" in path.read_text()]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(HOME).as_posix())
def test_every_study_can_be_planned(path: Path) -> None:
    study = read_study(path)
    assert study.name == (f"{study.paper}_{path.stem}" if study.paper else path.stem)
    cells = cells_of(study, check=False)
    keys = {
        cell.key if isinstance(cell.search, Search) else cell.spec({}, cell.trial_seed).key for cell in cells
    }
    assert len(keys) == len({cell.name for cell in cells}) == len(cells)  # no cell is another one again


PAPERS = ("impresslearn", "spg", "prm", "pmask", "ksm")
ONE_FORM = ("released_dropout", "subsets")  # one needs the full data; the other has only a small form


@pytest.mark.parametrize(
    "path",
    [p for p in FILES if p.parent.name in PAPERS and p.stem not in ONE_FORM],
    ids=lambda p: f"{p.parent.name}-{p.stem}",
)
def test_every_item_of_a_paper_has_a_form_for_a_desk(path: Path) -> None:
    small, full = read_study(path, small=True), read_study(path)
    assert small.name == f"{full.name}_small" and small.paper == full.paper
    assert len(cells_of(small, check=False)) <= len(cells_of(full, check=False))


@pytest.mark.parametrize("paper", PAPERS)
def test_papers_share_one_form(paper: str) -> None:
    """All that a file of a paper builds on stands in ``PAPER`` of common.py, beside it."""
    shared = importlib.import_module(f"studies.{paper}.common").PAPER
    assert isinstance(shared, Form) and shared.full.paper == shared.small.paper == paper
    texts = {path.name: path.read_text() for path in (HOME / paper).glob("*.py")}
    assert any("PAPER.full.with_(" in text for text in texts.values())
    for name, text in texts.items():
        assert not re.search(r"[a-z]__[a-z]", text), f"{name}: a setting is spelt 'method.smax'"


@pytest.mark.parametrize("name", ["ksm.table_01", "pmask.table_02", "prm.table_02", "spg.table_14"])
def test_a_study_is_the_same_where_python_imports_it(name: str) -> None:
    module, read = importlib.import_module(f"studies.{name}"), HOME / f"{name.replace('.', '/')}.py"
    for form in ("STUDY", "SMALL"):
        found = read_study(read, small=form == "SMALL").with_(name="", tables=(), views=())
        assert found == getattr(module, form).with_(tables=(), views=())


def test_bases_of_a_figure_share_their_masks() -> None:
    cells = cells_of(read_study(HOME / "impresslearn" / "fig_02.py"), check=False)
    masks = {mask.key for cell in cells for mask in masks_for(cell.spec({}, 1)) if mask.trained}
    # Of each of 7 densities: 100 heterogeneous, 250 homogeneous that share mask 0, own masks of 10 new tasks.
    assert len(masks) == 7 * (100 + 249 + 10)


def test_figures_share_runs() -> None:
    def keys(name: str) -> set[str]:
        study = read_study(HOME / "impresslearn" / name, small=True)
        return {cell.spec({}, 1).key for cell in cells_of(study, check=False)}

    assert keys("fig_07.py") <= keys("fig_02.py") and keys("fig_08.py") <= keys("fig_03.py")


def test_a_file_without_a_desk_form_says_so() -> None:
    with pytest.raises(UserError, match=r"quickstart\.py: defines no SMALL; write SMALL = Study"):
        read_study(HOME / "quickstart.py", small=True)


@pytest.fixture
def small() -> Study:
    """A figure of ImpressLearn on digits, all kinds of basis, with basis-GN and X."""
    data = Data("digits_permuted", 5, 2)
    return PAPER.small.with_(
        methods=bases({"het": (3, 5), "hom": (3, 5), "random": (3,)}, (0.1, 0.3))
        | recovered(data, {"het": (3,)}, (0.1, 0.3))
        | own((0.1, 0.3))
        | own((0.1, 0.3), data.window(0, 4), "x", {"method.probes": True}),
        benchmarks=[data.new_tasks],
        views=boxes("Permuted digits, new tasks"),
        fit={"epochs": 2},
        final=Seeds(1, 2),
        name="small",
    )


def test_a_figure_plays_to_its_end_and_shows_boxes(tmp_path: Path, small: Study) -> None:
    played = run_study(small, tmp_path, local=True)
    assert played.code == 0, played.problems
    text = render(small, played.agenda, "table")
    assert "Permuted digits, new tasks" in text and max(map(len, text.splitlines())) <= 80
    for kind in ("heterogeneous", "homogeneous", "random"):
        assert kind in text
    page = tmp_path / "small.html"
    render(small, played.agenda, "html", path=page)
    assert "Permuted digits, new tasks" in page.read_text()
    results = [state.results[1] for state in played.agenda.states]
    crossed = [r.reports[-1].diagnostics for r in results if "x_acc" in r.reports[-1].diagnostics]
    assert len(crossed) == 2 and all(len(found["x_pairs"]) == 12 for found in crossed)
    assert all(0 <= found["x_acc"] <= 0.5 for found in crossed)
    recovered = [r for r in results if "hit_rate" in r.reports[0].diagnostics]
    assert len(recovered) == 2 and all("alpha_mass" in r.reports[0].diagnostics for r in recovered)


def test_table_1_of_a_paper_says_what_is_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from raycl.papers.accounts.counts import row

    monkeypatch.setenv("RAYCL_DATA", str(tmp_path))
    assert row("digits_split") == ["digits_split", "5", "2", "212-218/71-72/71-73", "-", "-"]
    assert row("cifar100_20") == ["cifar100_20", "-", "-", "-", "2250/250/500", "not prepared"]


def test_what_is_not_prepared_is_told_from_what_is_too_little_by_the_kind_of_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from raycl.errors import NotPrepared, UserError
    from raycl.papers.accounts import counts

    for error, word in (
        (NotPrepared("in whatever words"), "not prepared"),
        (UserError("a folder that is not in data folder x"), "too few"),
    ):

        def load(name: str, error: UserError = error) -> None:
            raise error

        monkeypatch.setattr(counts, "load", load)
        assert counts.row("cifar100_20")[-1] == word


def test_table_2_recounts_every_row_and_flags_the_one_that_is_wrong() -> None:
    printed, _ = read_study(HOME / "impresslearn" / "table_02.py").written_sheets
    wrong = [row[0] for row in printed.rows if any(text.endswith("!") for text in row)]
    assert len(printed.rows) == 11 and wrong == ["pre-ResNet-200"]


def keys_of(path: str, small: bool) -> set[str]:
    """Keys of the final runs with default settings, and of the searches behind them."""
    cells = cells_of(read_study(HOME / path, small=small), check=False)
    searches = {cell.key for cell in cells if isinstance(cell.search, Search)}
    return searches | {cell.spec({}, seed).key for cell in cells for seed in (1, 2, 3)}


@pytest.mark.parametrize("small", [False, True], ids=["full", "small"])
@pytest.mark.parametrize(("name", "own"), [("12", 4), ("14", 1)])
def test_tables_of_spg_share_the_rows_that_they_repeat(name: str, own: int, small: bool) -> None:
    both = read_study(HOME / f"spg/table_{name}.py", small=small)
    first, second = keys_of("spg/table_02.py", small), keys_of(f"spg/table_{name}.py", small)
    cells = cells_of(both, check=False)
    alone = {label for cell in cells for label in [cell.label] if cell.spec({}, 1).key not in first}
    assert len(alone) == own and second & first


def test_table_10_of_spg_counts_what_is_printed_to_the_last_digit() -> None:
    sheets = read_study(HOME / "spg/table_10.py").written_sheets
    texts = [text for sheet in sheets for row in sheet.rows for text in row[1:]]
    assert (
        sum(text.endswith("=") for text in texts) == 20
    )  # all that the available text of the paper contains
    assert not any(text.endswith("!") for text in texts)
    assert len(texts) == 16 * 9 and texts.count("-") == 1  # CAT on 100 tasks


def test_released_dropout_needs_no_search() -> None:
    cells = cells_of(read_study(HOME / "spg/released_dropout.py"), check=False)
    assert len(cells) == 27 and all(cell.search is None for cell in cells)
    rates = {cell.benchmark: cell.settings["net.drop1"].value for cell in cells}
    assert len(set(rates.values())) == 9 and rates["tiny_10"] == 0.1249

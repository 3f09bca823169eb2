"""The studies that ship: each can be read and planned in both forms, and a figure plays to its end."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

from raycl import Form, Seeds, registry, run_study
from raycl.errors import UserError
from raycl.reporting import render
from raycl.runs.inputs import masks_for
from raycl.study.cells import Cell
from raycl.study.expand import cells_of
from raycl.study.file import read_study
from raycl.study.values import Grid, Search, Study
from studies.impresslearn.common import PAPER, Data, bases, new_and_basis, new_and_basis_tasks

HOME = Path(__file__).parent.parent / "studies"
FILES = [path for path in sorted(HOME.rglob("*.py")) if "STUDY" in path.read_text()]


def first_key(cell: Cell) -> str:
    """The key of a search that draws its proposals, or of the first run."""
    if isinstance(cell.search, Search):
        return cell.key
    point = cell.search.point(0) if isinstance(cell.search, Grid) else {}
    return cell.spec(point, cell.trial_seed).key


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(HOME).as_posix())
def test_every_study_can_be_planned(path: Path) -> None:
    study = read_study(path)
    assert study.name == (f"{study.paper}_{path.stem}" if study.paper else path.stem)
    cells = cells_of(study, check=False)
    keys = {first_key(cell) for cell in cells}
    assert len(keys) == len({cell.name for cell in cells}) == len(cells)  # no cell is another one again


PAPERS = ("impresslearn", "spg", "prm", "pmask", "ksm")
ONE_FORM = ("released_dropout",)  # it needs the full data


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
    def keys(name: str, labels: str = "*") -> set[str]:
        study = read_study(HOME / "impresslearn" / name, small=True)
        return {cell.spec({}, 1).key for cell in cells_of(study, labels, check=False)}

    for random, trained in (
        ("fig_07.py", "fig_02.py"),
        ("fig_08.py", "fig_03.py"),
        ("fig_09.py", "fig_04.py"),
    ):
        shared = keys(random, "hom-*") | keys(random, "own-*") | keys(random, "x-*")
        assert len(shared) == 5 and shared <= keys(trained)  # random bases are in no other figure
    assert keys("fig_10.py", "het-*") | keys("fig_10.py", "hom-*") | keys("fig_10.py", "own-*") <= keys(
        "fig_04.py"
    )
    assert keys("scaling.py") <= keys("fig_03.py")
    assert keys("overlap.py", "hom-10-0.15") <= keys("fig_03.py")
    assert keys("fig_06.py") & keys("fig_03.py") == keys("fig_06.py", "*-5-0.15") - keys(
        "fig_06.py", "gn-one*"
    )


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("fig_02", {5: 5, 10: 10, 20: 20, 25: 25, 40: 25, 50: 25, 100: 25, 250: 25}),
        ("fig_04", {3: 3, 5: 5, 7: 7, 10: 10, 12: 12, 15: 15, 25: 15, 50: 15, 75: 15}),
        ("fig_05", {5: 5, 10: 10, 20: 20, 35: 25}),
        ("fig_06", {5: 5, 10: 10, 20: 20, 40: 40, 100: 100}),
    ],
)
def test_basis_gn_is_asked_about_as_many_basis_tasks_as_in_the_paper(
    name: str, asked: dict[int, int]
) -> None:
    """Figures 2 to 5 average over min(K, 25) basis tasks (15 precede the new ones of Split CIFAR-100).

    In Figure 6 the three ways share all K tasks.
    """
    cells = cells_of(read_study(HOME / "impresslearn" / f"{name}.py"), check=False)
    again = [cell for cell in cells if cell.label.startswith(("gn-het", "gn-hom"))]
    found = {cell.settings["method.k"].value: cell.benchmark for cell in again}
    windows = {k: registry.recipe(benchmark) for k, benchmark in found.items()}
    assert {k: (w.first, w.tasks) for k, w in windows.items()} == {k: (0, n) for k, n in asked.items()}  # type: ignore[attr-defined]
    own = {cell.benchmark for cell in cells if cell.label.startswith("gg-")}
    assert own == set(found.values())  # each is compared on its own tasks
    if any(cell.label.startswith("gn-one-shot") for cell in cells):
        assert {cell.benchmark for cell in cells if cell.label.startswith("gn-one-shot")} == own


def test_inference_is_asked_about_250_tasks_of_which_25_are_in_the_basis() -> None:
    cells = cells_of(read_study(HOME / "impresslearn" / "gn.py"), check=False)
    assert {cell.benchmark for cell in cells} == {"permuted_mnist(tasks=250, val=0.0)"}
    mixed = [cell for cell in cells if cell.kinds.method == "impresslearn"]
    assert {(c.settings["method.k"].value, c.settings["method.stage"].value) for c in mixed} == {(25, "both")}


def test_a_file_without_a_desk_form_says_so() -> None:
    with pytest.raises(UserError, match=r"quickstart\.py: defines no SMALL; write SMALL = Study"):
        read_study(HOME / "quickstart.py", small=True)


@pytest.fixture
def small() -> Study:
    """A figure of ImpressLearn on digits, all kinds of basis, with basis-GN and X."""
    data = Data("digits_permuted", 5, 2, most=3, crossed=4)
    return PAPER.small.with_(
        methods=new_and_basis_tasks(data, {"het": (3, 5), "hom": (3, 5)}, (0.1, 0.3))
        | bases({"random": (3,)}, (0.1, 0.3)),
        benchmarks=[data.new_tasks],
        views=new_and_basis("Permuted digits", data),
        fit={"epochs": 2},
        final=Seeds(1, 2),
        name="small",
    )


@pytest.mark.slow
def test_a_figure_plays_to_its_end_and_shows_boxes(tmp_path: Path, small: Study) -> None:
    played = run_study(small, tmp_path, local=True)
    assert played.code == 0, played.problems
    text = render(small, played.agenda, "table")
    assert "Permuted digits: digits_permuted" in text and max(map(len, text.splitlines())) <= 80
    for kind in ("heterogeneous", "homogeneous", "SupSup GG (own masks)", "X (wrong mask)", "random-3-0.3"):
        assert kind in text
    page = tmp_path / "small.html"
    render(small, played.agenda, "html", path=page)
    assert 'aria-label="Permuted digits on digits_permuted"' in page.read_text()
    results = [state.results[1] for state in played.agenda.states]
    crossed = [r.reports[-1].diagnostics for r in results if "x_acc" in r.reports[-1].diagnostics]
    assert len(crossed) == 2 and all(len(found["x_pairs"]) == 12 for found in crossed)
    assert all(0 <= found["x_acc"] <= 0.5 for found in crossed)
    recovered = [r for r in results if "hit_rate" in r.reports[0].diagnostics]
    assert len(recovered) == 4 and all("alpha_mass" in r.reports[0].diagnostics for r in recovered)


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

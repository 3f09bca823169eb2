"""The pages of docs/results: each study of a paper is on its page, and its numbers come from the store."""

from __future__ import annotations

import ast
import json
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from raycl.papers.claims import claims
from raycl.papers.findings import SUBSET, SUBSTITUTE, ClaimFinding, Verdict
from raycl.papers.judging import HOLDS, NO_VERDICT, NOT_RUN, UNDECIDED
from raycl.reporting.markdown import claims_table, escaped
from raycl.runs.store import Store
from raycl.space import Choice
from studies import results
from tests.helpers import hand

STUDIES = Path(results.__file__).parent


def _assigned(module: ast.Module) -> set[str]:
    """The names to which the module's own lines assign."""
    targets = [target for node in module.body if isinstance(node, ast.Assign) for target in node.targets]
    return {name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)}


def test_every_small_study_of_a_paper_is_on_its_page() -> None:
    for paper, names in results.STUDIES.items():
        files = {file.stem: file for file in (STUDIES / paper).glob("*.py")}
        small = {
            name
            for name, file in files.items()
            if "SMALL" in _assigned(ast.parse(file.read_text(encoding="utf-8")))
        }
        assert small == set(names), paper
    assert results.STUDIES.keys() == results.TITLES.keys()


def test_the_page_of_a_paper_is_made_of_its_store(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(results.STUDIES, "spg", ("table_14",))
    study = results.read_study(STUDIES.parent / results.study_file("spg", "table_14"), small=True)
    joint = hand.cells(study)["hpg/digits_split(size=32)"]
    params = {
        key: domain.options[0] if isinstance(domain, Choice) else domain.low
        for key, domain in joint.space.items()
    }
    curves = {"main": {"epoch": [1.0], "train_loss": [0.5]}}
    plain = hand.reports([[0.25] * (t + 1) for t in range(5)])
    matrix = tuple(replace(report, curves=curves) for report in plain)
    hand.put_trials(store, joint, [(params, matrix)] * 4)
    for seed in (1, 2, 3):
        hand.put(store, joint.spec(params, seed), matrix)
    judged = results.page("spg", store, tmp_path)
    text = (tmp_path / "spg.md").read_text(encoding="utf-8")
    assert (STUDIES / "spg" / "results.md").read_text(encoding="utf-8").strip() in text
    assert "```sh\nraycl run studies/spg/table_14.py --small\n```" in text
    assert "## spg\\_table\\_14\\_small" in text and "not run" in text
    assert "| HPG<sup>" in text and "| .250 ± .000 |" in text
    assert {one.claim.paper for one in judged} == {"spg"}
    assert [one.claim.id for one in judged] == sorted(claim.id for claim in claims("spg"))
    for csv in ("spg_table_14_small", "spg_table_14_small-tables"):
        assert f"[{escaped(csv)}.csv](spg/{csv}.csv)" in text and (tmp_path / "spg" / f"{csv}.csv").exists()

    again = tmp_path / "again"  # from the archive of the runs, whatever else the store held
    with tarfile.open(tmp_path / "spg" / results.RUNS) as packed:
        packed.extractall(again / "store", filter="data")
    assert len(list((again / "store").rglob("*.json"))) == 4 + 3  # proposals, and runs of three seeds
    runs = [json.loads(path.read_text()) for path in (again / "store" / "runs").rglob("*.json")]
    assert {report["curves"] == {} for run in runs for report in run["reports"]} == {True}
    results.page("spg", Store(again / "store"), again)
    for file in (tmp_path / "spg.md", *(tmp_path / "spg").iterdir()):
        assert (again / file.relative_to(tmp_path)).read_bytes() == file.read_bytes(), file.name


@pytest.mark.slow  # it trains a network
def test_a_picture_is_drawn_by_the_program_that_the_page_names(tmp_path: Path) -> None:
    described, image = results.pictures("pmask", tmp_path)
    assert "Figure 5: the mask of each layer" in described and "studies.pmask.fig_05 fig_05.png" in described
    assert image == "![fig\\_05](pmask/fig_05.png)"
    assert (tmp_path / "pmask" / "fig_05.png").read_bytes().startswith(b"\x89PNG")
    assert results.pictures("prm", tmp_path) == []


def test_a_claim_has_the_verdict_of_the_study_that_compared_most() -> None:
    claim = claims("spg")[0]
    little = Verdict(claim, (ClaimFinding(HOLDS, asked=3, compared=1), ClaimFinding(NOT_RUN, asked=3)))
    most = Verdict(claim, (ClaimFinding(UNDECIDED, asked=6, compared=4),))
    other = Verdict(claims("spg")[1], (ClaimFinding(NOT_RUN),))
    assert results.most_complete([other, little, most, little]) == [most, other]


def test_a_verdict_on_the_papers_own_data_comes_first_and_the_other_below_it() -> None:
    claim = claims("spg")[0]
    own = Verdict(claim, (ClaimFinding(HOLDS, values=(0.5, 0.4), asked=3, compared=1, other_data=(SUBSET,)),))
    stood = ClaimFinding(UNDECIDED, values=(0.3, 0.4), asked=3, compared=2, other_data=(SUBSET, SUBSTITUTE))
    most, unjudged = Verdict(claim, (stood,)), Verdict(claim, (ClaimFinding(NO_VERDICT, compared=2),))
    both = Verdict(claim, (*own.findings, *own.findings, *most.findings))
    assert results.closest([own, both]) == results.closest([both, own]) == [both], "more of it on own data"
    for order in ([own, most], [most, own]):
        assert results.closest(order) == [own] and results.most_complete(order) == [most]
    assert results.closest([unjudged, most]) == [unjudged], "neither is a verdict on the paper's own data"
    table = claims_table([own], [most])
    first = table.splitlines()[2]
    assert first.split(" | ")[1].startswith("**holds so far** (1 of 3, with subsets)")
    assert "<br>where more of it was compared: **undecided so far** (2 of 3, with subsets and" in first
    equal, less = (Verdict(claim, (replace(stood, compared=n),)) for n in (1, 0))
    assert "<br>where as much of it was compared: **undecided so far** (1 of 3" in claims_table(
        [own], [equal]
    )
    for others in ([own], [less], []):
        assert "<br>where" not in claims_table([own], others), "no other study has as much of it"


def test_where_nothing_was_compared_a_refused_stand_in_is_told() -> None:
    claim = claims("spg")[0]
    why = "needs tiny_100: digits_permuted also stands in for tiny_10, of which spg-38 says the opposite"
    lacks = ClaimFinding(NOT_RUN, reason="needs tiny_50")
    absent, refused = Verdict(claim, (lacks,)), Verdict(claim, (lacks, ClaimFinding(NOT_RUN, reason=why)))
    for order in ([absent, refused], [refused, absent]):
        (found,) = results.most_complete(order)
        assert found == refused
    assert f"{why.replace('_', chr(92) + '_')} (and 1 more)" in claims_table([refused])


def test_the_index_counts_the_verdicts_that_stand_on_the_pages(tmp_path: Path) -> None:
    held = Verdict(claims("spg")[0], (ClaimFinding(HOLDS, values=(0.5, 0.4), asked=3, compared=1),))
    missing = Verdict(replace(held.claim, text="a | b"), (ClaimFinding(NOT_RUN),))
    for paper, judged in (("spg", [held, held]), ("prm", [missing])):
        text = f"# Title\n\n{results.VERDICTS}\n\n{claims_table(judged)}\n\n## table\n\n| a | **b** |\n"
        (tmp_path / f"{paper}.md").write_text(text, encoding="utf-8")
    results.index(tmp_path)
    lines = (tmp_path / "README.md").read_text(encoding="utf-8").splitlines()[-7:]
    assert lines[0].split(" | ")[1:] == ["claims", "not run", "holds so far |"]
    assert lines[2].endswith("(spg.md) | 2 | 0 | 2 |") and lines[3].endswith("(prm.md) | 1 | 1 | 0 |")
    assert lines[4] == f"| {results.TITLES['impresslearn']} | not run yet | | |"


def test_a_paper_without_a_finished_run_has_no_page(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(results.STUDIES, "spg", ("table_14",))
    assert results.page("spg", store, tmp_path) == [] and not list(tmp_path.rglob("*.*"))

"""LaTeX: what opens closes, all rows of a tabular have as many cells, what a user wrote is text."""

from __future__ import annotations

import dataclasses
import re

import pytest

from raycl import PaperTable, Sheet
from raycl.errors import UserError
from raycl.methods.spg import SPG
from raycl.reporting import render
from raycl.reporting.latex import escaped, label_of
from raycl.runs.store import Store
from raycl.study.values import Study
from tests.helpers import hand
from tests.helpers.hand import ALONE
from tests.reporting.test_papertable import TABLE, full, played, study_of

pytestmark = pytest.mark.usefixtures("as_published")

EVIL = r"50% of _x_ & #1 {\b} ~^$<|>"


def checked(text: str) -> str:
    """Balanced environments and braces, equal rows, no letter that LaTeX would take for its own."""
    open_ones: list[str] = []
    for kind, name in re.findall(r"\\(begin|end)\{(\w+)\}", text):
        if kind == "begin":
            open_ones.append(name)
        else:
            assert open_ones.pop() == name
    assert open_ones == []
    bare = re.sub(r"\\[\\&%$#_{}]", "", re.sub(r"^%.*$", "", text, flags=re.M))
    assert not set(bare) & set("%#_~^<>|"), set(bare) & set("%#_~^<>|")
    assert bare.count("$") % 2 == 0
    depth = 0
    for letter in bare:
        depth += (letter == "{") - (letter == "}")
        assert depth >= 0
    assert depth == 0
    for kinds, body in re.findall(r"\\begin\{tabular\}\{(\w+)\}(.*?)\\end\{tabular\}", text, flags=re.S):
        rows = [line for line in body.strip().splitlines() if line.endswith("\\\\")]
        assert rows and all(len(re.findall(r"(?<!\\)&", row)) == len(kinds) - 1 for row in rows)
        rules = ["\\toprule", "\\midrule", "\\bottomrule"]
        assert [line for line in body.split() if line in rules] == rules
    return text


def latex(store: Store, study: Study) -> str:
    return checked(render(study, hand.read(store, study), "latex"))


def test_a_worked_example(store: Store) -> None:
    text = latex(store, played(store, study_of(TABLE), {"spg": (0.70, 0.72, 0.74)}))
    assert (
        "\\caption{accuracy (fraction), as in Table 6 of spg: the paper's number and the difference are grey"
        in text
    )
    assert "SPG & $.720$ {\\scriptsize $\\pm$ $.020$} \\\\" in text
    below = (
        "{\\scriptsize\\color{gray}($.66$ $\\pm$ $.01$) \\textcolor{black}{\\textbf{\\boldmath $+.060$}*}}"
    )
    assert f" & {below} \\\\" in text


def test_wide_tables_go_on_in_further_ones(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SPG, "deviations", (f"deviates in {EVIL}",))
    text = latex(store, full(store))
    assert text.count("\\begin{table}") == 5  # ten columns twice; three columns, for it is turned
    assert text.count("\\caption{continued}") == 2
    assert "$65{,}198{,}080$" in text
    assert "SPG\\textsuperscript{1}" in text and "\\textsuperscript{1} SPG: deviates in 50\\%" in text


def test_words_in_place_of_numbers(store: Store) -> None:
    table = dataclasses.replace(TABLE, columns={"digits_split": "digits_split"})
    text = latex(store, study_of(table, benchmarks=["digits_split"], network="mlp"))
    assert " & digits\\_split \\\\\n & {\\scriptsize\\color{gray}substitute} \\\\" in text
    assert "SPG & not run \\\\" in text


def test_what_a_user_wrote_is_text(store: Store) -> None:
    table = PaperTable(EVIL, rows={EVIL: "spg"}, columns={f"[{EVIL}]": "cifar100_10"}, notes=[f"-- {EVIL}"])
    text = latex(store, study_of(table, sheets=[Sheet(title=EVIL, header=[EVIL, "b"], rows=[["*", EVIL]])]))
    assert text.count("50\\% of \\_x\\_ \\& \\#1") >= 7
    assert "\n{*} & " in text and "-{}- 50" in text


def test_letters_that_latex_takes_for_its_own() -> None:
    assert escaped("a_b & 5% {x} \\y") == r"a\_b \& 5\% \{x\} \textbackslash{}y"
    assert escaped('[-> "one"\n--two]') == r"{[}-\textgreater{} ''one'' -{}-two{]}"


def test_without_tables_of_a_paper_each_benchmark_has_one(store: Store) -> None:
    study = hand.study(methods={"one": {"method": ALONE}, "finetune": {}})
    text = checked(render(study, hand.filled(store, study), "latex"))
    assert "method & acc & fwt\\_vs\\_one & bwt & ps & time s & params & stored \\\\" in text
    assert "finetune & $.725$ {\\scriptsize $\\pm$ $.007$} & $-.005$ {\\scriptsize $\\pm$ $.021$}" in text
    assert "one & $.860$ {\\scriptsize $\\pm$ $.014$} & - & - & - & $2.0$ & 9 k & 37 kB \\\\" in text
    assert re.findall(r"\\label\{(.*)\}", text) == ["tab:small-digits-permuted-tasks-2-f47e"]


def test_claims_are_not_written_as_latex(store: Store) -> None:
    with pytest.raises(UserError, match="claims are not written as latex"):
        render(study_of(TABLE), hand.read(store, study_of(TABLE)), "latex", claims=True)


def test_labels_tell_benchmarks_apart() -> None:
    names = ["npz(classes=[[0, 1], [2, 3]])", "npz(classes=[[0, 1, 2], [3]])", "数字", "図形", "digits_split"]
    labels = [label_of(name) for name in names]
    assert len({*labels}) == len(names) and labels[-1] == "digits-split"
    assert all(re.fullmatch(r"[a-z0-9-]+", label) for label in labels)

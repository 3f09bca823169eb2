"""A metric is one entry: of a study or of raycl's table, every report has it, and none ends because of it."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from raycl import Boxes, Curves, Metric, PaperTable, Study, metrics
from raycl.errors import UserError
from raycl.reporting import render
from raycl.reporting.csvfile import columns
from raycl.results.collect import collect
from raycl.results.rows import CellRow
from raycl.runs.store import Store
from raycl.study.expand import cells_of
from raycl.study.file import read_study
from tests.helpers import hand
from tests.helpers.hand import BENCHMARK
from tests.reporting.test_html import Page

DEFINITION = "lowest final accuracy of a task, min_i A[T, i]"


def worst(**changes: Any) -> Metric:
    """Of finetuning .60 and .66, mean .63; of the reference .80 and .82, mean .81."""
    return Metric(
        **({"name": "worst", "function": lambda a: a[-1].min(), "definition": DEFINITION} | changes)
    )


def lines_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def rows_of(store: Store, study: Study) -> dict[str, CellRow]:
    return {row.cell.label: row for row in collect(study, hand.filled(store, study))}


def report(store: Store, study: Study, format: str, **options: Any) -> str:
    return render(study, hand.filled(store, study), format, **options)


def cells(page: str, title: str) -> list[list[str]]:
    """Texts of the first table after a title of a page, header first."""
    table = page[page.index(title) :].partition("</table>")[0]
    rows = re.findall(r"<tr>(.*?)</tr>", table, re.DOTALL)
    return [[re.sub("<.*?>", "", cell) for cell in re.findall(r"<t[hd].*?</t[hd]>", row)] for row in rows]


# Where it appears


def test_csv_has_it_behind_the_metrics_of_raycl(store: Store) -> None:
    text = report(store, hand.study(metrics=[worst()]), "csv")
    header = text.splitlines()[0].split(",")
    assert header[header.index("val_acc_std") + 1 : header.index("ps")] == ["worst", "worst_std"]
    assert [name for name in header if not name.startswith("worst")][: len(columns())] == columns()
    values = [float(line["worst"]) for line in lines_of(text)]
    assert values == pytest.approx([0.80, 0.82, 0.81, 0.60, 0.66, 0.63])
    assert float(lines_of(text)[-1]["worst_std"]) == pytest.approx(0.06 / math.sqrt(2))


def test_the_page_has_it_among_more_numbers_and_says_what_it_means(store: Store) -> None:
    page = report(store, hand.study(metrics=[worst()]), "html")
    header, reference, finetune = cells(page, "More numbers")
    place = header.index("worst")
    assert header[place + 1] == "std" and reference[place] == ".810"
    assert finetune[place : place + 2] == [".630", ".042"]
    assert "worst" not in cells(page, "<h3>digits_permuted")[0]
    assert DEFINITION in Page(page).words


def test_the_main_table_of_the_page_has_it_where_it_asks_for_that(store: Store) -> None:
    page = report(store, hand.study(metrics=[worst(main=True)]), "html")
    header, reference, finetune = cells(page, "<h3>digits_permuted")
    assert header[1:] == ["acc", "std", "fwt_vs_one", "std", "bwt", "std", "worst", "std", "ps", "",
                          "time (s)", "params", "stored"]  # fmt: skip
    assert (reference[7], finetune[7], finetune[8]) == (".810", ".630", ".042")
    assert "worst" not in cells(page, "More numbers")[0]


def test_a_page_by_orders_has_it_too(store: Store) -> None:
    study = hand.study(orders=2, methods={"finetune": {}}, metrics=[worst(main=True)])
    for order in (0, 1):
        cell = hand.cells(study)[f"finetune/{BENCHMARK}/order {order}"]
        for seed in (1, 2):
            hand.put(store, cell.spec({}, seed), hand.reports(hand.TUNED[seed]))
    page = render(study, hand.read(store, study), "html")
    header, first, _ = cells(page, "By order of the tasks")
    assert first[header.index("worst")] == ".630"


def test_the_table_has_it_below_the_others(store: Store) -> None:
    text = report(store, hand.study(metrics=[worst()]), "table")
    assert text.startswith(report(store, hand.study(), "table").partition("value and")[0])
    assert "\nmethod    worst\none       .810 .014\nfinetune  .630 .042\nvalue and" in text


def test_many_metrics_of_long_names_keep_the_80_columns(store: Store) -> None:
    names = ["a" * 40, "b" * 40, *(f"metric_{n}" for n in range(12))]
    study = hand.study(metrics=[worst(name=name) for name in names])
    text = report(store, study, "table")
    assert max(map(len, text.splitlines())) <= 80
    assert all(re.search(rf"\b{name}\b", text) for name in names)
    assert text.count("\nfinetune ") == 1 + 1 + 1 + 3  # the main block, two long names, five to a block


def test_latex_has_it_in_a_table_that_goes_on(store: Store) -> None:
    text = report(store, hand.study(metrics=[worst()]), "latex")
    plain = report(store, hand.study(), "latex")
    assert "worst" not in plain and plain.count("\\begin{table}") == 1
    assert text.count("\\begin{table}") == 2
    assert "method & worst \\\\\n\\midrule\none & $.810$" in text.partition("\\caption{continued}")[2]


def test_a_table_of_a_paper_and_a_view_find_it_by_name(store: Store) -> None:
    table = PaperTable("T", rows={"ours": "finetune"}, columns={"w": (BENCHMARK, "worst")}, best="worst")
    boxes = Boxes("B", x="fit.lr", colour="fit.lr", point=["seed"], value="worst")
    study = hand.study(metrics=[worst()], tables=[table], views=[boxes])
    (cell,) = lines_of(report(store, study, "csv", tables=True))
    assert (cell["metric"], float(cell["ours"])) == ("worst", pytest.approx(0.63)) and cell["status"] == ""
    points = lines_of(report(store, study, "csv", points=True))
    finetuned = [float(point["worst"]) for point in points if point["label"] == "finetune"]
    assert finetuned == pytest.approx([0.60, 0.66])


def test_how_it_is_written(store: Store) -> None:
    """A difference with its sign, a count without decimals: also in tables and views that name it."""
    lost = worst(name="lost", function=lambda a: a[0, 0] - a[-1, 0], signed=True)  # .28, .24; reference 0
    above = worst(name="above", function=lambda a: int((a[-1] > 0.65).sum()), unit="count")  # 1, 2
    table = PaperTable("T", rows={"ours": "finetune"}, columns={"l": (BENCHMARK, "lost")})
    boxes = [Boxes(n, x="fit.lr", colour="fit.lr", point=["seed"], value=n) for n in ("lost", "above")]
    study = hand.study(metrics=[lost, above], tables=[table], views=boxes)
    text = report(store, study, "table")
    assert re.search(r"^ours +\+\.260 \.028$", text, re.M)  # of the paper's table
    assert re.search(r"^finetune +\+\.260 \.028 +1\.5 0\.7$", text, re.M)
    assert re.search(r"^one +\.000 \.000 +2 0$", text, re.M)
    assert re.search(r"^0\.\d+ +\S+ +2 +\+\.130 ", text, re.M)  # by seed, mean of 0 and .28, of 0 and .24
    assert re.search(r"^0\.\d+ +\S+ +2 +1\.8 ", text, re.M)  # mean of 2 and 1, of 2 and 2


def test_tables_leave_the_reference_blank_where_it_asks_for_that(store: Store) -> None:
    study = hand.study(metrics=[worst(blank_for_reference=True)])
    text = report(store, study, "table")
    assert re.search(r"^one +- *$", text, re.M) and re.search(r"^finetune +\.630 \.042$", text, re.M)
    assert float(lines_of(report(store, study, "csv"))[2]["worst"]) == pytest.approx(0.81)


# What it is given


def test_it_may_ask_for_validation_and_for_the_reference(store: Store) -> None:
    seen: list[tuple[Any, ...]] = []

    def both(val: Any, one: Any) -> float:
        seen.append((val, one))
        return float(val[-1].mean() - one.mean())

    metric = worst(name="both", function=both, inputs=["val", "reference"])
    study = hand.study(metrics=[metric], methods={"one": {"method": hand.ALONE}, "finetune": {}})
    rows = rows_of(store, study)
    assert rows["finetune"].stat("both").values == pytest.approx((0.72 - 0.85, 0.73 - 0.87))
    assert rows["one"].stat("both").values == () and len(seen) == 2  # the reference has no reference
    val, one = seen[0]
    assert val.dtype == np.float64 and np.isnan(val[0, 1]) and one.tolist() == [0.90, 0.80]
    alone = hand.study(metrics=[metric], methods={"finetune": {}})
    assert collect(alone, hand.read(store, alone))[0].stat("both").values == ()


def test_what_it_does_to_its_arrays_reaches_nobody(store: Store) -> None:
    def spoilt(a: Any) -> float:
        a[:] = 0
        return 0.0

    rows = rows_of(store, hand.study(metrics=[worst(name="spoilt", function=spoilt), worst()]))
    assert rows["finetune"].mean("worst") == pytest.approx(0.63)
    assert rows["finetune"].mean("acc") == pytest.approx(0.725)


def test_it_is_in_no_key(store: Store, tmp_path: Path) -> None:
    """Not even where it stands in one file with a method of the user's own, whose code is in the key."""
    own = "class Mine(Method):\n    pass\n"
    start = "from raycl import *\nfrom raycl.method import Method\n" + own
    keys = []
    for name, metric in (("a", ""), ("b", "metrics=[Metric('m', lambda a: 1.0, 'one')], ")):
        (tmp_path / name).mkdir()
        file = tmp_path / name / "mine.py"
        rest = "methods={'mine:Mine': {}}, benchmarks=['digits_split'], search=None)\n"
        file.write_text(f"{start}STUDY = Study({metric}{rest}")
        study = read_study(file)
        assert len(study.metrics) == (name == "b")
        keys.append([cell.spec({}, 1).key for cell in cells_of(study)])
    assert keys[0] == keys[1] and len(keys[0]) == 1


# Where there is no number


def test_where_an_entry_was_not_measured_it_is_absent_and_not_zero(store: Store) -> None:
    corner = worst(
        name="corner", function=lambda a: a[0, 1]
    )  # zero-shot accuracy, which is not measured here
    nothing = worst(name="nothing", function=lambda a: None)
    study = hand.study(metrics=[corner, nothing])
    row = rows_of(store, study)["finetune"]
    assert row.mean("corner") is None and row.mean("nothing") is None and row.notes == ()
    assert {line["corner"] + line["nothing"] for line in lines_of(report(store, study, "csv"))} == {""}
    assert re.search(r"^finetune +- +-$", report(store, study, "table"), re.M)


def explodes(a: Any) -> float:
    return float(1 / (a[-1, 0] - 0.60))  # of finetuning's first seed


LINE = explodes.__code__.co_firstlineno


@pytest.mark.parametrize(
    ("function", "fault"),
    [
        (explodes, rf"\S*test_ownmetrics\.py:{LINE}: its function returns inf, not a finite number"),
        (lambda a: {}["a"], r"\S*test_ownmetrics\.py:\d+: KeyError: 'a'"),
        (lambda a: exec("raise SystemExit(3)"), r"\S*test_ownmetrics\.py:\d+: it calls sys\.exit\(3\).*"),
        (lambda a: "high", r".*its function returns 'high', not a finite number"),
        (lambda a: a[-1], r".*its function returns \[.*\], not a finite number"),
        (lambda a: True, r".*its function returns True, not a finite number"),
        (np.linalg.cholesky, r"its function returns array.*, not a finite number"),  # in no own file
    ],
)
def test_a_function_that_gives_no_number_is_said_and_ends_no_report(
    store: Store, function: Callable[[Any], Any], fault: str
) -> None:
    study = hand.study(metrics=[worst(name="bad", function=function), worst()])
    row = rows_of(store, study)["finetune"]
    text, lines = report(store, study, "table"), lines_of(report(store, study, "csv"))
    assert row.mean("worst") == pytest.approx(0.63) and row.mean("acc") == pytest.approx(0.725)
    over = "bad over 1 of 2 seeds" if function is explodes else "no bad"
    assert re.fullmatch(f"{over}: {fault}", row.notes[0]) and len(row.notes) == 1
    assert over in " ".join(text.split())
    assert lines[3]["bad"] == "" and float(lines[3]["worst"]) == pytest.approx(0.60)


def test_the_page_says_it_too(store: Store) -> None:
    page = report(store, hand.study(metrics=[worst(name="bad", function=explodes, main=True)]), "html")
    assert "bad over 1 of 2 seeds: " in Page(page).words
    header, _, finetune = cells(page, "<h3>digits_permuted")
    assert finetune[header.index("bad") :][:2] == ["16.667", ""]  # 1 / (.66 - .60), of the other seed


# What is refused before anything runs


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("acc", r"metrics = 'acc' should be a list of metrics, such as \[Metric\(\.\.\.\)\]"),
        (["acc"], r"metrics = \['acc'\] should be a list"),
        ([worst(), worst()], "metrics: two metrics are named 'worst'; rename one"),
        ([worst(unit="percents")], "metrics: 'worst': unknown unit 'percents'; did you mean 'percent'"),
        ([worst(unit=[])], r"metrics: 'worst': unknown unit \[\]"),
        (
            [worst(inputs=("test", "reference"))],
            r"metrics: 'worst': its function cannot be called with one array for each of "
            r"inputs = \('test', 'reference'\)",
        ),
        ([worst(function=lambda: 1.0)], "metrics: 'worst': its function cannot be called with one array"),
    ],
)
def test_what_cannot_stand_beside_raycls(given: Any, message: str) -> None:
    with pytest.raises(UserError, match=f"^mine.py: {message}") as caught:
        cells_of(hand.study(metrics=given, file="mine.py"))
    assert "\n" not in str(caught.value)


TAKEN = {"ps", "ct", "seed", "matrix", "acc_task", "gain_over_ncl", "density", "difference", "stored", "t"}


@pytest.mark.parametrize("name", sorted({metric.name for metric in metrics.METRICS} | TAKEN))
def test_a_name_that_stands_for_something_else_is_refused(name: str) -> None:
    what = "another quantity" if name in TAKEN else "a metric"
    with pytest.raises(UserError) as caught:
        cells_of(hand.study(metrics=[worst(name=name)], file="mine.py"))
    assert (
        str(caught.value) == f"mine.py: metrics: '{name}' is the name of {what} of raycl; choose another name"
    )


def test_a_function_without_a_signature_is_taken_as_it_is(store: Store) -> None:
    study = hand.study(metrics=[worst(name="largest", function=max)])  # of rows, whose truth nobody knows
    assert rows_of(store, study)["finetune"].notes[0].startswith("no largest: ")


def test_a_curve_along_tasks_of_it_is_refused_as_of_raycls() -> None:
    said = "is one number per run; a line needs a metric that each task has, such as acc_task"
    with pytest.raises(UserError, match=f"acc_just {said}"):
        Curves("C", value="acc_just[t]")
    with pytest.raises(UserError, match=f"mine.py: views: 'C': worst {said}"):
        cells_of(hand.study(metrics=[worst()], views=[Curves("C", value="worst[t]")], file="mine.py"))


def test_a_table_that_names_another_metric_is_told_of_it() -> None:
    table = PaperTable("T", rows={"ours": "finetune"}, columns={"w": (BENCHMARK, "wurst")})
    with pytest.raises(UserError, match="unknown metric 'wurst'; did you mean 'worst'"):
        cells_of(hand.study(methods={"finetune": {}}, metrics=[worst()], tables=[table]))


# Raycl's table


def test_a_metric_added_to_the_table_is_everywhere(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing but the table names the metrics."""
    plain = report(store, hand.study(), "table")
    added = (*metrics.METRICS, worst(main=True), worst(name="second"))
    monkeypatch.setattr(metrics, "METRICS", added)
    study = hand.study(
        tables=[PaperTable("T", rows={"ours": "finetune"}, columns={"w": (BENCHMARK, "worst")})]
    )
    text = report(store, study, "table")
    assert re.search(r"^method +acc +fwt_vs_one +bwt +worst +ps ", text, re.M) and "worst" not in plain
    assert re.search(r"^ours +\.630 \.042$", text, re.M)
    line = lines_of(report(store, study, "csv"))[-1]
    assert float(line["worst"]) == float(line["second"]) == pytest.approx(0.63)
    page = report(store, study, "html")
    assert cells(page, "<h3>digits_permuted")[0].count("worst") == 1
    assert cells(page, "More numbers")[0].count("second") == 1
    assert Page(page).words.count(DEFINITION) == 2
    with pytest.raises(UserError, match="'second' is the name of a metric of raycl;"):
        cells_of(hand.study(metrics=[worst(name="second")]))
    with pytest.raises(UserError, match="second is one number per run"):
        Curves("C", value="second[t]")


def test_json_of_the_matrix_is_what_it_was(store: Store) -> None:
    """The function's arrays are copies: what is printed beside it is the stored matrix."""
    lines = lines_of(report(store, hand.study(metrics=[worst()]), "csv"))
    assert json.loads(lines[3]["matrix"]) == [[0.88, None], [0.60, 0.84]]

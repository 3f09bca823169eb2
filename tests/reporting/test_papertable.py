"""A paper's tables on stores made by hand: each number beside the printed one, worked out on paper."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from raycl import PaperTable, units
from raycl.errors import UserError
from raycl.methods.spg import SPG
from raycl.papers import tabletext
from raycl.papers.cells import SUBSET, SUBSTITUTE, Entry, FilledTable, fill_table
from raycl.papers.printed import printed_numbers
from raycl.papers.tables import known_metrics
from raycl.papers.tabletext import tables_of
from raycl.reporting import render
from raycl.results import collect
from raycl.results.collect import sections
from raycl.results.grammar import Metric, parse_metric
from raycl.results.numbers import along, number
from raycl.runs.store import Store
from raycl.study.cells import Data
from raycl.study.expand import cells_of
from raycl.study.values import Seeds, Study
from raycl.text import ABSENT
from tests.helpers import hand
from tests.helpers.hand import ALONE, BENCHMARK
from tests.reporting.test_html import Page

pytestmark = pytest.mark.usefixtures("as_published")

THREE = Seeds(1, 2, 3)
SPLIT = "digits_split"
NINE = {"C-10": "cifar100_10", "C-20": "cifar100_20", "T-10": "tiny_10", "T-20": "tiny_20",
        "I-100": "imagenet32_100", "FC-10": "fceleba_10", "FC-20": "fceleba_20", "FE-10": "femnist_10",
        "FE-20": "femnist_20"}  # fmt: skip
TABLE = PaperTable("Table 6: accuracy", table="6", rows={"SPG": "spg"}, columns={"C-10": "cifar100_10"})


def study_of(*tables: PaperTable, **changes: Any) -> Study:
    base = {"methods": {"spg": {}}, "benchmarks": ["cifar100_10"], "paper": "spg", "network": "alexnet",
            "final": THREE, "tables": tables}  # fmt: skip
    return hand.study(**(base | changes))


def played(
    store: Store, study: Study, accs: Mapping[str, Sequence[float]], diagnostics: Any = None, **about: Any
) -> Study:
    """Runs with these accuracies by seed, by label or label/benchmark; a cell that is not here was not run.

    Data are not here: results were made elsewhere.
    """
    for name, cell in hand.cells(study).items():
        for seed, acc in zip((1, 2, 3), accs.get(name, accs.get(cell.label, ())), strict=False):
            rows = hand.reports([[acc], [acc, acc]], **about)
            if diagnostics is not None:
                rows = tuple(
                    dataclasses.replace(row, diagnostics=diagnostics(cell.label, row.task)) for row in rows
                )
            hand.put(store, cell.spec({}, seed), rows)
    return study


def tables(store: Store, study: Study) -> list[FilledTable]:
    return tables_of(study, sections(study, collect.collect(study, hand.read(store, study))))


def only(store: Store, study: Study) -> Entry:
    """The one cell of the one table."""
    ((entry,),) = [list(found.entries.values()) for found in tables(store, study)]
    return entry


# Numbers

WORKED = """\
Table 6: accuracy (fraction)
method   C-10
         ours       paper    diff
SPG      .720 .020  .66 .01  +.060*
mean and standard deviation over 3 seeds; no search
paper: as printed (Table 6 of spg)
diff: ours - paper; * marks a difference larger than the half-width of its 95 %
  confidence interval (Student's t) and than the printed number's rounding; the
  paper's deviations are assumed to be over 5 runs

cifar100_10 (2 tasks, dissimilar), 3 seeds, no search
"""


def test_a_worked_example(store: Store) -> None:
    study = played(store, study_of(TABLE), {"spg": (0.70, 0.72, 0.74)})
    entry = only(store, study)
    assert (entry.ours.mean, entry.ours.std) == (pytest.approx(0.72), pytest.approx(0.02))
    assert entry.printed is not None and (entry.printed.value, entry.printed.std) == (0.66, 0.01)
    assert entry.difference == pytest.approx(0.06)
    # The standard error is sqrt(.0004 / 3 + .0001 / 5) = .0123828; of (.00013333 + .00002)^2 over
    # .00013333^2 / 2 + .00002^2 / 4, which is 2.6156, degrees of freedom, t is 3.4641.
    assert entry.half_width == pytest.approx(0.0428957, rel=1e-5)
    assert entry.beyond
    assert render(study, hand.read(store, study)).startswith(WORKED)


@pytest.mark.parametrize(
    ("column", "accs", "beyond"),
    [
        ("C-10", (0.664, 0.664, 0.664), False),  # .004 of t(4) sqrt(.0001 / 5) = 2.776 * .00447 = .0124
        ("C-10", (0.672, 0.672, 0.672), False),
        ("C-10", (0.673, 0.673, 0.673), True),
        ("C-10", (0.650, 0.670, 0.690), False),  # .010 of 3.464 sqrt(.0004 / 3 + .00002) = .0429
        ("C-10", (0.682, 0.702, 0.722), False),
        ("C-10", (0.683, 0.703, 0.723), True),
        ("C-20", (0.754, 0.754, 0.754), False),  # printed .75 .00: .754 may be just that
        ("C-20", (0.756, 0.756, 0.756), True),
        ("C-20", (0.745, 0.745, 0.745), False),  # exactly half of the last digit
        ("C-20", (0.950, 0.951), False),  # two seeds give no verdict
        ("C-20", (0.950,), False),
    ],
)
def test_what_is_more_than_its_uncertainty(
    store: Store, column: str, accs: Sequence[float], beyond: bool
) -> None:
    table = dataclasses.replace(TABLE, columns={column: NINE[column]})
    study = study_of(table, benchmarks=[NINE[column]], final=Seeds(*range(1, len(accs) + 1)))
    assert only(store, played(store, study, {"spg": accs})).beyond == beyond


def test_fewer_paper_seeds_widen_the_error(store: Store) -> None:
    """Ours have no spread here: t(n - 1) .01 / sqrt(n) is all, and nothing is known of n = 1."""
    study = played(store, study_of(TABLE), {"spg": (0.67,) * 3})
    for n, half_width in ((5, 2.776445 * 0.01 / 5**0.5), (2, 12.706205 * 0.01 / 2**0.5), (1, None)):
        fewer = dataclasses.replace(study, tables=[dataclasses.replace(TABLE, paper_seeds=n)])
        assert only(store, fewer).half_width == pytest.approx(half_width)
    far = played(store, study_of(dataclasses.replace(TABLE, paper_seeds=1)), {"spg": (0.1,) * 3})
    assert not only(store, far).beyond
    assert "the uncertainty of a single value is unknown" in render(far, hand.read(store, far))


def test_of_equal_means_one_cell_in_twenty_has_a_star() -> None:
    """Three values of ours beside a mean of five and its deviation, or beside a number that is known."""
    random = np.random.default_rng(0)
    ours, theirs = random.normal(0.7, 0.05, (2_000, 3)), random.normal(0.7, 0.05, (2_000, 5))
    printed = printed_numbers("spg")[0]
    entry = Entry("SPG", "C-10", "spg", "cifar100_10", Metric("acc"), "fraction", 5)

    def starred(value: float, std: float | None, values: Sequence[float]) -> bool:
        paper = dataclasses.replace(printed, value=value, std=std, text=".70001")
        return dataclasses.replace(entry, values=dict(enumerate(values)), printed=paper).beyond

    beside = [
        starred(mean, std, values)
        for mean, std, values in zip(theirs.mean(1), theirs.std(1, ddof=1), ours.tolist(), strict=True)
    ]
    assert np.mean(beside) == pytest.approx(0.05, abs=0.015)
    known = [starred(0.7, None, values) for values in ours.tolist()]
    assert np.mean(known) == pytest.approx(0.05, abs=0.015)


def test_the_mean_is_over_seeds_of_all_columns_and_beside_the_papers(store: Store) -> None:
    """Offsets .00 to .08 over nine columns: .80 .82 .84 have the mean .86 with the same spread."""
    table = dataclasses.replace(TABLE, table="6, 12", columns=NINE, mean=True)
    study = study_of(table, benchmarks=list(NINE.values()))
    accs = {
        f"spg/{name}": [acc + n / 100 for acc in (0.80, 0.82, 0.84)] for n, name in enumerate(NINE.values())
    }
    (found,) = tables(store, played(store, study, accs))
    mean = found.entries["SPG", "mean"]
    assert list(mean.values.values()) == pytest.approx([0.84, 0.86, 0.88])
    assert mean.printed is not None and (mean.printed.value, mean.printed.std) == (0.72, None)
    assert mean.difference == pytest.approx(0.14)
    assert mean.half_width == pytest.approx(4.302653 * 0.02 / 3**0.5)  # of ours alone
    assert "or 0 where none is printed" in " ".join(render(study, hand.read(store, study)).split())


def test_a_mean_over_fewer_columns_is_not_the_papers_and_one_that_lacks_a_column_is_none(
    store: Store,
) -> None:
    columns = {label: NINE[label] for label in ("C-10", "C-20")}
    table = dataclasses.replace(TABLE, columns=columns, mean=True)
    study = study_of(table, benchmarks=list(columns.values()))
    accs = {"spg/cifar100_10": (0.5, 0.6, 0.7), "spg/cifar100_20": (0.7, 0.8)}
    (found,) = tables(store, played(store, study, accs))
    mean = found.entries["SPG", "mean"]
    assert mean.values == pytest.approx({1: 0.6, 2: 0.7}) and mean.printed is None
    assert mean.reason == "mean over 2 of 3 seeds"
    wider = dataclasses.replace(table, columns=columns | {"T-10": "tiny_10"})
    (found,) = tables(store, dataclasses.replace(study, tables=[wider]))
    assert found.entries["SPG", "mean"].ours.mean is None and found.entries["SPG", "T-10"].status == "not run"


def test_a_gain_is_paired_by_seed(store: Store) -> None:
    """.52 .55 .61 less .50 .51 .55 is .02 .04 .06."""
    table = PaperTable("Gain", metric="gain_over_ncl", rows={"EWC": "ewc", "NCL": "finetune"},
                       columns={"digits": SPLIT})  # fmt: skip
    study = study_of(table, methods={"ewc": {}, "finetune": {}}, benchmarks=[SPLIT], network="mlp")
    played(store, study, {"ewc": (0.52, 0.55, 0.61), "finetune": (0.50, 0.51, 0.55)})
    (found,) = tables(store, study)
    gain = found.entries["EWC", "digits"]
    assert (gain.ours.mean, gain.ours.std) == (pytest.approx(0.04), pytest.approx(0.02))
    assert found.entries["NCL", "digits"].ours.mean == 0
    text = render(study, hand.read(store, study))
    assert "EWC      +.040 .020" in text and "NCL       .000 .000" in text
    bare = study_of(table, methods={"ewc": {}}, benchmarks=[SPLIT], network="mlp")
    assert tables(store, bare)[0].entries["EWC", "digits"].status == ABSENT  # nothing to measure it from


def test_moments_and_layers_as_rows(store: Store) -> None:
    rows = {f"SPG, {layer}, t = {t}": ("spg", f"blocked[layer={layer};t={t}]")
            for layer in ("conv1", "conv2") for t in ("1", "T")}  # fmt: skip
    table = PaperTable("Table 7: blocked", rows=rows, columns={"C-10": "cifar100_10"}, unit="percent")
    study = study_of(table)
    played(store, study, {"spg": (0.5, 0.5, 0.5)}, lambda label, task: {
        "blocked": 0.9, "blocked_layers": {"conv1": 0.1 * (task + 1), "conv2": 0.005}})  # fmt: skip
    (found,) = tables(store, study)
    assert [entry.ours.mean for entry in found.all] == pytest.approx([0.1, 0.2, 0.005, 0.005])
    assert "SPG, conv1, t = T   20.0 0.0" in render(study, hand.read(store, study))
    (row,) = collect.collect(study, hand.read(store, study))
    metric = parse_metric("blocked[t=T]")
    assert metric is not None and number(row, row.finals[0], metric) == 0.9
    assert along(row.finals[0], metric, "layer") == pytest.approx({"conv1": 0.2, "conv2": 0.005})


def test_printed_moments_are_found_whatever_the_order_of_what_is_picked(store: Store) -> None:
    rows = {"SPG, conv2": ("spg", "blocked[t=5,layer=conv2]"), "F-each": ("spg", "f_each[t=T/2]")}
    table = PaperTable("7 and 8", table="7, 8", rows=rows, columns={"C-10": "cifar100_10"}, unit="percent")
    (found,) = tables(store, study_of(table))
    assert [entry.printed and entry.printed.value for entry in found.all] == [pytest.approx(0.0047), 0.61]
    text = render(study_of(table), hand.read(store, study_of(table)))
    assert "SPG, conv2   blocked  0.47" in text and "F-each       blocked    61" in text


def test_minutes_have_no_differences(store: Store) -> None:
    table = PaperTable("Table 9: time", table="9", metric="ct_fits", rows={"SPG": "spg"},
                       columns={"C-10": "cifar100_10"}, unit="minutes")  # fmt: skip
    study = played(store, study_of(table), {"spg": (0.5, 0.5, 0.5)}, main=345.0)
    assert only(store, study).difference is None
    text = render(study, hand.read(store, study))
    assert "SPG      11.5 0.0  19 4\n" in text and "no differences" in text


def test_orders_count_as_their_means(store: Store) -> None:
    study = study_of(TABLE, orders=2, final=Seeds(1, 2))
    for name, cell in hand.cells(study).items():
        for seed in (1, 2):
            acc = 0.6 + 0.02 * (name.endswith("1")) + 0.1 * (seed - 1)
            hand.put(store, cell.spec({}, seed), hand.reports([[acc], [acc, acc]]))
    entry = only(store, study)
    assert entry.values == pytest.approx({0: 0.65, 1: 0.67}) and entry.wanted == 2


# What stands in place of a number


def test_a_subset_has_no_printed_number(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    study = played(store, study_of(TABLE), {"spg": (0.70, 0.72, 0.74)})
    monkeypatch.setattr(collect, "_facts", lambda *_: Data((10, 10), False, "a fifth of the images"))
    entry = only(store, study)
    assert entry.word == SUBSET and entry.printed is None and entry.difference is None
    text = render(study, hand.read(store, study))
    assert "         subset\nSPG      .720 .020\n" in text and ".66" not in text
    assert "C-10: subset: a fifth of the images; cannot be compared with printed numbers" in text


@pytest.mark.parametrize(
    ("label", "benchmark", "word"),
    [
        ("C-10", "cifar100_10", ""),
        ("any name", "cifar100_10", ""),
        ("C-10", "cifar100_20", SUBSTITUTE),  # another than the paper calls so
        ("C-10", "cifar100_10(class_order='id')", SUBSTITUTE),  # its tasks are not the paper's
        ("C-10", "cifar100_10(val=0.2)", ""),  # its tasks and test images are
        ("C-10", "cifar100_10(class_order='id', val=0.2)", SUBSTITUTE),
        ("digits", SPLIT, SUBSTITUTE),
        ("C-10", SPLIT, SUBSTITUTE),
    ],
)
def test_a_substitute_has_no_printed_number(store: Store, label: str, benchmark: str, word: str) -> None:
    table = dataclasses.replace(TABLE, columns={label: benchmark})
    network = "mlp" if benchmark == SPLIT else "alexnet"
    study = study_of(table, benchmarks=[benchmark], network=network)
    entry = only(store, played(store, study, {"spg": (0.70, 0.72, 0.74)}))
    assert entry.word == word and (entry.printed is None) == bool(word)
    text = render(study, hand.read(store, study))
    assert (f"         {SUBSTITUTE}\n" in text) == bool(word) == ("other data than the paper's" in text)


def test_a_substitute_is_named_by_its_columns_and_not_by_their_mean(store: Store) -> None:
    table = dataclasses.replace(TABLE, columns={"own": BENCHMARK, "C-10": SPLIT}, mean=True)
    study = study_of(table, benchmarks=[BENCHMARK, SPLIT], network="mlp")
    (found,) = tables(store, study)
    assert [entry.mean for entry in found.all] == [False, False, True]
    named = "C-10: digits_split)"
    assert tabletext.notes(found)[-1] == (
        f"substitute: other data than the paper's (own: {BENCHMARK}, {named}"
    )
    place = ("SPG", "own")  # whatever stands in the text of a benchmark
    entry = dataclasses.replace(found.entries[place], benchmark="npz(path='a; b.npz')")
    other = dataclasses.replace(found, entries={**found.entries, place: entry})
    assert tabletext.notes(other)[-1].endswith(f"(own: npz(path='a; b.npz'), {named}")


def test_a_row_may_be_called_mean(store: Store) -> None:
    """It is one like any other, though a column of that name may be the mean over the others."""
    table = dataclasses.replace(TABLE, rows={"mean": "spg", "other": "hat"}, columns={"a": SPLIT, "b": SPLIT})
    study = study_of(table, methods={"spg": {}, "hat": {}}, benchmarks=[SPLIT], network="mlp")
    for name in ("spg", "hat"):
        (cell,) = [cell for cell in hand.cells(study).values() if cell.label == name]
        hand.put(store, cell.spec({}, 1), hand.reports([[0.5], [0.5, 0.5]]))
    (found,) = tables(store, study)
    assert tabletext.notes(found)[0] == "a, b: mean over 1 of 3 seeds"


HELD = "20 % of the training images are held out (val=0.2)"


def test_what_is_held_out_is_said_under_the_table(store: Store) -> None:
    one, two = "cifar100_10(val=0.2)", "cifar100_20"
    table = dataclasses.replace(TABLE, columns={"C-10": one, "C-20": two})
    study = played(store, study_of(table, benchmarks=[one, two]), {"spg": (0.70, 0.72, 0.74)})
    agenda = hand.read(store, study)
    text = render(study, agenda)
    assert f"\nC-10: {HELD}\n" in text and ".66 .01" in text and "substitute" not in text
    assert HELD.replace("%", "\\%") in render(study, agenda, "latex")
    assert HELD in Page(render(study, agenda, "html")).words
    alone = dataclasses.replace(study, tables=[dataclasses.replace(table, columns={"C-10": one}, mean=True)])
    assert f"\n{HELD}\n" in render(alone, agenda)  # all of the table
    assert HELD not in render(dataclasses.replace(study, paper=""), agenda)
    bare = dataclasses.replace(study, tables=[dataclasses.replace(table, table="3")])
    assert HELD not in render(bare, agenda)  # nothing printed stands beside it


# KSM's Tables 1 and 3: a printed name means a task

TWENTY = "cifar100_super"


def ksm_study(table: PaperTable, *benchmarks: str) -> Study:
    return hand.study(methods={"ksm": {}}, benchmarks=benchmarks, paper="ksm", network="vgg16_bn",
                      final=THREE, tables=[table])  # fmt: skip


def test_printed_accuracies_of_a_sequence_that_begins_with_another_task(store: Store) -> None:
    """Our first task is the paper's fifth, our second its first; its sixth stays where it is."""
    place = f"{TWENTY}(first=5, val=0.1)"
    columns = {"task 5": f"{place}#1", "task 1": f"{place}#2", "task 6": f"{place}#6", "avg": place}
    table = PaperTable("Table 3", table="3", rows={"Ours": "ksm"}, columns=columns, unit="percent")
    study = ksm_study(table, place)
    (cell,) = hand.cells(study).values()
    for seed in (1, 2, 3):
        hand.put(store, cell.spec({}, seed), hand.reports([[0.84], [0.84, 0.66]]))
    (found,) = tables(store, study)
    beside = {entry.column: (entry.ours.mean, entry.printed and entry.printed.value) for entry in found.all}
    assert beside == {"task 5": (pytest.approx(0.84), 0.848), "task 1": (pytest.approx(0.66), 0.67),
                      "task 6": (None, 0.826), "avg": (pytest.approx(0.75), 0.788)}  # fmt: skip


def test_printed_seconds_stand_beside_those_of_training_each_task(store: Store) -> None:
    columns = {f"task {t}": f"{TWENTY}#{t}" for t in range(1, 21)}
    table = PaperTable("Table 1: seconds", table="1", rows={"Ours": "ksm"}, columns=columns,
                       metric="ct_train", unit="seconds", mean=True)  # fmt: skip
    study = ksm_study(table, TWENTY)
    (cell,) = hand.cells(study).values()
    for seed in (1, 2, 3):
        made = hand.reports([[0.5] * (t + 1) for t in range(20)], extra={"method": 7.0})
        made = tuple(dataclasses.replace(r, seconds={**r.seconds, "main": 10.0 * r.task}) for r in made)
        hand.put(store, cell.spec({}, seed), made)
    (found,) = tables(store, study)
    third, mean = found.entries["Ours", "task 3"], found.entries["Ours", "mean"]
    assert (third.ours.mean, third.printed and third.printed.value) == (20.0, 111.0)
    assert (mean.ours.mean, mean.printed and mean.printed.value) == (95.0, 94.3)
    assert third.difference is None and mean.difference is None  # times of other machines
    whole = dataclasses.replace(table, columns={"all": TWENTY}, mean=False)
    ((entry,),) = [each.all for each in tables(store, dataclasses.replace(study, tables=[whole]))]
    assert entry.ours.mean == 1900.0 and entry.printed is None  # a sum is not the paper's average
    pairs = {"task 3": (TWENTY, "ct_train[t=3]"), "with all phases": (TWENTY, "ct_task[t=3]")}
    picked = dataclasses.replace(table, columns=pairs, mean=False)
    ((one, other),) = [each.all for each in tables(store, dataclasses.replace(study, tables=[picked]))]
    assert (one.ours.mean, other.ours.mean) == (20.0, 27.0)


def test_the_mean_over_all_tasks_is_the_printed_average(store: Store) -> None:
    columns = {f"task {t}": f"{TWENTY}#{t}" for t in range(1, 21)}
    table = PaperTable("Table 1", table="1", rows={"Ours": "ksm"}, columns=columns, mean=True)
    (found,) = tables(store, ksm_study(table, TWENTY))
    printed = found.entries["Ours", "mean"].printed
    assert printed is not None and printed.value == 0.792
    fewer = dataclasses.replace(table, columns=dict(list(columns.items())[:19]))
    (found,) = tables(store, ksm_study(fewer, TWENTY))
    assert found.entries["Ours", "mean"].printed is None


def test_without_a_paper_nothing_stands_beside_ours(store: Store) -> None:
    study = played(store, study_of(TABLE, paper=""), {"spg": (0.70, 0.72, 0.74)})
    assert render(study, hand.read(store, study)).startswith(
        "Table 6: accuracy (fraction)\nmethod   C-10\nSPG      .720 .020\n"
    )


def test_a_table_of_which_nothing_is_known_says_so(store: Store) -> None:
    study = study_of(dataclasses.replace(TABLE, table="3"))
    assert "no printed number of Table 3 of spg is known" in render(study, hand.read(store, study))
    pmask = dataclasses.replace(study, paper="pmask")
    assert "no printed number of Table 3 of pmask is known" in render(pmask, hand.read(store, pmask))


def test_why_a_cell_has_no_number(store: Store) -> None:
    rows = {"ONE": "one", "NCL": "finetune", "EWC": "ewc", "SPG": "spg", "SI": "hat"}
    table = PaperTable("T", rows=rows, columns={"digits": SPLIT})
    study = study_of(table, methods={"one": {}, "finetune": {}, "ewc": {}, "spg": {}}, benchmarks=[SPLIT],
                     network="mlp", final=Seeds(1, 2))  # fmt: skip
    cells = hand.cells(study)
    hand.put(store, cells[f"one/{SPLIT}"].spec({}, 1), hand.reports([[0.5], [0.5, 0.5]]))
    for seed in (1, 2):
        hand.put(store, cells[f"ewc/{SPLIT}"].spec({}, seed), (), "diverged")
    (found,) = tables(store, study)
    words = {entry.row: (entry.status, entry.reason) for entry in found.all}
    assert words == {"ONE": ("", "mean over 1 of 2 seeds"), "NCL": ("not run", ""), "EWC": ("diverged", ""),
                     "SPG": ("not run", ""), "SI": ("not run", "")}  # fmt: skip
    text = render(study, hand.read(store, study))
    assert "NCL      not run" in text and "\ndigits: mean over" not in text
    assert "ONE on digits: mean over 1 of 2 seeds" in text


def test_blocked_columns_are_said_once(store: Store) -> None:
    table = dataclasses.replace(TABLE, rows={"SPG": "spg", "NCL": "finetune", "HAT": "hat"})
    study = study_of(table, methods={"spg": {}, "finetune": {}})
    text = " ".join(render(study, hand.read(store, study)).split())
    assert "HAT not run" in text and "SPG blocked .66 .01" in text
    assert text.count("C-10: blocked: CIFAR-100, which is not prepared") == 1


# Which cells of the study a row means

HPG = {f"spg-{n}": {"method": "spg", "method.importance_epoch": n} for n in (1, 10)}


def test_variants_are_told_apart_by_their_fields(store: Store) -> None:
    """`spg` is the one at its defaults, since other rows name what the others change."""
    rows = {"SPG": "spg", "SPG@e1": "spg[importance_epoch=1]", "-CHI": "spg[chi=false]"}
    methods = {**HPG, "chi": {"method": "spg", "method.chi": False}, "spg": {}}
    study = study_of(dataclasses.replace(TABLE, rows=rows), methods=methods)
    played(store, study, {"spg": (0.6, 0.6, 0.6), "spg-1": (0.7, 0.7, 0.7), "chi": (0.5, 0.5, 0.5)})
    (found,) = tables(store, study)
    assert [(entry.label, entry.ours.mean) for entry in found.all] == [
        ("spg", pytest.approx(0.6)), ("spg-1", pytest.approx(0.7)), ("chi", pytest.approx(0.5))
    ]  # fmt: skip
    assert [entry.printed.value for entry in found.all if entry.printed] == [0.66, 0.65, 0.64]


def test_a_number_that_another_row_names_is_at_its_default(store: Store) -> None:
    rows = {"EWC": "ewc", "strong": "ewc[lamb=90.0]"}
    methods = {"strong": {"method": "ewc", "method.lamb": 90.0}, "ewc": {}}
    study = study_of(PaperTable("T", rows=rows, columns={"digits": SPLIT}), methods=methods,
                     benchmarks=[SPLIT], network="mlp")  # fmt: skip
    (found,) = tables(store, played(store, study, {"strong": (0.9, 0.9, 0.9), "ewc": (0.5, 0.5, 0.5)}))
    assert [(entry.row, entry.label) for entry in found.all] == [("EWC", "ewc"), ("strong", "strong")]


def test_of_several_cells_the_best_on_validation_is_shown_and_named(store: Store) -> None:
    methods = {f"ewc-{lamb}": {"method": "ewc", "method.lamb": lamb} for lamb in (60.0, 70.0, 80.0, 90.0)}
    study = study_of(PaperTable("T", rows={"EWC": "ewc"}, columns={"digits": SPLIT}), methods=methods,
                     benchmarks=[SPLIT], network="mlp")  # fmt: skip
    for label, (test, val) in {
        "ewc-60.0": (0.9, 0.5),
        "ewc-70.0": (0.6, 0.8),
        "ewc-80.0": (0.7, 0.7),
    }.items():
        for seed in THREE:
            rows = hand.reports([[test], [test, test]], [[val], [val, val]])
            hand.put(store, hand.cells(study)[f"{label}/{SPLIT}"].spec({}, seed), rows)
    entry = only(store, study)
    assert entry.label == "ewc-70.0" and entry.ours.mean == pytest.approx(0.6)
    assert entry.reason == "best val_acc of 3 run of 4 cells: ewc-70.0"
    assert f"EWC on digits: {entry.reason}" in render(study, hand.read(store, study))
    other = dataclasses.replace(study, tables=[dataclasses.replace(study.tables[0], best="acc")])
    assert only(store, other).label == "ewc-60.0"


def test_a_label_of_the_study_may_stand_for_a_method_of_its_own(store: Store) -> None:
    table = PaperTable("T", rows={"Mine": "my-one"}, columns={"digits": SPLIT})
    study = study_of(table, methods={"my-one": {"method": ALONE}}, benchmarks=[SPLIT], network="mlp")
    assert only(store, played(store, study, {"my-one": (0.5, 0.6, 0.7)})).ours.mean == pytest.approx(0.6)


# Layout and formats


def full(store: Store) -> Study:
    """All nine columns with a number of three methods each, one of them with an awkward name."""
    rows = {"NCL": "finetune", "SPG": "spg", "a name that is far too long for a column of methods": "hat"}
    table = PaperTable("Table 14: accuracy", table="14", rows=rows, columns=NINE, mean=True)
    methods: dict[str, Any] = {"finetune": {}, "spg": {}, "hat": {}}
    counts = PaperTable(
        "Table 10: parameters", table="10", metric="params", rows=rows, columns=NINE, unit="count"
    )
    turned = dataclasses.replace(table, transpose=True, title="Turned")
    study = study_of(table, counts, turned, methods=methods, benchmarks=list(NINE.values()))
    accs = {"finetune": (0.31, 0.32, 0.33), "spg": (0.61, 0.62, 0.65), "hat": (0.55, 0.55, 0.55)}
    return played(store, study, accs, parameters=65_198_080)


def test_blocks_of_at_most_80_columns(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SPG, "deviations", ("heads are scaled", "dropout stays on"))
    study = full(store)
    text = render(study, hand.read(store, study))
    assert max(map(len, text.splitlines())) <= 80
    first = text.partition("Table 10")[0]
    assert first.count("\nSPG [1-2]") == 5 and first.count("\nmethod ") == 5  # two columns to a block
    assert "65,198,080" in text
    turned = text.partition("Turned")[2].partition("\n\n")[0].splitlines()
    assert turned[2].split()[:2] == ["ours", "paper"] and turned[3].startswith("C-10 ")
    assert "not as published:\n[1] SPG: heads are scaled\n[2] SPG: dropout stays on\n" in text
    assert text.index("not as published") < text.index("\ncifar100_10 (")


def test_the_page_has_three_numbers_in_a_cell(store: Store) -> None:
    study = study_of(TABLE, dataclasses.replace(TABLE, transpose=True), benchmarks=["cifar100_10"])
    played(store, study, {"spg": (0.51, 0.52, 0.55)})
    page = render(study, hand.read(store, study), "html")
    words = " ".join(Page(page).words.split())
    assert (
        "Table 6: accuracy (fraction)" in words
        and "each cell shows our number, below it the paper's" in words
    )
    assert '<td>.527<span class="std">.021</span><small title="paper">.66<span class="std">.01</span>' in page
    assert '<small class="beyond" title="ours - paper">-.133*</small>' in page
    assert page.count('<table class="paper">') == 2


def test_lines_of_the_csv(store: Store) -> None:
    study = played(store, study_of(TABLE, dataclasses.replace(TABLE, columns={"digits": SPLIT})),
                   {"spg": (0.70, 0.72, 0.74)})  # fmt: skip
    text = render(study, hand.read(store, study), "csv", tables=True)
    first, second = csv.DictReader(io.StringIO(text))
    assert [first[key] for key in ("row", "column", "method", "label", "metric", "n", "number")] == [
        "SPG", "C-10", "spg", "spg", "acc", "3", "6"
    ]  # fmt: skip
    assert [
        float(first[key]) for key in ("ours", "std", "printed", "printed_std", "difference")
    ] == pytest.approx([0.72, 0.02, 0.66, 0.01, 0.06])
    assert float(first["half_width"]) == pytest.approx(0.0428957, rel=1e-5) and first["beyond"] == "1"
    assert [second[key] for key in ("word", "status", "ours", "printed", "n")] == [
        SUBSTITUTE, "not run", "", "", "0"
    ]  # fmt: skip


def test_a_csv_of_tables_needs_some_and_stands_alone(store: Store) -> None:
    study = study_of()
    agenda = hand.read(store, study)
    with pytest.raises(UserError, match=r"has no tables of a paper; add tables="):
        render(study, agenda, "csv", tables=True)
    for wrong in ({"format": "table", "tables": True}, {"format": "csv", "tables": True, "points": True},
                  {"format": "csv", "tables": True, "claims": True}):  # fmt: skip
        with pytest.raises(UserError, match="only one of points, tables and claims at a time"):
            render(study, agenda, **wrong)


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [(0.8421, "fraction", ".842"), (1.0, "fraction", "1.000"), (-0.0004, "fraction", ".000"),
     (-0.1208, "percent", "-12.1"), (0.0005, "percent", "0.05"), (690.0, "minutes", "11.5"),
     (6.0, "minutes", "0.100"), (9000.0, "minutes", "150"), (65_198_080.0, "count", "65,198,080"),
     (47.25, "count", "47.2"), (121.07 * 2**20, "MiB", "121"), (12.0, "seconds", "12.0")],
)  # fmt: skip
def test_units(value: float, unit: str, text: str) -> None:
    assert units.format_number(value, unit, units.decimals(value, unit)) == text


def test_printed_numbers_keep_their_digits() -> None:
    found = {(p.table, p.metric, p.unit): p for p in printed_numbers("spg")}
    fraction, minutes = found["6", "acc", "fraction"], found["9", "ct_fits", "minutes"]
    assert (fraction.last_digit, minutes.last_digit) == (0.01, 60)
    assert units.decimals_of(0.01, "fraction") == 2 and units.decimals_of(0.01, "percent") == 0
    assert units.decimals_of(60, "minutes") == 0 and units.decimals_of(0.0001, "percent") == 2


# What a user may get wrong


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rows": {"SPG": "spgg"}}, r"tables: 'T': rows\['SPG'\]: unknown method 'spgg'; did you mean 'spg'"),
        ({"rows": {"SPG": "spg[chii=false]"}}, r"spg has no field 'chii'; did you mean 'chi'"),
        ({"rows": {"SPG": "spg[chi"}}, "does not read as a method such as"),
        ({"metric": "acb"}, "unknown metric 'acb'; did you mean 'acc'"),
        ({"metric": "acc["}, r"'acc\[' is not a valid metric"),
        ({"best": "vall_acc"}, "unknown metric 'vall_acc'; did you mean 'val_acc'"),
        ({"rows": {"SPG": ("spg", "blokked[t=T]")}}, "unknown metric 'blokked'; did you mean 'blocked'"),
        ({"columns": {"C-10": "cifar100_11"}}, r"columns\['C-10'\]: unknown benchmark 'cifar100_11'"),
        ({"unit": "percents"}, "unknown unit 'percents'; did you mean 'percent'"),
        ({"rows": {}}, "should be a dictionary of at least one printed name"),
        ({"rows": {"SPG": 3}}, r"rows\['SPG'\] = 3 should be a string or a pair of a string and a metric"),
        ({"paper_seeds": 0}, "should be an integer of at least 1"),
        ({"notes": "one"}, r"notes should be a list; write \['one'\]"),
        ({"rows": {"a": ("spg", "acc")}, "columns": {"b": ("cifar100_10", "acc")}}, "name them in only one"),
        ({"columns": {"mean": "cifar100_10"}, "mean": True}, "none of them called 'mean'"),
    ],
)  # fmt: skip
def test_a_bad_table_is_told_in_one_line(changes: dict[str, Any], message: str) -> None:
    good: dict[str, Any] = {"rows": {"SPG": "spg"}, "columns": {"C-10": "cifar100_10"}}
    with pytest.raises(UserError, match=message) as found:
        cells_of(study_of(PaperTable("T", **(good | changes))))
    assert "\n" not in str(found.value)


def test_tables_are_a_list_of_tables() -> None:
    with pytest.raises(UserError, match=r"should be a list of tables, such as \[PaperTable"):
        cells_of(hand.study(tables=["Table 2"]))


def test_figures_of_a_method_of_ones_own_are_admitted() -> None:
    table = PaperTable("T", metric="warmth", rows={"Mine": "mine"}, columns={"digits": BENCHMARK})
    assert cells_of(hand.study(methods={"mine": {"method": hand.OTHER}}, tables=[table]))
    with pytest.raises(UserError, match="unknown metric 'warmth'"):
        cells_of(hand.study(methods={"mine": {"method": "ewc"}}, tables=[table]))


def test_a_filled_table_needs_no_more_than_sections(store: Store) -> None:
    study = played(store, study_of(TABLE), {"spg": (0.70, 0.72, 0.74)})
    found = sections(study, collect.collect(study, hand.read(store, study)))
    assert fill_table(TABLE, study, found).entries.keys() == {("SPG", "C-10")}


def test_a_table_may_name_every_number_that_a_method_reports() -> None:
    recorded = json.loads((Path(__file__).parent.parent / "golden" / "figures.json").read_text())
    diagnostics = {
        name
        for versions in recorded.values()
        for name, value in versions[max(versions, key=lambda version: [int(n) for n in version.split(".")])][
            "figures"
        ].items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
    strange = sorted(diagnostics - set(known_metrics()))
    assert diagnostics and not strange, f"add to figures in raycl/catalogue.json: {strange}"

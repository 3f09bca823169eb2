"""The studies of KSM and PMASK on stores made by hand: each number is in the cell for which it is meant."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from raycl import registry
from raycl.method import deviations_of
from raycl.papers.accounts.counts import Shape, parameters
from raycl.papers.cells import SUBSET, SUBSTITUTE, FilledTable
from raycl.papers.claims import claims
from raycl.papers.printedplaces import Spot, fewer_tasks, is_papers_own
from raycl.papers.tabletext import tables_of
from raycl.papers.verdicts import verdict
from raycl.reporting import render
from raycl.results.collect import collect, sections
from raycl.runs.store import Store
from raycl.study.expand import cells_of
from raycl.study.values import Seeds, Study
from studies.ksm import table_01, table_02, table_03, table_04
from studies.ksm.common import METHODS, ROWS, TRAINED
from studies.pmask import common as pmask
from studies.pmask import table_02 as hundred
from tests.helpers import hand

THREE = Seeds(1, 2, 3)
TWENTY = "cifar100_super"
SKETCH = "imagenet_to_sketch(val=0.1)"


def filled(store: Store, study: Study) -> dict[str, FilledTable]:
    """The tables of a study by title."""
    made = tables_of(study, sections(study, collect(study, hand.read(store, study))))
    return {found.table.title: found for found in made}


def play(store: Store, study: Study, accs: dict[str, float], **about: Any) -> None:
    """Give the runs of each label, or label/benchmark, this accuracy on all of twenty tasks."""
    for cell in cells_of(study, check=False):
        acc = accs.get(cell.name, accs.get(cell.label))
        for seed in (1, 2, 3) if acc is not None else ():
            hand.put(store, cell.spec({}, seed), hand.reports([[acc] * (t + 1) for t in range(20)], **about))


def printed_in(found: FilledTable) -> dict[tuple[str, str], float]:
    return {place: entry.printed.value for place, entry in found.entries.items() if entry.printed}


# KSM


FORM: dict[str, Any] = {label: {} for label in METHODS.full} | {"piggyback-trained": TRAINED}


@pytest.mark.parametrize(
    ("study", "expected"),
    [
        (table_01.STUDY, {"Table 1: accuracy": 84, "Table 1: seconds of training": 84}),
        (table_02.STUDY, {"Table 2: accuracy": 29, "Table 2: model size in MiB": 5}),
        (
            table_03.STUDY,
            {"Table 3: average accuracy by initial task": 8}
            | {f"Table 3: accuracy by task, initial task {start}": 21 for start in (1, 5, 10, 15, 20)},
        ),
        (
            table_04.STUDY,
            {"Table 4, batch normalisation trained": 30, "Table 4, batch normalisation frozen": 30},
        ),
    ],
    ids=["1", "2", "3", "4"],
)
def test_every_printed_number_of_a_table_stands_beside_ours(
    store: Store, study: Study, expected: dict[str, int]
) -> None:
    """Table 1: 4 methods on 20 tasks and their average. Table 2: 5 methods on 5 data sets, 4 on ImageNet.

    Table 3: 5 initial tasks, each with 20 tasks and the average, and 3 other methods. Table 4: 6 rows.
    """
    counted = {title: len(printed_in(found)) for title, found in filled(store, study).items()}
    assert {title: count for title, count in counted.items() if count} == expected


def test_rows_of_labels_have_the_numbers_that_are_printed_under_their_names(store: Store) -> None:
    accuracy, size = list(filled(store, table_02.STUDY).values())
    finetune = {column: value for (row, column), value in printed_in(accuracy).items() if row == "Finetune"}
    assert finetune == {
        "CUBS": 0.8283, "Cars": 0.9183, "Flowers": 0.9656, "WikiArt": 0.7560, "Sketch": 0.8078
    }  # fmt: skip
    assert printed_in(size)["Finetune", "size"] == 554 * 2**20
    ablation = filled(store, table_04.STUDY)["Table 4, batch normalisation frozen"]
    assert [printed_in(ablation)[row, "Cars"] for row in table_04.VARIANTS] == [
        0.8962, 0.8957, 0.9117, 0.9171, 0.9218, 0.9214
    ]  # fmt: skip
    assert not any(row == "Piggyback, BN trained" for row, _ in printed_in(accuracy))


def test_each_variant_of_table_4_is_in_its_own_row(store: Store) -> None:
    made = table_04.methods({})
    study = hand.study(
        methods=made, benchmarks=[TWENTY], paper="ksm", network="vgg16_bn", final=THREE,
        tables=table_04.tables(TWENTY, {"twenty tasks": TWENTY}, "rate"),
    )  # fmt: skip
    accs = {label: n / 100 for n, label in enumerate(made, 1)}
    play(store, study, accs)
    found = filled(store, study)
    for mode in table_04.MODES:
        entries = found[f"Table 4, batch normalisation {mode}"].entries
        for row in table_04.VARIANTS:
            ours = entries[row, "twenty tasks"].ours.mean
            assert ours == pytest.approx(accs[f"{row.lower()}-{mode}"])


def test_table_3_has_each_initial_task_and_the_others_where_task_1_is_first(store: Store) -> None:
    places = table_03.places((1, 5))
    study = hand.study(
        methods=table_03.methods(FORM, places[1]), benchmarks=list(places.values()), paper="ksm",
        network="vgg16_bn", final=THREE, tables=table_03.tables(places, 20, "rate"),
    )  # fmt: skip
    fifth = {cell.label for cell in cells_of(study, check=False) if "first=5" in cell.benchmark}
    assert fifth == {"ksm", "piggyback"}
    accs = {label: n / 10 for n, label in enumerate(FORM, 1)} | {f"ksm/{TWENTY}(first=5)": 0.9}
    play(store, study, accs)
    found = filled(store, study)
    averages = found["Table 3: average accuracy by initial task"].entries
    first = {label: averages["initial task 1", name].ours.mean for name, label in ROWS.items()}
    assert first == {label: pytest.approx(accs[label]) for label in FORM}
    assert averages["initial task 5", "Ours"].ours.mean == pytest.approx(0.9)
    assert averages["initial task 5", "CPG"].ours.mean is None
    printed = {name: averages["initial task 1", name].printed for name in ROWS}
    assert {name: one and one.value for name, one in printed.items()} == {
        "PackNet": 0.675, "Piggyback": 0.771, "Piggyback, BN trained": None, "CPG": 0.787, "Ours": 0.792
    }  # fmt: skip


def test_table_3_by_task_has_the_papers_numbers_of_the_tasks(store: Store) -> None:
    """With task 5 first, the paper's task 3 is the fourth; a sequence of five tasks is 5, 1, 2, 3, 4."""
    columns = table_03.by_place(5, "b", 20).columns
    assert [columns[f"task {t}"] for t in (1, 3, 5, 6)] == ["b#2", "b#4", "b#1", "b#6"]
    assert dict(table_03.by_place(5, "b", 5).columns) == {
        "task 1": "b#2", "task 2": "b#3", "task 3": "b#4", "task 4": "b#5", "task 5": "b#1", "avg": "b"
    }  # fmt: skip
    entries = filled(store, table_03.STUDY)["Table 3: accuracy by task, initial task 5"].entries
    printed = [entries[f"task {t}", "Ours"].printed for t in (1, 3, 5, 20)]
    assert [one and one.value for one in printed] == [0.670, 0.776, 0.848, 0.918]


def test_frozen_normalisation_and_searched_rates_are_said_under_the_tables(store: Store) -> None:
    for study in (table_01.STUDY, table_02.STUDY, table_03.STUDY):
        text = " ".join(render(study, hand.read(store, study)).split())
        assert "Piggyback's batch normalisation (BN) stays as the first task left it" in text
        assert "the rate is the best of 1e-4, 2e-4, 5e-4 and 1e-3 on validation images" in text


def test_masks_of_ksm_do_not_deviate_as_piggyback_does() -> None:
    ours, theirs = (deviations_of(registry.method(name)) for name in ("ksm", "piggyback"))
    strict, frozen, last = theirs
    assert "above the threshold" in strict and "bn_mode=frozen" in frozen
    assert last in ours and strict not in ours and frozen not in ours
    assert any("draws no noise" in line for line in ours)
    assert any("60 %" in line for line in deviations_of(registry.method("packnet")))
    assert any("does not grow" in line for line in deviations_of(registry.method("cpg")))


# PMASK


# Without a search, `pmask-lr` is a run of its own only at another rate.
METHODS_OF_TABLE_1 = pmask.METHODS | {"pmask-lr": {"method": "pmask", "method.emb_lr_mult": 100.0}}


def test_the_papers_own_data_are_no_substitute(store: Store) -> None:
    study = hand.study(
        methods=METHODS_OF_TABLE_1, benchmarks=["cifar10_5"], paper="pmask", network="alexnet", final=THREE,
        tables=pmask.tables("1", "cifar10_5", "searched"),
    )  # fmt: skip
    accs = {label: n / 100 for n, label in enumerate(pmask.METHODS, 1)}
    play(store, study, accs)
    found = filled(store, study)
    assert {entry.word for table in found.values() for entry in table.all} == {""}
    by_task, means = (found[f"Table 1: {what}"] for what in ("accuracy by task", "means"))
    assert by_task.lost and means.lost
    text = render(study, hand.read(store, study))
    assert text.count("no printed number of Table 1 of pmask is known") == 2 and "substitute" not in text
    for row, label in pmask.ROWS.items():
        for entry in (by_task.entries[row, "task 3"], means.entries[row, "acc"]):
            assert entry.ours.mean == pytest.approx(accs[label])


def test_other_data_are_a_substitute_and_fewer_tasks_a_part(store: Store) -> None:
    study = hand.study(
        methods=dict(pmask.METHODS), benchmarks=["digits_split(size=32)"], paper="pmask", final=THREE,
        tables=pmask.tables("1", "digits_split(size=32)", "searched")[:2],
    )  # fmt: skip
    assert {entry.word for table in filled(store, study).values() for entry in table.all} == {SUBSTITUTE}
    few = f"{TWENTY}(tasks=5, val=0.2)"
    study = hand.study(
        methods=FORM, benchmarks=[few], paper="ksm", network="vgg16_bn", final=THREE,
        tables=table_01.tables(few, 5, "rate"),
    )  # fmt: skip
    found = filled(store, study)["Table 1: accuracy"]
    assert {entry.word for entry in found.all} == {SUBSET}
    assert found.subsets["task 3"] == found.subsets["avg"] == "5 of 20 tasks"


@pytest.mark.parametrize(
    ("label", "place", "paper", "own"),
    [
        ("task 1", Spot("cifar10_5", tasks=(1,)), "pmask", True),
        ("whatever", Spot("cifar100_5"), "pmask", True),
        ("task 1", Spot("digits_split", tasks=(1,)), "pmask", False),
        ("task 3", Spot("cifar100_super(first=5)", tasks=(4,)), "ksm", True),
        ("Flowers", Spot("imagenet_to_sketch", "Flowers"), "ksm", True),
        ("Flowers", Spot("imagenet_to_sketch", "Cars"), "ksm", False),  # the name means another data set
        ("flowers", Spot("cifar_to_super", tasks=(4,)), "ksm", False),
    ],
)
def test_whose_data_a_column_shows(label: str, place: Spot, paper: str, own: bool) -> None:
    assert is_papers_own(label, place, paper) is own


@pytest.mark.parametrize(
    ("label", "benchmark", "expected"),
    [
        ("task 1", "cifar100_super(tasks=5)", "5 of 20 tasks"),
        ("task 1", "cifar100_super(first=10, tasks=3)", "3 of 20 tasks"),
        ("task 1", "cifar100_super(tasks=5, norm='cifar')", ""),
        ("task 1", "cifar100_super", ""),
        ("task 1", "digits_permuted(tasks=2)", ""),
        ("Flowers", "cifar100_super(tasks=5)", ""),
    ],
)
def test_a_part_of_the_papers_tasks(label: str, benchmark: str, expected: str) -> None:
    assert fewer_tasks(label, registry.recipe(benchmark), "ksm") == expected


SHAPES = {
    "cifar10_5": Shape("cifar10_5", (3, 32, 32), (2,) * 5),
    "cifar100_5": Shape("cifar100_5", (3, 32, 32), (20,) * 5),
    "digits_split(size=32)": Shape("digits_split", (1, 32, 32), (2,) * 5),
}


@pytest.mark.parametrize(
    ("methods", "network", "benchmark"),
    [
        (pmask.METHODS, "alexnet", "cifar10_5"),
        (hundred.STUDY.methods, "alexnet", "cifar100_5"),
        (pmask.SMALL_METHODS, "alexnet(width=.125)", "cifar10_5"),
        (pmask.SMALL_METHODS, "alexnet(width=.125)", "digits_split(size=32)"),
        (hundred.SMALL.methods, "alexnet(width=.125)", "cifar100_5"),
    ],
)
def test_pathnet_and_pnn_have_as_many_parameters_as_the_network(
    methods: dict[str, Any], network: str, benchmark: str
) -> None:
    shape = SHAPES[benchmark]
    whole = parameters("finetune", shape, network)
    for label in ("pathnet", "pnn"):
        width = methods[label]["method.expansion"]
        assert parameters(f"{label}(expansion={width})", shape, network) == pytest.approx(whole, rel=0.05)


def test_the_networks_size_is_as_the_note_says() -> None:
    sizes = [parameters("finetune", SHAPES[name], "alexnet") / 1e6 for name in ("cifar10_5", "cifar100_5")]
    assert [f"{size:.1f} M" for size in sizes] == ["6.5 M", "6.7 M"]
    assert all(f"{size:.1f} M" in pmask.SIZES for size in sizes)


def judged(store: Store, name: str, methods: dict[str, Any], accs: dict[str, Sequence[float]]) -> Any:
    """The verdict on a claim of PMASK, with these accuracies by label and seed."""
    study = hand.study(
        methods=methods, benchmarks=["cifar10_5"], paper="pmask", network="alexnet", final=THREE
    )
    for cell in cells_of(study, check=False):
        for seed, acc in zip((1, 2, 3), accs[cell.label], strict=True):
            hand.put(store, cell.spec({}, seed), hand.reports([[acc] * (t + 1) for t in range(5)]))
    (claim,) = (one for one in claims("pmask") if one.id == name)
    return verdict(claim, collect(study, hand.read(store, study)))


LITERAL = {"method": "pmask", "method.emb_lr_mult": 1.0}
OWN_RATE = {"method": "pmask", "method.emb_lr_mult": 100.0}


@pytest.mark.parametrize(("claim", "other"), [("pmask-01", "finetune"), ("pmask-11", "random_mask")])
def test_the_papers_own_method_is_judged_and_not_the_one_with_a_rate_of_its_own(
    store: Store, claim: str, other: str
) -> None:
    methods = {"pmask-literal": LITERAL, "pmask-lr": OWN_RATE, other: {}}
    accs = {"pmask-literal": (0.60, 0.61, 0.60), "pmask-lr": (0.90, 0.91, 0.90), other: (0.70, 0.71, 0.70)}
    found = judged(store, claim, methods, accs)
    assert (found.word, found.findings[0].values) == ("reversed", pytest.approx((0.6033, 0.7033), abs=1e-4))


def test_what_is_soft_is_judged_on_soft_gates(store: Store) -> None:
    methods = {
        f"soft-{s:g}": LITERAL | {"method.store": "soft", "method.smax": s} for s in (1.0, 25.0, 400.0)
    }
    accs = {
        "soft-1": (0.9, 0.91, 0.9),
        "soft-25": (0.8, 0.81, 0.8),
        "soft-400": (0.6, 0.61, 0.6),
        "pmask": (0.5,) * 3,
    }
    found = judged(store, "pmask-20", methods | {"pmask": LITERAL}, accs)
    assert found.word == "holds" and found.findings[0].levels == ("1", "25", "400")
    assert found.findings[0].values == pytest.approx((0.9033, 0.8033, 0.6033), abs=1e-4)


def test_claims_of_our_own_are_marked() -> None:
    ours = {one.id for paper in ("ksm", "pmask") for one in claims(paper) if one.where == "ours"}
    marked = {
        one.id
        for paper in ("ksm", "pmask")
        for one in claims(paper)
        if "not a claim of the paper" in one.note
    }
    assert ours == marked == {"pmask-11", "pmask-22", "pmask-23", "ksm-27"}


def test_the_set_of_masked_tasks_is_all_superclasses_but_the_first(store: Store) -> None:
    (claim,) = (one for one in claims("ksm") if one.id == "ksm-23")
    parts = [place.part for place in claim.places]
    assert len(parts) == len(set(parts)) == 19 and {place.benchmark for place in claim.places} == {TWENTY}

"""Every number of a row, on stores whose matrices are worked out by hand."""

import dataclasses
import math

import pytest

from raycl.errors import Obstacle
from raycl.reporting import render
from raycl.results.collect import collect, searched_on, sections
from raycl.results.grammar import Metric
from raycl.results.numbers import number
from raycl.results.rows import CellRow
from raycl.runs.fingerprint import fingerprint, roots_of
from raycl.study.values import Grid, Search, Seeds, Study
from tests.helpers import hand
from tests.helpers.hand import ALONE, BENCHMARK, RATE, SEARCH


def rows_of(store, study) -> dict[str, CellRow]:
    return {row.cell.label: row for row in collect(study, hand.read(store, study))}


@pytest.fixture
def finetune(store) -> CellRow:
    hand.filled(store, hand.study())
    return rows_of(store, hand.study())["finetune"]


@pytest.mark.parametrize(
    ("name", "first", "second"),
    [
        ("acc", 0.72, 0.73),
        ("val_acc", 0.72, 0.73),  # the same matrix on validation
        ("fwt_vs_one", 0.01, -0.02),  # ((.88-.90) + (.84-.80)) / 2; ((.90-.92) + (.80-.82)) / 2
        ("bwt", -0.28, -0.24),
        ("bwt_T", -0.14, -0.12),
        ("forgetting", 0.28, 0.24),
        ("acc_just", 0.86, 0.85),
        ("ct", 3.0, 3.0),  # two tasks of 1.0 s in the fit and .5 s in the method
        ("ct_fits", 2.0, 2.0),
        ("ct_train", 2.0, 2.0),
        ("epochs_mean", 4.5, 4.5),  # 4 and 5
        ("params", 9000.0, 9000.0),
        ("bytes_total", 37_000.0, 37_000.0),
    ],
)
def test_each_metric_by_seed_with_mean_and_deviation(finetune, name, first, second):
    stat = finetune.stat(name)
    assert stat.values == pytest.approx((first, second), abs=1e-12)
    assert stat.mean == pytest.approx((first + second) / 2)
    assert stat.std == pytest.approx(abs(first - second) / math.sqrt(2), abs=1e-12)  # ddof 1 of two values


def test_times_of_a_method_with_extra_fits_and_phases(store):
    """Two tasks, each of 1 s in the main fit, 3 s in other fits and .5 s in the method."""
    spec = hand.cells(hand.study())[f"finetune/{BENCHMARK}"].spec({}, 1)
    extra = {"similarity": 2.0, "dtd-1": 1.0, "method": 0.5}
    hand.put(store, spec, hand.reports(hand.TUNED[1], extra=extra))
    row = rows_of(store, hand.study())["finetune"]
    found = {name: row.stat(name).values for name in ("ct", "ct_fits", "ct_train")}
    assert found == {"ct": (9.0,), "ct_fits": (8.0,), "ct_train": (2.0,)}
    (final,) = row.finals
    by_task = {
        name: number(row, final, Metric(name, (("t", "2"),))) for name in ("ct_task", "ct_fits", "ct_train")
    }
    assert by_task == {"ct_task": 4.5, "ct_fits": 4.0, "ct_train": 1.0}


def test_compute_time_is_processor_time_on_a_cpu_and_wall_time_on_an_accelerator(store):
    """Two tasks of 1 s in the fit and .5 s in the method, of which a processor spent half."""
    cell = hand.cells(hand.study())[f"finetune/{BENCHMARK}"]
    extra = {"method": 0.5}
    hand.put(store, cell.spec({}, 1), hand.reports(hand.TUNED[1], extra=extra, cpu=0.5))
    gpu = hand.reports(hand.TUNED[2], extra=extra, cpu=0.5)
    hand.put(store, cell.spec({}, 2), gpu, device="NVIDIA H200")
    one, two = rows_of(store, hand.study())["finetune"].finals
    assert (one.ct, one.ct_fits, one.ct_train, one.ct_task) == (1.5, 1.0, 1.0, (0.75, 0.75))
    assert (one.ct_wall, one.ct_cpu, one.ct_gpu, one.cpu_share) == (3.0, 1.5, None, 0.5)
    assert (two.ct, two.ct_wall, two.ct_cpu, two.ct_gpu, two.cpu_share) == (3.0, 3.0, 1.5, 3.0, None)


def test_a_busy_machine_is_noted_and_so_is_a_mixture_of_clocks(store):
    study = hand.study(final=Seeds(1, 2, 3))
    cell = hand.cells(study)[f"finetune/{BENCHMARK}"]
    for seed, cpu in ((1, 0.5), (2, 0.9), (3, None)):
        hand.put(store, cell.spec({}, seed), hand.reports(hand.TUNED[1], cpu=cpu))
    text = " ".join(render(study, hand.read(store, study)).split())
    assert "1 of 3 final runs had less than 80% of a processor, so their wall times say little;" in text
    assert "times of 1 of 3 final runs are wall time, because" in text
    calm = hand.study(name="calm", final=Seeds(2))
    assert "processor" not in render(calm, hand.read(store, calm))


def test_the_identities_of_the_catalogue_hold(finetune, store):
    beta = rows_of(store, hand.study())["one"].stat("acc_just").mean
    assert finetune.mean("acc") == pytest.approx(beta + finetune.mean("fwt_vs_one") + finetune.mean("bwt_T"))
    assert finetune.stat("acc_just").mean == pytest.approx(finetune.mean("acc") - finetune.mean("bwt_T"))


def test_transfer_is_by_seed_and_the_reference_has_none(store, finetune):
    assert finetune.by_seed("fwt_vs_one") == pytest.approx({1: 0.01, 2: -0.02})
    reference = rows_of(store, hand.study())["one"]
    assert (
        reference.reference and reference.mean("fwt_vs_one") is None and reference.by_seed("fwt_vs_one") == {}
    )


def test_without_a_reference_there_is_no_transfer(store):
    hand.filled(store, hand.study())
    row = rows_of(store, hand.study(methods={"finetune": {}}))["finetune"]
    assert row.mean("fwt_vs_one") is None and row.mean("acc") == pytest.approx(0.725)


def test_a_reference_on_another_network_is_none(store):
    study = hand.study(
        methods={"one": {"method": ALONE, "network": "mlp(hidden=8, drop1=0.0, drop2=0.0)"}, "finetune": {}}
    )
    hand.filled(store, study)
    assert rows_of(store, study)["finetune"].mean("fwt_vs_one") is None


def test_of_two_references_the_one_trained_alike_counts(store):
    study = hand.study(
        methods={"other": {"method": ALONE, "fit.lr": 0.5}, "one": {"method": ALONE}, "finetune": {}}
    )
    for seed in (1, 2):
        spec = hand.cells(study)[f"other/{BENCHMARK}"].spec({}, seed)
        hand.put(store, spec, hand.reports(hand.two_tasks(0.5, 0.5, 0.5)))
    hand.filled(store, study)
    assert rows_of(store, study)["finetune"].by_seed("fwt_vs_one") == pytest.approx({1: 0.01, 2: -0.02})


def test_a_seed_that_the_reference_lacks_has_no_transfer_and_that_is_said(store):
    study = hand.study()
    agenda = hand.filled(store, study)
    store.forget(agenda.states[0].finals[2].spec.key)
    row = rows_of(store, study)["finetune"]
    assert row.by_seed("fwt_vs_one") == pytest.approx({1: 0.01}) and len(row.finals) == 2
    assert "fwt_vs_one over 1 of 2 seeds" in row.notes


def test_an_entry_that_was_not_measured_makes_its_metrics_absent(store):
    study = hand.study(final=Seeds(1))
    spec = hand.cells(study)[f"finetune/{BENCHMARK}"].spec({}, 1)
    hand.put(store, spec, hand.reports([[], [0.8, 0.9]]))  # a joint method: nothing before the end
    row = rows_of(store, study)["finetune"]
    assert row.mean("acc") == pytest.approx(0.85) and row.stat("acc").std is None
    assert (
        row.mean("bwt") is None and row.stat("acc_just").mean is None and row.stat("forgetting").mean is None
    )


def test_a_diverged_seed_is_listed_and_not_averaged(store):
    study = hand.study(final=Seeds(1, 2, 3))
    hand.filled(store, study)
    cell = hand.cells(study)[f"finetune/{BENCHMARK}"]
    hand.put(store, cell.spec({}, 3), hand.reports([[0.1]]), "diverged")
    row = rows_of(store, study)["finetune"]
    assert row.status == "complete" and row.diverged == (3,) and len(row.finals) == 2
    assert row.mean("acc") == pytest.approx(0.725)
    assert row.notes == ("seed 3 diverged", "mean over 2 of 3 seeds")


SEARCHED = {"one": {"method": ALONE}, "finetune": {"fit.lr": RATE}}


def searched(store, trials=((0.1, 0.70), (0.2, 0.80), (0.3, 0.60)), **changes):
    """A search over lr whose trials have accuracy `acc` on test, and .01 less on validation."""
    study = hand.study(**({"methods": SEARCHED, "search": SEARCH, "final": Seeds(1)} | changes))
    cell = hand.cells(study)[f"finetune/{BENCHMARK}"]
    done = [
        (
            {"fit.lr": lr},
            None if acc is None else hand.reports([[acc], [acc, acc]], [[acc], [acc - 0.01] * 2]),
        )
        for lr, acc in trials
    ]
    hand.put_trials(store, cell, done)
    return rows_of(store, study)["finetune"]


def test_ps_is_the_deviation_over_trials_with_ddof_0(store):
    row = searched(store)
    assert row.ps == pytest.approx(math.sqrt((0.01 + 0.01 + 0) / 3))  # .70 .80 .60 around .70
    assert row.random == ""
    assert row.best == {"fit.lr": 0.2} and row.mean("acc") == pytest.approx(0.80)
    assert row.mean("val_acc") == pytest.approx(0.79)
    assert [(t.objective, t.acc) for t in row.trials] == [
        pytest.approx(pair) for pair in ((0.69, 0.70), (0.79, 0.80), (0.59, 0.60))
    ]


def test_ps_needs_two_completed_trials_and_skips_diverged_ones(store):
    assert searched(store, ((0.1, 0.7), (0.2, None), (0.3, None))).ps is None
    row = searched(
        store,
        ((0.11, 0.7), (0.2, None), (0.3, 0.9), (0.4, 0.7)),
        search=Search(trials=3, startup_trials=2, seed=2),
    )
    assert row.ps == pytest.approx(math.sqrt(2) / 15)  # .7 .9 .7 around 2.3/3
    assert row.notes == ("1 of 4 trials diverged",)


def test_a_search_without_a_survivor_is_said_to_have_diverged(store):
    row = searched(
        store, ((0.1, None), (0.2, None)), search=Search(trials=1, startup_trials=1, concurrency=1)
    )
    assert row.status == "diverged" and row.mean("acc") is None and row.best is None
    assert row.notes[0] == "all 2 trials diverged"


def test_the_best_trial_itself(store):
    row = searched(store, final="best trial")
    assert (
        row.seeds == (1,)
        and row.mean("acc") == pytest.approx(0.8)
        and "the best trial itself, one seed" in row.notes
    )


def test_a_search_that_never_leaves_its_random_start_is_called_random(store):
    row = searched(store, search=Search(trials=3, concurrency=1, startup_trials=10))
    assert row.random == "random search: 3 trials, and TPE would start after 10" and row.notes == ()


def test_paper_protocol_takes_the_objective_from_test(store):
    row = searched(store, protocol="paper")
    assert [t.objective for t in row.trials] == pytest.approx([0.7, 0.8, 0.6])


def test_a_grid_has_trials_too(store):
    study = hand.study(methods={"finetune": {}}, search=Grid({"fit.lr": [0.1, 0.2]}), final=Seeds(1))
    cell = hand.cells(study)[f"finetune/{BENCHMARK}"]
    for lr, acc in ((0.1, 0.5), (0.2, 0.7)):
        hand.put(store, cell.spec({"fit.lr": lr}, 1), hand.reports([[acc], [acc, acc]]))
    row = rows_of(store, study)["finetune"]
    assert row.ps == pytest.approx(0.1) and row.best == {"fit.lr": 0.2} and row.notes == ()


def test_status_of_what_is_not_complete(store):
    study = hand.study(methods={"finetune": {}, "b": {"method": "finetune", "fit.lr": 0.1},
                                "c": {"method": "finetune", "fit.lr": 0.2}})  # fmt: skip
    cells = hand.cells(study)
    hand.put(store, cells[f"b/{BENCHMARK}"].spec({}, 1), hand.reports([[0.5], [0.5, 0.5]]))
    hand.put(store, cells[f"c/{BENCHMARK}"].spec({}, 2), (), "failed")
    rows = rows_of(store, study)
    assert (rows["finetune"].status, rows["finetune"].notes) == ("not run", ("not run",))
    assert (rows["b"].status, rows["b"].notes) == (
        "incomplete", ("incomplete: 1 of 2 runs done", "mean over 1 of 2 seeds"))  # fmt: skip
    assert (rows["c"].status, rows["c"].notes) == ("failed", ("failed: failed: the loss is nan",))


def test_blocked_says_why(store):
    study = hand.study()
    agenda = hand.read(store, study)
    agenda.states[1].cell = dataclasses.replace(
        agenda.states[1].cell, blocked=Obstacle("benchmark x needs y", ("raycl data",))
    )
    row = collect(study, agenda)[1]
    assert row.status == "blocked" and row.notes == ("blocked: benchmark x needs y -> raycl data",)


def test_results_of_older_source_are_counted(store):
    study = hand.study()
    cell = hand.cells(study)[f"finetune/{BENCHMARK}"]
    hand.put(store, cell.spec({}, 1), hand.reports(hand.TUNED[1]), source="old")
    assert "results of older source code" in rows_of(store, study)["finetune"].notes
    hand.put(store, cell.spec({}, 2), hand.reports(hand.TUNED[2]), source=fingerprint(roots_of(cell.method)))
    assert rows_of(store, study)["finetune"].notes == ("1 of 2 results of older source code",)


def test_several_orders_count_as_their_means(store):
    study = hand.study(orders=2, methods={"finetune": {}})
    for order, accs in ((0, (0.5, 0.7)), (1, (0.8, 0.8))):
        cell = hand.cells(study)[f"finetune/{BENCHMARK}/order {order}"]
        for seed, acc in zip((1, 2), accs, strict=True):
            hand.put(store, cell.spec({}, seed), hand.reports([[acc], [acc, acc]]))
    (section,) = sections(study, collect(study, hand.read(store, study)))
    (group,) = section.groups
    assert group.stat("acc").values == pytest.approx((0.6, 0.8)) and group.wanted == 4
    assert group.stat("acc").std == pytest.approx(0.2 / math.sqrt(2))
    assert [row.mean("acc") for row in group.rows] == pytest.approx([0.6, 0.8])


def test_noise_is_the_uncertainty_of_a_difference(store):
    hand.filled(store, hand.study())
    (section,) = sections(hand.study(), collect(hand.study(), hand.read(store, hand.study())))
    # variances .02**2 / 2 and .01**2 / 2, pooled .000125; two seeds each: t(2) * sqrt(2 * .000125 / 2)
    assert section.noise == pytest.approx(4.302653 * math.sqrt(0.000125))
    single = hand.study(final=Seeds(1))
    (section,) = sections(single, collect(single, hand.read(store, single)))
    assert section.noise is None


def test_facts_of_a_benchmark(store):
    (section,) = sections(hand.study(), collect(hand.study(), hand.read(store, hand.study())))
    assert (section.tasks, section.classes, section.similar, section.subset) == (2, (10, 10), False, "")


def test_a_study_says_whether_all_or_some_of_its_methods_were_searched() -> None:
    grid = {"search": Grid({"fit.lr": [0.1, 0.2]})}
    assert searched_on(Study(methods={"hat": {}})) == "searched on validation"
    assert searched_on(Study(methods={"hat": {}}, search=None)) == "no search"
    assert searched_on(Study(methods={"hat": {}, "spg": grid}, search=None)) == "some searched on validation"
    assert searched_on(Study(methods={"hat": {"search": None}, "spg": {"search": None}})) == "no search"
    assert searched_on(Study(methods={"hat": {}}, protocol="paper")) == "searched on test (protocol paper)"

"""CSV: full precision, and nothing in it that a second run would not repeat."""

import csv
import io
import json

import pytest

from raycl.reporting import render
from raycl.results.collect import collect
from raycl.runs.store import Store
from raycl.study.values import Seeds
from tests.helpers import hand
from tests.helpers.hand import BENCHMARK


def lines_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_numbers_come_back_bit_for_bit(store):
    agenda = hand.filled(store, hand.study())
    lines = lines_of(render(hand.study(), agenda, "csv"))
    assert [(line["label"], line["seed"]) for line in lines] == [
        (label, seed) for label in ("one", "finetune") for seed in ("1", "2", "mean")
    ]
    row = collect(hand.study(), agenda)[1]
    mean = lines[-1]
    for name in (
        "acc",
        "fwt_vs_one",
        "bwt",
        "bwt_T",
        "forgetting",
        "acc_just",
        "val_acc",
        "ct",
        "ct_fits",
        "ct_train",
        "ct_wall",
    ):
        assert float(mean[name]) == row.stat(name).mean
        assert float(mean[f"{name}_std"]) == row.stat(name).std
        assert [float(line[name]) for line in lines[3:5]] == list(row.stat(name).values)
    assert json.loads(lines[3]["matrix"]) == [[0.88, None], [0.60, 0.84]]
    assert json.loads(lines[3]["ct_task"]) == [1.5, 1.5]
    assert lines[3]["key"] == row.finals[0].key and mean["status"] == "complete" and mean["n"] == "2"


def test_absent_numbers_are_empty_and_the_reference_has_no_transfer(store):
    lines = lines_of(render(hand.study(), hand.filled(store, hand.study()), "csv"))
    assert {line["fwt_vs_one"] for line in lines if line["label"] == "one"} == {""}
    assert {line["ps"] for line in lines} == {""}
    empty = lines_of(render(hand.study(final=Seeds(7)), hand.read(store, hand.study(final=Seeds(7))), "csv"))
    assert {line["status"] for line in empty} == {"not run"} and {line["acc"] for line in empty} == {""}


def test_a_diverged_seed_has_a_line_of_its_own(store):
    study = hand.study(final=Seeds(1, 2, 3))
    hand.filled(store, study)
    hand.put(store, hand.cells(study)[f"finetune/{BENCHMARK}"].spec({}, 3), (), "diverged")
    lines = lines_of(render(study, hand.read(store, study), "csv"))
    assert [line["status"] for line in lines[4:]] == ["complete", "complete", "diverged", "complete"]
    assert lines[-1]["n"] == "2"


def test_time_columns_come_last_and_can_be_left_out(store):
    agenda = hand.filled(store, hand.study())
    header = render(hand.study(), agenda, "csv").splitlines()[0].split(",")
    times = [
        "ct",
        "ct_std",
        "ct_fits",
        "ct_fits_std",
        "ct_train",
        "ct_train_std",
        *("ct_wall", "ct_wall_std", "ct_cpu", "ct_cpu_std", "ct_gpu", "ct_gpu_std"),
        "ct_task",
        "cpu_share",
        "peak_bytes",
        "search_seconds",
    ]
    assert header[-len(times) :] == times
    assert (
        render(hand.study(), agenda, "csv", times=False).splitlines()[0].split(",") == header[: -len(times)]
    )


def test_without_times_the_bytes_depend_on_results_alone(tmp_path):
    """The same matrices on another day, another machine, at another speed, in another folder."""
    study = hand.study()
    texts = []
    for folder, speed, about in (
        ("a", 1.0, {}),
        ("b/c", 7.0, {"device": "cuda", "started": 5.0, "source": "x"}),
    ):
        store = Store(tmp_path / folder)
        for name, matrices in (("one", hand.ONE), ("finetune", hand.TUNED)):
            for seed, matrix in matrices.items():
                spec = hand.cells(study)[f"{name}/{BENCHMARK}"].spec({}, seed)
                hand.put(store, spec, hand.reports(matrix, main=speed), **about)
        texts.append([render(study, hand.read(store, study), "csv", times=times) for times in (False, True)])
    assert texts[0][0] == texts[1][0]
    assert texts[0][1] != texts[1][1]


def test_several_orders_have_a_line_for_their_mean(store):
    study = hand.study(orders=2, methods={"finetune": {}}, final=Seeds(1))
    for order, acc in ((0, 0.5), (1, 0.75)):
        cell = hand.cells(study)[f"finetune/{BENCHMARK}/order {order}"]
        hand.put(store, cell.spec({}, 1), hand.reports([[acc], [acc, acc]]))
    lines = lines_of(render(study, hand.read(store, study), "csv"))
    assert [" ".join((line["order"], line["seed"], line["acc"])) for line in lines] == [
        "0 1 0.5", "0 mean 0.5", "1 1 0.75", "1 mean 0.75", "mean mean 0.625"
    ]  # fmt: skip
    assert float(lines[-1]["acc_std"]) == pytest.approx(0.25 / 2**0.5)


def test_commas_and_quotes_in_labels_survive(store):
    study = hand.study(methods={'a, "b"': {"method": "finetune"}})
    lines = lines_of(render(study, hand.read(store, study), "csv"))
    assert {line["label"] for line in lines} == {'a, "b"'}

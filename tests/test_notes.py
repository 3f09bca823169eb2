"""What is told before a study runs: settings without effect, broken promises, lonely samples, sizes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from raycl import Choice, Float, Grid, Int, Resources, Study
from raycl.cli import main
from raycl.errors import UserError
from raycl.study import notes
from raycl.study.cells import Cell
from raycl.study.expand import cells_of
from raycl.study.limits import machine_bytes
from raycl.study.netcheck import Measured
from raycl.study.notelines import lines_of
from raycl.training.fit import Fit
from raycl.training.optimiser import OptimiserUpdate
from raycl.training.rules import optimiser_of
from tests.helpers import toys


def study(**changes: Any) -> Study:
    base: dict[str, Any] = {
        "methods": {"finetune": {}},
        "benchmarks": ["digits_split"],
        "network": "mlp(hidden=8)",
        "search": None,
        "file": "studies/mine.py",
    }
    return Study(**(base | changes))


def told(**changes: Any) -> list[str]:
    """Notes of the first cell."""
    return list(cells_of(study(**changes))[0].notes)


def cell_of(**changes: Any) -> Cell:
    return cells_of(study(**changes))[0]


PROMISES: list[tuple[str, dict[str, Any], list[str]]] = [
    ("spg", {"fit.optimiser": "adam"}, ["optimiser = 'adam' divides each gradient by its own size"]),
    ("spg", {"fit.optimiser": "rmsprop"}, ["optimiser = 'rmsprop' divides"]),
    (
        "spg",
        {"fit.weight_decay": 0.01},
        ["weight_decay = 0.01 pulls weights towards 0 regardless of the mask"],
    ),
    ("spg", {"fit.momentum": 0.9}, []),  # a sum of scaled gradients is the scaled sum
    ("spg_fi", {"fit.optimiser": "adam"}, ["optimiser = 'adam' divides"]),
    ("hpg", {"fit.optimiser": "adam", "fit.weight_decay": 0.01}, []),  # 0 or 1, and decay is undone
    ("hat", {"fit.optimiser": "adam"}, ["optimiser = 'adam' divides"]),
    ("ehat", {"fit.weight_decay": 0.01}, ["weight_decay = 0.01"]),
    ("cat", {"fit.optimiser": "rmsprop"}, ["optimiser = 'rmsprop'"]),
    ("prm", {"fit.optimiser": "adam"}, ["optimiser = 'adam'"]),
    ("pmask", {"fit.optimiser": "adam", "fit.weight_decay": 0.01}, []),  # bits
    ("pmask", {"fit.optimiser": "adam", "method.store": "soft"}, ["optimiser = 'adam' divides"]),
    ("random_mask", {"fit.optimiser": "adam"}, []),
    ("agem", {"fit.optimiser": "adam"}, ["optimiser = 'adam' rescales the projected gradient"]),
    ("agem", {"fit.momentum": 0.9}, ["momentum = 0.9 adds gradients"]),
    ("ewc", {"fit.optimiser": "adam", "fit.momentum": 0.0, "fit.weight_decay": 0.01}, []),
    ("hypernet", {}, []),
    ("supsup", {"fit.optimiser": "adam"}, []),
]


@pytest.mark.parametrize(("method", "keys", "wanted"), PROMISES)
def test_an_optimiser_that_breaks_a_promise_is_told(
    method: str, keys: dict[str, Any], wanted: list[str]
) -> None:
    found = told(methods={"mine": {"method": method, **keys}})
    assert len(found) == len(wanted), found
    assert all(text.startswith(part) for text, part in zip(found, wanted, strict=True))


def test_an_optimiser_that_a_search_may_choose_is_told() -> None:
    from raycl import Search

    choice = {"spg": {"fit.optimiser": Choice("sgd", "adam"), "fit.weight_decay": Float(0, 0.1)}}
    found = told(methods=choice, search=Search())
    assert [text.partition(" divides")[0].partition(" pulls")[0] for text in found] == [
        "optimiser = 'adam'",
        "weight_decay = 0.1",
    ]
    grid = told(methods={"spg": {}}, search=Grid({"fit.optimiser": ["sgd", "rmsprop"]}))
    assert len(grid) == 1 and grid[0].startswith("optimiser = 'rmsprop'")


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        ({}, 0.1),
        ({"momentum": 0.9}, 0.1),
        ({"momentum": 0.9, "nesterov": True}, 0.1),
        ({"clip": 1e9}, 0.1),
        ({"optimiser": "adam"}, 1.0),
        ({"optimiser": "rmsprop"}, 1.0),
        ({"optimiser": "rmsprop", "momentum": 0.9}, 1.0),
    ],
)
def test_what_is_told_of_soft_masks_is_so(settings: dict[str, Any], kept: float) -> None:
    """A mask of 0.1 leaves a tenth of each step, or with adaptive optimisers all of it."""

    def moved(mask: float) -> torch.Tensor:
        p = torch.zeros(50, dtype=torch.float64, requires_grad=True)
        config = Fit.Config(lr=0.01, **settings)
        update = OptimiserUpdate(optimiser_of(config, [p]), config.clip)
        generator = torch.Generator().manual_seed(0)
        for _ in range(20):
            p.grad = mask * torch.randn(50, generator=generator, dtype=torch.float64)
            update()
        return p.detach()

    torch.testing.assert_close(moved(0.1), kept * moved(1.0), rtol=1e-2, atol=1e-4)


IDLE: list[tuple[dict[str, Any], list[str]]] = [
    ({"optimiser": "adam", "momentum": 0.9}, ["fit.momentum = 0.9 has no effect: optimiser = 'adam'"]),
    ({"optimiser": "adam", "momentum": 0.0}, []),
    ({"optimiser": "rmsprop", "momentum": 0.9}, []),
    ({"optimiser": "rmsprop", "momentum": 0.9, "nesterov": True}, ["fit.nesterov = True has no effect"]),
    ({"schedule": "constant", "milestones": (3,)}, ["fit.milestones has no effect: schedule = 'constant'"]),
    ({"schedule": "cosine", "factor": 3.0}, ["fit.factor has no effect"]),
    ({"schedule": "cosine", "lr_floor": 1e-3}, ["fit.lr_floor has no effect"]),
    ({"lr_span": 10.0, "lr_floor": 1e-3}, ["fit.lr_floor has no effect: lr_span determines the floor"]),
    ({"schedule": "constant", "stop": "below_floor"}, ["fit.stop = 'below_floor' has no effect"]),
    ({"schedule": "constant", "stop": "never", "patience": 3}, ["fit.patience has no effect"]),
    ({"schedule": "constant", "stop": "first_plateau", "patience": 3, "threshold": 0.1}, []),
    ({"schedule": "constant", "stop": "never"}, []),
    ({"schedule": "steps", "milestones": (5, 300)}, ["milestones 300 lie beyond the 100 epochs"]),
    ({"schedule": "steps", "milestones": (5, 30)}, []),
    ({"patience": 3, "lr_floor": 1e-3, "factor": 2.0}, []),
]


@pytest.mark.parametrize(("fit", "wanted"), IDLE)
def test_a_setting_without_effect_is_told_where_the_author_wrote_it(
    fit: dict[str, Any], wanted: list[str]
) -> None:
    for found in (told(fit=fit), told(methods={"finetune": {f"fit.{k}": v for k, v in fit.items()}})):
        assert len(found) == len(wanted), found
        assert all(text.startswith(part) for text, part in zip(found, wanted, strict=True))


def test_a_setting_without_effect_is_not_told_of_a_preset() -> None:
    assert told(preset="ksm_initial", fit={"optimiser": "adam"}) == []  # its momentum is idle now
    assert told(preset="ksm_initial", fit={"epochs": 30}) != []  # and its milestones lie beyond
    tag = told(methods={"tag": {"fit.momentum": 0.9, "fit.lr": 0.01}})
    assert tag == ["fit.momentum has no effect: TAG has its own update rule"]
    assert told(methods={"tag": {}}, preset="ksm_initial") == []


SAMPLES = [216, 216, 218, 216, 212]  # in the training splits of digits_split


def test_a_batch_of_one_that_fails_is_refused() -> None:
    assert [len(task.train) for task in toys_tasks()] == SAMPLES
    for batch, where in (
        (1, "task 1 (216 samples)"),
        (215, "task 1 (216 samples)"),
        (211, "task 5 (212 samples)"),
    ):
        with pytest.raises(UserError) as caught:
            cells_of(study(network="resnet18(nf=2)", fit={"batch": batch}))
        assert f"fit.batch = {batch} leaves one sample in a batch of {where}" in str(caught.value)
    for batch in (64, 216, 218, 1000):
        assert told(network="resnet18(nf=2)", fit={"batch": batch}) == []


def toys_tasks() -> Any:
    from raycl import registry

    return registry.load("digits_split", 1, 0).tasks


def test_what_is_refused_would_fail_and_what_is_taken_does_not(tmp_path: Path) -> None:
    on = toys.benchmark(shape=(1, 8, 8), train=9)
    subject = toys.method("finetune", on, "resnet18(nf=2)")
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        toys.learn(subject, on, toys.fit(batch=4, epochs=1))
    assert (
        len(toys.learn(toys.method("finetune", on, "resnet18(nf=2)"), on, toys.fit(batch=5, epochs=1))) == 3
    )


def test_a_batch_of_one_is_looked_for_where_a_method_trains() -> None:
    total = sum(SAMPLES)
    net = {"network": "resnet18(nf=2)"}
    with pytest.raises(UserError, match=rf"all tasks together \({total} samples\)"):
        cells_of(study(methods={"mtl": {"fit.batch": total - 1}}, **net))
    assert told(methods={"mtl": {"fit.batch": 215}}, **net) == [] or total % 215 == 1
    kept = round(0.5 * SAMPLES[0])
    with pytest.raises(UserError, match=rf"task 2 \({SAMPLES[1] + kept} samples\)"):
        cells_of(study(methods={"replay": {"fit.batch": SAMPLES[1] + kept - 1}}, **net))
    from raycl import Search

    searched = {"finetune": {"fit.batch": Int(60, 70)}}
    assert told(methods=searched, search=Search(), **net) == []
    with pytest.raises(UserError, match=r"fit\.batch = 43"):
        cells_of(study(methods={"finetune": {"fit.batch": Int(40, 46)}}, search=Search(), **net))
    first = {"packnet": {"method.initial": "ksm_initial", "fit.batch": 64}}  # its first task: batches of 32
    assert told(methods=first, network="vgg16_bn(width=0.02)", benchmarks=["digits_split(size=32)"]) == []


def test_a_batch_of_one_that_harms_is_told() -> None:
    found = told(network="vgg16_bn(width=0.02)", benchmarks=["digits_split(size=32)"], fit={"batch": 215})
    assert len(found) == 1 and "fit.batch = 215 leaves one sample in a batch of task 1" in found[0]
    assert told(network="mlp(hidden=8)", fit={"batch": 215}) == []  # no batch normalisation


def test_what_a_benchmark_says_of_itself_is_told() -> None:
    on = toys.benchmark()
    object.__setattr__(on, "notes", ("12 of 200 test images are also training images (same pixels)",))
    found = notes.measured(cell_of(), on, Measured(10, normalised=False), "mine.py")
    assert found == ("12 of 200 test images are also training images (same pixels)",)


def test_a_network_that_this_machine_cannot_train_is_told() -> None:
    many = machine_bytes() // 8
    (found,) = notes.measured(cell_of(), toys.benchmark(), Measured(many, normalised=False), "mine.py")
    assert "this machine has" in found and f"{many * 16 / 2**30:.0f} GiB" in found


def test_resources_that_match_no_cell_are_told() -> None:
    cells = cells_of(
        study(resources={"finetun/*": Resources(cpus=2), "*/digits*": Resources(), "x[": Resources()})
    )
    assert lines_of(cells) == [
        "resources['finetun/*'] matches no cell and has no effect; did you mean 'finetune'?",
        "resources['x['] matches no cell and has no effect",
    ]
    methods: dict[str, Any] = {"finetune": {}, "ewc": {}}
    assert (
        lines_of(cells_of(study(methods=methods, resources={"ewc/*": Resources()}), only="finetune/*")) == []
    )


def test_a_line_names_the_cells_it_is_about() -> None:
    labels = {name: {"method": "spg"} for name in "abcd"}
    both = ["digits_split", "digits_rotated"]
    (line,) = lines_of(cells_of(study(methods=labels, benchmarks=both, orders=2, fit={"weight_decay": 0.1})))
    assert line.startswith("a/digits_split, a/digits_rotated and 6 more: weight_decay = 0.1 pulls")
    one = {"a": {"method": "spg"}}
    few = lines_of(cells_of(study(methods=one, fit={"weight_decay": 0.1}, benchmarks=both)))
    assert few[0].startswith("a/digits_split and a/digits_rotated: ")


def test_notes_are_in_no_key() -> None:
    import dataclasses

    cell = cell_of(methods={"spg": {"fit.optimiser": "adam"}})
    assert cell.notes
    assert dataclasses.replace(cell, notes=()).spec({}, 1).key == cell.spec({}, 1).key
    assert cells_of(study(methods={"spg": {"fit.optimiser": "adam"}}), check=False)[0].notes == ()


def test_plan_and_run_tell_it_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "soft.py"
    file.write_text(
        "from raycl import *\n"
        "STUDY = Study(methods={'spg': {}}, benchmarks=['digits_split'], network='mlp(hidden=8)',\n"
        "              search=None, final=Seeds(1), fit={'epochs': 1, 'optimiser': 'adam'})\n"
    )
    store = ["--store", str(tmp_path / "results")]
    assert main(["plan", str(file), *store]) == 0
    out = capsys.readouterr().out
    assert out.count("note: spg/digits_split: optimiser = 'adam' divides") == 1
    assert max(map(len, out.splitlines())) <= 80
    assert main(["run", str(file), "--local", *store]) == 0
    assert capsys.readouterr().out.count("raycl: note: spg/digits_split: optimiser = 'adam' divides") == 1


@pytest.mark.parametrize(
    ("fit", "what"),
    [
        ({"lr_floor": 9, "lr": 0.25}, "ends training"),
        ({"lr_floor": 9, "lr": 0.25, "stop": "floor_then_patience"}, "raises the rate to it"),
        ({"lr_floor": 0.1, "lr": 0.25}, None),
        ({"lr_floor": 9, "lr": 0.25, "lr_span": 10}, None),
        ({"lr_floor": 9, "lr": 0.25, "schedule": "constant", "stop": "never"}, None),
    ],
)
def test_a_floor_above_the_rate_is_told(fit: dict[str, Any], what: str | None) -> None:
    found = [note for note in told(fit=fit) if "lies above fit.lr" in note]
    wanted = [f"fit.lr_floor = 9 lies above fit.lr = 0.25: the first plateau {what}"] if what else []
    assert found == wanted

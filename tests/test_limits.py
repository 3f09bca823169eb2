"""What a study writes is possible: domains, searches, seeds, resources, labels, sizes, training settings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from raycl import Choice, Float, Grid, Int, Resources, Search, Seeds, Study
from raycl.domains import ends, plain, shown
from raycl.space import make_config
from raycl.study.cells import Cell
from raycl.study.expand import cells_of
from raycl.training.fit import Fit

LARGE = "digits_split(size=32)"
HUGE = 10**5000  # Python refuses to print it


def study(**changes: Any) -> Study:
    base: dict[str, Any] = {
        "methods": {"finetune": {}},
        "benchmarks": ["digits_split"],
        "network": "mlp(hidden=8)",
        "file": "studies/mine.py",
    }
    return Study(**(base | changes))


def cell_of(**changes: Any) -> Cell:
    return cells_of(study(**changes))[0]


def complaint(make: Callable[[], Any]) -> str:
    """The one line that is said of a study, a value of it, or a domain."""

    def planned() -> None:
        made = make()
        cells_of(made if isinstance(made, Study) else study(search=made if isinstance(made, Grid) else None))

    with pytest.raises(ValueError) as caught:
        planned()
    text = str(caught.value)
    assert "\n" not in text and len(text) < 500
    return text


def writing(**changes: Any) -> Callable[[], Study]:
    return lambda: study(**changes)


def keyed(key: str, value: Any, method: str = "hat", **changes: Any) -> Callable[[], Study]:
    return lambda: study(methods={method: {key: value}}, **changes)


DOMAINS: list[tuple[Callable[[], Any], str]] = [
    (lambda: Float("a", 1), "low = 'a' must be a finite number"),  # type: ignore[arg-type]
    (lambda: Float(float("nan"), 1), "low = nan must be"),
    (lambda: Float(0, float("inf")), "high = inf must be"),
    (lambda: Float(True, 2), "low = True must be"),
    (lambda: Float(1, 10**400), "must be a finite number"),
    (lambda: Float(2, 1), "is empty"),
    (lambda: Float(-1.7e308, 1.7e308), "wider than any float"),
    (lambda: Float(1, 2, "log"), "log = 'log' must be True or False"),  # type: ignore[arg-type]
    (lambda: Float(0, 1, log=True), "starts above zero"),
    (lambda: Int(1.0, 5), "low = 1.0 must be an integer"),  # type: ignore[arg-type]
    (lambda: Int(False, True), "low = False must be an integer"),
    (lambda: Int(1, 2**60), "beyond 2**53"),
    (lambda: Int(1, HUGE), "integer of 16610 bits"),
    (lambda: Int(5, 1), "is empty"),
    (lambda: Choice(1, 1), "1 is given twice"),
    (lambda: Choice(float("nan")), "nan should be a finite number"),
    (lambda: Choice({}), "{} should be a finite number"),  # type: ignore[arg-type]
    (lambda: Choice(range(3)), "write Choice(*options)"),  # type: ignore[arg-type]
    (lambda: Choice(Float(1, 2)), "should be a finite number"),  # type: ignore[arg-type]
    (keyed("method.lamb", Choice(1, 1.0)), "method.lamb: Choice: 1.0 is given twice"),
    (keyed("fit.batch", Choice([16, 32])), "options are given one by one"),
    (keyed("method.lamb", Int(1, 3)), "searches ints, but the field is float: write Float(...)"),
    (keyed("fit.batch", Float(1, 3)), "searches floats, but the field is int: write Int(...)"),
]


@pytest.mark.parametrize(("make", "part"), DOMAINS)
def test_a_domain_that_nothing_can_be_drawn_from_is_refused(make: Callable[[], Any], part: str) -> None:
    assert part in complaint(make)


def test_numbers_of_numpy_and_torch_are_pythons_own() -> None:
    found = Float(np.float64(0.5), torch.tensor(2.0))  # type: ignore[arg-type]
    assert [type(end) for end in (found.low, found.high)] == [float, float] and found == Float(0.5, 2.0)
    assert repr(Int(np.int64(1), np.int32(5))) == repr(Int(1, 5))
    assert Choice(np.int64(3), np.str_("a")).options == (3, "a") and Choice([1, [2]]).options == ((1, (2,)),)
    assert type(plain(np.bool_(True))) is bool and plain(np.arange(3)) == [0, 1, 2] and plain("x") == "x"
    values = {
        "epochs": np.int64(3),
        "lr": np.float32(0.5),
        "milestones": np.array([3, 5]),
        "shuffle": np.True_,
    }
    config = make_config(Fit.Config, values, "fit")
    assert (config.epochs, config.lr, config.milestones, config.shuffle) == (3, 0.5, (3, 5), True)
    assert (type(config.epochs), type(config.lr), type(config.milestones[0])) == (int, float, int)


def test_what_a_message_shows_is_short_and_never_fails() -> None:
    class Odd:
        def __repr__(self) -> str:
            raise RuntimeError

    assert shown("a\nb") == "'a\\nb'" and len(shown("x" * 1000)) == 80
    assert shown(HUGE) == "an integer of 16610 bits" and "Odd" in shown(Odd())


def test_a_domain_of_one_value_is_searched(tmp_path: Any) -> None:
    from raycl.tune.proposals import propose

    cell = cell_of(methods={"hat": {"method.lamb": Float(1, 1), "fit.batch": Int(8, 8, log=True)}})
    found = propose(cell, 0, [], [])
    assert found["method.lamb"] == 1.0 and found["fit.batch"] == 8
    assert ends(Float(1, 2)) == (1.0, 2.0) and ends(Choice("a", None)) == ("a", None)


VALUES: list[tuple[Callable[[], Any], str]] = [
    (lambda: Search(trials=True), "search.trials = True must be an integer of at least 1"),
    (lambda: Search(trials=4.0), "search.trials = 4.0 must be an integer"),  # type: ignore[arg-type]
    (lambda: Search(trials=10**9), "search.trials = 1000000000 is too large: at most 10000"),
    (lambda: Search(concurrency=10**9), "search.concurrency"),
    (lambda: Search(startup_trials=0), "search.startup_trials = 0"),
    (lambda: Search(seed=-1), "search.seed = -1 must be an integer of at least 0"),
    (lambda: Search(seed=2**63), "search.seed"),
    (lambda: Seeds(), "at least one seed"),
    (lambda: Seeds(*range(10**5)), "100000 seeds are too many"),
    (lambda: Seeds(2**63), "is too large"),
    (lambda: Seeds(HUGE), "integer of 16610 bits is too large"),
    (lambda: Seeds(-1), "-1 must be an integer of at least 0"),
    (lambda: Seeds(True), "True must be an integer"),
    (lambda: Seeds(1.0), "1.0 must be an integer"),  # type: ignore[arg-type]
    (lambda: Seeds([1, 2]), "[1, 2] must be an integer"),  # type: ignore[arg-type]
    (lambda: Seeds(1, 2, 1), "1 is given twice"),
    (lambda: Grid({}), "at least one axis"),
    (lambda: Grid([1]), "at least one axis"),  # type: ignore[arg-type]
    (lambda: Grid({"fit.lr": []}), "fit.lr = [] should have at least one value"),
    (lambda: Grid({"fit.schedule": "steps"}), "should be a list of values"),
    (lambda: Grid({"fit.lr": 0.1}), "should be a list of values"),  # type: ignore[dict-item]
    (lambda: Grid({"fit.lr": {1, 2}}), "should be a list of values"),  # type: ignore[dict-item]
    (lambda: Grid({"fit.lr": (x for x in (1, 2))}), "should be a list"),  # type: ignore[dict-item]
    (lambda: Grid({"fit.lr": np.zeros((2, 2))}), "should be a list"),  # type: ignore[dict-item]
    (lambda: Grid({3: [1]}), "the axis 3"),  # type: ignore[dict-item]
    (lambda: Grid({"fit.lr": Float(0.1, 1)}), "is a domain, but a Grid takes lists"),  # type: ignore[dict-item]
    (lambda: Grid({"fit.epochs": range(1, 10**7)}), "more than 10000 points"),
    (lambda: Grid({"fit.epochs": range(10**30)}), "more than 10000 points"),
    (lambda: Grid({"fit.epochs": range(1, 999), "fit.batch": range(1, 999)}), "more than 10000 points"),
    (lambda: Grid({"fit.lr": [1, 1.0]}), "fit.lr contains 1.0 twice"),
    (lambda: Grid({"fit.lr": ["a"]}), "fit.lr = 'a' is not a number"),
    (lambda: Resources(cpus=float("nan")), "Resources(cpus=nan) must be a number of at least 0"),
    (lambda: Resources(gpus=float("inf")), "Resources(gpus=inf)"),
    (lambda: Resources(cpus="2"), "Resources(cpus='2')"),  # type: ignore[arg-type]
    (lambda: Resources(cpus=True), "Resources(cpus=True)"),
    (lambda: Resources(cpus=None), "Resources(cpus=None)"),  # type: ignore[arg-type]
    (lambda: Resources(cpus=-1), "Resources(cpus=-1)"),
    (lambda: Resources(cpus=0, gpus=0), "request at least one CPU or GPU"),
    (lambda: Resources(gpus=1.5), "a share of at most 1, or an integer"),
    (lambda: Resources(memory=0), "above 0 GiB, or None"),
    (lambda: Resources(stall_minutes=float("nan")), "above 0"),
    (lambda: study(orders=10**20), "orders = 100000000000000000000 is too large: at most 1000"),
    (lambda: study(orders=HUGE), "orders = an integer of 16610 bits is too large"),
    (lambda: study(orders=True), "orders = True must be"),
    (lambda: study(orders=2.0), "orders = 2.0 must be"),
    (lambda: study(orders=1000, benchmarks=["digits_split"] * 101), "101000 cells are too many"),
]


@pytest.mark.parametrize(("make", "part"), VALUES)
def test_values_that_no_study_can_have_are_one_line_at_once(make: Callable[[], Any], part: str) -> None:
    assert part in complaint(make)


def test_values_of_numpy_are_taken() -> None:
    assert Seeds(np.int64(3)) == Seeds(3) and type(Seeds(np.int64(3))[0]) is int
    assert Search(trials=np.int32(4)) == Search(trials=4)  # type: ignore[arg-type]
    assert Resources(cpus=np.int64(2), gpus=np.float64(0.5)) == Resources(cpus=2, gpus=0.5)
    assert Grid({"fit.lr": np.array([0.1, 0.2])}) == Grid({"fit.lr": [0.1, 0.2]})  # type: ignore[dict-item]
    assert len(cells_of(study(orders=np.int64(2), search=None))) == 2


SIZES: list[tuple[Callable[[], Study], str]] = [
    (writing(network="mlp(hidden=1000000000000)"), "a network of these sizes cannot be built"),
    (writing(network="mlp(hidden=110000)"), "1.21e+10 parameters, but more than 1e+10 fit no machine"),
    (writing(network=f"mlp(hidden={10**30})"), "integers must be smaller than 2**63"),
    (writing(network="alexnet(width=1e9)", benchmarks=[LARGE]), "width = 1000000000.0"),
    (writing(network="resnet50(width=1e9)", benchmarks=[LARGE]), "width = 1e+09"),
    (writing(network="resnet18(nf=1000000000)"), "a network of these sizes cannot be built"),
    (
        keyed("net.hidden", Int(1, 10**9), network="mlp"),
        "with net.hidden = 1000000000: the network would have",
    ),
    (writing(benchmarks=["digits_permuted(tasks=1000000000)"]), "tasks = 1e+09"),
    (writing(benchmarks=[f"digits_permuted(tasks={10**30})"]), "integers must be smaller than 2**63"),
    (writing(benchmarks=["digits_split(size=1000000000)"]), "size = 1000000000"),
    (keyed("method.modules", 10**9, "pathnet"), "modules = 1000000000 is too many: at most 1000"),
    (keyed("method.units", 10**12, "acl"), "units = 1000000000000 is too many: at most 10000"),
    (keyed("method.hidden", (10**12,), "hypernet"), "must be at most 10000 units"),
    (keyed("method.n_head", 10**12, "cat"), "n_head = 1000000000000 is too many"),
    (
        writing(methods={"impresslearn": {"method.k": 10**9, "method.basis": "random"}}),
        "at most 10000 masks of a kind",
    ),
    (keyed("fit.epochs", 10**20), "fit.epochs = 100000000000000000000 is too large"),
    (keyed("fit.epochs", 10**9), "epochs = 1000000000 is more than 10000000: the run would never end"),
    (keyed("fit.epochs", HUGE), "an integer of 16610 bits"),
    (keyed("fit.lr", 10**400), "is not a number"),
]


@pytest.mark.parametrize(("make", "part"), SIZES)
def test_what_no_machine_can_hold_is_one_line_at_once(make: Callable[[], Any], part: str) -> None:
    assert part in complaint(make)


LABELS = {
    "": "is empty",
    "  ": "is empty",
    " a": "begins or ends with a space",
    "a\nb": "control character '\\n'",
    "a\x1b[31m": "control character '\\x1b'",
    "a\x00": "control character",
    "a\u2028b": "control character",
    "a\u202eb": "control character",
    "a\ud800": "control character",
    "x" * 600: "has 600 characters",
}


@pytest.mark.parametrize("label", LABELS, ids=ascii)
def test_a_label_that_cannot_be_read_is_refused(label: str) -> None:
    assert LABELS[label] in complaint(lambda: study(methods={label: {"method": "finetune"}}))


@pytest.mark.parametrize(
    "pair", [("HAT", "hat"), ("h  a", "h a"), ("ﬁne", "fine"), ("a\u200bb", "ab"), ("é", "e\u0301")]
)
def test_labels_that_look_alike_are_refused(pair: tuple[str, str]) -> None:
    methods = {label: {"method": "finetune"} for label in pair}
    assert "only in spaces, case or form: rename one" in complaint(lambda: study(methods=methods))


def test_two_labels_may_mean_the_same_runs() -> None:
    a, b = cells_of(study(methods={"a": {"method": "hat"}, "b, [x]: 'c'": {"method": "hat"}}))
    assert a.key == b.key


FIT: list[tuple[dict[str, Any], str]] = [
    ({"nesterov": True}, "nesterov = True needs momentum above 0"),
    ({"momentum": -0.5}, "momentum = -0.5 must lie in [0, 1)"),
    ({"momentum": 1}, "momentum = 1.0 must lie in [0, 1)"),
    ({"weight_decay": -0.1}, "weight_decay = -0.1 must be at least 0"),
    ({"weight_decay": float("inf")}, "weight_decay = inf is not a number"),
    ({"threshold": -0.1}, "threshold = -0.1 must lie in [0, 1)"),
    ({"threshold": 1.0}, "threshold = 1.0 must lie in [0, 1)"),
    ({"lr_floor": -1e-4}, "lr_floor = -0.0001 must be at least 0"),
    ({"lr": 0}, "lr = 0.0 must be above 0"),
    ({"lr_span": 0.5}, "lr_span = 0.5 must be at least 1"),
    ({"clip": 0}, "clip = 0.0 must be above 0"),
    ({"factor": 1}, "factor = 1.0 must be above 1"),
    ({"schedule": "steps", "milestones": (3,), "factor": 0}, "factor = 0.0 must be above 0"),
    ({"schedule": "steps", "milestones": (3,), "factor": -2}, "factor = -2.0 must be above 0"),
    ({"schedule": "steps"}, "schedule = 'steps' needs milestones"),
    ({"milestones": (-1, 3)}, "milestones = (-1, 3) must be increasing epoch numbers from 0"),
    ({"milestones": (5, 3)}, "must be increasing epoch numbers from 0"),
    ({"milestones": (3, 3)}, "must be increasing epoch numbers from 0"),
    ({"epochs": 0}, "epochs = 0 must be at least 1"),
    ({"batch": 0}, "batch = 0 must be at least 1"),
    ({"patience": 0}, "patience = 0 must be at least 1"),
]


@pytest.mark.parametrize(("values", "part"), FIT)
def test_training_settings_that_mean_nothing_are_refused(values: dict[str, Any], part: str) -> None:
    assert part in complaint(lambda: study(fit=values))
    assert part in complaint(
        lambda: study(methods={"a": {"method": "hat"} | {f"fit.{k}": v for k, v in values.items()}})
    )


@pytest.mark.parametrize(
    "values",
    [
        {"nesterov": True, "momentum": 0.9},
        {"nesterov": True, "optimiser": "adam"},  # a preset's, under a method that takes another optimiser
        {"schedule": "steps", "milestones": (0, 5), "factor": 0.5},
        {"schedule": "constant", "patience": 3, "factor": 0.5},
        {"lr_floor": 0, "momentum": 0.999, "threshold": 0},
        {"batch": 10**9},
    ],
)
def test_training_settings_that_mean_something_are_taken(values: dict[str, Any]) -> None:
    config = make_config(Fit.Config, values, "fit")
    assert all(getattr(config, name) == value for name, value in values.items())


PROPOSED: list[tuple[Callable[[], Study], str]] = [
    (keyed("fit.lr", Float(0, 1)), "the search can propose fit.lr = 0.0: lr = 0.0 must be above 0"),
    (keyed("fit.momentum", Float(0, 1)), "fit.momentum = 1.0"),
    (keyed("fit.batch", Int(0, 8)), "fit.batch = 0"),
    (keyed("fit.clip", Choice(None, 0.0)), "fit.clip = 0.0"),
    (keyed("method.smax", Float(-1, 400)), "method.smax = -1.0"),
    (keyed("net.hidden", Int(0, 8), network="mlp"), "net.hidden = 0"),
    (keyed("net.drop1", Float(0, 1.5), network="mlp"), "net.drop1 = 1.5"),
    (keyed("method.initial", Choice("ksm_initial", "nowhere"), "packnet"), "method.initial = 'nowhere'"),
    (writing(search=Grid({"fit.lr": [0.1, -1]})), "the search can propose fit.lr = -1.0"),
    (
        writing(fit={"nesterov": Choice(True, False), "momentum": Choice(0.9, 0.0)}),
        "fit.nesterov = True: nesterov = True needs momentum",
    ),
    (
        writing(fit={"schedule": Choice("plateau", "steps"), "factor": Float(0.5, 3)}),
        "the search can propose fit.schedule = 'steps'",
    ),
    (
        writing(methods={"pathnet": {"method.n_active": Choice(3, 5), "method.modules": Choice(4, 16)}}),
        "method: together = {'generations': 5, 'n_active': 5, 'modules': 4}",
    ),
    (
        writing(methods={"pathnet": {}}, search=Grid({"method.n_active": [2, 5], "method.modules": [3, 9]})),
        "method: together = {'n_active': 5, 'modules': 3}",
    ),
]


@pytest.mark.parametrize(("make", "part"), PROPOSED)
def test_a_search_that_can_propose_what_is_refused_is_refused(make: Callable[[], Any], part: str) -> None:
    assert part in complaint(make)


def test_a_grid_varies_what_the_label_leaves_open() -> None:
    fixed = {"hat": {"method.lamb": 1.0}}
    assert "remove one of them" in complaint(
        lambda: study(methods=fixed, search=Grid({"method.lamb": [1.0, 2.0]}))
    )
    searched = {"hat": {"method.smax": Float(30, 40)}}
    assert "a Grid does not draw from domains" in complaint(
        lambda: study(methods=searched, search=Grid({"method.lamb": [1.0, 2.0]}))
    )
    both = cell_of(methods={"hat": {}}, fit={"lr": 0.3}, search=Grid({"fit.lr": [0.1, 0.2]}))
    assert both.spec({"fit.lr": 0.1}, 1).fit["lr"] == 0.1


def test_every_domain_of_a_built_in_is_one_that_its_config_takes() -> None:
    from raycl import registry

    for name in registry.method_names():
        network = "alexnet" if registry.method(name).needs else "mlp"
        benchmark = (
            "digits_permuted(size=28, first=10)" if network == "alexnet" else "digits_permuted(first=10)"
        )
        cells = cells_of(study(methods={name: {}}, network=network, benchmarks=[benchmark]), check=False)
        assert [cell.label for cell in cells] == [name]  # a refused domain raises

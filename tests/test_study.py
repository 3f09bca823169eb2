"""From a study to cells and keys; and what is said of a study that is wrong."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import pytest

from raycl import Choice, Float, Form, Grid, Int, Resources, Search, Seeds, Study
from raycl.errors import Obstacle, UserError
from raycl.method import Method
from raycl.runs.build import make_fit
from raycl.specs import RunSpec
from raycl.study.cells import Cell
from raycl.study.expand import cells_of
from raycl.study.file import read_study
from raycl.training.fit import Fit
from raycl.training.presets import PRESETS


def study(**changes: Any) -> Study:
    base: dict[str, Any] = {"methods": {"finetune": {}}, "benchmarks": ["digits_split"],
                            "network": "mlp(hidden=8)", "file": "studies/mine.py"}  # fmt: skip
    return Study(**(base | changes))


def only_cell(**changes: Any) -> Cell:
    (cell,) = cells_of(study(**changes))
    return cell


def complaint(**changes: Any) -> str:
    with pytest.raises(UserError) as caught:
        cells_of(study(**changes))
    text = str(caught.value)
    assert "\n" not in text.strip() or "raycl data" in text
    return text


class TestForms:
    def test_a_study_with_changes_is_another_one(self) -> None:
        first = study(fit={"epochs": 3, "lr": 0.1}, paper="spg")
        second = first.with_(fit={"epochs": 5}, final=Seeds(7))
        assert second == study(fit={"epochs": 5}, paper="spg", final=Seeds(7))  # `fit` is changed as a whole
        assert first == study(fit={"epochs": 3, "lr": 0.1}, paper="spg") and first.with_() == first

    def test_one_that_was_read_stays_where_it_was(self, tmp_path: Path) -> None:
        file = tmp_path / "mine.py"
        file.write_text("from raycl import Study\nSTUDY = Study(methods={'hat': {}})\n")
        read = read_study(file)
        changed = read.with_(network="mlp(hidden=8)")
        assert (changed.folder, changed.file, changed.name) == (tmp_path, str(file), "mine")

    def test_a_field_that_there_is_not_is_told(self) -> None:
        with pytest.raises(
            UserError, match=r"Study\.with_: unknown field 'methds'; did you mean 'methods'\?"
        ):
            study().with_(methds={})

    def test_a_form_is_two_values(self) -> None:
        form = Form(full=study(), small=study(network="mlp(hidden=4)"))
        assert form.full.network == "mlp(hidden=8)" and form.small.network == "mlp(hidden=4)"
        assert form == Form(study(), study(network="mlp(hidden=4)")) != Form(study(), study())


class TestKeys:
    def test_whole_numbers_and_floats_are_one_thing(self) -> None:
        keys = {
            only_cell(methods={"hat": {"method.smax": v}}, search=None).spec({}, 1).key for v in (300, 300.0)
        }
        assert len(keys) == 1

    def test_a_default_written_out_changes_nothing(self) -> None:
        plain = only_cell(methods={"hat": {}}, search=None).spec({}, 1)
        spelt = only_cell(methods={"hat": {"method.clamp": 6.0, "fit.momentum": 0.0}}, search=None).spec(
            {}, 1
        )
        assert plain.key == spelt.key

    def test_what_matters_is_in_the_key(self) -> None:
        base = only_cell(search=None).spec({}, 1)
        others = [
            only_cell(search=None).spec({}, 2),
            only_cell(search=None, fit={"lr": 0.01}).spec({}, 1),
            only_cell(search=None, network="mlp(hidden=9)").spec({}, 1),
            only_cell(search=None, benchmarks=["digits_split(size=28)"]).spec({}, 1),
            only_cell(search=None, methods={"ewc": {}}).spec({}, 1),
            only_cell(search=None, numerics="fast").spec({}, 1),
            only_cell(search=None, evaluate="full").spec({}, 1),
            cells_of(study(search=None, orders=2))[1].spec({}, 1),
            replace(base, versions={**base.versions, "method": 99}),
        ]
        assert len({spec.key for spec in [base, *others]}) == len(others) + 1

    def test_what_does_not_matter_is_not(self) -> None:
        a = only_cell(search=None, name="a", resources={"*": Resources(cpus=2)}).spec({}, 1)
        b = only_cell(search=None, name="b", methods={"label": {"method": "finetune"}}).spec({}, 1)
        assert a.key == b.key

    def test_a_spec_travels_as_json(self) -> None:
        import json

        spec = only_cell(methods={"hat": {"method.lamb": 1}}, search=None, preset="spg").spec({}, 3)
        again = RunSpec.from_json(json.loads(json.dumps(spec.to_json())))
        assert again.key == spec.key and again == spec

    def test_proposals_do_not_depend_on_names_or_on_how_many_trials(self) -> None:
        a = only_cell(name="a", search=Search(trials=4))
        b = only_cell(name="b", search=Search(trials=9), methods={"x": {"method": "finetune"}})
        assert a.key == b.key
        assert only_cell(search=Search(concurrency=2)).key != a.key
        assert only_cell(search=Search(seed=2)).key != a.key


class TestPrecedence:
    def test_label_over_study_over_method_over_preset(self) -> None:
        cells = cells_of(
            study(
                methods={"ewc": {}, "mine": {"method": "ewc", "fit.clip": 1.0}, "finetune": {}},
                preset="spg",
            )
        )
        clip = [cell.settings["fit.clip"].value for cell in cells]
        assert clip == [100.0, 1.0, None]
        assert {cell.settings["fit.lr"].value for cell in cells} == {0.25}
        over = cells_of(study(methods={"ewc": {}}, preset="spg", fit={"clip": 7, "lr": 0.1}))[0]
        assert (over.settings["fit.clip"].value, over.settings["fit.lr"].value) == (7.0, 0.1)

    def test_presets_add_up_from_left_to_right(self) -> None:
        cell = only_cell(preset="spg+desk")
        fit = {k: s.value for k, s in cell.settings.items()}
        assert (fit["fit.epochs"], fit["fit.patience"], fit["fit.lr"]) == (10, 2, 0.25)

    def test_a_paper_may_replace_a_domain(self) -> None:
        plain = only_cell(methods={"ewc": {}}).settings["method.lamb"].domain
        paper = only_cell(methods={"ewc": {}}, preset="spg").settings["method.lamb"].domain
        assert (plain, paper) == (Float(50.0, 5e4, log=True), Float(10.0, 1e5, log=True))
        fixed = only_cell(methods={"hat": {}}, preset="prm").settings["method.smax"]
        assert fixed.domain is None and fixed.value == 400.0

    def test_a_value_in_the_networks_text_is_not_searched(self) -> None:
        assert "net.drop1" in only_cell().space
        assert "net.drop1" not in only_cell(network="mlp(hidden=8, drop1=0.1)").space

    def test_a_key_takes_a_value_or_a_domain(self) -> None:
        cell = only_cell(methods={"hat": {"method.lamb": 1.0, "fit.lr": Float(0.01, 1, log=True)}})
        assert "method.lamb" not in cell.space and cell.space["fit.lr"] == Float(0.01, 1, log=True)

    @pytest.mark.parametrize("name", PRESETS)
    def test_every_preset_fills_a_fit(self, name: str) -> None:
        cell = only_cell(preset=name, benchmarks=[next(iter(PRESETS[name].on), "digits_split")])
        assert make_fit(cell.spec({}, 1)).config.lr == PRESETS[name].fit.get("lr", Fit.Config().lr)

    def test_a_preset_may_speak_of_some_benchmarks_alone(self) -> None:
        cell = only_cell(preset="spg+spg_dropout", benchmarks=["femnist_10"])
        assert (cell.settings["net.drop1"].value, cell.settings["net.drop2"].value) == (0.4922, 0.4847)
        assert cell.search is None  # finetune has nothing else to vary
        text = complaint(preset="spg+spg_dropout")
        assert "preset 'spg_dropout' is for other benchmarks than 'digits_split'" in text

    def test_a_domain_of_a_preset_leaves_the_value_for_where_nothing_is_searched(self) -> None:
        cell = only_cell(methods={"supsup": {}}, preset="spg", search=None)
        assert make_fit(cell.spec({}, 1)).config.lr == PRESETS["spg"].fit["lr"]


class TestCells:
    def test_one_cell_by_method_benchmark_and_order(self) -> None:
        cells = cells_of(study(methods={"finetune": {}, "hat": {}}, benchmarks=["digits_split", "digits_rotated"],
                               orders=2))  # fmt: skip
        assert [c.name for c in cells][:3] == [
            "finetune/digits_split/order 0",
            "finetune/digits_split/order 1",
            "finetune/digits_rotated/order 0",
        ]
        assert len(cells) == 8

    @pytest.mark.parametrize(
        ("pattern", "n"), [("hat/*", 2), ("hat", 2), ("*/digits_split", 2), ("hat/digits_split", 1)]
    )
    def test_only(self, pattern: str, n: int) -> None:
        whole = study(methods={"finetune": {}, "hat": {}}, benchmarks=["digits_split", "digits_rotated"])
        assert len(cells_of(whole, pattern)) == n

    def test_resources_last_match_holds(self) -> None:
        cell = only_cell(resources={"finetune/*": Resources(cpus=2, gpus=0.5)})
        assert cell.resources == Resources(cpus=2, gpus=0.5)
        assert only_cell(resources={"hat/*": Resources(cpus=2)}).resources == Resources()
        with pytest.raises(UserError, match=r"Resources\(graphs=1\) must be True or False"):
            Resources(graphs=1)  # type: ignore[arg-type]

    def test_grid_points(self) -> None:
        grid = Grid({"method.lamb": [1, 2.0], "fit.epochs": [3, 4]})
        points = only_cell(methods={"hat": {}}, search=grid).search
        assert isinstance(points, Grid)
        assert points.points()[1] == {"method.lamb": 1.0, "fit.epochs": 4} and len(points.points()) == 4

    def test_nothing_to_search_is_one_configuration(self) -> None:
        cell = only_cell(network="mlp(hidden=8, drop1=0.0, drop2=0.0)")
        assert cell.search is None and cell.space == {}


class OutsideItsDomain(Method):
    @dataclass(frozen=True, kw_only=True)
    class Config(Method.Config):
        lamb: Annotated[float, Float(1, 2)] = 3.0


class TestBadInput:
    """Each in one line that names the value, the place and the remedy."""

    @pytest.mark.parametrize(
        ("changes", "parts"),
        [
            ({"methods": {"hatt": {}}}, ["methods['hatt']", "unknown method 'hatt'", "'hat'", "raycl methods"]),
            ({"benchmarks": ["digit_split"]}, ["unknown benchmark 'digit_split'", "'digits_split'"]),
            ({"network": "mpl"}, ["unknown network 'mpl'", "'mlp'"]),
            ({"network": "mlp(hiden=3)"}, ["unknown field 'hiden'", "'hidden'"]),
            ({"network": "mlp(hidden='a')"}, ["hidden = 'a'", "an integer"]),
            ({"network": "mlp(hidden=0)"}, ["hidden = 0", "at least 1"]),
            ({"network": "mlp(hidden=)"}, ["should be a name such as"]),
            ({"network": "mlp(hidden=many)"}, ["hidden = many is not a number, text in quotes, True"]),
            ({"network": "mlp(hidden=f(3))"}, ["hidden = f(3) is not a number, text in quotes"]),
            ({"network": "mlp(**{'hidden': 3})"}, ["should be a name such as"]),
            ({"network": "mlp(hidden=3, hidden=4)"}, ["should be a name such as"]),
            ({"methods": {"hat": {"method.smx": 1}}}, ["unknown field 'smx'", "'smax'"]),
            ({"methods": {"hat": {"smax": 1}}}, ["unknown key 'smax'", "method.smax"]),
            ({"methods": {"hat": {"method.smax": "high"}}},
             ["methods['hat']", "method.smax = 'high' is not a number", "default 400", "25..800"]),
            ({"methods": {"hat": {"method.smax": True}}}, ["method.smax = True"]),
            ({"methods": {"hat": {"method.anneal": "no"}}}, ["'no'", "'batch'", "'samples'"]),
            ({"methods": {"hat": {"fit.epochs": Float(1, 2)}}}, ["fit.epochs", "searches floats"]),
            ({"methods": {"hat": {"fit.lr": Choice("x")}}}, ["fit.lr = 'x'"]),
            ({"fit": {"epoch": 1}}, ["unknown field 'epoch'", "'epochs'"]),
            ({"fit": {"lr": -1.0}}, ["lr = -1.0 must be above 0"]),
            ({"preset": "spgg"}, ["unknown preset 'spgg'", "'spg'"]),
            ({"search": 3}, ["search = 3 should be"]),
            ({"final": "best"}, ["final = 'best'", "best trial"]),
            ({"protocol": "test"}, ["protocol = 'test'"]),
            ({"orders": 0}, ["orders = 0"]),
            ({"methods": {}}, ["methods = {}"]),
            ({"benchmarks": "digits_split"}, ["should be a list"]),
            ({"search": None, "fit": {"lr": Float(0.1, 1)}}, ["fit.lr", "is a domain, but nothing is searched"]),
            ({"search": Grid({"method.lamb": [1]})}, ["Grid: unknown key 'method.lamb'"]),
            ({"network": "lenet_300_100", "methods": {"hat": {}}}, ["hat needs a network with", "a head of its own"]),
            ({"network": "resnet18", "methods": {"hat": {}}, "benchmarks": ["digits_split(size=32)"]},
             ["blocks whose units can be gated"]),
            ({"network": "alexnet"}, ["alexnet needs square inputs", "size=28"]),
            ({"benchmarks": ["digits_split(size=9)"]}, ["size = 9", "28"]),
            ({"benchmarks": ["npz(path='nowhere.npz')"]}, ["nowhere.npz"]),
            ({"methods": {"nofile:Mine": {}}}, ["nofile.py", "beside the study"]),
            ({"methods": {f"{__name__}:Nobody": {}}}, ["defines no Method called 'Nobody'", "OutsideItsDomain"]),
            ({"methods": {f"{__name__}:OutsideItsDomain": {}}}, ["default 3.0", "lies outside its domain 1..2"]),
            ({"resources": {"*": 3}}, ["resources['*'] = 3"]),
            ({"resources": "x"}, ["resources = 'x' should be a dictionary"]),
            ({"fit": 3}, ["fit = 3 should be a dictionary"]),
            ({"methods": {"hat": 3}}, ["methods['hat'] = 3 should be a dictionary"]),
            ({"methods": {"hat": {3: 4}}}, ["methods['hat'] = {3: 4}"]),
            ({"methods": {"hat": {"network": 3}}}, ["methods['hat']", "network = 3 should be a string"]),
            ({"methods": ["hat"]}, ["methods = ['hat']"]),
            ({"benchmarks": [3]}, ["= 3 should be a string"]),
            ({"benchmarks": 3}, ["benchmarks = 3 should be a list"]),
            ({"network": None}, ["network = None should be a string"]),
            ({"preset": 3}, ["preset = 3 should be a string"]),
        ],
    )  # fmt: skip
    def test_is_said_in_one_line(self, changes: dict[str, Any], parts: list[str]) -> None:
        text = complaint(**changes)
        assert [part for part in parts if part not in text] == [], text

    def test_only_that_matches_nothing(self) -> None:
        with pytest.raises(UserError, match=r"--only 'zat' matches no cell \(known: finetune/digits_split"):
            cells_of(study(), "zat")

    @pytest.mark.parametrize(
        "make",
        [
            lambda: Seeds(),
            lambda: Seeds(1, 1),
            lambda: Seeds(-1),
            lambda: Resources(cpus=-1),
            lambda: Resources(cpus=0, gpus=0),
            lambda: Search(trials=0),
            lambda: Grid({}),
        ],
    )
    def test_values_that_mean_nothing(self, make: Any) -> None:
        with pytest.raises(UserError):
            make()

    def test_data_that_are_not_here_block_a_cell_and_say_how_to_get_them(self) -> None:
        cell = only_cell(benchmarks=["permuted_mnist(tasks=2)"])
        assert cell.blocked == Obstacle("MNIST, which is not prepared", ("raycl data prepare mnist",))

    def test_a_search_needs_validation_samples(self, tmp_path: Path) -> None:
        import numpy as np

        rng = np.random.default_rng(0)
        x, y = rng.integers(0, 255, (40, 8, 8), dtype=np.uint8), np.arange(40) % 4
        file = tmp_path / "own.npz"
        np.savez(file, x_train=x, y_train=y, x_test=x, y_test=y)
        name = f"npz(path={str(file)!r}, tasks=2, val=0.0)"
        assert "the search needs validation samples, but there are none" in complaint(benchmarks=[name])
        assert only_cell(benchmarks=[name], search=None).blocked is None


class TestFiles:
    def write(self, tmp_path: Path, text: str) -> Path:
        file = tmp_path / "mine.py"
        file.write_text(text)
        return file

    GOOD = "from raycl import *\nSTUDY = Study(methods={'finetune': {}}, benchmarks=['digits_split'])\n"

    def test_the_name_is_the_files_stem(self, tmp_path: Path) -> None:
        assert read_study(self.write(tmp_path, self.GOOD)).name == "mine"

    @pytest.mark.parametrize(
        ("text", "wanted"),
        [
            ("STUDY = Study(", r"mine\.py:1: "),
            ("x = 1\n", "defines no STUDY"),
            ("STUDY = 3\n", "STUDY is int"),
            ("import raycl\nx = 1 / 0\n", r"mine\.py:2: ZeroDivisionError"),
            ("from raycl import Study\nSTUDY = Study(method={})\n", r"mine\.py:2: TypeError"),
        ],
    )
    def test_a_file_that_is_no_study(self, tmp_path: Path, text: str, wanted: str) -> None:
        with pytest.raises(UserError, match=wanted):
            read_study(self.write(tmp_path, text))

    def test_no_file(self) -> None:
        with pytest.raises(UserError, match="there is no such study file"):
            read_study("nowhere.py")

    @pytest.mark.parametrize(
        ("text", "look"),
        [
            ("search.trials=4", lambda s: s.search.trials == 4),
            ("final=(4, 5)", lambda s: s.final == Seeds(4, 5)),
            ("final='best trial'", lambda s: s.final == "best trial"),
            ("network=mlp(hidden=3)", lambda s: s.network == "mlp(hidden=3)"),
            ("fit.epochs=3", lambda s: s.fit["epochs"] == 3),
            ("methods.finetune.fit.lr=0.5", lambda s: s.methods["finetune"] == {"fit.lr": 0.5}),
            ("search=None", lambda s: s.search is None),
        ],
    )
    def test_set(self, tmp_path: Path, text: str, look: Any) -> None:
        assert look(read_study(self.write(tmp_path, self.GOOD), [text]))

    @pytest.mark.parametrize(
        ("text", "wanted"),
        [
            ("search.trial=4", "unknown field 'trial'; did you mean 'trials'"),
            ("serch.trials=4", "unknown field 'serch'; did you mean 'search'"),
            ("search.trials", "write FIELD=VALUE"),
            ("search.trials=many", "'many' should be an integer"),
            ("orders=x", "'x' should be an integer"),
            ("search=3", "search has fields of its own"),
        ],
    )
    def test_set_that_is_wrong(self, tmp_path: Path, text: str, wanted: str) -> None:
        with pytest.raises(UserError, match=re.escape(wanted)):
            read_study(self.write(tmp_path, self.GOOD), [text])


def test_domains_say_what_they_hold() -> None:
    assert 3 in Int(1, 3) and 4 not in Int(1, 3) and True not in Int(0, 3)
    assert 0.5 in Float(0, 1) and 2 not in Float(0, 1)
    assert "a" in Choice("a", 1) and 1.0 not in Choice("a", 1)
    for make in (lambda: Float(2, 1), lambda: Float(0, 1, log=True), lambda: Int(0, 1, log=True), Choice):
        with pytest.raises(ValueError):
            make()

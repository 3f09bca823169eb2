"""`--set`: a field of a study, as its file would write it; anything else is told in a line."""

from __future__ import annotations

from typing import Any

import pytest

from raycl import Choice, Float, Grid, Halving, Median, Resources, Search, Seeds, Study
from raycl.errors import UserError
from raycl.study.expand import cells_of
from raycl.study.overrides import overridden


def study(**changes: Any) -> Study:
    base: dict[str, Any] = {
        "methods": {"hat": {}, "hat-0.5": {"method": "hat"}, "a=b": {"method": "ewc", "search": Search()}},
        "benchmarks": ["digits_split"],
        "network": "mlp(hidden=8)",
        "name": "mine",
        "file": "mine.py",
        "resources": {"hat/*": Resources(cpus=2)},
    }
    return Study(**(base | changes))


@pytest.mark.parametrize(
    ("text", "changes"),
    [
        ("search.trials=4", {"search": Search(trials=4)}),
        (" search.trials = 4 ", {"search": Search(trials=4)}),
        ("search=None", {"search": None}),
        ("search=Search(trials=3, concurrency=1)", {"search": Search(trials=3, concurrency=1)}),
        (
            "search.prune=Halving(rungs=(1, 3), keep=1/3)",
            {"search": Search(prune=Halving(rungs=(1, 3), keep=1 / 3))},
        ),
        ("search.prune=Median(after=1)", {"search": Search(prune=Median(after=1))}),
        ("search.prune=None", {"search": Search()}),
        ("search=Grid({'fit.lr': [0.1, 1]})", {"search": Grid({"fit.lr": [0.1, 1]})}),
        ("final=3", {"final": Seeds(3)}),
        ("final=1,2,3", {"final": Seeds(1, 2, 3)}),
        ("final=[4, 5]", {"final": Seeds(4, 5)}),
        ("final=Seeds(1, 2)", {"final": Seeds(1, 2)}),
        ("final=best trial", {"final": "best trial"}),
        ("final='best trial'", {"final": "best trial"}),
        ("orders=2", {"orders": 2}),
        ("name=2024", {"name": "2024"}),
        ("name='2024'", {"name": "2024"}),
        ("network=mlp(hidden=9, drop1=0.5)", {"network": "mlp(hidden=9, drop1=0.5)"}),
        ("benchmarks=digits_split(size=28)", {"benchmarks": ["digits_split(size=28)"]}),
        ("benchmarks=['a', 'b']", {"benchmarks": ["a", "b"]}),
        ("preset=spg", {"preset": "spg"}),
        ("evaluate=full", {"evaluate": "full"}),
        ("fit.lr=0.5", {"fit": {"lr": 0.5}}),
        ("fit={'lr': 1, 'milestones': (1, 2)}", {"fit": {"lr": 1, "milestones": (1, 2)}}),
        ("resources.hat/*.cpus=0.5", {"resources": {"hat/*": Resources(cpus=0.5)}}),
        ("resources.hat/*.memory=4", {"resources": {"hat/*": Resources(cpus=2, memory=4)}}),
        ("resources={'*': Resources(gpus=0.5)}", {"resources": {"*": Resources(gpus=0.5)}}),
    ],
)
def test_a_field_of_the_study(text: str, changes: dict[str, Any]) -> None:
    assert overridden(study(), [text]) == study(**changes)


@pytest.mark.parametrize(
    ("text", "label", "keys"),
    [
        ("methods.hat.method.lamb=0.5", "hat", {"method.lamb": 0.5}),
        ("methods.hat-0.5.method.lamb=0.5", "hat-0.5", {"method": "hat", "method.lamb": 0.5}),
        ("methods.a=b.method.lamb=2", "a=b", {"method": "ewc", "search": Search(), "method.lamb": 2}),
        ("methods.a=b.search.trials=2", "a=b", {"method": "ewc", "search": Search(trials=2)}),
        ("methods.hat.search=None", "hat", {"search": None}),
        ("methods.hat.method.lamb=Float(0.1, 1)", "hat", {"method.lamb": Float(0.1, 1)}),
        ("methods.hat.method.lamb=Choice(0.1, 1)", "hat", {"method.lamb": Choice(0.1, 1)}),
        ("methods.hat={'fit.lr': 0.1}", "hat", {"fit.lr": 0.1}),
        ("methods.new={'method': 'ewc'}", "new", {"method": "ewc"}),
        ("methods.new.name={'method': 'ewc'}", "new.name", {"method": "ewc"}),
    ],
)
def test_a_key_of_a_label(text: str, label: str, keys: dict[str, Any]) -> None:
    assert overridden(study(), [text]).methods[label] == keys


def test_they_are_applied_from_left_to_right() -> None:
    made = overridden(study(search=None), ["search=Search()", "search.trials=7", "search.concurrency=2"])
    assert made.search == Search(trials=7, concurrency=2)
    assert overridden(study(preset="spg"), ["preset=None"]).preset is None


WRONG = [
    ("", "write FIELD=VALUE"),
    ("=", "write FIELD=VALUE"),
    ("=5", "write FIELD=VALUE"),
    ("orders", "write FIELD=VALUE"),
    ("orders=", "'' should be an integer, as orders = 1 is"),
    ("orders=x", "'x' should be an integer"),
    ("orders=True", "True should be an integer"),
    ("orders=2.0", "2.0 should be an integer"),
    ("orders=[2]", "[2] should be an integer"),
    ("orders=" + "9" * 5000, "should be an integer"),
    ("orders=-1", "orders = -1 must be"),
    ("order=2", "unknown field 'order'; did you mean 'orders'?"),
    ("ordérs=2", "unknown field 'ordérs'"),
    ("__class__=3", "unknown field '__class__'"),
    ("__init__.x=3", "unknown field '__init__'"),
    ("folder=/", "unknown field 'folder'"),
    (".=3", "unknown field ''"),
    ("..a=3", "unknown field ''"),
    ("search.=3", "unknown field ''"),
    ("search.trials.x=3", "20 does not have a field 'x'"),
    ("search.trials=0", "search.trials = 0 must be"),
    ("search.trials={}", "{} should be an integer"),
    ("search=5", "search has fields of its own: set search.trials"),
    ("search=Seeds(1)", "search has fields of its own"),
    ("search=Search(trial=4)", "Search() has no field 'trial'; did you mean 'trials'?"),
    ("search=Search(**{'trials': 4})", "Search() has no field '**'"),
    ("search=Search(trials=0)", "search.trials = 0 must be"),
    ("search=Grid([1])", "--set search=Grid([1]): "),
    ("search=Grid({})", "should have at least one axis"),
    ("search=Grid({'fit.lr': 3})", "--set search=Grid({'fit.lr': 3}): "),
    ("search=Grid({1: [2]})", "the axis 1 should be"),
    ("final=", "final = '' should be Seeds"),
    ("final=1,1", "1 is given twice"),
    ("final=True", "a seed = True must be"),
    ("final=-1", "a seed = -1 must be"),
    ("final=1.5", "final = 1.5 should be Seeds"),
    ("final=()", "should have at least one seed"),
    ("final=[[]]", "--set final=[[]]: "),
    ("final=Seeds()", "should have at least one seed"),
    ("fit=5", "fit = 5 should be a dictionary"),
    ("fit.lr=abc", "fit.lr = 'abc' is not a number"),
    ("fit.lr=", "fit.lr = '' is not a number"),
    ("fit.lr={}", "fit.lr = {} is not a number"),
    ("fit.lr.x=3", "unknown field 'lr.x'"),
    ("fit.__class__=3", "unknown field '__class__'"),
    ("fit={[]: 1}", "unhashable type"),
    ("fit={{}: 1}", "unhashable type"),
    ("fit={1: 1}", "mine.py"),
    ("methods=hat", "methods = 'hat' should have at least one label"),
    ("methods={}", "should have at least one label"),
    ("methods={'hat': 3}", "should be a dictionary of keys"),
    ("methods={'hat': {'method.lamb': {}}}", "method.lamb = {} is not a number"),
    ("methods={'hat': {'method.lamb': {1, 2}}}", "method.lamb = {1, 2} is not a number"),
    ("methods.hat=3", "should be a dictionary of keys"),
    ("methods.hatt.method.lamb=3", "unknown label 'hatt'; did you mean 'hat'?"),
    ("methods.=3", "unknown label ''"),
    ("methods.hat.=3", "unknown key ''"),
    ("methods.hat.lamb=3", "unknown key 'lamb'"),
    ("methods.hat.search.trials=3", "unknown key 'search.trials'"),
    ("methods.hat.method.lamb=Float(2, 1)", "low must not exceed high"),
    ("methods.hat.method.lamb=Float(1)", "missing 1 required positional argument"),
    ("methods.hat.method.lamb=Float('a', 'b')", "--set methods.hat.method.lamb="),
    ("methods.hat.method.lamb=Choice()", "at least one option"),
    ("resources=3", "resources = 3 should be a dictionary"),
    ("resources={'*': 3}", "should be Resources(cpus"),
    ("resources.*=3", "should be Resources(cpus"),
    ("resources.hat/*=3", "should be Resources(cpus"),
    ("resources.hat/*.cpus=x", "--set resources.hat/*.cpus=x: "),
    ("resources.hat/*.cpus=-1", "Resources(cpus=-1) must be"),
    ("resources.hat/*.cpu=1", "unknown field 'cpu'; did you mean 'cpus'?"),
    ("resources={'*': Resources(cpus='x')}", "--set resources="),
    ("views=3", "views = 3 should be a list"),
    ("views=[3]", "views = [3] should be a list"),
    ("sheets=3", "sheets = 3 should be a list"),
    ("tables=abc", "tables = 'abc' should be a list"),
    ("benchmarks=", "benchmarks = '' should be a list"),
    ("benchmarks=3", "benchmarks = 3 should be a list"),
    ("benchmarks=[]", "should be a list of at least one name"),
    ("benchmarks=[[]]", "[] should be a string"),
    ("benchmarks.0=digits_split", "does not have a field '0'"),
    ("network=None", "'None' should be a name"),
    ("network=", "should be a name such as"),
    ("protocol=test", "protocol = 'test' should be one of"),
    ("numerics=3", "numerics = '3' should be one of"),
    ("evaluate=[]", "evaluate = [] should be one of"),
    ("preset=3", "preset = 3 should be a string"),
    ("paper=nosuch", "unknown paper 'nosuch'"),
    ("fit.lr=" + "(" * 5000, "fit.lr"),
    ("fit.lr=" + "[" * 150, "fit.lr"),
    ("fit.lr=" + "-" * 50_000 + "1", "--set fit.lr="),
    ("fit.lr=" + "1+" * 20_000 + "1", "--set fit.lr="),
    ("fit.lr=" + "[" * 90 + "]" * 90, "fit.lr"),
    ("fit.lr=" + "a" * 200_000, "200,000 characters"),
    ("x" * 100_000 + "=1", "unknown field 'xxx"),
    ("fit.lr=\0", "is not a number"),
    ("fit.lr=\ud800", "is not a number"),
    ("fit.lr=f'{1}'", "is not a number"),
    ("fit.lr=lambda: 1", "is not a number"),
    ("fit.lr=__import__('os').getcwd()", "is not a number"),
    ("fit.lr=1e999", "is not a number"),
    ("fit.lr=1j", "is not a number"),
]


@pytest.mark.parametrize(("text", "part"), WRONG, ids=[text[:40] for text, _ in WRONG])
def test_what_is_wrong_is_one_line(text: str, part: str) -> None:
    with pytest.raises(UserError) as caught:
        cells_of(overridden(study(), [text]))
    line = str(caught.value)
    assert part in line and "\n" not in line, line


def test_fields_that_go_together_are_changed_in_any_order() -> None:
    two = Search(objectives=("acc", "-params"), pick="front")
    for texts in (
        ["search.objectives=acc", "search.pick=knee"],
        ["search.pick=knee", "search.objectives=acc"],
    ):
        assert overridden(study(search=two), texts).search == Search()
    assert overridden(study(search=None), ["search.trials=4", "search=Search()"]).search == Search(trials=4)
    late = ["search.pick=front", "search.objectives=('acc', '-params')", "search.pick=knee"]
    assert overridden(study(), late).search == Search(objectives=("acc", "-params"))  # the last one holds
    for text in ("search.trials=ten", "search.trial=4"):
        with pytest.raises(UserError, match=text):
            overridden(study(), [text, text.partition("=")[0] + "=4", "search.trials=4"])


def test_fields_of_what_is_not_there_are_told() -> None:
    for changes, part in (
        ({"search": None}, "None does not have a field 'trials'"),
        ({"search": Grid({"fit.lr": [1]})}, "does not have a field 'trials'"),
    ):
        with pytest.raises(UserError, match=part):
            overridden(study(**changes), ["search.trials=4"])


def test_a_rule_of_pruning_and_its_fields() -> None:
    pruning = study(search=Search(prune=Halving(rungs=(1, 3))))
    assert overridden(pruning, ["search.prune.keep=0.5"]).search == Search(
        prune=Halving(rungs=(1, 3), keep=0.5)
    )
    assert overridden(pruning, ["search.prune=Median()"]).search == Search(prune=Median())
    for text, message in (
        ("search.prune=halving", "search.prune = 'halving' must be Halving(rungs=..., keep=...), Median("),
        ("search.prune=Halving(rungs=(3, 1))", "Halving(rungs=(3, 1)): rungs must increase"),
        (
            "search.prune=Halving(rungs=(1,), keep=1/0)",
            "search.prune = 'Halving(rungs=(1,), keep=1/0)' must be",
        ),
        ("search.prune.keep=2.0", "Halving(keep=2.0) must be a share above 0 and below 1"),
        (
            "search.concurrency=1",
            "would prune nothing, because trials are proposed one at a time",
        ),
    ):
        with pytest.raises(UserError) as error:
            overridden(pruning, [text])
        assert message in str(error.value) and f"--set {text}" in str(error.value)
    with pytest.raises(UserError, match=r"None does not have a field 'prune'"):
        overridden(study(search=None), ["search.prune=Median()"])

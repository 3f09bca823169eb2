"""The reader of checkpoints makes objects and fills them; it changes no class, and calls nothing else."""

from __future__ import annotations

import io
import pickle
import sys
import types
import zipfile
from collections import OrderedDict
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
import torch

from raycl import registry
from raycl.method import Method
from raycl.runs.checkpoints import CheckpointFormat, TaskJournal, resume, save
from raycl.runs.unpickling import Refused
from tests.helpers import toys

CALLED: list[str] = []


class Colour(Enum):
    RED = "red"


class Plain:
    """As a user's helper class."""

    share = 1.0

    def __init__(self, *args: Any) -> None:
        CALLED.append("__init__")

    def detach(self) -> Any:
        CALLED.append("detach")
        return self

    def __call__(self, *args: Any) -> Any:
        CALLED.append("__call__")
        return self

    def __index__(self) -> int:
        CALLED.append("__index__")
        return 1

    def __iter__(self) -> Any:
        CALLED.append("__iter__")
        return iter(())


class Slotted:
    __slots__ = ("a",)

    @property
    def guarded(self) -> int:
        return 1

    @guarded.setter
    def guarded(self, value: int) -> None:
        CALLED.append("setter")


class Keyed:
    def __hash__(self) -> int:
        CALLED.append("__hash__")
        return 1

    def __eq__(self, other: object) -> bool:
        CALLED.append("__eq__")
        return True


class Table(dict[Any, Any]):
    def __setitem__(self, key: Any, value: Any) -> None:
        CALLED.append("__setitem__")
        super().__setitem__(key, value)


class Row(list[Any]):
    def extend(self, values: Any) -> None:
        CALLED.append("extend")

    def append(self, value: Any) -> None:
        CALLED.append("append")


class Stateful:
    """Takes its state itself, as a class may."""

    def __setstate__(self, state: Any) -> None:
        self.taken = state


class Bound:
    """Is made again by a call, as its class says."""

    def __init__(self, n: int) -> None:
        self.n = n

    def __reduce__(self) -> Any:
        return Bound, (self.n,)


class Mine(registry.method("finetune")):  # type: ignore[misc]
    """A method of this file, which makes its classes the run's own."""


FORM = CheckpointFormat(None, Mine)


def by(call: Any, *args: Any, state: Any = None) -> Any:
    """An object that is read again by a call with arguments, and then given a state."""

    class Sly:
        def __reduce__(self) -> Any:
            return (call, args) if state is None else (call, args, state)

    return Sly()


def read(content: Any) -> Any:
    return FORM.from_bytes(CheckpointFormat.to_bytes(content), "cpu")


def made_of(steps: bytes) -> bytes:
    """A checkpoint with these steps in the place of its own."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(CheckpointFormat.to_bytes(1))) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            new.writestr(name, steps if name.endswith("data.pkl") else old.read(name))
    return out.getvalue()


def named(kind: Any) -> bytes:
    return f"c{kind.__module__}\n{kind.__qualname__}\n".encode()


def test_what_methods_are_made_of_comes_back() -> None:
    plain = Plain.__new__(Plain)
    plain.__dict__.update(share=2.0, tensor=torch.arange(3.0), again=plain)
    slotted = Slotted.__new__(Slotted)
    slotted.a = 5
    stateful = Stateful()
    stateful.__dict__.update(x=1)
    content = {"plain": plain, "slotted": slotted, "bound": Bound(7), "stateful": stateful,
               "colour": Colour.RED, ("a", 1): OrderedDict(b=2),
               "net": torch.nn.Sequential(torch.nn.Linear(2, 3)), "set": {1, (2, 3)},
               "dtype": torch.float64}  # fmt: skip
    found = read(content)
    assert found["plain"].share == 2.0 and found["plain"].again is found["plain"]
    assert found["plain"].tensor.tolist() == [0, 1, 2] and found["slotted"].a == 5 and found["bound"].n == 7
    assert found["stateful"].taken == {"x": 1} and found["colour"] is Colour.RED
    assert found["net"][0].weight.equal(content["net"][0].weight) and found["set"] == {1, (2, 3)}
    assert found["dtype"] is torch.float64 and found["a", 1] == {"b": 2} and not CALLED


@pytest.mark.parametrize(
    "state", [{"share": 9.0}, (None, {"share": 9.0}), {"__init__": 1}, (None, {"__doc__": "x"})]
)
@pytest.mark.parametrize("kind", [Plain, Method, Mine, torch.nn.Linear, Colour, OrderedDict])
def test_no_attribute_of_a_class_is_set(kind: type, state: Any) -> None:
    before = dict(vars(kind))
    steps = b"\x80\x04" + named(kind) + pickle.dumps(state, protocol=4)[2:-1].replace(b"\x94", b"") + b"b."
    with pytest.raises((Refused, pickle.UnpicklingError)):
        FORM.from_bytes(made_of(steps), "cpu")
    assert dict(vars(kind)) == before


def test_what_was_there_before_keeps_its_state() -> None:
    on = registry.load("digits_split")
    form = CheckpointFormat(on, Mine)
    inner = pickle.dumps({"classes": 99, "tasks": ()}, protocol=4)[2:-1].replace(b"\x94", b"")
    for steps in (
        pickle.dumps(on.tasks[1], protocol=2)[:-1] + inner + b"b.",
        pickle.dumps(on, protocol=2)[:-1] + inner + b"b.",
        b"\x80\x04" + named(Colour) + b"X\x03\x00\x00\x00red\x85R" + inner + b"b.",
        b"\x80\x04ctorch\nfloat32\n" + inner + b"b.",
    ):
        with pytest.raises(Refused):
            form.from_bytes(made_of(steps), "cpu")
    assert on.tasks[1].classes == 2 and len(on.tasks) == 5


@pytest.mark.parametrize(
    "state",
    [
        {"__class__": Slotted},
        {"__setstate__": Plain},
        {"__dict__": {}},
        {"detach": Plain},
        {"__iter__": Plain},
        (None, {"__class__": Slotted}),
        (None, {"share": 1}),
    ],
)
def test_a_state_hides_no_method_and_is_no_special_attribute(state: Any) -> None:
    with pytest.raises(Refused):
        read(by(object.__new__, Plain, state=state))
    empty = pickle.dumps((), protocol=4)[2:-1].replace(b"\x94", b"")
    inner = pickle.dumps(state, protocol=4)[2:-1].replace(b"\x94", b"")
    steps = b"\x80\x04" + named(Plain) + empty + b"\x81" + inner + b"b."
    with pytest.raises(Refused):
        FORM.from_bytes(made_of(steps), "cpu")
    assert not CALLED


def test_a_slot_is_set_and_a_property_is_not() -> None:
    steps = b"\x80\x04" + named(Slotted) + b")\x81N}X\x07\x00\x00\x00guardedK\x01s\x86b."
    with pytest.raises(Refused, match="does not have this slot"):
        FORM.from_bytes(made_of(steps), "cpu")
    assert not CALLED


@pytest.mark.parametrize(
    "make",
    [
        lambda: by(Plain),
        lambda: by(Plain, 1, 2),
        lambda: by(torch.nn.Linear, 10**6, 10**6),
        lambda: by(torch.nn.parameter.Parameter, torch.zeros(1)),
        lambda: by(bytes, 10**12),
        lambda: by(bytearray, 10**12),
        lambda: by(bytes, Plain.__new__(Plain)),
        lambda: by(range, Plain.__new__(Plain)),
        lambda: by(set, Plain.__new__(Plain)),
        lambda: by(OrderedDict, Plain.__new__(Plain)),
        lambda: by(torch.Size, Plain.__new__(Plain)),
        lambda: by(torch._utils._rebuild_parameter, Plain.__new__(Plain), True, OrderedDict()),
        lambda: by(torch._utils._rebuild_parameter, torch.zeros(1), True, OrderedDict({0: Plain})),
        lambda: by(torch._utils._rebuild_parameter_with_state, torch.zeros(1), True, OrderedDict(), {"a": 1}),
        lambda: by(torch.FloatStorage, 10**9),
        lambda: by(Colour, "blue"),
        lambda: by(pickle.loads, b"N."),
        lambda: {Keyed.__new__(Keyed): 1},
        lambda: {(1, Keyed.__new__(Keyed)): 1},
        lambda: {Keyed.__new__(Keyed)},
        lambda: frozenset({Keyed.__new__(Keyed)}),
        lambda: Table(a=1),
        lambda: Row([1, 2]),
        lambda: Row([1]),
    ],
)
def test_nothing_is_called_but_what_puts_objects_together(make: Any) -> None:
    raw = CheckpointFormat.to_bytes(make())
    CALLED.clear()  # of the writer
    with pytest.raises((Refused, pickle.UnpicklingError, KeyError)):
        FORM.from_bytes(raw, "cpu")
    assert CALLED == []


@pytest.mark.parametrize(
    "steps",
    [
        b"(" + named(Plain) + b"o.",  # OBJ
        f"(i{Plain.__module__}\nPlain\n.".encode(),  # INST
        b"\x80\x02\x82\x01.",  # EXT1
        b"P0\n.",  # PERSID
        b"\x80\x04N" + b"N\x86Q.",  # a place of nothing
        b"\x80\x04" + b"(" * 100_000,
        b"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\x00\x00.",  # a text of 2^48 bytes
    ],
)
def test_steps_that_no_checkpoint_takes(steps: bytes) -> None:
    with pytest.raises(Exception):  # noqa: B017 - of any kind, and no other than an exception
        FORM.from_bytes(made_of(steps), "cpu")
    assert not CALLED


def test_a_tensor_is_as_large_as_its_bytes() -> None:
    raw = CheckpointFormat.to_bytes(torch.arange(4.0))
    assert b"K\x04" in raw  # how many numbers
    with zipfile.ZipFile(io.BytesIO(raw)) as old:
        steps = next(old.read(name) for name in old.namelist() if name.endswith("data.pkl"))
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w") as new:
            for name in old.namelist():
                longer = steps.replace(b"K\x04t\x94Q", b"K\xfft\x94Q")
                new.writestr(name, longer if name.endswith("data.pkl") else old.read(name))
    assert longer != steps
    with pytest.raises(Refused, match="255 numbers in 16 bytes"):
        FORM.from_bytes(out.getvalue(), "cpu")


def test_altered_checkpoints_cost_time_and_no_result(tmp_path: Path) -> None:
    """A file that was changed anywhere is dropped, or holds what it held."""
    on = toys.benchmark_for("finetune")
    form, folder = CheckpointFormat(on, registry.method("finetune")), tmp_path / ("ab" * 32)
    fit, kept = toys.fit_for("finetune", epochs=1), list[Any]()
    reports = toys.learn(toys.method("finetune", on), on, fit)
    path = folder / "state.pt"
    save(path, form, toys.method("finetune", on), reports[:2], 3.0)
    raw = path.read_bytes()
    found = resume(path, form, "cpu")
    assert found is not None and found[1] == reports[:2] and found[2] == 3.0

    content = form.from_bytes(raw, "cpu")
    plain = content["reports"]
    for wrong in (
        {"run": "cd" * 32},
        {"run": None},
        {"seconds": float("nan")},
        {"seconds": "x"},
        {"method": 1},
        {"reports": plain[1:]},
        {"reports": [plain[0], plain[0]]},
        {"reports": [{**plain[0], "test": {"0": 7.0}}, plain[1]]},
        {"reports": [{**plain[0], "updates": -1}, plain[1]]},
        {"reports": "x"},
        {"reports": [[]]},
    ):
        path.write_bytes(form.to_bytes({**content, **wrong}))
        assert resume(path, form, "cpu") is None and not path.exists(), wrong
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "state.pt").write_bytes(raw)
    assert resume(tmp_path / "other" / "state.pt", form, "cpu") is None  # another run's
    path.mkdir()
    assert resume(path, form, "cpu") is None and not path.exists()
    kept.append(TaskJournal(folder, form, "cpu").recall(0))
    assert kept == [None]


def test_this_file_is_one_of_the_runs_own() -> None:
    assert isinstance(sys.modules[__name__], types.ModuleType) and FORM.found(__name__, "Plain") is Plain

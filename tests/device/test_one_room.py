"""Only `raycl/devices.py` names kinds of accelerators, and no code asks a tensor for one kind."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from raycl import devices

ROOT = Path(__file__).parents[2]
KINDS = ("cuda", "hip", "xpu", "mps", "hpu", "mtia")
ROOM = ROOT / "raycl" / "devices.py"
SETTINGS = ROOT / "raycl" / "process" / "numerics.py"  # the names of torch's settings have "cuda" in them


def named(tree: ast.AST) -> Iterator[str]:
    """Attributes such as `torch.cuda` and `x.is_cuda`, and strings that name a kind of device."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in {*KINDS, *(f"is_{kind}" for kind in KINDS)}:
            yield ast.unparse(node)
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            word = node.value.partition(":")[0]
            if word in KINDS:
                yield repr(node.value)


@pytest.mark.parametrize("code", ["torch.cuda.synchronize()", "x.is_cuda", "x.to('cuda')", "x.to('mps:0')"])
def test_what_is_searched_for_is_found(code: str) -> None:
    assert list(named(ast.parse(code)))


def test_only_one_module_names_kinds_of_accelerators() -> None:
    files = [*(ROOT / "raycl").rglob("*.py"), *(ROOT / "bench").rglob("*.py")]
    found = {
        str(path.relative_to(ROOT)): names
        for path in files
        if path not in (ROOM, SETTINGS) and (names := list(named(ast.parse(path.read_text()))))
    }
    assert found == {}
    assert list(named(ast.parse(ROOM.read_text())))


def test_on_a_cpu_nothing_is_copied_and_nothing_counted() -> None:
    here, x = torch.device("cpu"), torch.ones(3)
    assert devices.sent(x, here) is x and devices.sent(x, "cpu") is x
    assert devices.peak_bytes(here) is None and devices.free_bytes(here) is None
    assert devices.graphs_of(here) is None and devices.title("cpu") == "cpu"
    assert devices.generators(here) == {"devices": []} and devices.widest(here) == torch.float64
    assert devices.widest(torch.device("mps")) == torch.float32
    with pytest.raises(RuntimeError, match="torch has no graphs for cpu"):
        devices.captured(here, lambda: None)


def test_new_tensors_are_created_on_the_device_of_a_run() -> None:
    def created(device: str) -> str:
        with devices.creating_on(device):
            return torch.ones(1).device.type

    assert (created("cpu"), created("meta")) == ("cpu", "meta")
    with torch.device("meta"):  # another default than the CPU
        assert (created("cpu"), created("meta")) == ("cpu", "meta")


def test_the_state_of_random_numbers_is_restored() -> None:
    here = torch.device("cpu")
    before = devices.random_state(here)
    first = torch.rand(2)
    devices.set_random_state(before, here)
    assert torch.equal(torch.rand(2), first)

"""The pretended accelerator refuses what a GPU refuses, and counts what a GPU would wait for."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bench.pretend import DEVICE, Record, WrongDevice, record
from tests.helpers.pretend import PretendProcess


def _here(count: int = 4) -> Tensor:
    return torch.arange(count, dtype=torch.float32, device=DEVICE)


def _mask() -> Tensor:
    return _here() > 1


def _write(value: Any) -> None:
    _here()[_mask()] = value


def _read_as_array() -> Any:
    return _here().numpy()


MIXED: dict[str, Callable[[], Any]] = {
    "sum": lambda: _here() + torch.ones(4),
    "product": lambda: _here().view(2, 2) @ torch.ones(2, 2),
    "in place": lambda: torch.ones(4).add_(_here()),
    "concatenation": lambda: torch.cat([_here(), torch.ones(4)]),
    "selection": lambda: _here().index_select(0, torch.tensor([1], device="cpu")),
    "host index": lambda: torch.ones(4)[_here().long()],
}
WAITS: dict[str, tuple[Callable[[], Any], int]] = {
    "item": (lambda: _here()[0].item(), 1),
    "float": (lambda: float(_here().sum()), 1),
    "list": (lambda: _here().tolist(), 1),
    "truth": (lambda: bool(_mask()[0]), 1),
    "to the CPU": (lambda: _here().cpu(), 1),
    "copied to the CPU": (lambda: torch.empty(4).copy_(_here()), 1),
    "from the CPU": (lambda: torch.ones(4).to(DEVICE), 1),
    "a number from the CPU": (lambda: torch.tensor(1.0, device=DEVICE), 1),
    "nonzero": (lambda: _mask().nonzero(), 1),
    "unique": (lambda: _here().unique(), 1),
    "booleans": (lambda: _here()[_mask()], 1),
    "booleans written": (lambda: _write(torch.ones(2, device=DEVICE)), 1),
    "indices of the CPU": (lambda: _here()[torch.tensor([1])], 1),
    "equal": (lambda: torch.equal(_here(), _here()), 1),
    "synchronise": (lambda: torch.accelerator.synchronize(), 1),
    "arithmetic": (lambda: (_here() * 2 + 1).sum(), 0),
    "made there": (lambda: torch.randn(3, device=DEVICE), 0),
    "from pinned memory": (lambda: torch.ones(4).pin_memory().to(DEVICE, non_blocking=True), 0),
    "a number written by a mask": (lambda: _write(0.0), 0),
    "indices": (lambda: _here()[_here().long()], 0),
    "k-th value": (lambda: _here().kthvalue(2), 0),
}


def _outcome(name: str) -> str:
    try:
        MIXED[name]()
    except (WrongDevice, RuntimeError) as error:
        return str(error)
    return "it was accepted"


@pytest.mark.parametrize("name", MIXED)
def test_tensors_of_two_devices_do_not_meet(pretend: PretendProcess, name: str) -> None:
    said = pretend.run(_outcome, name)
    assert "tensors on pretend:0 and on the CPU" in said or "device" in said, said
    assert said != "it was accepted"


def _as_array() -> str:
    try:
        _read_as_array()
    except TypeError as error:
        return str(error)
    return "it was accepted"


def test_numpy_does_not_read_the_device(pretend: PretendProcess) -> None:
    assert "use .cpu() first" in pretend.run(_as_array)


def _counted(name: str) -> Record:
    with record() as found:
        WAITS[name][0]()
    return found


@pytest.mark.parametrize("name", WAITS)
def test_waits_are_counted(pretend: PretendProcess, name: str) -> None:
    found = pretend.run(_counted, name)
    assert found.waits.total() == WAITS[name][1], found.waits


def _launches() -> dict[str, int]:
    with torch.device(DEVICE):
        layer, x = nn.Linear(3, 2), torch.ones(5, 3)
    with record() as found:
        y = layer(x).view(10).unsqueeze(0)
        y.sum().backward()
        torch._foreach_add_([p.detach() for p in layer.parameters()], 1.0)
    return dict(found.launches)


def test_views_and_allocations_are_no_launches(pretend: PretendProcess) -> None:
    """A linear layer is one product; its backward pass another product and a sum, for the first layer."""
    found = pretend.run(_launches)
    assert found["addmm"] == 1 and found["mm"] == 1 and found["_foreach_add_"] == 1
    assert not set(found) & {"view", "t", "unsqueeze", "expand", "detach", "empty"}


def _trained(where: str) -> tuple[list[float], list[float]]:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)).to(where)
    x, y = torch.randn(16, 4).to(where), torch.arange(16).to(where) % 2
    losses = []
    for _ in range(3):
        loss = nn.functional.cross_entropy(net(x), y)
        net.zero_grad()
        loss.backward()
        with torch.no_grad():
            for p in net.parameters():
                p.sub_(p.grad, alpha=0.1)
        losses.append(float(loss.detach()))
    return losses, [float(p.detach().sum()) for p in net.parameters()]


def test_numbers_are_those_of_the_cpu(pretend: PretendProcess) -> None:
    assert pretend.run(_trained, DEVICE) == pretend.run(_trained, "cpu")


def _saved() -> list[Any]:
    with torch.device(DEVICE):
        layer = nn.Linear(2, 2)
    buffer = io.BytesIO()
    torch.save({"layer": layer, "here": torch.ones(2)}, buffer)
    found = []
    for where in (DEVICE, "cpu"):
        buffer.seek(0)
        back = torch.load(buffer, where, weights_only=False)
        weight = back["layer"].weight
        found.append((isinstance(weight, nn.Parameter), weight.requires_grad, weight.device.type))
        found.append(bool((weight.cpu() == layer.weight.detach().cpu()).all()))
        found.append(back["here"].device.type)
    copied = copy.deepcopy(layer)
    found.append(isinstance(copied.weight, nn.Parameter) and copied.weight is not layer.weight)
    return found


def test_a_file_is_loaded_onto_the_device_that_is_asked_for(pretend: PretendProcess) -> None:
    found = pretend.run(_saved)
    assert found == [(True, True, "pretend"), True, "pretend", (True, True, "cpu"), True, "cpu", True]


def test_the_process_of_the_test_has_no_such_device() -> None:
    with pytest.raises(RuntimeError, match="pretend"):
        torch.ones(1, device=DEVICE)

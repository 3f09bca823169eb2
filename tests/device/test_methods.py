"""Every method on an accelerator: its tensors are there, its numbers are the CPU's, and no step waits.

A GPU works through a queue. A step that reads a value, or that sends memory that is not pinned, waits until
the queue is empty, and the GPU then waits for the program.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from raycl import registry
from tests.device import scenarios
from tests.device.scenarios import Watched
from tests.helpers import toys
from tests.helpers.pretend import PretendProcess

METHODS = registry.method_names()
CALM = "mlp(hidden=16, drop1=0.0, drop2=0.0)"  # dropout draws other numbers on a CPU
QUICK = [(name, CALM) for name in METHODS] + [
    (name, network)
    for network in ("mlp(hidden=16)", "lenet_300_100", "resnet18(nf=1)")
    for name in ("finetune", "hat", "supsup", "impresslearn", "packnet", "agem", "replay")
    if toys.works_on(name, network)
]
SLOW = [
    (name, network)
    for network in scenarios.SHAPES
    for name in METHODS
    if toys.works_on(name, network)
    and (name, network) not in QUICK
    # It needs batch statistics that are separate for each task, and refuses networks that share them.
    and not (name == "impresslearn" and network.startswith(("vgg16_bn", "resnet50")))
]


def assert_no_step_waits(found: Watched) -> None:
    """No step of training waits; an evaluation may fetch the masks of its task, once for all its batches."""
    training = {where: count for where, count in found.waits.items() if where.startswith("_epoch")}
    assert found.steps > 0
    assert not training


@pytest.mark.parametrize(("name", "network"), QUICK)
def test_runs_there_without_a_wait(pretend: PretendProcess, name: str, network: str) -> None:
    found = pretend.run(scenarios.run, name, network)
    assert_no_step_waits(found)
    if network == CALM:
        assert_same_numbers(found.state, pretend.run(scenarios.run, name, network, "cpu").state)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "network"), SLOW)
def test_runs_there_on_every_network(pretend: PretendProcess, name: str, network: str) -> None:
    assert_no_step_waits(pretend.run(scenarios.run, name, network))


def assert_same_numbers(found: Mapping[str, list[float]], wanted: Mapping[str, list[float]]) -> None:
    """Both devices compute with the CPU's own kernels, so that only the order of sums may differ."""
    assert found.keys() == wanted.keys()
    for name, values in found.items():
        np.testing.assert_allclose(values, wanted[name], rtol=1e-3, atol=1e-5, err_msg=name)

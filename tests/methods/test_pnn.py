"""PNN: columns and laterals by hand, what trains, what is read, how wide a column is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from raycl.methods.pnn import Lateral
from tests.helpers import facts, toys

Array = NDArray[np.float64]


def numbers(tensor: Any) -> Array:
    return np.asarray(tensor.detach().numpy())


def affine(layer: Any, h: Array) -> Array:
    return h @ numbers(layer.weight).T + numbers(layer.bias)


def lateral_by_hand(lateral: Any, received: list[Array]) -> Array:
    """The projection of the joined, scaled inputs."""
    scales = numbers(lateral.scales)
    return affine(lateral.project, np.concatenate([a * h for a, h in zip(scales, received, strict=True)], 1))


@pytest.mark.usefixtures("float64")
def test_three_columns_of_two_layers_by_hand() -> None:
    on = toys.benchmark()
    pnn: Any = toys.method("pnn", on, toys.chain(5, 4)).eval()
    x = on.tasks[2].test.take(slice(0, 6))
    first = [numbers(x).reshape(6, -1)] * 3
    second, last, logits = [], [], []
    for column in range(3):
        own, across = pnn.columns[column], pnn.laterals[column]
        second.append(np.maximum(affine(own[0].layer, first[column]), 0))
        pre = affine(own[1].layer, second[column])
        if column:
            pre += affine(across[0].onward, np.maximum(lateral_by_hand(across[0], second[:column]), 0))
        last.append(np.maximum(pre, 0))
        out = affine(pnn.heads[column], last[column])
        if column:
            out += affine(across[1].onward, lateral_by_hand(across[1], last[:column]))  # no ReLU
        logits.append(out)
    for task, wanted in enumerate(logits):
        np.testing.assert_allclose(numbers(pnn(x, task)), wanted, rtol=1e-10, atol=1e-12)
    assert all(len(pnn.laterals[column]) == (2 if column else 0) for column in range(3))


@pytest.mark.usefixtures("float64")
def test_a_lateral_between_convolutions() -> None:
    lateral = Lateral(nn.Conv2d(2, 3, 2), columns=2)
    left, right = torch.randn(5, 2, 4, 4), torch.randn(5, 2, 4, 4)
    joined = torch.cat([lateral.scales[0] * left, lateral.scales[1] * right], 1)
    project: Any = lateral.project
    assert project.weight.shape == (2, 4, 1, 1)  # to the channels of one column
    narrow = torch.einsum("oi,bihw->bohw", project.weight[:, :, 0, 0], joined) + project.bias.view(
        1, -1, 1, 1
    )
    onward: Any = lateral.onward
    wanted = F.conv2d(F.relu(narrow), onward.weight, onward.bias)
    torch.testing.assert_close(lateral([left, right]), wanted)
    assert wanted.shape == (5, 3, 3, 3)


@pytest.mark.parametrize("network", ["mlp(hidden=30)", "alexnet(width=0.2)"])
def test_without_laterals_a_column_is_a_narrow_network(network: str) -> None:
    """Order of dropout, pooling and flattening is the network's own, bit for bit."""
    on = toys.benchmark(shape=(1, 28, 28))
    pnn: Any = toys.method("pnn", on, network, expansion=1.2)
    for lateral in (lateral for laterals in pnn.laterals for lateral in laterals):
        for p in lateral.onward.parameters():
            nn.init.zeros_(p)
    x = on.tasks[0].test.take(slice(0, 4))
    for task in range(3):
        net: Any = pnn.world.build(width=1.2 / 3 * (1 + 1e-12), start=task)
        for mode in (False, True):
            pnn.train(mode), net.train(mode)
            torch.manual_seed(task)
            for earlier in range(task):  # its dropout is drawn before
                pnn.world.build(width=1.2 / 3 * (1 + 1e-12), start=earlier).train(mode).features(x)
            wanted = net(x, task)
            torch.manual_seed(task)
            assert facts.same_bits(pnn(x, task), wanted + 0.0)


def test_only_a_column_its_laterals_and_its_head_train() -> None:
    on = toys.benchmark()
    pnn: Any = toys.method("pnn", on)
    loop = toys.fit(epochs=2, momentum=0.9, weight_decay=1e-2)
    for task in range(3):
        before = facts.state(pnn)
        toys.learn_one(pnn, on, loop, task)
        moved = {name for name, now in facts.state(pnn).items() if not facts.same_bits(now, before[name])}
        wanted = {n for n in before if n.split(".")[:2] in ([part, str(task)] for part in
                  ("columns", "laterals", "heads"))}  # fmt: skip
        assert moved == wanted
        assert len(wanted) == 6 + (10 if task else 0)


def test_no_gradient_reaches_earlier_columns() -> None:
    on = toys.benchmark()
    pnn: Any = toys.method("pnn", on)
    pnn(on.tasks[2].train.take(slice(None)), 2).sum().backward()
    reached = {n for n, p in pnn.named_parameters() if p.grad is not None}
    assert {name.split(".")[1] for name in reached} == {"2"}
    assert all(float(p.grad.abs().sum()) > 0 for p in pnn.laterals[2].parameters())


def test_a_task_is_answered_by_its_own_column_alone() -> None:
    on = toys.benchmark()
    pnn: Any = toys.method("pnn", on)
    before = facts.logits(pnn, on, range(3))
    with torch.no_grad():
        pnn.laterals[1][-1].onward.bias.add_(1.0)  # of the head: read by task 1, passed on to nobody
    after = facts.logits(pnn, on, range(3))
    assert facts.same_bits(before[0], after[0]) and facts.same_bits(before[2], after[2])
    torch.testing.assert_close(after[1], before[1] + 1.0)
    with torch.no_grad():
        pnn.columns[0][0].layer.bias.add_(1.0)
    changed = facts.logits(pnn, on, range(3))
    assert not any(facts.same_bits(changed[task], after[task]) for task in range(3))


def test_frozen_columns_drop_while_the_next_one_trains() -> None:
    on = toys.benchmark()
    pnn: Any = toys.method("pnn", on)
    x = on.tasks[0].test.take(slice(None))
    seen: list[Tensor] = []
    pnn.laterals[1][0].project.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    for mode in (True, False):
        pnn.train(mode)
        pnn(x, 1), pnn(x, 1)
    dropped = [(h == 0).double().mean() for h in seen]
    assert not torch.equal(seen[0], seen[1]) and torch.equal(seen[2], seen[3])
    assert dropped[0] > dropped[2] + 0.1


def test_a_single_task_is_finetuning_of_a_wide_network() -> None:
    on = toys.benchmark((2,))
    pnn: Any = toys.method("pnn", on, "mlp(hidden=16)", expansion=1.25)
    plain: Any = toys.method("finetune", on, "mlp(hidden=20)")
    for subject in (pnn, plain):
        toys.learn_one(subject, on, toys.fit(), 0)
    logits = [facts.logits(subject, on, [0])[0] for subject in (pnn, plain)]
    assert facts.same_bits(*logits)


def test_rounding_loses_no_unit() -> None:
    """floor(expansion w / T) of the decimal number as it is written, not of its binary neighbour."""
    hard = [
        (tasks, thousandths, units)
        for tasks in (1, 3, 5, 7)
        for thousandths in range(800, 1501)
        for units in (49, 64, 256, 2000, 2048)
        if int(units * (thousandths / 1000 / tasks)) < thousandths * units // (1000 * tasks)
    ]
    assert len(hard) > 20  # where the obvious product comes out one unit short
    easy = [(tasks, 1117, units) for tasks in (1, 3, 5, 7) for units in (3, 49, 64, 256, 2000, 2048)]
    for tasks, thousandths, units in [*hard[::6], *easy]:
        on = toys.benchmark((2,) * tasks, train=1, val=0, test=1)
        with torch.device("meta"):
            pnn: Any = toys.method("pnn", on, f"mlp(hidden={units})", expansion=thousandths / 1000)
        wanted = max(1, thousandths * units // (1000 * tasks))
        assert {block.units for column in pnn.columns for block in column} == {wanted}


def test_columns_differ_and_the_first_starts_where_all_methods_start() -> None:
    on = toys.benchmark((2, 2))
    pnn: Any = toys.method("pnn", on, expansion=2.0)
    first, second = (pnn.columns[column][0].layer.weight for column in range(2))
    assert facts.same_bits(first, toys.method("finetune", on).net.body[0].layer.weight)
    assert not facts.same_bits(first, second)
    assert not facts.same_bits(pnn.laterals[1][0].onward.weight, pnn.columns[1][1].layer.weight)


def test_parameters_are_there_from_the_start_and_what_is_stored_grows() -> None:
    on = toys.benchmark()
    pnn: Any = toys.method("pnn", on)
    reports = toys.learn(pnn, on, toys.fit(epochs=1))
    assert len({report.parameters for report in reports}) == 1
    columns = [4 * sum(p.numel() for p in pnn.trainable(task)) for task in range(3)]
    assert [report.stored_bytes for report in reports] == np.cumsum(columns).tolist()
    assert reports[-1].stored_bytes == 4 * reports[-1].parameters


def test_nonsense_is_refused() -> None:
    with pytest.raises(ValueError, match=r"expansion = -1.* must be above 0"):
        toys.method("pnn", toys.benchmark(), expansion=-1.0)

"""Figures that methods of masks report: inference by batch size, overlap, wrong masks, angles."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from raycl.benchmarks.transforms import Rotate
from raycl.probes import answers
from raycl.probes.task_inference import Candidates, Found, one_hot
from raycl.supermasks.bank import BasisMask, random_mask
from raycl.tasks import Benchmark
from tests.helpers import toys


def candidates(tasks: int) -> Candidates:
    return Candidates(lambda c, x: torch.zeros(len(x), 2), one_hot(tasks, 1))


@pytest.fixture
def on() -> Benchmark:
    return toys.benchmark((2, 2), test=8)


def rates(monkeypatch: pytest.MonkeyPatch, on: Benchmark, how: Any, guesses: tuple[int, ...]) -> Any:
    """What is reported if every search guesses so."""
    for name in ("one_shot", "binary", "gradient"):
        monkeypatch.setattr(answers, name, lambda *_, **__: Found(guesses))
    return answers.inference_diagnostics(how, candidates(2), on.tasks)


def test_the_last_round_of_a_binary_search_is_its_answer(
    monkeypatch: pytest.MonkeyPatch, on: Benchmark
) -> None:
    diagnostics = rates(monkeypatch, on, "binary", (5, 5, 1))
    assert diagnostics["task_inference_acc"] == {"1": 0.5}  # task 1 is always found, task 0 never
    assert rates(monkeypatch, on, "binary", (1, 5))["task_inference_acc"] == {"1": 0.0}
    low, high = diagnostics["task_inference_acc_interval"]["1"]
    assert 0.3 < low < 0.5 < high < 0.7  # 40 trials


def test_a_gradient_search_is_read_step_by_step(monkeypatch: pytest.MonkeyPatch, on: Benchmark) -> None:
    diagnostics = rates(monkeypatch, on, "gradient", (5, 5, 0))
    assert diagnostics["task_inference_acc"] == {"1": 0.0, "2": 0.0, "3": 0.5, "5": 0.5, "10": 0.5}
    assert diagnostics["task_inference_acc_1"].keys() == diagnostics["task_inference_acc"].keys()


def test_overlap_leaves_the_last_layer_out() -> None:
    sizes = (4000, 800, 40)
    same = [BasisMask((*random_mask(sizes, 0.2, i).bits[:2], np.full(5, 255, np.uint8))) for i in range(4)]
    diagnostics = answers.overlap_diagnostics(same, sizes)
    assert diagnostics["overlap_ratio"] == pytest.approx(1.0, abs=0.1)
    assert len(diagnostics["overlap_ratio_by_layer"]) == 3
    alike = answers.overlap_diagnostics([random_mask(sizes, 0.2, 0)] * 3, sizes)
    assert alike["overlap_ratio"] == pytest.approx(5.0)  # ones over expected ones: 1 / density
    assert answers.overlap_diagnostics(same[:1], sizes) == {}


def test_the_angle_of_a_task_is_that_of_its_images() -> None:
    import dataclasses

    task = toys.benchmark().tasks[0]
    assert answers.angle_of(task) is None
    turned = dataclasses.replace(task.test, transforms=(Rotate(30.0, True),))  # type: ignore[type-var]
    assert answers.angle_of(dataclasses.replace(task, test=turned)) == 30.0


class FirstOfBatch(torch.nn.Module):
    """Answers a whole batch by the class of its first image, which is its brightest pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[list[float]] = []

    def forward(self, x: torch.Tensor, task: int) -> torch.Tensor:
        assert not self.training
        self.seen.append(x.flatten(1)[:, 0].tolist())
        return x.flatten(1)[:1].expand(len(x), -1)


def test_an_accuracy_over_orders_is_that_of_batches_in_several_orders(on: Benchmark) -> None:
    splits = [task.test for task in on.tasks]
    model = FirstOfBatch()
    diagnostics = answers.accuracy_over_orders(model, splits, orders=3, size=4, seed=5)
    assert model.training  # as before
    n = len(splits[0])
    per_order = [model.seen[i : i + 2 * -(-n // 4)] for i in range(0, len(model.seen), 2 * -(-n // 4))]
    assert len(per_order) == 3 and len({str(order) for order in per_order}) == 3
    for order in per_order:  # each order has every image once, in batches of four
        whole = sorted(pixel for batch in order for pixel in batch)
        assert whole == sorted(p for s in splits for p in s.take(slice(None)).flatten(1)[:, 0].tolist())
        assert {len(batch) for batch in order} <= {4, n % 4}
    by_order = diagnostics["gn_acc_by_order"]
    assert len(by_order) == 3 and diagnostics["gn_acc"] == pytest.approx(sum(by_order) / 3)
    again = answers.accuracy_over_orders(model, splits, orders=3, size=4, seed=5)
    assert again == diagnostics
    assert (
        answers.accuracy_over_orders(model, splits, orders=2, size=4, seed=5)["gn_acc_by_order"]
        == by_order[:2]
    )
    # Batches of one image are answered by themselves, so that the order does not matter.
    alone = answers.accuracy_over_orders(model, splits, orders=2, size=1, seed=5)["gn_acc_by_order"]
    right = [float((s.take(slice(None)).flatten(1).argmax(1).numpy() == s.y).mean()) for s in splits]
    assert alone == pytest.approx([sum(right) / 2] * 2)

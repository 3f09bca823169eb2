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

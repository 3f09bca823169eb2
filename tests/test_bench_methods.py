"""What the bench of methods measures: goals that are looked up, and bytes that can be worked out."""

from __future__ import annotations

import pytest

from bench import methods, steps
from bench.methods import MASKED, MASKS, SOFT, Case

SMALL = Case("vgg16_bn(width=.02)", (3, 32, 32), 1, MASKED, tasks=1 + MASKS)


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(methods, "BATCH", 8)
    monkeypatch.setattr(methods, "STEPS", 1)


def test_every_method_on_a_backbone_is_measured_against_finetuning() -> None:
    base, *others = methods._steps(SMALL)
    assert base.what.endswith("a step of finetuning") and base.value > 0
    assert [line.what.partition(": ")[2] for line in others] == ["piggyback", "ksm"]
    assert all(line.value > 0 and line.goal == "1.10 or less" for line in others)


def test_masks_are_bits_and_of_ksm_factors_too() -> None:
    """A bit of 32, rounded up to a byte in each layer; KSM's soft kernels have a float each besides."""
    bits, share = methods._kept("piggyback", SMALL)
    assert share.value == pytest.approx(1 / 32, rel=0.05)
    soft, softer = methods._kept("ksm", SMALL)
    assert softer.value == pytest.approx(1 / 32 + SOFT, rel=0.1)
    assert bits.what.endswith("piggyback, masks of 10 tasks") and soft.what.endswith(
        "ksm, masks of 10 tasks, 12.1% soft"
    )
    # Of ten tasks: 0.02 of VGG-16's channels are 1 to 10, of its hidden units 81.
    channels = [1, 1, 2, 2, 5, 5, 5, 10, 10, 10, 10, 10, 10]
    convs = [9 * a * b for a, b in zip([3, *channels[:-1]], channels, strict=True)]
    entries = [*convs, 10 * 81, 81 * 81]
    assert bits.value * 2**20 == 10 * sum(-(-n // 8) for n in entries)


def test_a_step_of_every_method_stands_beside_a_plain_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "CASE", steps.CASE._replace(rounds=2))
    first, reference, *others = steps.steps()
    assert first.what.startswith("strict") and reference.what.endswith("a step") and reference.value > 0
    named = [line.what.split()[0] for line in others]
    assert named[: 1 + len(steps.GOALS)] == ["finetuning", *steps.GOALS]
    assert all(line.value > 0 for line in others)
    assert {line.goal for line in others} >= {"1.00 or less", "1.20 or less"}

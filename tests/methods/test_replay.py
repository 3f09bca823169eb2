"""Replay: what is kept, that it is seen, and that all of it is multi-task learning."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from raycl import registry
from raycl.method import Pooled
from raycl.methods.replay import Rows
from raycl.tasks import ArraySplit, Batch, augments, training_samples
from tests.helpers import facts, toys

QUIET = "mlp(hidden=16, drop1=0.0, drop2=0.0)"


def watched(subject: Any) -> list[Batch]:
    """Batches that a method is handed from here on."""
    batches: list[Batch] = []
    step = subject.step
    subject.step = lambda batch, update: batches.append(batch) or step(batch, update)
    return batches


def test_kept_rows_are_a_fraction_of_each_class() -> None:
    on = toys.benchmark((2, 3))
    replay: Any = toys.method("replay", on, fraction=0.25)
    y = np.array([0] * 40 + [1] * 8 + [2] * 1)
    rows = replay.drawn(y)
    assert Counter(y[rows].tolist()) == {0: 10, 1: 2, 2: 1}  # at least one
    assert (np.diff(rows) > 0).all()
    assert rows.tolist() != replay.drawn(y).tolist()  # another draw
    whole: Any = toys.method("replay", on, fraction=1.0)
    assert whole.drawn(y).tolist() == list(range(49))
    assert replay.drawn(y[:0]).tolist() == []
    half: Any = toys.method("replay", on, fraction=0.5)
    few = np.repeat(np.arange(20), 5)  # two and a half of each class
    found = half.drawn(few)
    assert len(found) == 50 and set(Counter(few[found].tolist()).values()) == {2, 3}


def test_what_is_kept_is_drawn_once() -> None:
    on = toys.benchmark((2, 2, 2))
    replay: Any = toys.method("replay", on, fraction=0.5)
    loop = toys.fit(epochs=1)
    for t in range(3):
        toys.learn_one(replay, on, loop, t)
        if t == 0:
            first = replay.kept[0]
    assert replay.kept[0] is first and len(replay.kept) == 3
    assert [len(kept.train) for kept in replay.kept] == [24] * 3
    assert [len(kept.val) for kept in replay.kept] == [12] * 3
    assert replay.kept[0].train.tolist() != replay.kept[1].train.tolist()


@pytest.mark.parametrize(("fraction", "count"), [(1.0, 48), (0.5, 24), (0.1, 5)])
def test_every_stored_sample_is_seen_in_every_epoch(fraction: float, count: int) -> None:
    on = toys.benchmark((2, 2, 2))
    replay: Any = toys.method("replay", on, fraction=fraction)
    for t in range(2):
        toys.learn_one(replay, on, toys.fit(epochs=1), t)
    batches = watched(replay)
    toys.learn_one(replay, on, toys.fit(epochs=2), 2)
    for epoch in range(2):
        seen = Counter(
            (int(t), x.numpy().tobytes(), int(y))
            for batch in batches
            if batch.epoch == epoch
            for x, y, t in zip(batch.x, batch.y, batch.task, strict=True)
        )
        wanted: Counter[Any] = Counter()
        for t, task in enumerate(on.tasks):
            rows = replay.kept[t].train if t < 2 else np.arange(48)
            assert len(rows) == (count if t < 2 else 48)
            wanted.update((t, x.numpy().tobytes(), int(y)) for x, y in
                          zip(task.train.take(rows), task.train.y[rows], strict=True))  # fmt: skip
        assert seen == wanted


def test_with_all_of_the_old_data_the_last_task_is_multi_task_learning() -> None:
    on = toys.benchmark()
    settings = {"batch": 20, "epochs": 3, "momentum": 0.9, "weight_decay": 1e-3}
    replay: Any = toys.method("replay", on, fraction=1.0)
    mtl: Any = toys.method("mtl", on)
    start = facts.state(replay.net)
    for t in range(2):
        toys.learn_one(replay, on, toys.fit(**settings), t)
    replay.net.load_state_dict(start)
    toys.learn_one(replay, on, toys.fit(**settings), 2)
    for t in range(3):
        toys.learn_one(mtl, on, toys.fit(**settings), t)
    facts.assert_same_state(facts.state(replay.net), facts.state(mtl.net))
    assert not facts.same_bits(start["heads.0.weight"], replay.net.heads[0].weight)


def test_the_first_task_is_finetuning() -> None:
    on = toys.benchmark()
    replay, plain = toys.method("replay", on), toys.method("finetune", on)
    for subject in (replay, plain):
        toys.learn_one(subject, on, toys.fit(), 0)
    facts.assert_same_state(facts.state(replay.net), facts.state(plain.net))


def test_every_sample_counts_the_same_on_its_own_head() -> None:
    on = toys.benchmark()
    replay: Any = toys.method("replay", on).train(False)
    x = torch.cat([task.train.take(slice(0, 3 + task.index)) for task in on.tasks])
    y = torch.cat([torch.tensor(task.train.y[: 3 + task.index]) for task in on.tasks])
    where = torch.tensor([0] * 3 + [1] * 4 + [2] * 5)
    single = [F.cross_entropy(replay(x[i : i + 1], int(where[i])), y[i : i + 1]).item() for i in range(12)]
    assert replay.loss(Batch(x, y, where)).item() == pytest.approx(np.mean(single), rel=1e-6)


def test_validation_is_on_the_current_set_and_the_fraction_of_the_old() -> None:
    on = toys.benchmark((2, 2))
    replay: Any = toys.method("replay", on, QUIET, fraction=0.5)
    toys.learn_one(replay, on, toys.fit(epochs=1), 0)
    loop, kept, found = toys.fit(epochs=1), replay.kept[0], []

    class Listening(type(loop)):  # type: ignore[misc]
        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            found.append(super().__call__(*args, **kwargs))
            return found[-1]

    toys.learn_one(replay, on, Listening(loop.config), 1)
    replay.train(False)
    parts = [(0, on.tasks[0].val, kept.val), (1, on.tasks[1].val, np.arange(24))]
    losses = [
        F.cross_entropy(replay(val.take(rows), t), torch.tensor(val.y[rows]), reduction="sum").item()
        for t, val, rows in parts
    ]
    assert len(kept.val) == 12 and found[0].val_loss == pytest.approx(sum(losses) / 36, rel=1e-6)


def test_old_heads_move_and_later_ones_do_not() -> None:
    on = toys.benchmark((2, 2, 2))
    replay: Any = toys.method("replay", on)
    loop = toys.fit(epochs=1, momentum=0.9, weight_decay=0.1)
    toys.learn_one(replay, on, loop, 0)
    before = facts.state(replay.net.heads)
    toys.learn_one(replay, on, loop, 1)
    now = facts.state(replay.net.heads)
    assert [facts.same_bits(before[f"{t}.weight"], now[f"{t}.weight"]) for t in range(3)] == [
        False,
        False,
        True,
    ]


def test_stored_samples_are_counted_as_bytes() -> None:
    on = toys.benchmark((2, 2))
    replay: Any = toys.method("replay", on, fraction=0.25)
    n = sum(p.numel() for p in replay.net.parameters())
    reports = toys.learn(replay, on, toys.fit(epochs=1))
    for t, report in enumerate(reports):
        samples = (t + 1) * (12 + 6)
        assert report.diagnostics == {"stored_samples": samples}
        assert report.stored_bytes == 4 * n + samples * (16 + 8) and report.parameters == n


def test_all_tasks_share_the_latest_batch_statistics() -> None:
    on = toys.benchmark((2, 2), shape=(1, 8, 8))
    replay: Any = toys.method("replay", on, "resnet18(nf=2)", fraction=1.0)
    reports = toys.learn(replay, on, toys.fit(**toys.EAGER))
    assert all(accuracy >= 0.75 for accuracy in reports[-1].test.values())
    x = on.tasks[0].test.take(slice(None))
    replay.train(False)
    assert facts.same_bits(replay(x, 0), replay.net(x, 1))  # one head for all, so only statistics differ


@dataclass(frozen=True, eq=False)
class Shifting(ArraySplit):
    """A split that augments by a draw, for every sample."""

    augment: Any = True

    def augmented(
        self, rows: NDArray[np.int64], rng: np.random.Generator, device: torch.device | str = "cpu"
    ) -> Tensor:
        return self.take(rows, device) + float(rng.random())


def test_rows_of_a_split_are_a_split() -> None:
    on = toys.benchmark()
    whole = on.tasks[1].train
    rows = np.array([40, 3, 7])
    some = Rows(whole, rows)
    assert len(some) == 3 and some.y.tolist() == whole.y[rows].tolist() and not augments(some)
    assert facts.same_bits(some.take(slice(None)), whole.take(rows))
    assert facts.same_bits(some.take(np.array([2, 0])), whole.take(np.array([7, 40])))
    assert isinstance(whole, ArraySplit)
    shifting = Shifting(whole.images, whole.rows, whole.y)
    pooled = Pooled([(0, whole), (1, Rows(shifting, rows))])
    assert augments(pooled)
    wanted = whole.take(np.array([7])) + float(np.random.default_rng(0).random())
    found = training_samples(pooled, np.array([1, 50]), np.random.default_rng(0))
    assert facts.same_bits(found[:1], whole.take(np.array([1]))) and facts.same_bits(found[1:], wanted)


@pytest.mark.parametrize("fraction", [0.0, -0.1, 1.5])
def test_nonsense_is_refused(fraction: float) -> None:
    with pytest.raises(ValueError, match=r"must lie in \(0, 1\]"):
        registry.method("replay").Config(fraction=fraction)

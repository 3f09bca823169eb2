"""The loop: stopping rules and schedules by hand, what is restored, what an update does in which order."""

from __future__ import annotations

import dataclasses
import math
import subprocess
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from raycl.space import make_config
from raycl.tasks import Batch, Pooled
from raycl.training import feeding, fit
from raycl.training import fit as fit_module
from raycl.training.fit import Diverged, Fit
from raycl.training.optimiser import OptimiserUpdate
from raycl.training.presets import PRESETS
from raycl.training.rules import optimiser_of
from raycl.training.schedule import Schedule
from tests.helpers import facts, toys


class Scripted(nn.Module):
    """A learner whose losses are written down; its weight counts epochs."""

    def __init__(self, val: Sequence[float] = (), train: Sequence[float] = ()) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(3))
        self.norm = nn.BatchNorm1d(2)
        self.path = torch.zeros(1)  # state that goes back with the weights
        self.other = torch.zeros(1)  # state that does not
        self.val, self.losses = list(val), list(train)
        self.epoch = 0
        self.rates: list[float] = []
        self.batches: list[Batch] = []

    def trainable(self, task: int) -> Iterable[Any]:
        return [self.weight]

    def step(self, batch: Batch, update: Any) -> Tensor:
        self.epoch = batch.epoch
        self.rates.append(update.lr)
        self.batches.append(batch)
        with torch.no_grad():
            for t in (self.weight, self.norm.running_mean, self.path, self.other):
                assert t is not None
                t.fill_(batch.epoch + 1.0)
        return torch.tensor(self.losses[batch.epoch] if self.losses else 1.0)

    def validation_loss(self, batch: Batch) -> Tensor:
        return torch.tensor(self.val[self.epoch] if self.epoch < len(self.val) else 1.0)

    def rewinds(self) -> Iterable[Tensor]:
        return [self.path]

    def forward(self, x: Tensor, task: int) -> Tensor:
        return torch.zeros(len(x), 2) + self.weight[0]


def played(learner: Scripted, preset: str | None = None, *, val: int = 8, **settings: Any) -> Any:
    """The fitted result, and the rate of each epoch (one batch each)."""
    values = dict(PRESETS[preset].fit) if preset else dict(toys.CALM)
    config = make_config(Fit.Config, {**values, "batch": 640, **settings}, "fit")
    on = toys.benchmark((2,), train=8, val=val)
    return Fit(config)(learner, on.tasks[0])


def path(rates: Sequence[float]) -> list[tuple[float, int]]:
    """Rates and for how many epochs each."""
    runs: list[tuple[float, int]] = []
    for rate in rates:
        if runs and math.isclose(runs[-1][0], rate):
            runs[-1] = rate, runs[-1][1] + 1
        else:
            runs.append((rate, 1))
    return runs


# ---------------------------------------------------------------- when to stop, and at what rate


def test_spg_stops_after_five_bad_epochs_at_the_floor() -> None:
    learner = Scripted([1.0] * 500)
    fitted = played(learner, "spg")
    wanted = [(0.25, 6)] + [(0.25 / 3**k, 5) for k in range(1, 6)] + [(1e-3, 5)]
    assert [n for _, n in path(learner.rates)] == [n for _, n in wanted]
    assert [r for r, _ in path(learner.rates)] == pytest.approx([r for r, _ in wanted])
    spec = [0.25, 0.0833, 0.0278, 0.00926, 0.00309, 0.00103, 0.001]
    assert [r for r, _ in path(learner.rates)] == pytest.approx(spec, rel=2e-3)
    assert fitted.epochs == 36 and fitted.lr == 1e-3


def test_the_floor_may_follow_the_rate() -> None:
    learner = Scripted([1.0] * 500)
    fitted = played(learner, "spg", lr=0.0025, lr_span=250.0)
    assert [r for r, _ in path(learner.rates)] == pytest.approx([0.0025 / 3**k for k in range(6)] + [1e-5])
    assert fitted.epochs == 36 and fitted.lr == pytest.approx(1e-5)  # a hundredth of SPG's own path


def test_spg_a_better_epoch_starts_the_count_again() -> None:
    at_floor = Scripted([1.0] * 33 + [0.5] + [0.6] * 500)
    assert played(at_floor, "spg").epochs == 33 + 1 + 5
    on_the_way = Scripted([1.0] * 4 + [0.5] + [0.6] * 500)
    assert played(on_the_way, "spg").epochs == 4 + 36


def test_spg_a_tiny_gain_is_kept_but_does_not_hold_the_rate_up() -> None:
    losses = [1 - 1e-6 * epoch for epoch in range(500)]  # below 1e-4, relative to the best
    learner = Scripted(losses)
    fitted = played(learner, "spg", epochs=12)
    assert [n for _, n in path(learner.rates)] == [6, 5, 1]
    assert fitted.val_loss == pytest.approx(losses[11]) and learner.weight[0] == 12.0


def test_spg_ends_at_the_last_epoch_at_the_latest() -> None:
    assert played(Scripted([1 / (1 + epoch) for epoch in range(500)]), "spg").epochs == 500


@pytest.mark.parametrize(
    ("preset", "lr", "epochs", "plateaus"), [("prm", 0.025, 16, 3), ("pmask", 0.05, 31, 6)]
)
def test_below_the_floor_ends_it(preset: str, lr: float, epochs: int, plateaus: int) -> None:
    learner = Scripted([1.0] * 200)
    fitted = played(learner, preset)
    floor = PRESETS[preset].fit["lr_floor"]
    assert lr / 3**plateaus < floor <= lr / 3 ** (plateaus - 1)  # worked out by hand
    assert path(learner.rates)[0] == (lr, 6) and {n for _, n in path(learner.rates)[1:]} == {5}
    assert [r for r, _ in path(learner.rates)] == pytest.approx([lr / 3**k for k in range(plateaus)])
    assert fitted.epochs == epochs


def test_first_plateau_and_never() -> None:
    assert played(Scripted([1.0] * 99), "prm", stop="first_plateau").epochs == 6
    assert played(Scripted([1.0, 2.0, 0.9] + [1.0] * 99), "prm", stop="first_plateau").epochs == 8
    learner = Scripted([1.0] * 99)
    assert played(learner, "prm", stop="never", epochs=40).epochs == 40
    assert learner.rates[-1] == 1e-3  # the floor holds


def test_cosine_by_epoch_and_by_batch() -> None:
    learner = Scripted()
    played(learner, schedule="cosine", lr=0.2, epochs=4)
    assert learner.rates == pytest.approx([0.1 * (1 + math.cos(math.pi * e / 4)) for e in range(4)])
    learner = Scripted()
    played(learner, schedule="cosine_iter", lr=0.2, epochs=2, batch=4)  # two batches an epoch
    assert learner.rates == pytest.approx([0.1 * (1 + math.cos(math.pi * i / 4)) for i in range(4)])


def test_steps() -> None:
    learner = Scripted()
    played(learner, schedule="steps", lr=1.0, factor=10.0, milestones=(2, 5), epochs=6)
    assert learner.rates == pytest.approx([1.0, 1.0, 0.1, 0.1, 0.1, 0.01])


def test_a_fit_can_start_at_another_rate() -> None:
    on, learner = toys.benchmark((2,), train=8), Scripted([1.0] * 9)
    config = make_config(Fit.Config, {**PRESETS["prm"].fit, "epochs": 7}, "fit")
    fitted = Fit(config)(learner, on.tasks[0], lr=0.01, epochs=6)
    assert learner.rates == pytest.approx([0.01] * 6)
    assert fitted.lr == pytest.approx(0.01 / 3) and fitted.patience == 5
    schedule = Schedule(config, 10, lr=0.4, patience=1)
    assert schedule.rate(0, 0, 1) == 0.4 and schedule.left == 1


@pytest.mark.parametrize("cut", [1, 3, 5, 8])
def test_a_fit_in_two_parts_follows_the_schedule_of_one(cut: int) -> None:
    """PathNet takes its paths a few epochs at a time, each with a schedule of its own."""
    losses = [3.0, 2.0, 2.5, 2.5, 2.5, 2.5, 2.5, 1.0, 1.5, 1.5]
    on = toys.benchmark((2,), train=8)
    fit = Fit(make_config(Fit.Config, {**PRESETS["prm"].fit, "epochs": len(losses)}, "fit"))
    whole = Scripted(list(losses))
    at_once = fit(whole, on.tasks[0])
    first, second = Scripted(losses[:cut]), Scripted(losses[cut:])
    part = fit(first, on.tasks[0], epochs=cut)
    rest = fit(
        second, on.tasks[0], epochs=len(losses) - cut, lr=part.lr, patience=part.patience, best=part.val_loss
    )
    assert first.rates + second.rates == pytest.approx(whole.rates)
    assert (rest.lr, rest.patience) == (pytest.approx(at_once.lr), at_once.patience)


# ---------------------------------------------------------------- what is kept


def test_the_best_epoch_comes_back_with_its_statistics_and_what_rewinds() -> None:
    learner = Scripted([3.0, 1.0, 1.0, 2.0])
    fitted = played(learner, epochs=4)
    assert fitted.val_loss == 1.0 and fitted.epochs == 4
    assert learner.weight.tolist() == [2.0] * 3  # strictly lower: the first of two equals
    assert learner.norm.running_mean is not None and learner.norm.running_mean.tolist() == [2.0] * 2
    assert learner.path.tolist() == [2.0] and learner.other.tolist() == [4.0]


def test_the_last_epoch_stays_where_that_is_asked_for_or_nothing_decides() -> None:
    for settings in ({"keep": "last"}, {"val": 0}):
        learner = Scripted([1.0, 2.0, 3.0], [1.0, 2.0, 3.0])
        fitted = played(learner, epochs=3, **settings)
        assert learner.weight.tolist() == [3.0] * 3
        assert fitted.val_loss == 3.0 if "keep" in settings else math.isnan(fitted.val_loss)
        assert math.isnan(fitted.val_accuracy) == ("val" in settings)


def test_an_empty_validation_split_lets_the_training_loss_decide_when_to_stop() -> None:
    learner = Scripted(train=[1.0 - 0.1 * e for e in range(4)] + [1.0] * 100)
    assert played(learner, "prm", val=0, stop="first_plateau").epochs == 4 + 5


@pytest.mark.parametrize(("bad", "where"), [(math.nan, "training loss"), (math.inf, "training loss")])
def test_a_loss_that_is_no_number_ends_the_run(bad: float, where: str) -> None:
    with pytest.raises(Diverged, match=f"{where} is {bad} in epoch 2 of task 1"):
        played(Scripted(train=[1.0, bad]), epochs=3)
    with pytest.raises(Diverged, match=f"validation loss is {bad} in epoch 3 of task 1"):
        played(Scripted([1.0, 1.0, bad]), epochs=3)


def test_accuracies_are_of_the_weights_that_stay() -> None:
    on = toys.benchmark()
    plain, loop = toys.method("finetune", on), toys.fit(lr=0.2)
    fitted = loop(plain, on.tasks[0], train_accuracy=True)
    assert fitted.val_accuracy == loop.accuracy(plain, 0, on.tasks[0].val)
    assert fitted.train_accuracy == loop.accuracy(plain, 0, on.tasks[0].train)
    assert fitted.val_loss == pytest.approx(loop.loss(plain, 0, on.tasks[0].val))
    assert math.isnan(toys.fit(epochs=1)(plain, on.tasks[0]).train_accuracy)


# ---------------------------------------------------------------- what an update does

OPTIMISERS: list[dict[str, Any]] = [
    {"momentum": 0.9, "weight_decay": 0.01},
    {"momentum": 0.9, "nesterov": True, "clip": 0.1},
    {"optimiser": "adam", "weight_decay": 0.01},
    {"optimiser": "rmsprop", "momentum": 0.5, "clip": 0.3},
]


@pytest.mark.parametrize("settings", OPTIMISERS, ids=str)
def test_preview_says_what_a_step_would_do_and_leaves_all_as_it_was(settings: dict[str, Any]) -> None:
    config = make_config(Fit.Config, {"lr": 0.1, **settings}, "fit")
    twins = []
    for look in (True, False):
        torch.manual_seed(0)
        tensors = [
            nn.Parameter(torch.randn(4, 3)),
            nn.Parameter(torch.randn(2)),
            nn.Parameter(torch.randn(1)),
        ]
        update = OptimiserUpdate(optimiser_of(config, tensors), config.clip)
        for _ in range(4):
            update.clear()
            for tensor in tensors[:2]:  # the third has no gradient
                tensor.grad = torch.randn(tensor.shape)
            if look:
                before = [t.detach().clone() for t in tensors]
                gradients = [None if t.grad is None else t.grad.clone() for t in tensors]
                change, again = update.preview(), update.preview()
                for t, old, g, c, d in zip(tensors, before, gradients, change, again, strict=True):
                    assert facts.same_bits(t.detach(), old) and facts.same_bits(c, d)
                    assert (t.grad is None and g is None) or torch.equal(t.grad, g)  # type: ignore[arg-type]
                update()
                for t, old, c in zip(tensors, before, change, strict=True):
                    assert facts.same_bits(t.detach() - old, c)
                assert float(change[0].abs().max()) > 0 and float(change[2].abs().max()) == 0
            else:
                update()
        twins.append([t.detach() for t in tensors])
    assert all(facts.same_bits(a, b) for a, b in zip(*twins, strict=True))


def test_clipping_is_over_all_gradients_together() -> None:
    tensors = [nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))]
    update = OptimiserUpdate(optimiser_of(Fit.Config(lr=1.0), tensors), 1.0)
    tensors[0].grad, tensors[1].grad = torch.tensor([3.0]), torch.tensor([4.0])
    update()
    assert [t.item() for t in tensors] == pytest.approx([-0.6, -0.8], rel=1e-5)


def test_order_of_a_step() -> None:
    on = toys.benchmark()
    plain: Any = toys.method("finetune", on)
    order: list[str] = []
    loss = plain.loss

    def losing(batch: Batch) -> Tensor:
        assert all(p.grad is None for p in plain.net.trainable(0))
        order.append("loss")
        return loss(batch)  # type: ignore[no-any-return]

    def editing(batch: Batch) -> None:
        assert all(p.grad is not None for p in plain.net.trainable(0))
        order.append("edit")
        for p in plain.net.trainable(0):
            p.grad = torch.ones_like(p)

    before = facts.state(plain.net)
    plain.loss, plain.edit_gradients = losing, editing
    toys.fit(epochs=1, batch=48, lr=0.5, clip=2.0)(plain, on.tasks[0], val=on.tasks[0].val)
    assert order == ["loss", "edit"]
    n = sum(p.numel() for p in plain.net.trainable(0))
    after = facts.state(plain.net)
    for name in before:  # edited, then clipped to norm 2, then stepped
        moved = 0.0 if name.startswith(("heads.1", "heads.2")) else 0.5 * 2 / math.sqrt(n)
        torch.testing.assert_close(before[name] - after[name], torch.full_like(before[name], moved))


def test_groups_keep_the_ratio_of_their_rates() -> None:
    learner = Scripted([1.0] * 99)
    slow, fast = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))
    seen: list[list[float]] = []
    step = learner.step
    learner.trainable = lambda task: iter([slow, {"params": iter([fast]), "lr": 0.25}])  # type: ignore[method-assign]
    learner.step = lambda batch, update: (  # type: ignore[method-assign]
        seen.append([g["lr"] for g in update.groups]), step(batch, update)
    )[1]  # fmt: skip
    played(learner, "prm")
    assert seen[0] == [0.025, 0.25] and seen[-1] == pytest.approx([0.025 / 9, 0.25 / 9])


def test_every_fit_starts_a_fresh_optimiser() -> None:
    on = toys.benchmark()
    plain = toys.method("finetune", on)
    loop = toys.fit(momentum=0.9, epochs=2)
    loop(plain, on.tasks[0])
    before = facts.state(plain.net)
    still = toys.fit(momentum=0.9, epochs=2, lr=1e-30)
    still(plain, on.tasks[0])
    facts.assert_same_state(before, facts.state(plain.net))


def test_nothing_to_train_still_evaluates() -> None:
    learner = Scripted([2.0, 1.0])
    learner.trainable = lambda task: []  # type: ignore[method-assign]
    assert played(learner, epochs=2).val_loss == 1.0


def test_over_and_stream_and_account() -> None:
    on = toys.benchmark()
    plain: Any = toys.method("finetune", on)
    loop = toys.fit(epochs=1)
    before = facts.state(plain.net)
    loop(plain, on.tasks[0], over=[plain.net.heads[0].weight], stream="side", account="elsewhere")
    moved = [n for n, v in facts.state(plain.net).items() if not facts.same_bits(v, before[n])]
    assert moved == ["heads.0.weight"]
    assert loop.epochs == {"elsewhere": 1} and loop.seconds.keys() == {"elsewhere"} and loop.updates == 3


# ---------------------------------------------------------------- batches and streams


def test_batches_say_where_they_stand() -> None:
    learner = Scripted()
    played(learner, epochs=2, batch=3)
    told = [(b.epoch, b.index, b.of, b.start, b.samples, len(b), b.task) for b in learner.batches]
    assert told == [(e, i, 3, 3 * i, 8, n, 0) for e in (0, 1) for i, n in ((0, 3), (1, 3), (2, 2))]


def test_order_depends_on_seed_stream_and_epoch_only() -> None:
    def orders(seed: int, **kwargs: Any) -> list[Any]:
        learner, on = Scripted(), toys.benchmark((2,), train=40)
        config = make_config(Fit.Config, {**toys.CALM, "epochs": 2, "batch": 640}, "fit")
        torch.manual_seed(len(kwargs) + 17)
        Fit(config, seed=seed)(learner, on.tasks[0], **kwargs)
        return [b.x.numpy().tobytes() for b in learner.batches]

    assert orders(1) == orders(1)
    assert len({*orders(1), *orders(2), *orders(1, stream="second")}) == 6
    on = toys.benchmark((2,), train=40)
    learner = Scripted()
    toys.fit(epochs=1, batch=640, shuffle=False)(learner, on.tasks[0])
    assert torch.equal(learner.batches[0].x, on.tasks[0].train.take(slice(None)))


def test_what_happens_between_fits_shifts_nothing() -> None:
    on = toys.benchmark()
    states = []
    for disturb in (False, True):
        plain, loop = toys.method("finetune", on), toys.fit(epochs=2)
        for t in (0, 1):
            toys.learn_one(plain, on, loop, t)
            if disturb:
                torch.randn(1000)
        states.append(facts.state(plain))
    facts.assert_same_state(*states)


def test_a_split_that_does_not_fit_is_read_batch_by_batch_with_the_same_bits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    on, states = toys.benchmark(), []
    for budget in (2**28, 0):
        monkeypatch.setattr(feeding, "RESIDENT_BYTES", {"cpu": budget, "accelerator": budget})
        feeding._CACHE.clear()
        plain = toys.method("finetune", on)
        toys.fit(epochs=2)(plain, on.tasks[0])
        assert bool(feeding._CACHE) == bool(budget)
        states.append(facts.state(plain))
    facts.assert_same_state(*states)


def test_inputs_of_another_float_type_are_read_anew() -> None:
    split, cpu = toys.benchmark().tasks[0].train, torch.device("cpu")
    single = feeding.resident(split, cpu)
    assert feeding.resident(split, cpu) is single
    torch.set_default_dtype(torch.float64)
    try:
        double = feeding.resident(split, cpu)
    finally:
        torch.set_default_dtype(torch.float32)
    assert single is not None and double is not None
    assert (single.dtype, double.dtype) == (torch.float32, torch.float64)
    assert feeding.resident(split, cpu) is single


def test_the_splits_that_were_not_used_for_longest_leave_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    feeding.forget_inputs()
    split, cpu = toys.benchmark().tasks[0].train, torch.device("cpu")
    first = feeding.resident(split, cpu)
    assert first is not None
    monkeypatch.setattr(feeding, "RESIDENT_BYTES", {"cpu": first.nbytes * 3 // 2})  # three of them, twice
    others = [dataclasses.replace(split) for _ in range(3)]
    kept = [feeding.resident(other, cpu) for other in others[:2]]
    assert feeding.resident(split, cpu) is first
    feeding.resident(others[2], cpu)
    assert len(feeding._CACHE) == 3 and feeding.resident(split, cpu) is first
    assert feeding.resident(others[1], cpu) is kept[1]
    assert feeding.resident(others[0], cpu) is not kept[0], "the one that was not used for longest has stayed"
    empty = dataclasses.replace(split, rows=split.rows[:0], y=split.y[:0])
    assert feeding.resident(empty, cpu) is None


def test_pooled_splits_are_means_over_samples() -> None:
    on = toys.benchmark((2, 3), val=10)
    small = toys.split(on.tasks[1].val.images, on.tasks[1].val.y, np.arange(4))  # type: ignore[attr-defined]
    pooled = Pooled([(0, on.tasks[0].val), (1, small)])
    plain, loop = toys.method("finetune", on), toys.fit()
    parts = [loop.loss(plain, 0, on.tasks[0].val), loop.loss(plain, 1, small)]
    assert loop.loss(plain, 0, pooled) == pytest.approx((10 * parts[0] + 4 * parts[1]) / 14)
    batch = next(loop.batches(pooled, 0, 14))
    assert isinstance(batch.task, Tensor) and batch.task.tolist() == [0] * 10 + [1] * 4


def test_pulses_come_from_inside_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    pulses: list[fit.Pulse] = []
    config = make_config(Fit.Config, {**toys.CALM, "epochs": 3}, "fit")
    on = toys.benchmark((2,), train=8)
    Fit(config, pulse=pulses.append)(Scripted([3.0, 2.0, 1.0]), on.tasks[0])
    assert pulses == []  # not within the first seconds
    monkeypatch.setattr(fit_module, "PULSE_SECONDS", 0.0)
    Fit(config, pulse=pulses.append)(Scripted([3.0, 2.0, 1.0]), on.tasks[0], stream="side")
    assert [(p.task, p.stream, p.epoch, p.val_loss) for p in pulses] == [
        (0, "side", e, 3.0 - e) for e in range(3)
    ]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 0}, "epochs = 0 must be at least 1"),
        ({"lr": 0.0}, "lr = 0.0 must be above 0"),
        ({"factor": 1.0}, "factor = 1.0 must be above 1"),
        ({"clip": -1.0}, "clip = -1.0 must be above 0, or None"),
    ],
)
def test_settings_that_cannot_be(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_config(Fit.Config, settings, "fit")


TORCH: dict[str, Any] = {
    "sgd": lambda tensors, **more: torch.optim.SGD(tensors, **more),
    "adam": lambda tensors, **more: torch.optim.Adam(tensors, fused=True, **more),
    "rmsprop": lambda tensors, **more: torch.optim.RMSprop(tensors, **more),
}


@pytest.mark.parametrize(
    "settings",
    [
        {"optimiser": "sgd"},
        {"optimiser": "sgd", "momentum": 0.9, "weight_decay": 0.01},
        {"optimiser": "sgd", "momentum": 0.9, "nesterov": True},
        {"optimiser": "adam"},
        {"optimiser": "adam", "weight_decay": 0.01},
        {"optimiser": "rmsprop"},
        {"optimiser": "rmsprop", "momentum": 0.5, "weight_decay": 0.01},
    ],
    ids=str,
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_steps_have_the_bits_of_torch(settings: dict[str, Any], dtype: torch.dtype) -> None:
    """Two groups with rates of their own, a tensor without a gradient at times, 25 steps."""
    config = make_config(Fit.Config, {"lr": 0.05, **settings}, "fit")
    shapes = [(5, 4), (4,), (3, 2, 2)]
    draws = torch.Generator().manual_seed(3)
    start = [torch.randn(shape, generator=draws, dtype=dtype) for shape in shapes]
    gradients = [[torch.randn(s, generator=draws, dtype=dtype) for s in shapes] for _ in range(25)]
    more = {name: value for name, value in settings.items() if name != "optimiser"}
    ends = []
    for make in (
        lambda groups: optimiser_of(config, groups),
        lambda groups: TORCH[config.optimiser](groups, lr=0.05, **more),
    ):
        tensors = [nn.Parameter(tensor.clone()) for tensor in start]
        optimiser = make([{"params": tensors[:2]}, {"params": tensors[2:], "lr": 0.02}])
        for n, found in enumerate(gradients):
            for place, (tensor, gradient) in enumerate(zip(tensors, found, strict=True)):
                tensor.grad = None if n % 4 == place else gradient.clone()
            optimiser.step()
        ends.append(tensors)
    assert all(facts.same_bits(a.detach(), b.detach()) for a, b in zip(*ends, strict=True))


def test_a_process_that_trains_does_not_import_torchs_compiler() -> None:
    script = (
        "import sys; from raycl.runs import execution; from raycl.specs import RunSpec;"
        "from raycl.registry import method_names;"
        "fit = {'epochs': 1, 'batch': 64};"
        "spec = RunSpec(method='ewc', network='mlp(hidden=8)', benchmark='digits_split',"
        "               config={'lamb': 50.0}, fit=fit);"
        "result = execution.execute(spec); assert result.status == 'done', result.message;"
        "sys.exit('torch._dynamo' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr

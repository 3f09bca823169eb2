"""CPG: picks, goals and stages by hand; what is kept of earlier tasks; what is pruned when, and stored."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from raycl.errors import UserError
from raycl.masks import bits_of, unpack
from raycl.methods._picks import Picked, Picker
from raycl.methods.piggyback import TAU
from raycl.runs.reports import TaskReport
from raycl.tasks import Batch, Benchmark, Task, Update
from raycl.training.fit import Fit, Fitted
from tests.helpers import facts, toys
from tests.helpers.networks import ONE_NORMED
from tests.helpers.owned import (
    DECAYED,
    Noting,
    assert_decay_moves_own_weights_alone,
    flat,
    frozen,
    made,
    owners,
    pretrained,
)

QUICK: dict[str, Any] = {"initial": "", "targets": (0.3, 0.6), "stage_epochs": 2, "ramp_epochs": 1,
                         "prune_every": 2, "repick_epochs": 2, "repick_lr": 0.02, "stage_lr": 0.02,
                         "lr_mask": 0.005, "repick_lr_mask": 0.005, "min_train_accuracy": 0.0}  # fmt: skip
LAYER = "body.0.layer.weight"


def cpg_of(on: Benchmark, network: str = "mlp(hidden=16)", goals: Any = (), **config: Any) -> Any:
    """CPG with cheap settings and accuracy goals by task."""
    reports = [TaskReport(t, {t: goal}, {}, {}, 0, {}, 0.0, 0, 0, 0) for t, goal in enumerate(goals)]
    return made(on, network, {"goals": reports} if reports else {}, "cpg", **QUICK | config)


def twenty(**config: Any) -> Any:
    """CPG on a single layer of 20 weights, w = +-1 .. +-20 by place, for three tasks."""
    cpg = cpg_of(toys.benchmark(shape=(1, 1, 5)), toys.chain(4), **config)
    with torch.no_grad():
        cpg.weights[0].copy_(torch.tensor([(-1.0) ** i * (i + 1) for i in range(20)]).view(4, 5))
    return cpg


def pick(cpg: Any, *places: int) -> None:
    """Real values above the threshold at some places, at the threshold at one more, and below elsewhere."""
    with torch.no_grad():
        cpg.real[0].fill_(-1.0)
        cpg.real[0].view(-1)[torch.tensor(places)] = 0.0051
        cpg.real[0].view(-1)[19] = torch.tensor(5e-3)


def weights_of(cpg: Any, task: int) -> list[float]:
    return [float(w) for w in cpg.effective(task)[LAYER].detach().reshape(-1)]


def test_three_tasks_by_hand() -> None:
    cpg = twenty()
    cpg.begin(0)
    assert not cpg.effective(0) and not cpg.real  # all its own
    cpg.cut(0, 0.5, over_free=True)
    first = [0.0] * 10 + [11, -12, 13, -14, 15, -16, 17, -18, 19, -20]
    cpg.notes = {0: {}, 1: {}, 2: {}}
    cpg.finish()
    assert weights_of(cpg, 0) == first and owners(cpg) == [0] * 10 + [1] * 10
    cpg.begin(1)
    cpg.pick(1e-3)
    assert cpg.real[0].detach().reshape(-1).tolist() == pytest.approx([0.01] * 20)
    with torch.no_grad():
        cpg.weights[0].view(-1)[:10] = torch.tensor([5, -5, 9, 8, -7, 6, 4, -3, 2, 1.0])
    pick(cpg, 0, 10, 13)  # the first of these is its own, to pick which means nothing
    assert weights_of(cpg, 1) == [5, -5, 9, 8, -7, 6, 4, -3, 2, 1, 11, 0, 0, -14, 0, 0, 0, 0, 0, 0]
    cpg.picker = None
    assert weights_of(cpg, 1) == [5, -5, 9, 8, -7, 6, 4, -3, 2, 1, 11, 0, 0, -14, 0, 0, 0, 0, 0, 0]
    cpg.cut(1, 0.8, over_free=True)  # 8 of 10
    second = [0, 0, 9, 8, 0, 0, 0, 0, 0, 0, 11, 0, 0, -14, 0, 0, 0, 0, 0, 0]
    cpg.finish()
    assert unpack(cpg.picks[1][0], (20,)).nonzero().flatten().tolist() == [10, 13]
    assert cpg.notes[1] == {"picked_share": 0.2, "picked_share_layers": {"fc1": 0.2}}
    cpg.begin(2)
    cpg.pick(1e-3)
    with torch.no_grad():
        cpg.weights[0].view(-1)[torch.tensor([0, 1, 4, 5, 6, 7, 8, 9])] = 1.0
        cpg.weights[0].view(-1)[9] = 2.0
    pick(cpg, 2, 13, 18)
    cpg.cut(2, 0.5, over_free=True)  # the fourth smallest of 8 ties with all but one
    cpg.finish()
    third = [0, 0, 9, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, -14, 0, 0, 0, 0, 19, 0]
    assert owners(cpg) == [0, 0, 2, 2, 0, 0, 0, 0, 0, 3] + [1] * 10
    assert [weights_of(cpg, task) for task in range(3)] == [first, second, third]
    assert flat(cpg) == [0, 0, 9, 8, 0, 0, 0, 0, 0, 2, *first[10:]]
    assert cpg.notes[2]["picked_share"] == 3 / 12


def test_gradients_of_picks_reach_older_weights_alone() -> None:
    cpg = twenty()
    cpg.begin(0)
    cpg.cut(0, 0.5, over_free=True)
    cpg.notes = {0: {}}
    cpg.finish()
    cpg.begin(1)
    cpg.pick(1e-3)
    with torch.no_grad():
        cpg.weights[0].view(-1)[:10] = 2.0
    pick(cpg, 10, 13)
    x, y = torch.randn(6, 1, 1, 5), torch.tensor([0, 1, 2, 0, 1, 2])
    batch = Batch(x, y, 1)
    cpg.train(True)
    whole = cpg.effective(1)[LAYER].detach().requires_grad_()
    layer, head = cpg.net.body[0].layer, cpg.net.heads[1]
    logits = head(torch.relu(x.flatten(1) @ whole.T + layer.bias))
    torch.nn.functional.cross_entropy(logits, y).backward()
    cpg.loss(batch).backward()
    cpg.edit_gradients(batch)
    assert whole.grad is not None
    older = torch.arange(20).view(4, 5) >= 10
    torch.testing.assert_close(cpg.real[0].grad, whole.grad * cpg.weights[0].detach() * older)
    torch.testing.assert_close(cpg.weights[0].grad, whole.grad * ~older)
    assert bool((cpg.real[0].grad[older] != 0).any()) and bool((cpg.weights[0].grad != 0).any())


@pytest.mark.parametrize(
    ("start", "stages", "goal", "task", "cut", "kept", "played"),
    [  # targets .2 .4 .6 .8
        (0.9, [0.9, 0.8, 0.85, 0.7], 0.85, 0, 0.6, 0.85, 4),  # the farthest, though one between is below
        (0.9, [0.8, 0.8, 0.8, 0.8], 0.85, 0, 0.0, 0.9, 4),  # no stage: back to before
        (0.9, [0.9, 0.9, 0.9, 0.9], None, 0, 0.8, 0.9, 4),  # its own accuracy is the goal
        (0.9, [0.95, 0.89, 0.9, 0.89], None, 0, 0.6, 0.9, 4),
        (0.5, [0.6, 0.5, 0.6, 0.9], 2.0, 0, 0.6, 0.6, 3),  # never met: room for two tasks more, 1 - 1/3
        (0.5, [0.6, 0.5, 0.6, 0.9], 2.0, 1, 0.4, 0.5, 2),  # for one more, 1 - 1/2
        (0.5, [0.6, 0.5, 0.6, 0.9], 2.0, 2, 0.0, 0.5, 0),  # for none
        (0.5, [0.6, 0.9, 0.6, 0.9], 0.8, 1, 0.8, 0.9, 4),  # met on the way: no longer out of reach
        (0.5, [0.6, 0.9, 0.6, 0.6], 0.8, 1, 0.4, 0.9, 4),
    ],
)  # fmt: skip
def test_which_stage_is_kept(
    start: float, stages: list[float], goal: float | None, task: int, cut: float, kept: float, played: int
) -> None:
    on = toys.benchmark(shape=(1, 1, 5))
    cpg = twenty(targets=(0.2, 0.4, 0.6, 0.8))
    cpg.learnt = list(range(task))
    cpg.begin(task)
    cpg.owners[0].fill_(task + 1)
    cpg.notes[task] = {"accuracies": {}}
    stages_made: list[int] = []

    def stage(number: int, *_: Any) -> tuple[float, float]:
        stages_made.append(number)
        cpg.cut(task, cpg.config.targets[number], over_free=True)
        return stages[number], 1.0

    cpg.stage = stage
    before = flat(cpg)
    found = cpg.compact(on.tasks[task], toys.fit(), start, start if goal is None else goal)
    assert (found, cpg.notes[task]["cut"], len(stages_made)) == (kept, cut, played)
    gone = round(20 * cut)
    assert flat(cpg) == [0.0] * gone + before[gone:]
    assert owners(cpg) == [0] * gone + [task + 1] * (20 - gone)
    assert cpg.notes[task]["goal_met"] == (max([start, *stages[:played]]) >= (goal or start))


@pytest.mark.parametrize("task", [0, 1])
def test_without_a_stage_that_will_do_all_is_as_it_was_before_the_first(task: int) -> None:
    on = toys.benchmark()
    cpg = cpg_of(on, ONE_NORMED, repick_epochs=0)
    loop = toys.fit(**DECAYED)
    if task:
        toys.learn_one(cpg, on, loop, 0)
    states: list[dict[str, Tensor]] = []
    compact, stage = cpg.compact, cpg.stage

    def noted(*args: Any) -> float:
        states.append(facts.state(cpg))
        kept: float = compact(*args)
        states.append(facts.state(cpg))
        return kept

    def failed(*args: Any) -> tuple[float, float]:
        stage(*args)
        states.append(facts.state(cpg))
        return 0.0, 1.0

    cpg.compact, cpg.stage = noted, failed
    toys.learn_one(cpg, on, loop, task)
    before, between, _, after = states
    facts.assert_same_state(before, after)
    moved = {name for name in before if not facts.same_bits(before[name], between[name])}
    norm = "norms.states.1.running_mean0" if task else "net.body.1.running_mean"
    assert {norm, "net.body.4.weight", "owners.1", f"net.heads.{task}.weight"} <= moved


def test_picks_rest_while_a_task_is_compacted() -> None:
    on = toys.benchmark()
    cpg = cpg_of(on, goals=[0.0] * 3, repick_epochs=0)
    toys.learn_one(cpg, on, toys.fit(epochs=1), 0)
    seen: list[Tensor] = []
    compact = cpg.compact

    def noted(*args: Any) -> float:
        seen.append(cpg.real[0].detach().clone())
        kept: float = compact(*args)
        seen.append(cpg.real[0].detach().clone())
        return kept

    cpg.compact = noted
    toys.learn_one(cpg, on, toys.fit(epochs=2), 1)
    assert facts.same_bits(*seen) and bool((seen[0] != seen[0].view(-1)[0]).any())


@pytest.mark.parametrize(
    ("allowed", "accuracy", "cut"), [(0.0, 0.85, 0.0), (0.04, 0.85, 0.0), (0.05, 0.85, 0.3)]
)
def test_allowed_loss(allowed: float, accuracy: float, cut: float) -> None:
    cpg = twenty(allowed_loss=allowed)
    cpg.begin(0)
    cpg.notes[0] = {"accuracies": {}}
    cpg.stage = lambda number, *_: (accuracy if number == 0 else 0.0, 1.0)
    cpg.compact(toys.benchmark().tasks[0], toys.fit(), 0.9, 0.9)
    assert cpg.notes[0]["cut"] == cut


def test_no_stage_follows_one_that_no_longer_learns_its_training_images() -> None:
    cpg = twenty(targets=(0.2, 0.4, 0.6), min_train_accuracy=0.95)
    for start, goal, played in ((0.9, 0.1, 2), (0.05, 2.0, 3)):  # out of reach, it goes on to make room
        cpg.learnt, cpg.current = [], None
        cpg.owners[0].zero_()
        cpg.begin(0)
        cpg.notes[0] = {"accuracies": {}}
        cpg.stage = lambda number, *_: (0.5, [0.96, 0.95, 0.96][number])
        cpg.compact(toys.benchmark().tasks[0], toys.fit(), start, goal)
        assert len(cpg.notes[0]["accuracies"]) == played
        assert cpg.notes[0]["cut"] == [0.2, 0.4, 0.6][played - 1]  # the last one counts


def test_room_for_the_tasks_to_come() -> None:
    on = toys.benchmark((2,) * 20, train=2, val=0, test=1)
    cpg = cpg_of(on, "mlp(hidden=2)")
    wanted = [0.9] * 13 + [0.9, 0.8, 0.8, 0.8, 0.7, 0.5, 0.0]
    assert [cpg.limit(task) for task in range(20)] == wanted


@pytest.mark.parametrize(("goal", "cuts"), [(0.0, [0.6, 0.6, 0.6]), (2.0, [0.6, 0.3, 0.0])])
def test_goals_come_with_the_reports_of_another_run(goal: float, cuts: list[float]) -> None:
    on = toys.benchmark()
    cpg = cpg_of(on, goals=[goal] * 3)
    for task, cut in enumerate(cuts):
        toys.learn_one(cpg, on, toys.fit(epochs=1), task)
        diagnostics = cpg.diagnostics(task)
        assert (diagnostics["goal"], diagnostics["cut"], diagnostics["goal_met"]) == (goal, cut, goal == 0.0)
        assert diagnostics["survivor_share"] == pytest.approx(1 - cut, abs=0.01)
        assert [*diagnostics["accuracies"]] == ["0", "0.3", "0.6"][: 3 if goal == 0 else [3, 2, 1][task]]


def test_without_reports_the_goal_is_the_tasks_own_accuracy() -> None:
    on = toys.benchmark()
    cpg = cpg_of(on)
    found: list[tuple[float, float]] = []
    compact = cpg.compact

    def noted(task: Task, fit: Fit, accuracy: float, goal: float) -> float:
        found.append((goal, fit.accuracy(cpg, task.index, task.val)))
        kept: float = compact(task, fit, accuracy, goal)
        return kept

    cpg.compact = noted
    for task in (0, 1):
        toys.learn_one(cpg, on, toys.fit(epochs=3), task)
        goal, accuracy = found[task]
        assert goal == accuracy == cpg.diagnostics(task)["goal"] == cpg.diagnostics(task)["accuracies"]["0"]


def test_without_validation_images_training_images_decide() -> None:
    on = toys.benchmark(val=0)
    cpg, loop = cpg_of(on, repick_epochs=0), toys.fit(epochs=3)
    for task in (0, 1):
        toys.learn_one(cpg, on, loop, task)
        notes = cpg.notes[task]
        now = loop.accuracy(cpg, task, on.tasks[task].train)
        assert now == notes["accuracies"][f"{notes['cut']:g}"]


def test_what_is_reported_of_a_stage_is_of_the_weights_it_leaves() -> None:
    on = toys.benchmark()
    cpg, loop = cpg_of(on, goals=[0.0] * 3, repick_epochs=0), toys.fit(epochs=2)
    for task in (0, 1):
        toys.learn_one(cpg, on, loop, task)
        assert loop.accuracy(cpg, task, on.tasks[task].val) == cpg.diagnostics(task)["accuracies"]["0.6"]


def test_pruning_follows_a_cubic_and_what_is_pruned_stays_nothing() -> None:
    on = toys.benchmark(shape=(1, 1, 5), train=40)
    cpg = twenty(targets=(0.4, 0.8), stage_epochs=3, ramp_epochs=2, prune_every=2)
    cpg.begin(0)
    loop = toys.fit(batch=8, momentum=0.9, lr=0.05)  # 5 batches: a ramp of 10 steps
    free: list[int] = []
    step = cpg.step

    def noted(batch: Batch, update: Update) -> Tensor:
        loss: Tensor = step(batch, update)
        assert bool((cpg.weights[0][cpg.owners[0] == 0] == 0).all())
        free.append(owners(cpg).count(0))
        return loss

    cpg.step = noted
    for number, (before, target) in enumerate([(0.0, 0.4), (0.4, 0.8)]):
        free.clear()
        cpg.stage(number, on.tasks[0], loop)
        due = [round(20 * (target + (before - target) * (1 - k / 10) ** 3)) for k in (0, 2, 4, 6, 8, 10)]
        wanted = [n for n in due[:5] for _ in range(2)] + [due[5]] * 5
        assert free == wanted and due[5] == 20 * target and due[0] == 20 * before and cpg.ramp is None


@pytest.mark.parametrize(("stage_epochs", "batch"), [(1, 8), (1, 64), (2, 64)])
def test_a_short_stage_reaches_its_target_all_the_same(stage_epochs: int, batch: int) -> None:
    on = toys.benchmark(shape=(1, 1, 5))
    cpg = twenty(stage_epochs=stage_epochs, ramp_epochs=4, prune_every=10)
    cpg.begin(0)
    cpg.stage(0, on.tasks[0], toys.fit(batch=batch))
    assert owners(cpg).count(0) == 6


def test_fits_of_a_task() -> None:
    on = toys.benchmark()
    cpg = cpg_of(on, initial="ksm_initial", initial_epochs=1, goals=[0.0] * 3)
    loop = Noting(toys.fit(**DECAYED).config)
    toys.learn_one(cpg, on, loop, 0)
    toys.learn_one(cpg, on, loop, 1)
    assert loop.epochs["main"] <= 2 + 2 * 2 + 2 and list(loop.epochs) == ["main"]
    stages = [("stage 1", "main"), ("stage 2", "main")]
    told = [(how.get("stream"), how.get("account")) for _, how in loop.calls]
    assert told == [(None, None), *stages, (None, "main"), *stages, ("repick", "main")]
    configs = [config for config, _ in loop.calls]
    assert configs[0].weight_decay == 4e-5 and all(c.weight_decay == 0 for c in configs[1:])
    for at in (1, 2, 4, 5):
        found = configs[at]
        assert (found.epochs, found.lr, found.schedule, found.stop) == (2, 0.02, "constant", "never")
        assert loop.calls[at][1]["keep"] == "last"
    assert (configs[6].stop, configs[6].patience, loop.calls[6][1]["keep"]) == ("first_plateau", 5, "best")


def test_defaults_are_those_of_the_code() -> None:
    config = type(twenty()).Config()
    assert (config.stage_epochs, config.stage_lr, config.ramp_epochs, config.prune_every) == (20, 1e-3, 4, 10)
    assert (config.repick_epochs, config.repick_lr, config.repick_lr_mask) == (30, 1e-3, 1e-4)
    assert config.targets == (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
    assert (config.pick_milestone, config.pick_stop, config.min_train_accuracy) == (50, 70, 0.95)


@pytest.mark.parametrize("better", [True, False])
def test_picking_again_is_kept_if_it_is_better(better: bool) -> None:
    on = toys.benchmark()
    cpg, loop = cpg_of(on, ONE_NORMED), toys.fit(**DECAYED)
    toys.learn_one(cpg, on, loop, 0)
    cpg.begin(1)
    cpg.pick(0.01)
    cpg.fit_owned(on.tasks[1], loop, loop.config)
    cpg.picker, cpg.notes[1] = None, {}
    with torch.no_grad():
        cpg.real[0].view(-1)[:3] = -1.0
    picked = [p.clone() for p in cpg.picked(1)]
    before, real, fitted_by = facts.state(cpg), cpg.real, cpg.fit_owned

    def fit_owned(*args: Any, **how: Any) -> Fitted:
        start = cpg.real[0].detach()
        assert bool((start == torch.full((), 0.01)).all()) and cpg.picker.adam.param_groups[0]["lr"] == 0.005
        fitted: Fitted = fitted_by(*args, **how)
        return Fitted(**vars(fitted) | {"val_accuracy": 0.7 + (0.01 if better else 0.0)})

    cpg.fit_owned = fit_owned
    cpg.repick(on.tasks[1], loop, 0.7)
    after = facts.state(cpg)
    moved = {name for name in before if not facts.same_bits(before[name], after[name])}
    assert cpg.notes[1]["repicked"] == better == bool(moved) and cpg.picker is None
    assert (cpg.real is real) != better
    if not better:
        assert all(torch.equal(a, b) for a, b in zip(picked, cpg.picked(1), strict=True))
    else:
        assert {"net.heads.1.weight", "norms.states.1.weight0", "net.body.4.weight"} <= moved


def test_picking_again_ends_when_it_no_longer_gets_better() -> None:
    on = toys.benchmark()
    cpg = cpg_of(on, goals=[0.0] * 3, repick_epochs=20, repick_patience=3)
    toys.learn_one(cpg, on, toys.fit(epochs=1), 0)
    losses = itertools.count(1.0)
    cpg.validation_loss = lambda batch: torch.tensor(next(losses))  # ever worse
    loop = toys.fit(epochs=1)
    toys.learn_one(cpg, on, loop, 1)
    assert loop.epochs["main"] == 1 + 2 * 2 + 1 + 3


def test_rate_of_the_picks() -> None:
    real = torch.zeros(1, requires_grad=True)
    picker, seen = Picker([real], 0.5, milestone=2, stop=4), []
    for epoch in range(6):
        real.grad = torch.ones(1)
        before = float(real.detach())
        picker.step(epoch)
        seen.append(before - float(real.detach()))
        assert real.grad is None
    assert seen == pytest.approx([0.5, 0.5, 0.1, 0.1, 0.0, 0.0], abs=1e-6)


def test_picks_rest_in_the_end_only_where_there_are_weights_to_train() -> None:
    cpg = twenty()
    cpg.begin(0)
    cpg.notes = {0: {}}
    cpg.finish()
    cpg.begin(1)
    cpg.pick(1e-3, 50, 70)
    assert (cpg.picker.milestone, cpg.picker.stop) == (50, math.inf)  # nothing was left over
    cpg.owners[0].view(-1)[0] = 2
    cpg.pick(1e-3, 50, 70)
    assert (cpg.picker.milestone, cpg.picker.stop) == (50, 70)


def test_the_best_epochs_picks_go_back_with_its_weights() -> None:
    on = toys.benchmark()
    cpg = cpg_of(on)
    toys.learn_one(cpg, on, toys.fit(epochs=1), 0)
    cpg.begin(1)
    cpg.pick(0.01)
    seen: list[Tensor] = []

    def validation_loss(batch: Batch) -> Tensor:
        seen.append(cpg.real[0].detach().clone())
        return torch.tensor(float(len(seen)))

    cpg.validation_loss = validation_loss
    loop = toys.fit(epochs=3)
    cpg.fit_owned(on.tasks[1], loop, loop.config)
    assert facts.same_bits(cpg.real[0].detach(), seen[0]) and not facts.same_bits(seen[0], seen[2])


@pytest.mark.parametrize("settings", [{"nesterov": True}, {"optimiser": "adam", "lr": 0.01}, {"clip": 0.5}])
@pytest.mark.parametrize("bn_mode", ["frozen", "affine_stats"])
def test_what_earlier_tasks_own_keeps_its_bits(bn_mode: str, settings: dict[str, Any]) -> None:
    on = toys.benchmark()
    cpg = cpg_of(on, ONE_NORMED, goals=[0.0, 0.0, 2.0], bn_mode=bn_mode)
    loop = toys.fit(**DECAYED | settings)
    kept: list[Tensor] = []
    logits: dict[int, Tensor] = {}
    shared: dict[str, Tensor] = {}
    last: list[dict[int, Tensor]] = []
    finish = cpg.finish

    def noted() -> None:
        last.append(facts.logits(cpg, on, [cpg.current]))
        finish()

    cpg.finish = noted
    for task in range(3):
        toys.learn_one(cpg, on, loop, task)
        body = facts.state(cpg.net.body)
        if not task:
            shared = {name: value for name, value in body.items() if name not in {"0.weight", "4.weight"}}
        facts.assert_same_state(shared, {name: body[name] for name in shared})
        for before, after in zip(kept, frozen(cpg, task), strict=bool(task)):
            assert facts.same_bits(before, after)
        kept = frozen(cpg, task + 1)
        now = facts.logits(cpg, on, range(task + 1))
        assert facts.same_bits(now[task], last[task][task])  # from bits as from real values
        assert all(facts.same_bits(now[earlier], value) for earlier, value in logits.items())
        logits = now
    assert len(cpg.picks) == 2 and not cpg.real
    assert all(0 < cpg.diagnostics(task)["picked_share"] <= 1 for task in (1, 2))


def test_picks_matter_and_are_learnt() -> None:
    on = toys.benchmark()
    cpg = cpg_of(on, repick_epochs=0)
    for task in (0, 1):
        toys.learn_one(cpg, on, toys.fit(epochs=6), task)
    assert 0 < cpg.diagnostics(1)["picked_share"] < 1
    before = facts.logits(cpg, on, [1])[1]
    cpg.picks[1] = tuple(bits | 255 for bits in cpg.picks[1])
    assert not facts.same_bits(facts.logits(cpg, on, [1])[1], before)


@pytest.mark.parametrize("task", [0, 1])
def test_decay_shrinks_the_own_weights_and_nothing_else(task: int) -> None:
    on = toys.benchmark()
    assert_decay_moves_own_weights_alone(
        cpg_of(on, ONE_NORMED), on, task, {"lr": 0.5, "weight_decay": 0.1, "epochs": 2}
    )


@pytest.mark.parametrize("network", ["mlp(hidden=16, drop2=0.3)", ONE_NORMED])
def test_a_backbone_taken_over_is_one_trained_here(network: str) -> None:
    on = toys.benchmark()
    config = QUICK | {"initial": "ksm_initial", "initial_epochs": 2}
    given = {"backbone": pretrained(on, network, "ksm_initial", 2)}
    inline, over = (made(on, network, inputs, "cpg", **config) for inputs in ({}, given))
    assert not over.world.inputs
    left, right = (toys.learn(subject, on, toys.fit(**DECAYED)) for subject in (inline, over))
    facts.assert_same_state(facts.state(inline), facts.state(over))
    for a, b in zip(left, right, strict=True):
        for name in ("val", "test", "epochs", "updates", "diagnostics"):
            assert getattr(a, name) == getattr(b, name), name


def test_what_is_stored() -> None:
    on = toys.benchmark()
    cpg = cpg_of(on, ONE_NORMED)
    weights, heads = 4 * 9 + 64 * 8, [9 * n for n in toys.CLASSES]
    body = weights + 4 + 8 + 2 * 4
    stored = cpg.stored_bytes()
    assert stored == 4 * (body + 8) + 2 * weights // 8
    for report, head in zip(toys.learn(cpg, on, toys.fit(epochs=1)), heads, strict=True):
        picks = math.ceil(36 / 8) + 512 // 8
        added = 4 * head + (4 * 16 + picks if report.task else 0)
        assert report.diagnostics["task_bytes"] == added == report.stored_bytes - stored
        stored = report.stored_bytes
        assert report.parameters == body + sum(heads) + 2 * (8 + weights)


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"targets": (0.2, 0.2)}, "must rise"), ({"targets": (0.5, 1.0)}, "must rise"),
     ({"stage_epochs": 0}, "stage_epochs = 0 must be at least 1"),
     ({"prune_every": 0}, "prune_every = 0 must be at least 1"),
     ({"stage_lr": 0.0}, "stage_lr = 0.0 must be above 0"),
     ({"allowed_loss": -0.1}, "allowed_loss = -0.1 must be at least 0")],
)  # fmt: skip
def test_nonsense_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        toys.method("cpg", toys.benchmark(), **settings)


def test_nothing_moves_but_what_may() -> None:
    on = toys.benchmark()
    cpg = cpg_of(on, goals=[0.0] * 3)
    loop = facts.WatchedFit(toys.fit(**DECAYED).config)
    for task in range(3):
        toys.learn_one(cpg, on, loop, task)
    assert loop.watched


def test_picked_weights_and_their_gradients_are_those_of_the_mask() -> None:
    """The same as multiplying by the mask, but what is masked is 0.0 even where a weight is infinite."""
    generator = torch.Generator().manual_seed(3)
    owner = torch.randint(0, 4, (6, 5), generator=generator)
    weight = torch.randn(6, 5, generator=generator).requires_grad_()
    real = (TAU + 0.1 * torch.randn(6, 5, generator=generator)).requires_grad_()
    own, older = owner == 3, (owner > 0) & (owner < 3)
    found = Picked.apply(weight, real, bits_of(own, weight.dtype), bits_of(older, weight.dtype))
    mask = (own | (older & (real > TAU))).to(weight)
    assert 0 < mask.sum() < own.sum() + older.sum()
    assert torch.equal(found, weight * mask)
    gradient = torch.randn(6, 5, generator=generator)
    found.backward(gradient)
    assert weight.grad is not None and torch.equal(weight.grad, gradient * mask)
    assert real.grad is not None and torch.equal(real.grad, gradient * weight.detach() * older)
    with torch.no_grad():
        weight.fill_(float("inf"))
    again = Picked.apply(weight, real, bits_of(own, weight.dtype), bits_of(older, weight.dtype))
    assert torch.equal(again == 0, mask == 0) and not bool(again.isnan().any())

"""PathNet: sums by hand, the tournament's rules, what is frozen and what starts anew."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from raycl.tasks import Benchmark, Split
from raycl.training.fit import Fit, Fitted
from tests.helpers import facts, toys

NETWORK = "mlp(hidden=24, drop1=0.0, drop2=0.0)"


def pathnet(on: Benchmark, network: str = NETWORK, **config: Any) -> Any:
    return toys.method("pathnet", on, network, **({"modules": 6, "n_active": 2, "expansion": 0.25} | config))


def modules(subject: Any) -> dict[tuple[int, int], dict[str, Tensor]]:
    """State of every module, by (layer, module)."""
    return {
        (i, m): facts.state(block) for i, layer in enumerate(subject.layers) for m, block in enumerate(layer)
    }


def same(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    return all(facts.same_bits(left[name], right[name]) for name in left)


def taken(paths: Sequence[Any]) -> set[tuple[int, int]]:
    return {(layer, m) for path in paths for layer, entries in enumerate(path) for m in entries}


class Scripted(Fit):
    """A loop that plays given losses: every call writes its number into all it may move."""

    def __init__(self, losses: Sequence[float], **settings: Any) -> None:
        super().__init__(toys.fit(**settings).config)
        self.losses, self.calls, self.paths = list(losses), list[dict[str, Any]](), list[Any]()

    def __call__(self, learner: Any, task: Any, **settings: Any) -> Fitted:
        self.calls.append(settings)
        self.paths.append([list(entries) for entries in learner.path])
        number = len(self.calls)
        with torch.no_grad():
            for p in learner.trainable(task.index):
                p.fill_(float(number))
        loss = self.losses[number - 1] if len(task.val) else math.nan
        return Fitted(loss, 0.5, math.nan, 1, 1, 1.0 / number, 10 + number, 0.0)

    def loss(self, learner: Any, task: int, split: Split) -> float:
        return self.losses[len(self.calls) - 1]


def written(part: Any) -> set[float]:
    """The numbers that a module's parameters hold."""
    return {number for p in part.parameters() for number in p.flatten().tolist()}


def scripted(losses: Sequence[float], *, val: int = 24, **settings: Any) -> tuple[Any, Scripted]:
    """A method after a first task that went so; two generations to four."""
    on = toys.benchmark(val=val)
    subject = pathnet(on, generations=len(losses) // 2)
    loop = Scripted(losses, epochs=12, **settings)
    toys.learn_one(subject, on, loop, 0)
    return subject, loop


@pytest.mark.usefixtures("float64")
def test_outputs_of_active_modules_are_summed() -> None:
    on = toys.benchmark()
    subject = pathnet(on).eval()
    subject.path = [[4, 0], [3, 3]]  # the second layer names one module twice
    h = on.tasks[0].test.take(slice(0, 5)).flatten(1)
    first = [subject.layers[0][m].layer for m in (4, 0)]
    h = sum((h @ layer.weight.T + layer.bias).clamp_min(0) for layer in first)
    layer = subject.layers[1][3].layer
    h = (h @ layer.weight.T + layer.bias).clamp_min(0)
    head = subject.heads[2]
    torch.testing.assert_close(subject(on.tasks[0].test.take(slice(0, 5)), 2), h @ head.weight.T + head.bias)


def test_modules_pool_and_drop_before_they_are_summed() -> None:
    on = toys.benchmark(shape=(1, 28, 28))
    subject = pathnet(on, "alexnet(width=0.5)")
    x = on.tasks[0].test.take(slice(0, 4))
    assert [layer[0].units for layer in subject.layers] == [8, 16, 32, 256, 256]
    for mode in (True, False):
        subject.train(mode)
        torch.manual_seed(0)
        h = x
        for layer, entries in zip(subject.layers, subject.path, strict=True):
            h = layer[entries[0]](h) + layer[entries[1]](h)
        torch.manual_seed(0)
        assert facts.same_bits(subject(x, 0), subject.heads[0](h))


def test_the_input_is_dropped_once_for_all_modules() -> None:
    on = toys.benchmark()
    subject = pathnet(on, "mlp(hidden=24, drop1=0.5, drop2=0.0)")
    seen: list[Tensor] = []
    for module in subject.layers[0]:
        module.layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    x = on.tasks[0].test.take(slice(None))
    subject.train()(x, 0)
    assert len(seen) == 2 and torch.equal(*seen)
    assert 0.4 < float((seen[0] == 0).double().mean()) < 0.6
    subject.eval()(x, 0)
    assert torch.equal(seen[2], x.flatten(1))


def test_the_first_module_of_each_layer_starts_where_all_methods_start() -> None:
    on = toys.benchmark()
    subject, narrow = pathnet(on), toys.method("finetune", on, "mlp(hidden=6)").net
    starts = [layer[0].layer.weight for layer in subject.layers]
    assert all(facts.same_bits(w, block.layer.weight) for w, block in zip(starts, narrow.body, strict=True))
    assert not facts.same_bits(starts[0], subject.layers[0][1].layer.weight)


def test_the_best_path_wins_and_its_weights_come_back() -> None:
    subject, loop = scripted([0.9, 0.5, 0.4, 0.6, 0.7, 0.8])  # call 3: place 0 in the second generation
    assert subject.path == subject.paths[0] == loop.paths[2]
    for entries, layer in zip(subject.path, subject.layers, strict=True):
        for m in entries:
            assert written(layer[m]) == {3.0}
    assert written(subject.heads[0]) == {3.0}


def test_weights_go_back_as_a_whole() -> None:
    """Modules on the other path are as they were at the best epoch, too."""
    subject, loop = scripted([0.2, 0.1, 0.3, 0.4])
    only_first = taken(loop.paths[:1]) - taken(loop.paths[1:2])
    assert only_first  # trained in call 1 for the last time before call 2, the best
    for layer, m in only_first:
        assert written(subject.layers[layer][m]) == {1.0}


def test_the_loser_becomes_a_mutation_of_the_winner(monkeypatch: pytest.MonkeyPatch) -> None:
    kind: Any = type(pathnet(toys.benchmark()))
    monkeypatch.setattr(kind, "mutated", lambda self, path: [[(m + 1) % 6 for m in es] for es in path])
    _, loop = scripted([0.9, 0.5, 0.4, 0.6, 0.7, 0.8])

    def step(path: Any) -> Any:
        return [[(m + 1) % 6 for m in entries] for entries in path]

    assert loop.paths[3] == loop.paths[1] and loop.paths[2] == step(loop.paths[1])  # place 1 had won
    assert loop.paths[4] == loop.paths[2] and loop.paths[5] == step(loop.paths[2])  # then place 0


def test_equally_good_is_not_better() -> None:
    subject, loop = scripted([0.5, 0.5, 0.5, 0.5])
    assert subject.path == loop.paths[0] == loop.paths[2]
    assert written(subject.heads[0]) == {1.0}


def test_each_place_goes_on_with_its_own_schedule() -> None:
    _, loop = scripted([0.9, 0.5, 0.4, 0.6, 0.7, 0.8], schedule="plateau", stop="below_floor")
    assert [call["lr"] for call in loop.calls] == [None, None, 1.0, 1 / 2, 1 / 3, 1 / 4]
    assert [call["patience"] for call in loop.calls] == [None, None, 11, 12, 13, 14]
    assert [call["best"] for call in loop.calls] == [math.inf, math.inf, 0.9, 0.5, 0.4, 0.5]
    assert [call["stream"] for call in loop.calls] == [f"generation-{g}" for g in (0, 0, 1, 1, 2, 2)]
    assert all(call["epochs"] == 4 and call["account"] == "main" for call in loop.calls)
    _, loop = scripted([0.9, 0.5, 0.4, 0.6], schedule="cosine")
    assert [call["lr"] for call in loop.calls] == [None] * 4  # what a cosine ends with is no place to start


def test_without_validation_the_training_loss_decides() -> None:
    subject, loop = scripted([0.9, 0.5, 0.4, 0.6], val=0)
    assert subject.path == loop.paths[2] and written(subject.heads[0]) == {3.0}
    assert all(call["best"] == math.inf for call in loop.calls)


@pytest.mark.parametrize(
    ("epochs", "generations", "wanted"), [(3, 20, 6), (10, 4, 16), (12, 4, 24), (1, 1, 2)]
)
def test_each_path_has_the_epochs_of_a_run_and_at_least_one_a_generation(
    epochs: int, generations: int, wanted: int
) -> None:
    on = toys.benchmark()
    loop = toys.fit(epochs=epochs)
    toys.learn_one(pathnet(on, generations=generations), on, loop, 0)
    assert loop.epochs == {"main": wanted} and loop.updates == 3 * wanted


class Noting(Fit):
    """Takes down all modules as the first fit of each task finds them."""

    def begin(self, task: int) -> None:
        super().begin(task)
        self.found: Any = None

    def __call__(self, learner: Any, task: Any, **settings: Any) -> Fitted:
        if self.found is None:
            self.found = modules(learner)
        return super().__call__(learner, task, **settings)


def test_frozen_modules_stay_and_the_others_start_anew() -> None:
    on = toys.benchmark((2, 3, 2))
    subject = pathnet(on, generations=3)
    initial = modules(subject)
    loop = Noting(toys.fit(epochs=3, momentum=0.9, weight_decay=1e-2).config)
    kept: dict[tuple[int, int], dict[str, Tensor]] = {}
    for task in range(3):
        toys.learn_one(subject, on, loop, task)
        now, frozen = modules(subject), taken(subject.paths)
        assert frozen == {(i, m) for i, found in enumerate(subject.frozen()) for m in found}
        for where, was in initial.items():
            assert same(loop.found[where], kept.get(where, was)), where
        assert all(same(now[where], state) for where, state in kept.items())
        fresh = frozen - kept.keys()
        assert fresh and not any(same(now[where], initial[where]) for where in fresh)
        for i, layer in enumerate(subject.layers):
            for m, module in enumerate(layer):
                assert all(p.requires_grad != ((i, m) in frozen) for p in module.parameters())
        kept = {where: now[where] for where in frozen}
    assert any(not same(now[where], initial[where]) for where in initial.keys() - kept.keys())


def test_what_trains_is_on_the_path_and_free() -> None:
    on = toys.benchmark()
    subject = pathnet(on)
    subject.paths = [[[0, 1], [2, 3]]]
    subject.path = [[1, 4], [5, 5]]
    wanted = [subject.layers[0][4], subject.layers[1][5], subject.heads[1]]
    assert [id(p) for p in subject.trainable(1)] == [id(p) for part in wanted for p in part.parameters()]


def test_when_all_modules_are_frozen_only_the_head_trains() -> None:
    on = toys.benchmark()
    subject = pathnet(on, modules=2, n_active=2)
    loop = facts.WatchedFit(toys.fit(epochs=2, momentum=0.9, weight_decay=1e-2).config)
    reports = toys.learn(subject, on, loop)
    assert subject.frozen() == [{0, 1}, {0, 1}]
    assert [id(p) for p in subject.trainable(2)] == [id(p) for p in subject.heads[2].parameters()]
    assert [r.diagnostics["frozen"] for r in reports] == [1.0, 1.0, 1.0]
    fresh = toys.method("pathnet", on, NETWORK, modules=2, n_active=2, expansion=0.25)
    assert not facts.same_bits(subject.heads[2].weight, fresh.heads[2].weight)  # type: ignore[union-attr]


def test_a_drawn_path_names_distinct_modules() -> None:
    subject = pathnet(toys.benchmark(), n_active=5)
    torch.manual_seed(0)
    paths = [subject.drawn() for _ in range(200)]
    assert all(len(path) == 2 and all(len(set(entries)) == 5 for entries in path) for path in paths)
    assert taken(paths) == {(layer, m) for layer in range(2) for m in range(6)}


def test_mutation_moves_one_entry_in_all_by_two_at_most() -> None:
    subject = pathnet(toys.benchmark(), modules=16, n_active=3)
    torch.manual_seed(0)
    path = [[0, 7, 15], [1, 14, 8]]
    shifts: list[int] = []
    for _ in range(3000):
        found = subject.mutated(path)
        for old, new in zip(path[0] + path[1], found[0] + found[1], strict=True):
            assert 0 <= new < 16
            shifts.append((new - old + 8) % 16 - 8)
    assert path == [[0, 7, 15], [1, 14, 8]]
    counts = [shifts.count(shift) for shift in range(-2, 3)]
    assert sum(counts) == 18000  # modulo 16 nothing moves further
    for moved in counts[:2] + counts[3:]:  # of 3000 expected moves a fifth each, as many by 0
        assert moved == pytest.approx(600, abs=100)  # four standard deviations


def test_figures_are_shares_of_frozen_modules() -> None:
    subject = pathnet(toys.benchmark())
    subject.paths = [[[0, 1], [2, 2]], [[1, 3], [2, 4]]]
    assert subject.diagnostics(0) == {"frozen": 3 / 12, "frozen_layers": {"fc1": 2 / 6, "fc2": 1 / 6}}
    assert subject.diagnostics(1)["frozen_layers"] == {"fc1": 3 / 6, "fc2": 2 / 6}


def test_parameters_and_bytes() -> None:
    on = toys.benchmark()
    subject = pathnet(on)
    reports = toys.learn(subject, on, toys.fit(epochs=1))
    wanted = 6 * (17 * 6 + 7 * 6) + 7 * sum(on.classes)
    assert [r.parameters for r in reports] == [wanted] * 3
    assert [r.stored_bytes for r in reports] == [4 * wanted + 8 * 4 * (task + 1) for task in range(3)]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"n_active": 17}, r"n_active = 17 must not exceed modules = 16"),
        ({"n_active": 0}, r"n_active = 0 must be at least 1"),
        ({"generations": 0}, r"generations = 0 must be at least 1"),
        ({"expansion": 0.0}, r"expansion = 0.0 must be above 0"),
    ],
)
def test_nonsense_is_refused(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        toys.method("pathnet", toys.benchmark(), **config)

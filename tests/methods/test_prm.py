"""PRM: the trial and how it is undone, the clusters, what dissimilar tasks block, and the variants."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from raycl import registry
from raycl.masks import weight_factors
from raycl.methods import prm as module
from raycl.methods.prm import undone
from raycl.runs import sequence
from raycl.tasks import Batch, Benchmark
from tests.helpers import facts, toys

RULES = ("cluster", "none", "all", "type", "random")
CHAIN = toys.chain(3, 3)


def typed(kinds: Sequence[str], classes: int = 2) -> Benchmark:
    """Toy tasks of these types."""
    on = toys.benchmark((classes,) * len(kinds))
    return replace(on, tasks=tuple(replace(t, kind=kind) for t, kind in zip(on.tasks, kinds, strict=True)))


def binary(prm: Any, task: int, on: Sequence[int]) -> None:
    """Push a task's gates to exactly 1 at the units `on` of each block, to exactly 0 elsewhere."""
    with torch.no_grad():
        for e in prm.embeddings[task].parameters():
            e.copy_(torch.where(torch.isin(torch.arange(len(e)), torch.tensor(on)), 3.0, -3.0))


def finding(prm: Any, *dissimilar: int) -> None:
    """Let these be dissimilar, in all layers and without a trial."""
    layers = len(prm.body.units)
    prm.dissimilar_tasks = lambda earlier, task, fit: [[k for k in earlier if k in dissimilar]] * layers


def clustering(monkeypatch: pytest.MonkeyPatch, *labels: Sequence[int]) -> list[np.ndarray[Any, Any]]:
    """Let X-means find these, call by call; the rows it is given are returned."""
    seen: list[np.ndarray[Any, Any]] = []

    def found(rows: Any, *_: Any, **__: Any) -> Any:
        seen.append(rows)
        return np.array(labels[(len(seen) - 1) % len(labels)][: len(rows)])

    monkeypatch.setattr(module.xmeans, "xmeans", found)
    return seen


class Watching(toys.Fit):
    """A training loop that notes what stands before and after each fit."""

    def __call__(self, learner: Any, task: Any, **kwargs: Any) -> Any:
        before, factors = facts.state(learner), learner.factors
        fitted = super().__call__(learner, task, **kwargs)
        after = facts.state(learner)
        moved = {name for name in after if not facts.same_bits(before[name], after[name])}
        self.seen = [
            *getattr(self, "seen", []),
            (kwargs.get("stream", "main"), before, moved, after, factors),
        ]
        return fitted


# ------------------------------------------------------------------------------- variants that are others


def test_all_dissimilar_is_hat_bit_for_bit() -> None:
    on = toys.benchmark()
    settings = {"momentum": 0.9, "weight_decay": 1e-3, "epochs": 3}
    prm, hat = toys.method("prm", on, dissimilar="all"), toys.method("hat", on)
    mine = toys.learn(prm, on, toys.fit_for("prm", **settings), "full")
    theirs = toys.learn(hat, on, toys.fit_for("hat", **settings), "full")
    facts.assert_same_state(facts.state(prm), facts.state(hat))
    for one, other in zip(mine, theirs, strict=True):
        assert (one.val, one.test, one.epochs, one.updates) == (
            other.val, other.test, other.epochs, other.updates,
        )  # fmt: skip
        assert {name: one.diagnostics[name] for name in other.diagnostics} == other.diagnostics
        assert (one.parameters, one.stored_bytes) == (other.parameters, other.stored_bytes)


@pytest.mark.parametrize("two_stage", [True, False])
def test_a_trial_that_finds_all_dissimilar_leaves_hat_bit_for_bit(
    two_stage: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    clustering(monkeypatch, range(9))
    on = toys.benchmark()
    prm, hat = toys.method("prm", on, two_stage=two_stage), toys.method("hat", on)
    reports = toys.learn(prm, on, toys.fit_for("prm", momentum=0.9, epochs=3))
    toys.learn(hat, on, toys.fit_for("hat", momentum=0.9, epochs=3))
    facts.assert_same_state(facts.state(prm), facts.state(hat))
    trial = {"dtd-1": 3, "dtd-2": 3} if two_stage else {"dtd-2": 3}
    assert [r.epochs for r in reports] == [{"main": 3}, trial | {"main": 3}, trial | {"main": 3}]
    assert all(r.seconds.keys() == r.epochs.keys() | {"method"} for r in reports)


@pytest.mark.parametrize("kinds", [("", "", ""), ("writers",) * 3])
def test_by_type_a_sequence_of_one_type_is_all_similar(kinds: tuple[str, ...]) -> None:
    on, found = typed(kinds), []
    for rule in ("type", "none"):
        prm = toys.method("prm", on, dissimilar=rule)
        toys.learn(prm, on, toys.fit_for("prm", epochs=3))
        found.append(facts.state(prm))
    facts.assert_same_state(*found)


def test_sets_of_the_variants_that_need_no_trial() -> None:
    on, loop = typed("abba"), toys.fit()
    wanted = {"none": [[], [], []], "all": [[0], [0, 1], [0, 1, 2]], "type": [[0], [0], [1, 2]]}
    for rule, sets in wanted.items():
        prm: Any = toys.method("prm", on, dissimilar=rule)
        prm.kinds[0] = "a"
        for t in (1, 2, 3):
            earlier = list(prm.kinds)
            prm.kinds[t] = on.tasks[t].kind
            assert prm.dissimilar_tasks(earlier, on.tasks[t], loop) == [sets[t - 1]] * 2
    assert loop.updates == 0


# --------------------------------------------------------------------------------------------- the trial


def test_the_trial_restores_every_bit() -> None:
    on = toys.benchmark()
    prm: Any = toys.method("prm", on)
    loop = Watching(toys.fit_for("prm", epochs=3, lr=0.2).config)
    toys.learn_one(prm, on, loop, 0)
    prm.kinds[1] = ""
    before, learnable = facts.state(prm), prm.count_parameters()
    found = prm.clusters([0], on.tasks[1], loop)
    facts.assert_same_state(before, facts.state(prm))
    assert found == [[0, 1], [0, 1]]  # two rows, two clusters
    assert prm.count_parameters() == learnable and not prm.head_alone and prm.slope == 400.0
    own = {n for n, p in prm.named_parameters() if any(p is q for q in prm.trainable(1))}
    head = {"net.heads.1.weight", "net.heads.1.bias"}
    (main, *_), first, second = loop.seen
    assert main == "main"
    assert (first[0], first[2]) == ("dtd-1", head)
    assert (second[0], second[2]) == ("dtd-2", own)
    facts.assert_same_state(first[3], second[1])  # the second stage goes on where the first ended
    for one, other in zip(second[4], weight_factors(prm.body.blocks, list(prm.used)), strict=True):
        assert all(facts.same_bits(a, b) for a, b in zip(one, other, strict=True))  # as HAT blocks


def test_the_trial_is_undone_even_if_it_diverges() -> None:
    on = toys.benchmark()
    prm: Any = toys.method("prm", on)
    toys.learn_one(prm, on, toys.fit_for("prm", epochs=1), 0)
    before = facts.state(prm)
    with pytest.raises(Exception, match="training loss is"):
        toys.learn_one(prm, on, toys.fit(lr=1e30), 1)
    facts.assert_same_state(before, facts.state(prm))
    assert not prm.head_alone and all(p.requires_grad for p in prm.parameters())


def test_undone_puts_back_parameters_and_buffers_in_place() -> None:
    norm = nn.BatchNorm1d(2)
    weight = norm.weight
    with undone(norm):
        norm(torch.randn(4, 2))
        torch.nn.init.zeros_(weight)
    assert norm.weight is weight and weight.tolist() == [1, 1]
    assert norm.running_mean is not None and norm.running_mean.tolist() == [0, 0]
    assert norm.num_batches_tracked is not None and int(norm.num_batches_tracked) == 0


@pytest.mark.parametrize(("stage1_s", "wanted"), [("anneal", [0.1, 5.05, 10.0]), ("smax", [10.0] * 3)])
def test_slopes_of_the_first_stage(stage1_s: str, wanted: list[float]) -> None:
    on = toys.benchmark()
    prm: Any = toys.method("prm", on, smax=10.0, stage1_s=stage1_s, clamp=0.5)
    slopes: list[tuple[bool, float]] = []
    edit = prm.edit_gradients

    def noting(batch: Batch) -> None:
        slopes.append((prm.head_alone, prm.slope))
        frozen = [*prm.net.body.parameters(), *prm.embeddings.parameters()]
        assert not prm.head_alone or all(p.grad is None for p in frozen)  # none is even computed
        edit(batch)

    prm.edit_gradients = noting
    loop = Watching(toys.fit(epochs=1).config)
    for t in (0, 1):
        toys.learn_one(prm, on, loop, t)
    assert [slope for alone, slope in slopes if alone] == pytest.approx(wanted)
    assert [slope for alone, slope in slopes if not alone] == pytest.approx([0.1, 5.05, 10.0] * 3)
    first = next(seen for seen in loop.seen if seen[0] == "dtd-1")
    assert first[2] == {"net.heads.1.weight", "net.heads.1.bias"}  # nor does the clamp move embeddings
    assert max(float(first[1][f"embeddings.1.{i}"].abs().max()) for i in (0, 1)) > 0.5


# ------------------------------------------------------------------------------------------ the clusters


@pytest.mark.parametrize("feature", ["raw", "drift"])
@pytest.mark.parametrize("scope", ["layer", "concat"])
def test_what_is_clustered(feature: str, scope: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = clustering(monkeypatch, [0, 0, 1], [0, 1, 1])
    on = toys.benchmark()
    prm: Any = toys.method("prm", on, "mlp(hidden=6)", dtd_feature=feature, dtd_scope=scope)
    start = facts.state(prm.embeddings)
    loop = Watching(toys.fit_for("prm", epochs=3).config)
    for t in (0, 1):
        toys.learn_one(prm, on, loop, t)
    old = facts.state(prm.embeddings)
    loop.seen, seen[:] = [], []
    toys.learn_one(prm, on, loop, 2)
    trial = {name.removeprefix("embeddings."): value for name, value in loop.seen[1][3].items()}
    layers = []
    for layer in (0, 1):
        rows = [old[f"0.{layer}"], old[f"1.{layer}"], trial[f"2.{layer}"]]  # after the second stage
        if feature == "drift":
            rows = [row - start[f"{t}.{layer}"] for t, row in enumerate(rows)]
        layers.append(torch.stack(rows).double().numpy())
    wanted = layers if scope == "layer" else [np.concatenate(layers, 1)]
    assert len(seen) == len(wanted)
    assert all(np.array_equal(one, other) and one.dtype == np.float64
               for one, other in zip(seen, wanted, strict=True))  # fmt: skip
    labels = [[0, 0, 1], [0, 1, 1]] if scope == "layer" else [[0, 0, 1]] * 2
    diagnostics = prm.diagnostics(2)
    assert diagnostics["dtd_clusters"] == dict(zip(("fc1", "fc2"), labels, strict=True))
    assert diagnostics["dtd_dissimilar"] == {"fc1": [0, 1], "fc2": [0] if scope == "layer" else [0, 1]}
    for name, layer in zip(("fc1", "fc2"), layers, strict=True):
        apart = [np.linalg.norm(layer[i] - layer[2]) / np.sqrt(6) for i in (0, 1)]
        assert diagnostics["dtd_distances"][name] == pytest.approx(apart)
    assert ("origins.0.0" in facts.state(prm)) == (feature == "drift")


def test_two_tasks_are_as_far_apart_as_the_number_of_clusters_says() -> None:
    on = toys.benchmark((2, 2))
    for k_init, size in ((1, 0.0), (2, 1.0)):
        prm = toys.method("prm", on, k_init=k_init)
        reports = toys.learn(prm, on, toys.fit_for("prm", epochs=1))
        assert reports[1].diagnostics["dtd_size"] == size


def test_planted_embeddings_make_the_sets() -> None:
    on = toys.benchmark((2,) * 9)
    prm: Any = toys.method("prm", on, "mlp(hidden=500)", k_init=1)
    rng = np.random.default_rng(0)
    centres = {"a": rng.normal(0, 2, 500), "b": rng.normal(0, 2, 500)}
    first, second = "aabbaabba", "abbbbbbbb"  # groups in the two layers
    prm.features = lambda task: [centres[of[task]] + rng.normal(size=500) for of in (first, second)]
    prm.kinds |= dict.fromkeys(range(9), "")
    loop = toys.fit(epochs=1)
    assert prm.dissimilar_tasks(list(range(8)), on.tasks[8], loop) == [[2, 3, 6, 7], [0]]


@pytest.mark.parametrize("scope", ["layer", "concat"])
def test_random_sets_are_as_large_as_the_clusters_would_make_them(
    scope: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = [0, 1, 0, 0, 1, 1, 0, 1, 0, 1], [0, 0, 0, 0, 1, 1, 1, 1, 0, 0]
    on = toys.benchmark((2,) * 10)
    made = []
    for _ in range(2):
        clustering(monkeypatch, *labels)
        prm: Any = toys.method("prm", on, dissimilar="random", dtd_scope=scope)
        prm.kinds |= dict.fromkeys(range(10), "")
        loop = toys.fit(epochs=1)
        made.append(prm.dissimilar_tasks(list(range(9)), on.tasks[9], loop))
        assert loop.epochs == {"dtd-1": 1, "dtd-2": 1}
    first, second = made[0]
    assert made[0] == made[1] and first == sorted(set(first)) and second == sorted(set(second))
    assert (len(first), len(second)) == ((5, 4) if scope == "layer" else (5, 5))
    assert (first == second) == (scope == "concat")
    assert first != [0, 2, 3, 6, 8] and set(first + second) <= set(range(9))


# ----------------------------------------------------------------------------------- what blocks, and not


def test_blocking_gates_by_hand() -> None:
    on = toys.benchmark()
    prm: Any = toys.method("prm", on, CHAIN, smax=1.0)
    rows = [[0.0, 1.0, -1.0], [2.0, -2.0, 0.5]]
    with torch.no_grad():
        for task, row in enumerate(rows):
            for e in prm.embeddings[task].parameters():
                e.copy_(torch.tensor(row))
    a, b = (torch.sigmoid(torch.tensor(row)) for row in rows)
    first, second = prm.gates_of([[0, 1], [1]])
    assert first.tolist() == pytest.approx([b[0].item(), a[1].item(), b[2].item()])
    assert second.tolist() == pytest.approx(b.tolist())
    first, second = prm.gates_of([[], [0]])
    assert first.tolist() == [0, 0, 0] and second.tolist() == pytest.approx(a.tolist())
    assert prm.gates_of([[], []]) == []
    prm.block([torch.tensor([1.0, 0.75, 0.5]), torch.tensor([0.25, 1.0, 0.0])])
    (_, first_bias), (weight, bias) = prm.factors
    assert first_bias.tolist() == [0, 0.25, 0.5] and bias.tolist() == [0.75, 0, 1]
    assert weight.tolist() == [[0.75, 0.75, 0.75], [0, 0.25, 0.5], [1, 1, 1]]  # 1 - min(p_l i, p_l-1 j)


def test_nothing_dissimilar_leaves_gradients_untouched() -> None:
    on = toys.benchmark()
    prm: Any = toys.method("prm", on, dissimilar="none")
    loop = Watching(toys.fit_for("prm", epochs=2).config)
    for t in range(3):
        toys.learn_one(prm, on, loop, t)
    assert all(float(used.max()) > 0.9 for used in prm.used)  # HAT would block
    assert [factors for *_, factors in loop.seen] == [[], [], []]
    generator = torch.Generator().manual_seed(1)
    for p in prm.net.parameters():
        p.grad = torch.randn(p.shape, generator=generator)
    before = [p.grad.clone() for p in prm.net.parameters()]
    prm.block(prm.gates_of([[], []]))
    prm.edit_gradients(Batch(torch.zeros(1), torch.zeros(1), 2))
    assert all(facts.same_bits(p.grad, g) for p, g in zip(prm.net.parameters(), before, strict=True))


@pytest.mark.parametrize("dissimilar", [(), (0,), (1,), (0, 1)])
def test_what_dissimilar_tasks_use_is_frozen_and_the_rest_is_open(dissimilar: tuple[int, ...]) -> None:
    on = toys.benchmark()
    prm: Any = toys.method("prm", on)
    finding(prm)
    loop = toys.fit_for("prm", momentum=0.9, clip=1.0, epochs=2)
    units = [range(16), range(12, 24)]
    for task in (0, 1):
        toys.learn_one(prm, on, loop, task)
        binary(prm, task, list(units[task]))
        for used, gate in zip(prm.used, prm.gates(task), strict=True):
            used.copy_(torch.maximum(used.round(), gate.detach()))
    finding(prm, *dissimilar)
    before, kept = facts.state(prm.net.body), facts.logits(prm, on, [0, 1])
    toys.learn_one(prm, on, loop, 2)
    now, after = facts.logits(prm, on, [0, 1]), facts.state(prm.net.body)
    # tasks 0 and 1 share units 12 to 15: blocking for one of them does not keep the other's logits
    assert [facts.same_bits(now[t], kept[t]) for t in (0, 1)] == [t in dissimilar for t in (0, 1)]
    used = torch.zeros(32, dtype=torch.bool)
    for t in dissimilar:
        used[list(units[t])] = True
    moved = before["1.layer.weight"] != after["1.layer.weight"]
    both = used[:, None] & used
    assert not bool(moved[both].any())  # both ends used by a dissimilar task: never
    assert not bool((before["1.layer.bias"] != after["1.layer.bias"])[used].any())
    assert not bool((before["0.layer.weight"] != after["0.layer.weight"])[used].any())
    similar = torch.zeros(32, dtype=torch.bool)
    for t in {0, 1} - set(dissimilar):
        similar[list(units[t])] = True
    only = similar & ~used  # used by similar tasks alone
    assert bool(moved[only][:, only].any()) == bool(only.any())


def test_sets_may_differ_from_layer_to_layer() -> None:
    on = toys.benchmark()
    prm: Any = toys.method("prm", on)
    for t in (0, 1):
        binary(prm, t, list(range(16 * t, 16 * t + 16)))
        prm.merge(t)
        prm.kinds[t] = ""
    prm.dissimilar_tasks = lambda earlier, task, fit: [[0], [1]]
    before = facts.state(prm.net.body)
    toys.learn_one(prm, on, toys.fit_for("prm", epochs=2), 2)
    after = facts.state(prm.net.body)
    first = (before["0.layer.weight"] != after["0.layer.weight"]).any(1)
    second = before["1.layer.weight"] != after["1.layer.weight"]
    assert not bool(first[:16].any()) and bool(first[16:].any())
    assert not bool(second[16:, :16].any())  # its output used by task 1, its input by task 0
    assert bool(second[16:, 16:].any()) and bool(second[:16, :16].any())


@pytest.mark.parametrize(("reg_mask", "wanted"), [("all", 1.25 / 3), ("dissimilar", 1.75 / 3.5)])
def test_regulariser_by_hand(reg_mask: str, wanted: float) -> None:
    on = toys.benchmark()
    prm: Any = toys.method("prm", on, "mlp(hidden=2)", reg_mask=reg_mask)
    gates = torch.tensor([0.5, 1.0, 0.5, 0.0])
    assert float(prm.regulariser(gates)) == pytest.approx(0.5)  # nothing used: the mean gate
    prm.used[0].copy_(torch.tensor([1.0, 0.0]))
    prm.used[1].copy_(torch.tensor([0.0, 0.0]))
    prm.block([torch.tensor([0.5, 0.0]), torch.tensor([0.0, 0.0])])
    wanted = 1.5 / 3 if reg_mask == "all" else wanted
    assert float(prm.regulariser(gates)) == pytest.approx(wanted)


@pytest.mark.parametrize("reg_mask", ["all", "dissimilar"])
def test_whose_units_are_free_of_charge(reg_mask: str) -> None:
    on = toys.benchmark()
    prm: Any = toys.method("prm", on, reg_mask=reg_mask, lamb=4.0)
    finding(prm)
    taken: list[float] = []
    plain = prm.regulariser
    prm.regulariser = lambda gates: (taken.append(float(plain(torch.ones(64)))), plain(gates))[1]
    toys.learn_one(prm, on, toys.fit_for("prm", epochs=1), 0)
    binary(prm, 0, [0])
    prm.used[0].fill_(1.0)
    prm.used[1].fill_(1.0)
    taken.clear()
    toys.learn_one(prm, on, toys.fit_for("prm", epochs=1), 1)
    assert set(taken) == {0.0 if reg_mask == "all" else 1.0}  # no room left, or all of it


# ------------------------------------------------------------------------------------ starts and settings


def test_embeddings_begin_as_hat_s_or_all_alike() -> None:
    on = toys.benchmark()
    hat, own, shared = (
        facts.state(toys.method(name, on, **config).embeddings)  # type: ignore[arg-type]
        for name, config in (("hat", {}), ("prm", {}), ("prm", {"embedding_init": "shared"}))
    )
    facts.assert_same_state(hat, own)
    for layer in (0, 1):
        assert all(facts.same_bits(shared[f"{t}.{layer}"], hat[f"0.{layer}"]) for t in range(3))
    assert not facts.same_bits(own["1.0"], own["0.0"])


@pytest.mark.parametrize(
    "config",
    [{"dissimilar": rule} for rule in RULES]
    + [
        {"dtd_feature": "drift", "embedding_init": "shared"},
        {"dtd_scope": "concat", "reg_mask": "dissimilar"},
    ],
    ids=str,
)
def test_resumed_equals_uninterrupted(config: dict[str, Any]) -> None:
    on = typed("aba")
    whole, first = (toys.method("prm", on, **config) for _ in range(2))
    reports = toys.learn(whole, on, toys.fit_for("prm", epochs=2))
    done = []
    for _ in range(3):
        first = facts.reloaded(first)
        done.append(next(sequence.run_sequence(first, on, toys.fit_for("prm", epochs=2), done=done)))
    facts.assert_same_state(facts.state(whole), facts.state(first))
    assert [r.diagnostics for r in done] == [r.diagnostics for r in reports]


def test_figures_by_hand() -> None:
    on = typed("abab")
    prm: Any = toys.method("prm", on, "mlp(hidden=2)", dissimilar="none")
    start = facts.state(prm.embeddings)
    for t in range(3):
        toys.learn_one(prm, on, toys.fit_for("prm", epochs=1), t)
        binary(prm, t, [0])
    assert "dtd_clusters" not in prm.diagnostics(2) and prm.diagnostics(2)["dtd_size"] == 0.0
    prm.dissimilar_tasks = lambda earlier, task, fit: [[0, 2], [2]]
    toys.learn_one(prm, on, toys.fit_for("prm", epochs=2), 3)
    diagnostics = prm.diagnostics(3)
    assert diagnostics["dtd_size_layers"] == {"fc1": 2 / 3, "fc2": 1 / 3} and diagnostics["dtd_size"] == 0.5
    assert diagnostics["dtd_agreement"] == 1.0  # task 1 is similar in both layers
    assert diagnostics["dtd_separation"] == 3 / 4  # 0 and 2 dissimilar in the first layer, 2 in the second
    assert (
        diagnostics["blocked_by_dissimilar"] == (17 + 2) / 40
    )  # unit 0: 16 inputs, weight (0, 0), two biases
    moved = [facts.state(prm.embeddings)[f"3.{i}"] - start[f"3.{i}"] for i in (0, 1)]
    assert diagnostics["drift_rms"] == pytest.approx(float(torch.cat(moved).square().mean().sqrt()))
    assert diagnostics["drift_rms"] > 0


def test_figures_say_nothing_of_what_there_is_not() -> None:
    on = toys.benchmark()
    reports = toys.learn(toys.method("prm", on), on, toys.fit_for("prm", epochs=1))
    first, second, _ = (report.diagnostics for report in reports)
    assert not [name for name in first if name.startswith("dtd_")]
    assert first["blocked_by_dissimilar"] == 0.0 and first["drift_rms"] > 0
    assert {name for name in second if name.startswith("dtd_")} == {
        "dtd_clusters", "dtd_distances", "dtd_dissimilar", "dtd_size", "dtd_size_layers",
    }  # fmt: skip
    alike = toys.learn(toys.method("prm", typed("ab")), typed("ab"), toys.fit_for("prm", epochs=1))
    assert "dtd_agreement" not in alike[1].diagnostics and alike[1].diagnostics["dtd_separation"] == 1.0


def test_parameters_are_those_of_hat() -> None:
    on = toys.benchmark()
    counts = [
        (m.count_parameters(), m.stored_bytes())
        for m in (toys.method("prm", on), toys.method("hat", on), toys.method("prm", on, dtd_feature="drift"))
    ]
    assert counts[0] == counts[1] == counts[2]
    drift = toys.method("prm", on, "mlp(hidden=16)", dtd_feature="drift")
    before = drift.stored_bytes()
    toys.learn_one(drift, on, toys.fit_for("prm", epochs=1), 0)
    assert drift.stored_bytes() == before + 4 * 2 * 32  # the task's embeddings, and where they began


def test_settings_that_make_no_sense() -> None:
    config = registry.method("prm").Config
    with pytest.raises(ValueError, match="k_init = 0 must be at least 1"):
        config(k_init=0)
    with pytest.raises(ValueError, match="must be above 0"):
        config(smax=0.0)


def whole(on: Benchmark, task: int) -> tuple[Tensor, Tensor]:
    split = on.tasks[task].val
    return split.take(slice(None)), torch.tensor(split.y)


def test_similar_tasks_go_on_learning_and_answer_through_their_own_gates() -> None:
    on = toys.benchmark((2, 2))
    prm: Any = toys.method("prm", on, dissimilar="none")
    loop = toys.fit_for("prm", epochs=2)
    toys.learn_one(prm, on, loop, 0)
    gates = [g.detach().clone() for g in prm.gates(0)]
    head = facts.state(prm.net.heads[0])
    toys.learn_one(prm, on, loop, 1)
    assert all(facts.same_bits(a, b.detach()) for a, b in zip(gates, prm.gates(0), strict=True))
    facts.assert_same_state(head, facts.state(prm.net.heads[0]))
    prm.train(False)
    x, _ = whole(on, 0)
    assert facts.same_bits(prm(x, 0), prm.net.heads[0](prm.net.features(x, 0, gates)))

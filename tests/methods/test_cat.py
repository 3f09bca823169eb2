"""CAT: the similarity test, opened units, the attention block, and the choice between two heads."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from raycl import registry
from raycl.methods import cat as module
from raycl.methods.cat import open_units
from raycl.networks._attention import Attention
from raycl.tasks import Batch, Benchmark, Task
from tests.helpers import facts, toys

CHAIN = toys.chain(3, 3)


def related() -> Benchmark:
    """Much of one task, a little of the same task again, and a little of another on other pixels."""
    rng = np.random.default_rng(5)
    shared, other = rng.normal(0, 1.5, (3, 16)), rng.normal(0, 1.5, (3, 16))
    shared[:, 8:], other[:, :8] = 0, 0
    tasks = []
    for index, (patterns, train) in enumerate(((shared, 120), (shared, 9), (other, 30))):
        y = np.arange(train + 300, dtype=np.int64) % 3
        x = torch.from_numpy(patterns[y] + rng.normal(0, 1, (len(y), 16))).view(-1, 1, 4, 4)
        parts = [toys.TensorSplit(x[a:b], y[a:b]) for a, b in ((0, train), (train, -150), (-150, None))]
        tasks.append(Task(index, f"related {index}", 3, *parts))
    return Benchmark("related", tuple(tasks), (1, 4, 4))


def binary(cat: Any, task: int, on: list[int]) -> None:
    """Push a task's gates to exactly 1 at the units `on` of each block, to exactly 0 elsewhere."""
    with torch.no_grad():
        for e in cat.embeddings[task].parameters():
            e.copy_(torch.where(torch.isin(torch.arange(len(e)), torch.tensor(on)), 3.0, -3.0))


def judging(cat: Any, *similar: int) -> None:
    """Let the similarity test find these."""
    cat.find_similar = lambda earlier, task, fit: [k for k in earlier if k in similar]


def whole(on: Benchmark, task: int) -> Batch:
    split = on.tasks[task].val
    return Batch(split.take(slice(None)), torch.tensor(split.y), task)


# -------------------------------------------------------------------------------------- similarity test


def test_a_task_like_an_earlier_one_is_found_similar_and_another_is_not() -> None:
    on = related()
    cat: Any = toys.method("cat", on, seed=2)
    loop = toys.fit_for("cat", 2, **toys.EAGER | {"lr": 0.03, "batch": 6, "epochs": 15})
    reports = toys.learn(cat, on, loop)
    assert [r.diagnostics["similar"] for r in reports] == [[], [0], []]
    assert [sorted(r.diagnostics["transfer"]) for r in reports] == [
        [],
        ["0", "reference"],
        ["0", "1", "reference"],
    ]
    second, third = (r.diagnostics["transfer"] for r in reports[1:])
    assert second["0"] > second["reference"] + 0.05
    assert third["reference"] > max(third["0"], third["1"]) + 0.2
    open_to = [[bool(m.all()) for m in cat.unblocked[t].buffers()] for t in range(3)]
    assert open_to == [[True, True], [True, True], [False, False]]
    assert [r.epochs for r in reports] == [{"main": 15}, {"main": 15, "similarity": 30},
                                           {"main": 15, "similarity": 45}]  # fmt: skip


@pytest.mark.parametrize("val", [24, 0])
def test_similar_is_strictly_better_and_measured_where_samples_are(
    val: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    on = toys.benchmark((3, 3, 3), train=30, val=val)
    cat: Any = toys.method("cat", on)
    loop, asked = toys.fit_for("cat", epochs=3), []
    for t in range(3):
        toys.learn_one(cat, on, loop, t)
    split = "val" if val else "train"
    n = len(getattr(on.tasks[2], split))
    assert all(a * n == pytest.approx(round(a * n)) for a in cat.transfer.values())
    better = [k for k in (0, 1) if cat.transfer[str(k)] > cat.transfer["reference"]]
    assert cat.similar[2] == better

    def accuracy(learner: Any, task: Task, fit: Any, name: str) -> float:
        asked.append(name)
        return {"reference": 0.5, "0": 0.5, "1": 0.51}[name]

    monkeypatch.setattr(module, "_accuracy", accuracy)
    assert cat.find_similar([0, 1], on.tasks[2], loop) == [1]
    assert asked == ["reference", "0", "1"]


def test_the_similarity_test_trains_maps_and_a_network_of_its_own_and_nothing_else() -> None:
    on = toys.benchmark()
    cat: Any = toys.method("cat", on)
    loop = facts.WatchedFit(toys.fit_for("cat", epochs=2).config)
    toys.learn_one(cat, on, loop, 0)
    before, fitted = facts.state(cat), []

    class Noting(facts.WatchedFit):
        def __call__(self, learner: Any, task: Any, **kwargs: Any) -> Any:
            start = facts.state(learner)
            result = super().__call__(learner, task, **kwargs)
            moved = {
                name
                for name, value in facts.state(learner).items()
                if not facts.same_bits(value, start[name])
            }
            fitted.append((kwargs["stream"], kwargs["account"], learner, start, moved, task))
            return result

    cat.find_similar([0], on.tasks[1], Noting(toys.fit_for("cat", epochs=2).config))
    facts.assert_same_state(before, facts.state(cat))
    (first, account, reference, start, moved, _), (second, _, one, _, moved_map, seen) = fitted
    assert (first, second, account) == ("similarity-reference", "similarity-0", "similarity")
    assert moved_map == {"map.weight", "map.bias"} and one.map.weight.shape == (3, 2)
    body = {f"net.body.{i}.layer.{kind}" for i in (0, 1) for kind in ("weight", "bias")}
    assert moved == moved_map | body | {"net.heads.1.weight", "net.heads.1.bias"}
    assert reference.map.weight.shape == (3, 3)
    initial = cat.world.build(start=1).state_dict()
    assert all(facts.same_bits(start[f"net.{name}"], value) for name, value in initial.items())
    for mask, gate in zip(reference.masks, cat.gates(1), strict=True):  # the new task's, still random
        assert facts.same_bits(mask, gate.detach()) and not mask.requires_grad
    cat.train(False)
    x = on.tasks[1].val.take(slice(None))
    answers = cat.logits(x, 0, cat.gates(0))  # frozen, without dropout
    torch.testing.assert_close(seen.val.take(slice(None)), answers.detach())
    assert len(seen.train) == 48 and seen.classes == 3


# --------------------------------------------------------------------------------- units and gradients


def test_units_open_by_hand() -> None:
    claimed = torch.tensor([0, 1, 2, 3])  # by task; 3: by none
    assert open_units(claimed, []).tolist() == [1, 1, 1, 1]
    assert open_units(claimed, [0, 2]).tolist() == [0, 1, 0, 1]


def test_a_unit_belongs_to_the_first_task_that_claims_it() -> None:
    on = toys.benchmark()
    cat: Any = toys.method("cat", on, toys.chain(4, 4))
    for task, units in enumerate(([0, 1], [1, 2], [0, 2])):
        binary(cat, task, units)
        cat.merge(task)
    for claims, used in zip(cat.claimed_by, cat.used, strict=True):
        assert claims.tolist() == [0, 0, 1, 3] and used.tolist() == [1, 1, 1, 0]


def test_a_gate_of_a_half_claims_nothing() -> None:
    on = toys.benchmark()
    cat: Any = toys.method("cat", on, toys.chain(3, 3), smax=1.0)
    with torch.no_grad():
        for task, e in ((0, [0.0, -0.1, 0.1]), (1, [0.2, -0.3, 0.3])):
            for row in cat.embeddings[task].parameters():
                row.copy_(torch.tensor(e))
            cat.merge(task)
    assert [claims.tolist() for claims in cat.claimed_by] == [[1, 3, 0]] * 2


def test_gradient_factors_by_hand() -> None:
    on = toys.benchmark()
    cat: Any = toys.method("cat", on, CHAIN)
    for used, values in zip(cat.used, ([1.0, 0.75, 0.5], [0.25, 1.0, 0.0]), strict=True):
        used.copy_(torch.tensor(values))
    closed = [[0.0, 1.0, 1.0], [1.0, 0.0, 1.0]]  # unit 0, then unit 1, claimed first by dissimilar tasks
    for mask, values in zip(cat.unblocked[2].buffers(), closed, strict=True):
        mask.copy_(torch.tensor(values))
    (first, first_bias), (second, second_bias) = cat.factors_for(2)
    assert first_bias.tolist() == [0, 1, 1] and second_bias.tolist() == [1, 0, 1]
    assert first.tolist() == [[0.0] * 16, [1.0] * 16, [1.0] * 16]
    assert second.tolist() == [  # max(1 - min(used i, used j), min(T_sim i, T_sim j))
        [0.75, 1.0, 1.0],
        [0.0, 0.25, 0.5],
        [1.0, 1.0, 1.0],
    ]


@pytest.mark.parametrize("similar", [(), (0,), (0, 1)])
def test_what_dissimilar_tasks_use_is_frozen_bit_for_bit(similar: tuple[int, ...]) -> None:
    on = toys.benchmark()
    cat: Any = toys.method("cat", on)
    judging(cat)
    loop = toys.fit_for("cat", momentum=0.9, clip=1.0, epochs=2)
    unit = torch.arange(32)
    for task, units, first in ((0, range(16), [0] * 16), (1, range(12, 24), [0] * 16 + [1] * 8)):
        toys.learn_one(cat, on, loop, task)
        binary(cat, task, list(units))
        for claims, used in zip(cat.claimed_by, cat.used, strict=True):  # as if the gates had been learnt
            claims.copy_(torch.tensor([*first, *[3] * (32 - len(first))]))
            used.copy_((unit < len(first)).float())
    cat.by_attention.clear()  # mask heads are what HAT has
    judging(cat, *similar)
    before, kept = facts.state(cat.net.body), facts.logits(cat, on, [0, 1])
    toys.learn_one(cat, on, loop, 2)
    now = facts.logits(cat, on, [0, 1])
    same = [facts.same_bits(now[t], kept[t]) for t in (0, 1)]
    assert same == [0 not in similar, 1 not in similar and 0 not in similar]  # task 1 uses units of task 0
    after = facts.state(cat.net.body)
    moved = (after["1.layer.weight"] != before["1.layer.weight"])[:24, :24]
    free = torch.tensor([0 in similar] * 16 + [1 in similar] * 8)
    assert not bool(moved[~free].any()) and not bool(moved[:, ~free].any())
    assert bool(moved[free][:, free].any()) == bool(similar)


def test_all_dissimilar_means_that_mask_heads_drift_no_more_than_hats() -> None:
    on = toys.benchmark((2, 2, 2))
    drift = {}
    for name in ("hat", "cat"):
        subject: Any = toys.method(name, on, seed=2)
        if name == "cat":
            judging(subject)
        loop = toys.fit_for(name, 2, **toys.EAGER | {"optimiser": "sgd", "lr": 0.1})
        toys.learn_one(subject, on, loop, 0)
        getattr(subject, "by_attention", set()).clear()
        kept = facts.logits(subject, on, [0])[0]
        for task in (1, 2):
            toys.learn_one(subject, on, loop, task)
        drift[name] = float((facts.logits(subject, on, [0])[0] - kept).abs().max() / kept.abs().max())
    assert drift["hat"] < 0.05 and drift["cat"] < 0.05


def test_one_task_without_attention_is_hat_bit_for_bit() -> None:
    on = toys.benchmark()
    cat: Any = toys.method("cat", on, attention_weight=0.0)
    hat: Any = toys.method("hat", on)
    for subject in (cat, hat):
        toys.learn_one(subject, on, toys.fit_for("cat", epochs=5), 0)
    theirs, mine = facts.state(hat), facts.state(cat)
    facts.assert_same_state(theirs, {name: mine[name] for name in theirs})
    assert cat.by_attention == set()
    for task, logits in facts.logits(cat, on, range(3)).items():
        assert facts.same_bits(logits, facts.logits(hat, on, [task])[task])


# ------------------------------------------------------------------------------------- attention block


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("heads", [1, 3, 4])  # inner widths 8, 6, 8
def test_attention_is_scaled_dot_product_attention(heads: int) -> None:
    torch.manual_seed(1)
    block = Attention(8, heads)
    for norm in block.norms:
        torch.nn.init.normal_(norm.weight)
        torch.nn.init.normal_(norm.bias)
    block.train(False)
    query, items = torch.randn(8), torch.randn(5, 4, 8)

    def split(values: Tensor) -> Tensor:  # [batch, length, inner] to [batch, heads, length, inner / heads]
        return values.unflatten(-1, (heads, 8 // heads)).transpose(1, 2)

    q = split(block.query(block.norms[0](query)).expand(5, 1, -1))
    found = F.scaled_dot_product_attention(q, split(block.key(items)), split(block.value(items)))
    h = query + block.out(found.transpose(1, 2).flatten(2)[:, 0])
    h = h + block.feed(block.norms[1](h))
    torch.testing.assert_close(block(query, items), block.norms[2](h))
    assert block.query.weight.shape == (heads * (8 // heads), 8)


@pytest.mark.usefixtures("float64")
def test_attention_by_hand() -> None:
    block = Attention(2, 1).train(False)
    with torch.no_grad():
        for p in block.feed.parameters():
            p.zero_()
        for layer, value in ((block.query, 1.0), (block.key, 2**0.5), (block.value, 1.0), (block.out, 1.0)):
            layer.weight.copy_(value * torch.eye(2))
    query, items = torch.tensor([1.0, 3.0]), torch.tensor([[[4.0, 0.0], [0.0, 2.0]]])
    # The normed query is (-1, 1), so the scores are -4 and 2 after the division by sqrt(2).
    share = 1 / (1 + np.exp(-6.0))
    a, b = 1 + 4 * (1 - share), 3 + 2 * share
    spread = np.sqrt(((a - b) / 2) ** 2 + 1e-6)
    assert block(query, items)[0].tolist() == pytest.approx(
        [(a - b) / 2 / spread, (b - a) / 2 / spread], rel=1e-5
    )


def test_attention_knows_no_order_and_drops_only_in_training() -> None:
    torch.manual_seed(1)
    block = Attention(6, 2)
    query, items = torch.randn(6), torch.randn(3, 5, 6)
    assert not torch.equal(block(query, items), block(query, items))
    block.train(False)
    torch.testing.assert_close(block(query, items), block(query, items[:, [4, 0, 2, 1, 3]]))
    torch.testing.assert_close(block(query, items[:, :1].expand(-1, 5, -1)), block(query, items[:, :1]))
    with pytest.raises(ValueError, match=r"attention with 7 heads needs .* there are 6 features"):
        Attention(6, 7)


def test_attention_is_over_the_features_of_similar_tasks_under_their_own_masks_at_smax() -> None:
    on = toys.benchmark()
    cat: Any = toys.method("cat", on)
    cat.similar |= {0: [], 1: [], 2: [0, 1]}
    cat.train(False)
    cat.slope, x = 1.0, on.tasks[2].val.take(slice(None))  # in the midst of the annealing
    features = []
    for k in (0, 1):
        masks = [torch.sigmoid(400.0 * e) for e in cat.embeddings[k].parameters()]
        features.append(cat.net.features(x, k, masks))
    wanted = cat.attention(cat.queries[2].relu(), torch.stack(features, 1))
    assert facts.same_bits(cat.attention_logits(x, 2), cat.attention_heads[2](wanted))
    cat.similar[2] = [1]  # one is no choice: features of the main network under T_sim
    for mask in cat.unblocked[2].buffers():
        mask[::2] = 0.0
    wanted = cat.net.features(x, 2, [(torch.arange(32) % 2).float()] * 2)
    assert facts.same_bits(cat.attention_logits(x, 2), cat.attention_heads[2](wanted))


def test_what_the_literal_loop_attends_to() -> None:
    on = toys.benchmark((2,) * 5)
    for attend, training, later in (("similar", [0, 2], [0, 2]), ("literal", [1, 3], [0, 1, 2])):
        cat: Any = toys.method("cat", on, attend=attend)
        cat.similar |= {0: [], 1: [], 2: [1], 3: [], 4: [0, 2]}
        assert cat.attended(4, training=True) == training
        assert cat.attended(4, training=False) == later
        assert cat.attended(3, training=True) == ([] if attend == "similar" else [0, 1, 2])
        assert cat.attended(3, training=False) == ([] if attend == "similar" else [1, 2])  # by then
    loop = toys.fit_for("cat", epochs=1)
    learner: Any = toys.method("cat", on, attend="literal")
    toys.learn(learner, on, loop, "full")


@pytest.mark.usefixtures("float64")
def test_loss_by_parts() -> None:
    on = toys.benchmark()
    cat: Any = toys.method("cat", on, attention_weight=0.5, lamb=2.0)
    cat.similar |= {0: [], 1: [], 2: [0, 1]}
    cat.train(False)
    batch = whole(on, 2)
    mask = F.cross_entropy(cat(batch.x, 2), batch.y)
    attention = F.cross_entropy(cat.attention_logits(batch.x, 2), batch.y)
    wanted = mask + 2 * cat.regulariser(cat.joined_gates(2)) + 0.5 * attention
    torch.testing.assert_close(cat.loss(batch), wanted)
    torch.testing.assert_close(cat.validation_loss(batch), wanted)


@pytest.mark.parametrize("similar", [(), (0, 1)])
def test_attention_parts_of_other_tasks_do_not_move(similar: tuple[int, ...]) -> None:
    on = toys.benchmark()
    cat: Any = toys.method("cat", on, n_head=2)
    judging(cat, *similar)
    loop = facts.WatchedFit(toys.fit_for("cat", momentum=0.9, weight_decay=0.01, epochs=2).config)
    for task in (0, 1):
        toys.learn_one(cat, on, loop, task)
    before = facts.state(cat)
    toys.learn_one(cat, on, loop, 2)
    after = facts.state(cat)
    moved = {name for name in before if not facts.same_bits(before[name], after[name])}
    own = {"attention_heads.2.weight", "attention_heads.2.bias", "embeddings.2.0", "embeddings.2.1"}
    parts = {n for n in moved if n.split(".")[0] in ("attention", "attention_heads", "queries", "embeddings")}
    block = {f"attention.{name}" for name, _ in cat.attention.named_parameters()}
    assert parts == (own | block | {"queries.2"} if similar else own)


# ------------------------------------------------------------------------------------------- two heads


def test_the_better_head_answers() -> None:
    on = toys.benchmark()
    cat: Any = toys.method("cat", on)
    loop, labels = toys.fit_for("cat", epochs=1), torch.tensor(on.tasks[0].val.y)
    toys.learn_one(cat, on, loop, 0)
    truth = F.one_hot(labels, 2).float()
    cat.by_attention.clear()
    plain = cat.forward
    for right, of_mask, wanted in ((24, 20, {0}), (20, 20, set()), (12, 20, set())):
        cat.attention_logits = _answering(truth, right)
        mask_logits = _answering(truth, of_mask)
        cat.logits = lambda x, task, gates, answer=mask_logits: answer(x, task)
        cat.by_attention.clear()
        cat.choose_head(on.tasks[0], loop)
        assert cat.by_attention == wanted
        x = on.tasks[0].val.take(slice(None))
        assert torch.equal(plain(x, 0), (cat.attention_logits if wanted else mask_logits)(x, 0))


def _answering(truth: Tensor, right: int) -> Any:
    """A head that is right on so many samples."""

    def answer(x: Tensor, task: int) -> Tensor:
        logits = truth.clone()
        logits[right:] = truth[right:].flip(1)
        return logits

    return answer


def test_the_chosen_head_stays_and_is_told() -> None:
    on = toys.benchmark()
    cat: Any = toys.method("cat", on)
    judging(cat, 0, 1)
    loop = toys.fit_for("cat", epochs=3)
    diagnostics = [report.diagnostics for report in toys.learn(cat, on, loop)]
    assert {t for t in range(3) if diagnostics[t]["head"] == "attention"} == cat.by_attention
    assert diagnostics[2]["similar"] == [0, 1]
    del cat.find_similar
    cat.train(False)
    x = on.tasks[2].val.take(slice(None))
    for by_attention, wanted in (({2}, cat.attention_logits(x, 2)), (set(), cat.logits(x, 2, cat.gates(2)))):
        cat.by_attention = by_attention
        assert facts.same_bits(cat(x, 2), wanted)
        assert facts.same_bits(facts.reloaded(cat)(x, 2), wanted)


def test_a_weight_of_nothing_asks_no_attention_head() -> None:
    on = toys.benchmark()
    cat: Any = toys.method("cat", on, attention_weight=0.0)
    judging(cat, 0, 1)
    before = facts.state(cat)
    toys.learn(cat, on, toys.fit_for("cat", epochs=2))
    after = facts.state(cat)
    assert cat.by_attention == set()
    assert all(facts.same_bits(before[n], after[n]) for n in before if n.startswith(("attention", "queries")))


# -------------------------------------------------------------------------------------------- settings


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("n_head", 0, "n_head = 0 must be at least 1"),
        ("attention_weight", -0.5, "attention_weight = -0.5 must be at least 0"),
        ("smax", 0.0, "must be above 0"),
    ],
)
def test_settings_that_make_no_sense(field: str, value: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        registry.method("cat").Config(**{field: value})


def test_presets_say_what_the_studies_change() -> None:
    kind = registry.method("cat")
    assert kind.preset_overrides["spg"] == {"method.attention_weight": 1.0}
    assert set(kind.preset_overrides["prm"]) == {"method.lamb", "method.smax", "method.n_head"}
    assert str(kind.preset_overrides["prm"]["method.n_head"]) == "{1, 5}"

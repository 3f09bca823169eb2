"""What holds for every method, found by its file's name.

A method whose numbers change raises its `version` and records the new ones:
``RAYCL_RECORD=1 python -m pytest tests/test_methods.py -k figures``.
"""

from __future__ import annotations

import functools
import inspect
import json
import math
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch

from raycl import registry, space
from raycl.method import Method
from raycl.runs import sequence
from raycl.runs.reports import TaskReport
from raycl.space import Choice, Float, Int
from raycl.specs import CORE_VERSION
from raycl.tasks import Benchmark
from raycl.training.fit import Fit
from raycl.training.presets import PRESETS
from tests.helpers import facts, toys

METHODS = registry.method_names()
KEEPERS = [name for name in METHODS if registry.method(name).keeps_logits]
MARGIN = 0.25  # above chance
NETWORKS = {"mlp(hidden=16)": (1, 4, 4), "resnet18(nf=2)": (1, 8, 8)}
FIGURES = Path(__file__).parent / "golden" / "figures.json"

every_method = pytest.mark.parametrize("name", METHODS)
every_pair = pytest.mark.parametrize(
    ("name", "network"), [(m, n) for m in METHODS for n in NETWORKS if toys.works_on(m, n)]
)


def decayed(name: str) -> dict[str, Any]:
    """Training that moves whatever it is given: momentum, weight decay, two epochs."""
    return {
        **registry.method(name).fit_defaults,
        "momentum": 0.9,
        "weight_decay": 1e-2,
        "epochs": 2,
        "batch": 16,
    }


@functools.cache
def brief(name: str, seed: int = 0) -> tuple[Any, list[TaskReport], Benchmark]:
    """A method after a short run; shared by tests that only look."""
    on = toys.benchmark_for(name)
    subject = toys.method(name, on, seed=seed)
    return subject, toys.learn(subject, on, toys.fit_for(name, seed, epochs=2)), on


def accuracies(reports: list[TaskReport]) -> list[Any]:
    return [
        (r.val, r.test, r.epochs, r.updates, r.parameters, r.stored_bytes, r.diagnostics) for r in reports
    ]


@every_method
def test_switches_its_parts_as_torch_does(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    subject = brief(name)[0]
    before = {part: part.training for part in subject.modules()}
    found = {mode: [part.training for part in subject.train(mode).modules()] for mode in (True, False)}
    monkeypatch.setattr(Method, "train", torch.nn.Module.train)
    for mode, modes in found.items():
        subject.train(not mode)
        assert [part.training for part in subject.train(mode).modules()] == modes
    for part, mode in before.items():
        part.training = mode


@every_method
def test_learns_the_task_at_hand(name: str) -> None:
    on = toys.benchmark_for(name)
    subject = toys.method(name, on)
    # Few coefficients of fixed masks are all that impresslearn trains, so it takes more epochs.
    eager = toys.EAGER | ({"epochs": 30} if name == "impresslearn" else {})
    reports = toys.learn(subject, on, toys.fit_for(name, **eager))
    joint = registry.method(name).joint
    assert [sorted(r.test) for r in reports] == [[0], [0, 1], [0, 1, 2]] if not joint else [[], [], [0, 1, 2]]
    for report in reports:
        just = report.test if joint else {report.task: report.test[report.task]}
        for task, accuracy in just.items():
            assert accuracy >= 1 / on.classes[task] + MARGIN, f"task {task}: {accuracy}"


@every_method
def test_logits_have_the_classes_of_their_task(name: str) -> None:
    subject, reports, on = brief(name)
    for task, logits in facts.logits(subject, on, range(3)).items():
        assert logits.shape == (24, on.classes[task])
        assert logits.isfinite().all()
    json.dumps([report.to_json() for report in reports], allow_nan=False)  # figures are plain


@every_method
def test_tasks_not_yet_learnt_can_be_asked(name: str) -> None:
    on = toys.benchmark_for(name)
    subject = toys.method(name, on)
    reports = toys.learn(subject, on, toys.fit_for(name, epochs=1), "full")
    assert sorted(reports[0].test) == ([] if subject.joint else [0, 1, 2])


@every_method
def test_same_seed_same_bits(name: str) -> None:
    subject, reports, on = brief(name)
    torch.manual_seed(12345)  # nothing may hang on how the generator stood
    again = toys.method(name, on)
    repeated = toys.learn(again, on, toys.fit_for(name, epochs=2))
    facts.assert_same_state(facts.state(subject), facts.state(again))
    assert accuracies(repeated) == accuracies(reports)


@every_method
def test_resumed_equals_uninterrupted(name: str) -> None:
    subject, reports, on = brief(name)
    first = toys.method(name, on)
    loop = toys.fit_for(name, epochs=2)
    done = [next(sequence.run_sequence(first, on, loop))]
    second = facts.reloaded(first)
    done += sequence.run_sequence(second, on, toys.fit_for(name, epochs=2), done=done)
    facts.assert_same_state(facts.state(subject), facts.state(second))
    assert accuracies(done) == accuracies(reports)
    wanted = facts.logits(subject, on, range(3))
    for task, logits in facts.logits(second, on, range(3)).items():
        assert facts.same_bits(logits, wanted[task])


@every_method
def test_evaluation_leaves_everything_as_it_was(name: str) -> None:
    on = toys.benchmark_for(name)
    subject = toys.method(name, on)
    loop = toys.fit_for(name, epochs=1)
    next(sequence.run_sequence(subject, on, loop))
    state, generator = facts.state(subject), torch.get_rng_state()
    gradients = {n: None if p.grad is None else p.grad.clone() for n, p in subject.named_parameters()}
    mode, logits = subject.training, facts.logits(subject, on, [0])[0]
    for task in on.tasks if not subject.joint else ():
        loop.accuracy(subject, task.index, task.test)
        loop.loss(subject, task.index, task.val)
    subject.diagnostics(0)
    subject.count_parameters()
    subject.stored_bytes()
    facts.assert_same_state(state, facts.state(subject))
    assert torch.equal(generator, torch.get_rng_state())
    assert subject.training == mode
    for n, p in subject.named_parameters():
        before = gradients[n]
        assert (p.grad is None) == (before is None)
        assert before is None or p.grad is None or facts.same_bits(p.grad, before)
    assert facts.same_bits(logits, facts.logits(subject, on, [0])[0])


@every_pair
def test_what_is_not_trainable_does_not_move(name: str, network: str) -> None:
    on = toys.benchmark_for(name, shape=NETWORKS[network])
    subject = toys.method(name, on, network)
    loop = facts.WatchedFit(toys.fit(**decayed(name)).config)
    toys.learn(subject, on, loop)
    assert loop.watched or subject.joint


@pytest.mark.parametrize(
    ("name", "network"), [(m, n) for m in KEEPERS for n in NETWORKS if toys.works_on(m, n)]
)
def test_logits_are_kept_bit_for_bit(name: str, network: str) -> None:
    on = toys.benchmark_for(name, shape=NETWORKS[network])
    subject = toys.method(name, on, network)
    loop = toys.fit(**decayed(name))
    kept: dict[int, torch.Tensor] = {}
    for task in range(3):
        toys.learn_one(subject, on, loop, task)
        now = facts.logits(subject, on, range(task + 1))
        for earlier, logits in kept.items():
            assert facts.same_bits(now[earlier], logits), f"task {earlier} after task {task}"
        kept = now


@every_method
def test_config_survives_json_and_defaults_lie_in_their_domains(name: str) -> None:
    kind = registry.method(name).Config
    assert space.make_config(kind, json.loads(json.dumps(asdict(kind()))), name) == kind()
    assert set(space.space_of(kind)) <= set(space.fields_of(kind))  # raises where a default is outside


@every_method
def test_presets_and_training_settings_name_what_exists(name: str) -> None:
    kind = registry.method(name)
    rooms = {"method": space.fields_of(kind.Config), "fit": space.fields_of(Fit.Config)}
    assert set(kind.preset_overrides) <= set(PRESETS)
    for keys in (
        *kind.preset_overrides.values(),
        {f"fit.{key}": value for key, value in kind.fit_defaults.items()},
    ):
        for key, value in keys.items():
            room, _, field = key.partition(".")
            assert room in rooms or room == "net", key
            if room in rooms and not isinstance(value, Float | Int | Choice):
                space.coerce(value, rooms[room][field].type, key)
            elif room in rooms:
                assert field in rooms[room], key


@every_method
def test_says_what_it_is(name: str) -> None:
    kind = registry.method(name)
    module = inspect.getmodule(kind)
    assert module is not None and module.__doc__ and kind.__doc__ and kind.__doc__ != kind.__base__.__doc__
    assert isinstance(kind.version, int) and kind.version >= 1


@every_method
@pytest.mark.parametrize(
    ("classes", "sizes", "settings"),
    [
        ((2,), {}, {}),  # a single task
        ((2, 3), {"train": 12}, {"batch": 640}),  # one batch per epoch
        ((2, 3), {"val": 0}, {"schedule": "plateau", "stop": "below_floor"}),  # nothing to validate on
        ((1, 1), {}, {}),  # nothing to tell apart
        ((3, 2), {"train": 9}, {"batch": 4}),  # a last batch of one sample
    ],
    ids=["one task", "one batch", "no validation", "one class", "a batch of one"],
)
def test_corners(
    name: str, classes: tuple[int, ...], sizes: dict[str, int], settings: dict[str, Any]
) -> None:
    on = toys.benchmark_for(name, classes, **sizes)
    subject = toys.method(name, on)
    reports = toys.learn(subject, on, toys.fit_for(name, **({"epochs": 2} | settings)))
    assert len(reports[-1].test) == len(classes)
    assert all(math.isfinite(accuracy) for accuracy in reports[-1].test.values())
    assert reports[-1].val == {} if sizes.get("val") == 0 else len(reports[-1].val) == len(classes)
    for logits in facts.logits(subject, on, range(len(classes))).values():
        assert logits.isfinite().all()


def diagnostics_of(name: str) -> dict[str, Any]:
    """What a tiny run in double precision comes to."""
    on = toys.benchmark_for(name)
    subject = toys.method(name, on, "mlp(hidden=16)", seed=3)
    reports = toys.learn(subject, on, toys.fit_for(name, 3, epochs=2, batch=12))
    logits = facts.logits(subject, on, range(3))
    return {
        "logits": [float(v.abs().mean()) for v in logits.values()],
        "first": [v[0].tolist() for v in logits.values()],
        "figures": json.loads(json.dumps(reports[-1].diagnostics)),
        "parameters": reports[-1].parameters,
        "stored_bytes": reports[-1].stored_bytes,
    }


@every_method
@pytest.mark.usefixtures("float64")
def test_figures_are_those_recorded_for_this_version(name: str) -> None:
    version = f"{CORE_VERSION}.{registry.method(name).version}"
    recorded: dict[str, Any] = json.loads(FIGURES.read_text()) if FIGURES.exists() else {}
    found = diagnostics_of(name)
    if os.environ.get("RAYCL_RECORD") and version not in recorded.get(name, {}):
        recorded.setdefault(name, {})[version] = found
        FIGURES.write_text(json.dumps(dict(sorted(recorded.items())), indent=1) + "\n")
    how = (
        f"if this is meant, raise the version of {name}, or that of the core "
        "(results under the old one stay what they were) and "
        "record: RAYCL_RECORD=1 python -m pytest tests/test_methods.py -k figures"
    )
    assert version in recorded.get(name, {}), f"no figures of {name}, version {version}: {how}"
    differences = list(_differences(recorded[name][version], found))
    assert not differences, (
        f"{name}, version {version}, plays other numbers than recorded: {differences}; {how}"
    )


def _differences(wanted: Any, found: Any, where: str = "") -> Any:
    if isinstance(wanted, dict):
        for key in wanted.keys() | (found.keys() if isinstance(found, dict) else set()):
            yield from _differences(wanted.get(key), (found or {}).get(key), f"{where}.{key}")
    elif isinstance(wanted, list) and isinstance(found, list) and len(wanted) == len(found):
        for index, pair in enumerate(zip(wanted, found, strict=True)):
            yield from _differences(*pair, f"{where}[{index}]")
    elif isinstance(wanted, float) and isinstance(found, int | float):
        if not math.isclose(wanted, found, rel_tol=1e-9, abs_tol=1e-9):
            yield f"{where}: {wanted} was {found}"
    elif wanted != found:
        yield f"{where}: {wanted} was {found}"

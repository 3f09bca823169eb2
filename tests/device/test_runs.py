"""Whole runs on an accelerator: probes, kinds of masks, checkpoints and resuming."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from raycl.method import Method
from raycl.runs.checkpoints import CheckpointFormat, TaskJournal
from raycl.training.fit import Fit
from tests.device import scenarios
from tests.helpers import pretend as helper
from tests.helpers import toys
from tests.helpers.pretend import PretendProcess

CALM = "mlp(hidden=16, drop1=0.0, drop2=0.0)"
EPOCHS, STEPS = 4, 3  # of a resumed run: epochs, and steps in each
SHARED = {"head": "shared"}
SETTINGS: dict[str, tuple[str, dict[str, Any]]] = {
    "probes": ("supsup", SHARED | {"probes": True}),
    "signed masks": ("supsup", {"mask_values": "signed"}),
    "mixtures": ("impresslearn", {"hybrid": True}),
    "attention": ("cat", {"attend": "literal"}),
}


@pytest.mark.parametrize("case", SETTINGS)
def test_settings_with_more_than_training_run_there(pretend: PretendProcess, case: str) -> None:
    name, config = SETTINGS[case]
    found = pretend.run(scenarios.run, name, CALM, "", config)
    assert not {where for where in found.waits if where.startswith("_epoch")} and found.steps
    there, here = found.state, pretend.run(scenarios.run, name, CALM, "cpu", config).state
    assert {key: len(value) for key, value in there.items()} == {k: len(v) for k, v in here.items()}


class Ended(BaseException):
    """Ends a run in the middle, as a killed process would."""


def _resumed(folder: str, name: str, optimiser: str) -> tuple[list[str], int, dict[str, Any], dict[str, Any]]:
    """End a run in its third epoch and resume it; waits and number of its steps, and both final states."""
    device, place = helper.device(), Path(folder)
    on = scenarios.small(name, CALM)
    settings: dict[str, Any] = {"epochs": EPOCHS, "batch": 8, "optimiser": optimiser, "lr": 0.01}

    def loop(journal: Any = None, alive: Any = None) -> Fit:
        config = toys.fit_for(name, **settings).config
        return Fit(config, device=device, journal=journal, alive=alive)

    def fresh() -> Method:
        return scenarios.subject(name, CALM, on, device, {})

    whole = fresh()
    with torch.device(device):
        toys.learn_one(whole, on, loop(), 0)
    form, steps = CheckpointFormat(on, type(whole), type(whole.net)), [0]

    def alive() -> None:
        steps[0] += 1
        if steps[0] == 11:
            raise Ended

    with torch.device(device), pytest.raises(Ended):
        toys.learn_one(fresh(), on, loop(TaskJournal(place, form, str(device), every=0.0), alive), 0)
    assert list(place.glob("fit-0-0.pt"))
    watch, again = scenarios.Watch(), fresh()
    with pytest.MonkeyPatch.context() as patch, torch.device(device):
        watch.install(patch)
        toys.learn_one(again, on, loop(TaskJournal(place, form, str(device), every=1e9)), 0)
    scenarios.check_devices(again, device)
    waits = [where for where in watch.waits if where.startswith("_epoch")]
    return waits, watch.steps, scenarios.numbers(whole), scenarios.numbers(again)


@pytest.mark.parametrize("optimiser", ["sgd", "adam", "rmsprop"])
def test_a_resumed_fit_is_the_same_and_does_not_wait(
    pretend: PretendProcess, tmp_path: Path, optimiser: str
) -> None:
    """A file is loaded onto the device as a whole, but an optimiser counts its steps on the CPU."""
    waits, steps, whole, again = pretend.run(_resumed, str(tmp_path), "finetune", optimiser)
    assert waits == [] and 0 < steps < EPOCHS * STEPS and again == whole


@pytest.mark.parametrize("name", ["hat", "spg", "ewc"])
def test_methods_resume_there(pretend: PretendProcess, tmp_path: Path, name: str) -> None:
    waits, steps, whole, again = pretend.run(_resumed, str(tmp_path), name, "sgd")
    assert waits == [] and 0 < steps < EPOCHS * STEPS and again == whole

"""A run, or a job of basis masks, as a Tune function trainable; it runs in a worker process."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
from pathlib import Path
from typing import Any

from ray import tune

from raycl import userfiles
from raycl.spec import RunSpec
from raycl.supermasks.bank import MaskSpec
from raycl.training import Pulse
from raycl.tune.watch import Watch


def play(config: dict[str, Any]) -> None:
    """Play ``config["spec"]``, or train ``config["specs"]``; reports pulses, and at last the outcome."""
    if config["data"]:
        os.environ["RAYCL_DATA"] = config["data"]
    import torch  # noqa: F401 - here, so that a worker's environment is set before its first use

    checkpoints = Path(config["store"]) / "checkpoints"
    memory = config["memory"] * 2**30 if config["memory"] is not None else None
    with Watch(checkpoints / config["key"], config["silence"] * 60, memory) as watch:
        _play(config, checkpoints, watch)


def _play(config: dict[str, Any], checkpoints: Path, watch: Watch) -> None:
    import torch

    from raycl import player

    def tell(**what: str) -> None:
        with watch.paused():
            tune.report(what)

    def pulse(sign: Pulse) -> None:
        tell(pulse=json.dumps(dataclasses.asdict(sign)))

    home = _home(config["home"])
    userfiles.refresh()  # a process may outlive a study
    device = "cuda" if config["gpus"] > 0 and torch.cuda.is_available() else "cpu"
    if device == "cuda":  # Ray counts fractions of a GPU and enforces nothing
        torch.cuda.set_per_process_memory_fraction(min(1.0, float(config["gpus"])))
    threads = max(1, int(config["cpus"]))
    store = Path(config["store"])
    if "specs" in config:
        trained = player.train(
            [MaskSpec.from_json(spec, home) for spec in config["specs"]],
            store / "masks",
            device=device,
            threads=threads,
            ready=lambda key: tell(mask=key),
            pulse=pulse,
        )
        tell(outcome=json.dumps(dataclasses.asdict(trained)))
        return
    spec = RunSpec.from_json(config["spec"], home)
    result = player.play(
        spec, checkpoints, store=store, device=device, threads=threads, pulse=pulse, alive=watch.alive
    )
    tell(outcome=json.dumps(result.to_json()))


def _home(given: str) -> Path | None:
    """The folder of the study's files: as the driver names it, or what travelled to this node."""
    if not given:
        return None
    if Path(given).is_absolute():
        return Path(given)
    found = importlib.util.find_spec(given)  # Ray unpacks what travels, and puts that place onto the path
    assert found is not None and found.submodule_search_locations, f"{given} has not come to this node"
    return Path(next(iter(found.submodule_search_locations)))

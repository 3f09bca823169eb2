"""A run, or a job of basis masks, as a Tune function trainable; it runs in a worker process."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
import platform
import sys
import threading
import time
from pathlib import Path
from typing import Any

from ray import tune

from raycl import userfiles
from raycl.specs import MaskSpec, RunSpec
from raycl.training.fit import Pulse
from raycl.tune.watch import Watch

LINGER = 5.0  # seconds that a process has to end


def play(config: dict[str, Any]) -> None:
    """Play ``config["spec"]``, or train ``config["specs"]``; reports pulses, and at last the outcome.

    A process whose run failed, or left something of it otherwise than it found it, ends as soon as the driver
    has the outcome, so that no other run is played in it.
    """
    if config["data"]:
        os.environ["RAYCL_DATA"] = config["data"]
    import torch  # noqa: F401 - here, so that a worker's environment is set before its first use

    from raycl import process
    from raycl.runs.player import Stopped

    process.ready()  # before the watch, whose patience is meant for the run
    checkpoints = Path(config["store"]) / "checkpoints"
    memory = config["memory"] * 2**30 if config["memory"] is not None else None
    try:
        with Watch(checkpoints / config["key"], config["silence"] * 60, memory) as watch:
            used_up = _play(config, checkpoints, watch)
    except Stopped:
        sys.exit(0)
    if used_up:
        threading.Thread(target=_end_late, name="raycl-end", daemon=True).start()
        raise UsedUp("the outcome is told; nothing else is played in this process")


class UsedUp(Exception):
    """How a run ends its worker process.

    Tune keeps the process of a run that ends well for the next run, and ends that of one that does not. The
    outcome has been taken by then (`tune.report` returns when it is), and a run whose outcome is there is
    not tried again (`raycl.tune.search.LastWord`).
    """


def _end_late() -> None:
    """Where a thread that the run left keeps the process from ending when it is asked to."""
    time.sleep(LINGER)
    os._exit(0)


def _play(config: dict[str, Any], checkpoints: Path, watch: Watch) -> bool:
    """Play it, and tell what it came to; whether nothing else may be played in this process."""
    import torch

    from raycl import process
    from raycl.runs import player
    from raycl.runs.result import Result, Trained

    def tell(**what: str) -> None:
        with watch.paused():
            try:
                tune.report(what)
            except SystemExit:  # how Tune ends a run that it wants no more of
                raise player.Stopped from None

    def pulse(sign: Pulse) -> None:
        tell(pulse=json.dumps(dataclasses.asdict(sign)))

    home = _home(config["home"])
    userfiles.refresh()  # a process may outlive a study
    blind = ""
    if config["gpus"] > 0 and not torch.cuda.is_available():
        blind = player.no_gpu(config["name"], config["gpus"], f"on {platform.node()}")
    device = "cuda" if config["gpus"] > 0 else "cpu"
    if device == "cuda" and not blind:  # Ray counts fractions of a GPU and enforces nothing
        torch.cuda.set_per_process_memory_fraction(min(1.0, float(config["gpus"])))
    threads = max(1, int(config["cpus"]))
    store = Path(config["store"])
    if "specs" in config:
        trained = (
            Trained("failed", blind)
            if blind
            else player.train(
                [MaskSpec.from_json(spec, home) for spec in config["specs"]],
                store,
                device=device,
                threads=threads,
                ready=lambda key: tell(mask=key),
                pulse=pulse,
            )
        )
        tell(outcome=json.dumps(dataclasses.asdict(trained)))
        return trained.status == "failed" or bool(trained.left or process.spoilt())
    spec = RunSpec.from_json(config["spec"], home)
    result = (
        Result(spec, "failed", (), blind)
        if blind
        else player.play(
            spec, checkpoints, store=store, device=device, threads=threads, pulse=pulse, alive=watch.alive
        )
    )
    tell(outcome=json.dumps(result.to_json()))
    return result.status == "failed" or bool(result.provenance.get("left") or process.spoilt())


def _home(given: str) -> Path | None:
    """The folder of the study's files: as the driver names it, or what travelled to this node."""
    if not given:
        return None
    if Path(given).is_absolute():
        return Path(given)
    found = importlib.util.find_spec(given)  # Ray unpacks what travels, and puts that place onto the path
    assert found is not None and found.submodule_search_locations, f"{given} has not come to this node"
    return Path(next(iter(found.submodule_search_locations)))

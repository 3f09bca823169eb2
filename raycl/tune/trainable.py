"""A run, or a job of basis masks, as a Tune function trainable; it runs in a worker process."""

from __future__ import annotations

import dataclasses
import functools
import importlib.util
import json
import os
import platform
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from ray import tune

from raycl import process, userfiles
from raycl.runs import execution
from raycl.runs.result import Result, Trained
from raycl.specs import MaskSpec, RunSpec
from raycl.training.fit import Pulse
from raycl.tune.stall_watch import Watch

LINGER = 5.0  # seconds that a process has to end


def play(config: dict[str, Any]) -> None:
    """Play ``config["spec"]``, or train ``config["specs"]``; reports pulses, and at last the outcome.

    A process whose run failed, or left something of it otherwise than it found it, ends as soon as the driver
    has the outcome, so that no other run is played in it.
    """
    if config["data"]:
        os.environ["RAYCL_DATA"] = config["data"]
    process.ready()  # before the watch, whose patience is meant for the run
    checkpoints = Path(config["store"]) / "checkpoints"
    memory = config["memory"] * 2**30 if config["memory"] is not None else None
    try:
        with Watch(checkpoints / config["key"], config["stall_minutes"] * 60, memory) as watch:
            used_up = _play(config, checkpoints, watch)
    except execution.Stopped:
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
    home = _home(config["home"])
    userfiles.refresh()  # a process may outlive a study
    seat = _seat(config)
    if "specs" in config:
        trained = _trained(config, home, seat, watch)
        _tell(watch, outcome=json.dumps(dataclasses.asdict(trained)))
        return trained.status == "failed" or bool(trained.left or process.spoilt())
    result = _result(config, home, seat, checkpoints, watch)
    _tell(watch, outcome=json.dumps(result.to_json()))
    return result.status == "failed" or bool(result.provenance.get("left") or process.spoilt())


def _trained(config: dict[str, Any], home: Path | None, seat: _Seat, watch: Watch) -> Trained:
    """What training basis masks came to."""
    if seat.blind:
        return Trained("failed", seat.blind)
    return execution.train_basis_masks(
        [MaskSpec.from_json(spec, home) for spec in config["specs"]],
        Path(config["store"]),
        device=seat.device,
        threads=seat.threads,
        ready=lambda key: _tell(watch, mask=key),
        pulse=functools.partial(_tell_pulse, watch),
    )


def _result(
    config: dict[str, Any], home: Path | None, seat: _Seat, checkpoints: Path, watch: Watch
) -> Result:
    """What a run came to."""
    spec = RunSpec.from_json(config["spec"], home)
    if seat.blind:
        return Result(spec, "failed", (), seat.blind)
    return execution.execute(
        spec,
        checkpoints,
        store=Path(config["store"]),
        device=seat.device,
        threads=seat.threads,
        pulse=functools.partial(_tell_pulse, watch),
        alive=watch.alive,
    )


@dataclass(frozen=True)
class _Seat:
    """What of this machine a run has.

    Attributes:
        blind: what to say where torch does not see the GPU that Ray lends; else "".
    """

    device: str
    threads: int
    blind: str = ""


def _seat(config: dict[str, Any]) -> _Seat:
    threads = max(1, int(config["cpus"]))
    if config["gpus"] <= 0:
        return _Seat("cpu", threads)
    if not torch.cuda.is_available():
        blind = execution.no_gpu(config["name"], config["gpus"], f"on {platform.node()}")
        return _Seat("cuda", threads, blind)
    # Ray counts fractions of a GPU and enforces nothing.
    torch.cuda.set_per_process_memory_fraction(min(1.0, float(config["gpus"])))
    return _Seat("cuda", threads)


def _tell(watch: Watch, **what: str) -> None:
    """Tell the driver, however long it takes to listen."""
    with watch.paused():
        try:
            tune.report(what)
        except SystemExit:  # how Tune ends a run that it wants no more of
            raise execution.Stopped from None


def _tell_pulse(watch: Watch, sign: Pulse) -> None:
    _tell(watch, pulse=json.dumps(dataclasses.asdict(sign)))


def _home(given: str) -> Path | None:
    """The folder of the study's files: as the driver names it, or what travelled to this node."""
    if not given:
        return None
    if Path(given).is_absolute():
        return Path(given)
    found = importlib.util.find_spec(given)  # Ray unpacks what travels, and puts that place onto the path
    assert found is not None and found.submodule_search_locations, f"{given} has not come to this node"
    return Path(next(iter(found.submodule_search_locations)))

"""The Tune trainable that executes a run, or a job of basis masks, in a worker process."""

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

from ray import tune

from raycl import devices, process, userfiles
from raycl.runs import execution
from raycl.runs.pauses import Pauses
from raycl.runs.result import Result, Trained
from raycl.specs import MaskSpec, RunSpec
from raycl.training.fit import Pulse
from raycl.tune.stall_watch import Watch

LINGER = 5.0  # seconds that a process has to end by itself


def execute(config: dict[str, Any]) -> None:
    """Execute the run ``config["spec"]``, or train the masks ``config["specs"]``.

    It reports pulses and finally the outcome. If the run failed or left the process changed, the process ends
    as soon as the driver has the outcome, so that no other run is executed in it.

    Raises:
        UsedUp: If the process should not be used again.
    """
    if config["data"]:
        os.environ["RAYCL_DATA"] = config["data"]
    # Both come before the watch begins, because its time limit is meant for the run alone.
    process.ready()
    specs = config.get("specs", [config.get("spec")])
    execution.prepare(
        *(spec[part] for spec in specs for part in ("method", "network", "benchmark") if part in spec)
    )
    checkpoints = Path(config["store"]) / "checkpoints"
    memory = config["memory"] * 2**30 if config["memory"] is not None else None
    try:
        with Watch(checkpoints / config["key"], config["stall_minutes"] * 60, memory) as watch:
            used_up = _execute(config, checkpoints, watch)
    except execution.Stopped:
        sys.exit(0)
    if used_up:
        threading.Thread(target=_end_late, name="raycl-end", daemon=True).start()
        raise UsedUp("the outcome has been reported; nothing else is executed in this process")


class UsedUp(Exception):
    """Exception by which a run ends its worker process.

    Tune reuses the process of a run that ends well for the next run, and ends the process of one that raises.
    The driver has the outcome by then, since `tune.report` returns only afterwards, and a run with an outcome
    is not tried again (see `raycl.tune.search.LastWord`).
    """


def _end_late() -> None:
    """End the process in any case, because a thread that the run left may keep it from ending by itself."""
    time.sleep(LINGER)
    os._exit(0)


def _execute(config: dict[str, Any], checkpoints: Path, watch: Watch) -> bool:
    """Execute the job and report its outcome; return whether the process should not be used again."""
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
    """Train basis masks and return the outcome."""
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
    """Execute a run and return its result."""
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
        graphs=config["graphs"],
        keep=config["keep"],
        pauses=Pauses.from_plain(config["pauses"]) if config["pauses"] else None,
    )


@dataclass(frozen=True)
class _Seat:
    """The processors that a run may use.

    Attributes:
        device: Name of the torch device.
        threads: Number of CPU threads.
        blind: The error message if torch does not see the GPU that Ray has assigned; otherwise "".
    """

    device: str
    threads: int
    blind: str = ""


def _seat(config: dict[str, Any]) -> _Seat:
    threads = max(1, int(config["cpus"]))
    if config["gpus"] <= 0:
        return _Seat("cpu", threads)
    if not devices.available():
        blind = execution.no_gpu(config["name"], config["gpus"], f"on {platform.node()}")
        return _Seat(devices.kind(), threads, blind)
    # Ray counts fractions of a GPU but does not enforce them.
    devices.limit_memory(float(config["gpus"]))
    return _Seat(devices.kind(), threads)


def _tell(watch: Watch, **what: str) -> None:
    """Report to the driver, and wait for as long as it takes."""
    with watch.paused():
        try:
            tune.report(what)
        except SystemExit:  # Tune stops a run in this way
            raise execution.Stopped from None


def _tell_pulse(watch: Watch, sign: Pulse) -> None:
    _tell(watch, pulse=json.dumps(dataclasses.asdict(sign)))


def _home(given: str) -> Path | None:
    """Return the folder of the study's files: the driver's own, or the one that was sent to this node."""
    if not given:
        return None
    if Path(given).is_absolute():
        return Path(given)
    found = importlib.util.find_spec(given)  # Ray unpacks the files and puts their folder onto the path
    assert found is not None and found.submodule_search_locations, f"{given} did not arrive on this node"
    return Path(next(iter(found.submodule_search_locations)))

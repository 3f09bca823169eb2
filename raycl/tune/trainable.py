"""A run as a Tune function trainable; it runs in a worker process."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from pathlib import Path
from typing import Any

from ray import tune

from raycl.spec import RunSpec
from raycl.training import Pulse


def play(config: dict[str, Any]) -> None:
    """Play ``config["spec"]``; reports pulses, and at last the outcome as JSON."""
    if config["data"]:
        os.environ["RAYCL_DATA"] = config["data"]
    for folder in config["path"]:
        if folder not in sys.path:
            sys.path.insert(0, folder)
    import torch  # here, so that a worker's environment is set before its first use

    from raycl import player

    def pulse(sign: Pulse) -> None:
        tune.report({"pulse": json.dumps(dataclasses.asdict(sign))})

    device = "cuda" if config["gpus"] > 0 and torch.cuda.is_available() else "cpu"
    threads = max(1, int(config["cpus"]))
    spec = RunSpec.from_json(config["spec"])
    result = player.play(spec, Path(config["checkpoints"]), device=device, threads=threads, pulse=pulse)
    tune.report({"outcome": json.dumps(result.to_json())})

"""Plays an agenda on Ray: a cluster that is there, or one started on this machine."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from raycl.agenda import Agenda
from raycl.benchmarks import data_root
from raycl.errors import UserError
from raycl.study import Cell, Study

_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000",  # no snapshots: the store is the truth
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # else Ctrl-C ends a study as if it had succeeded
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_DEDUP_LOGS": "0",
}


@contextlib.contextmanager
def cluster(address: str | None, folder: Path | None, cpus: int | None = None) -> Iterator[float]:
    """Join the cluster at `address`, or start one on this machine; gives its number of CPUs.

    `cpus` pretends that this machine has so many.

    The study's own Python files travel to the workers of a cluster.

    Raises:
        UserError: nothing answers at the address.
    """
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    import ray

    _answers(address)
    shipped = tempfile.TemporaryDirectory(prefix="raycl-study-") if address and folder else None
    options: dict[str, Any] = {
        "address": "local",  # without it Ray joins whatever cluster this machine last belonged to
        "num_cpus": cpus,
        "include_dashboard": False,
        "log_to_driver": False,
        "logging_level": logging.ERROR,
        "configure_logging": True,
    }
    if address:
        options = {"address": address, "log_to_driver": False, "logging_level": logging.ERROR}
    if shipped and folder:
        for file in folder.glob("*.py"):
            shutil.copy(file, shipped.name)
        options["runtime_env"] = {"working_dir": shipped.name}
    already = ray.is_initialized()
    try:
        if not already:
            ray.init(**options)
    except (ConnectionError, RuntimeError, ValueError) as error:
        if not address:
            raise
        raise _no_cluster(address, str(error).strip().splitlines()[0]) from None
    try:
        yield float(ray.cluster_resources().get("CPU", 0.0))
    finally:
        if not already:
            ray.shutdown()
        if shipped:
            shipped.cleanup()


def _answers(address: str | None) -> None:
    """Knock at the address first: Ray itself would go on trying for minutes.

    Raises:
        UserError: nothing listens there.
    """
    host, colon, port = (address or "").removeprefix("ray://").rpartition(":")
    if not colon:
        return
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except (OSError, ValueError) as error:
        raise _no_cluster(str(address), str(error)) from None


def _no_cluster(address: str, reason: str) -> UserError:
    return UserError(
        f"no Ray cluster answers at --address {address} ({reason}); start one with `ray start --head` (under "
        "the same RAY_AUTH_TOKEN_PATH, if it asks for a token), or leave --address out to use this machine"
    )


def check_resources(cells: Sequence[Cell]) -> None:
    """Refuse a request that no node can ever meet.

    Raises:
        UserError: names the cell, what it asks for, and the largest node.
    """
    import ray

    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    for cell in cells:
        r = cell.resources
        if not any(n.get("CPU", 0) >= r.cpus and n.get("GPU", 0) >= r.gpus for n in nodes):
            largest = max(nodes, key=lambda n: (n.get("GPU", 0), n.get("CPU", 0)))
            raise UserError(
                f"resources of {cell.name}: R(cpus={r.cpus:g}, gpus={r.gpus:g}) fits no node; the largest "
                f"has {largest.get('CPU', 0):g} CPUs and {largest.get('GPU', 0):g} GPUs"
            )


def slots(cells: Sequence[Cell]) -> int:
    """How many runs can be live at once: by what the smallest request leaves room for."""
    import ray

    have = ray.cluster_resources()
    most = 1
    for cell in cells:
        r = cell.resources
        cpus = have.get("CPU", 0) / r.cpus if r.cpus else float("inf")
        gpus = have.get("GPU", 0) / r.gpus if r.gpus else float("inf")
        most = max(most, int(min(cpus, gpus)))
    return most


def play_on_ray(
    study: Study, agenda: Agenda, cells: Sequence[Cell], shipped: bool, at_once: int | None = None
) -> None:
    """Play the agenda to its end on the cluster that is joined; Ctrl-C raises KeyboardInterrupt.

    Args:
        shipped: the study's files are on the workers already.
        at_once: runs live at a time at most; by default as many as there is room for.
    """
    from ray import tune
    from ray.tune.execution.placement_groups import PlacementGroupFactory

    from raycl.tune.search import StudySearch
    from raycl.tune.staging import stage
    from raycl.tune.trainable import play

    if agenda.over:
        return
    check_resources(cells)
    sources = sorted({name for cell in cells for name in _needs(cell)})
    for line in stage(sources):
        logging.getLogger("raycl").info(line)
    common = {
        "store": str(agenda.store.root),
        "data": str(data_root()),
        "path": [] if shipped or study.folder is None else [str(study.folder)],
    }
    at_once = at_once or slots(cells)
    agenda.masks.slots = at_once
    scratch = tempfile.mkdtemp(prefix="raycl-tune-")
    searcher = StudySearch(agenda, common)
    tuner = tune.Tuner(
        tune.with_resources(play, lambda config: PlacementGroupFactory([bundle(config)])),
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            num_samples=-1,
            max_concurrent_trials=at_once,
            reuse_actors=True,
            trial_dirname_creator=lambda trial: str(trial.trial_id),
        ),
        run_config=tune.RunConfig(
            name="study",
            storage_path=scratch,
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=2),
            checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=0, checkpoint_at_end=False),
        ),
    )
    try:
        with _silenced():
            tuner.fit()
    finally:
        StudySearch.agendas.pop(searcher.token, None)
        shutil.rmtree(scratch, ignore_errors=True)


def bundle(resources: Mapping[str, Any]) -> dict[str, float]:
    """What Ray sets aside for a run."""
    memory = resources["memory"]
    wanted = {"CPU": resources["cpus"], "GPU": resources["gpus"]}
    return wanted if memory is None else wanted | {"memory": memory * 2**30}


def _needs(cell: Cell) -> Sequence[str]:
    from raycl import names

    return names.recipe(cell.benchmark).needs()


@contextlib.contextmanager
def _silenced() -> Iterator[None]:
    """Keep Tune's own lines off the screen: what there is to say, the view says."""
    loggers = [logging.getLogger(name) for name in ("ray.tune", "ray.air", "ray.train", "ray")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)

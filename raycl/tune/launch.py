"""Execution of an agenda on Ray, on an existing cluster or on one that is started on this machine."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raycl import registry, userfiles
from raycl.datafolder import data_root
from raycl.errors import UserError, redacted, screen_line, typed_path
from raycl.study.agenda import Agenda
from raycl.study.cells import Cell
from raycl.study.values import Study
from raycl.tune.fitness import facts, judging, nodes
from raycl.tune.fitness.address_check import check_address, muted, no_cluster, token_warning
from raycl.userfiles import SHIPPED

if TYPE_CHECKING:
    from ray import tune
    from ray.tune.execution.placement_groups import PlacementGroupFactory

    from raycl.tune.search import StudySearch

# Ray is imported where it is needed, first of all in `cluster`: its import takes seconds, and a broken
# installation is reported there in one line.

_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000",  # no snapshots, because the store holds all results
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # otherwise Ctrl-C ends a study as if it had succeeded
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_OVERRIDE_JOB_RUNTIME_ENV": "1",  # a job of Ray may have a working directory of its own
    "RAY_DEDUP_LOGS": "0",
    "TUNE_STATE_REFRESH_PERIOD": "3600",  # Ray ends a process that asks a restarted head for this
}
_CLUSTERS = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"  # 0: Ray serves this machine alone, on loopback
JOINING_SECONDS = 30.0  # time for the first node with CPUs to join a cluster whose head answers
MOST = 1_000_000  # live runs that Tune allows; how many there are is decided by `room`


@contextlib.contextmanager
def cluster(address: str | None, folder: Path | None, cpus: int | None = None) -> Iterator[float]:
    """Join the cluster at `address`, or start one on this machine, and yield its number of CPUs.

    The study's own Python files are sent to the workers of a cluster.

    Args:
        address: Address of the cluster; None starts one on this machine.
        folder: Folder of the study's files, or None.
        cpus: Number of CPUs that Ray assumes for this machine; None means all of them.

    Raises:
        UserError: If the cluster cannot be joined (see `check_address`), or Ray does not start here.
    """
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except Exception as error:  # a broken installation may raise anything
        raise _no_start(screen_line(f"{type(error).__name__}: {error}")) from None

    with contextlib.ExitStack() as stack:
        if not ray.is_initialized():
            address = check_address(address)
            stack.enter_context(_joined(address, folder, cpus))
        elif address is not None:
            _check_joined(address, ray.get_runtime_context().gcs_address)
        yield max(1.0, _cpus())


def _cpus() -> float:
    """Return the number of CPUs that the joined cluster offers."""
    import ray

    return float(ray.cluster_resources().get("CPU", 0.0))


def wait_for_nodes(say: Callable[[str], None], seconds: float = JOINING_SECONDS) -> float:
    """Wait, for a limited time, until the joined cluster offers a CPU.

    The head of a cluster answers before other nodes have joined it, and often offers no CPU itself. A cluster
    that starts nodes on demand is not waited for.

    Args:
        say: Function that receives the message that this process waits, if it does.
        seconds: Longest time to wait.

    Returns:
        The number of CPUs, at least 1.
    """
    if not _cpus() and judging.elastic() is None:
        say(f"no node of the cluster offers a CPU yet; waiting up to {seconds:g} s for nodes to join")
        deadline = time.monotonic() + seconds
        while not _cpus() and time.monotonic() < deadline:
            time.sleep(0.2)
    return max(1.0, _cpus())


def _check_joined(address: str, joined: str) -> None:
    """Check that an address is that of the cluster that this process has joined already.

    A machine has several names, so that only the ports are compared.

    Raises:
        UserError: If nothing answers at the address, or it is another cluster.
    """
    check_address(address)
    wanted, known = (place.rpartition(":")[2] for place in (address, joined))
    if wanted.isdecimal() and wanted != known:
        raise UserError(
            f"--address {address}: this process has joined the Ray cluster at {joined} already; call "
            "ray.shutdown() first, or leave out the address"
        )


@contextlib.contextmanager
def _joined(address: str | None, folder: Path | None, cpus: int | None) -> Iterator[None]:
    """Connect this process to a cluster until the context ends.

    Raises:
        UserError: If the cluster cannot be joined, or does not start.
    """
    import ray

    with contextlib.ExitStack() as stack:
        # Ray's processes start in an empty folder, see `_within`.
        empty = stack.enter_context(tempfile.TemporaryDirectory(prefix="raycl-workers-"))
        options = _options(address, cpus)
        if address and folder:
            shipped = stack.enter_context(tempfile.TemporaryDirectory(prefix="raycl-study-"))
            userfiles.pack(folder, Path(shipped) / SHIPPED)
            options["runtime_env"] = {"working_dir": shipped}
        try:
            reach = contextlib.nullcontext() if address else _on_loopback()
            with _within(empty), reach, muted():  # Ray prints its errors, but raises them as well
                ray.init(**options)
        except (Exception, SystemExit) as error:  # parts of Ray end the process
            with contextlib.suppress(Exception):
                ray.shutdown()
            reason = screen_line(redacted(str(error) or type(error).__name__))
            raise no_cluster(address, reason) if address else _no_start(reason) from None
        try:
            yield
        finally:
            ray.shutdown()


def _options(address: str | None, cpus: int | None) -> dict[str, Any]:
    if address:
        return {"address": address, "log_to_driver": False, "logging_level": logging.ERROR}
    return {
        "address": "local",  # otherwise Ray joins the cluster that this machine last belonged to
        "num_cpus": cpus,
        "include_dashboard": False,
        "log_to_driver": False,
        "logging_level": logging.ERROR,
        "configure_logging": True,
    }


@contextlib.contextmanager
def _on_loopback() -> Iterator[None]:
    """Let the services of a Ray that is started meanwhile listen on 127.0.0.1 alone.

    Otherwise they listen on all interfaces. Ray has a switch for this, which is on by default on macOS and
    Windows. It reads the variable when it is imported, and its processes inherit it. A user who sets the
    variable decides. The switch is put back, because a process that joins a cluster later needs it.
    """
    if _CLUSTERS in os.environ:
        yield
        return
    from ray._private import ray_constants

    before = ray_constants.ENABLE_RAY_CLUSTER
    os.environ[_CLUSTERS], ray_constants.ENABLE_RAY_CLUSTER = "0", False
    try:
        yield
    finally:
        os.environ.pop(_CLUSTERS, None)
        ray_constants.ENABLE_RAY_CLUSTER = before


def _no_start(reason: str) -> UserError:
    """Return the error for a Ray that does not start on this machine."""
    place = os.environ.get("RAY_TMPDIR") or tempfile.gettempdir()
    return UserError(
        f"Ray does not start on this machine ({reason}); its files go to {typed_path(place)}: name another "
        "short path with free space in RAY_TMPDIR, or run the study in this process with --local"
    )


@contextlib.contextmanager
def _within(folder: str) -> Iterator[None]:
    """Change the current folder for a moment, because Ray puts it onto the import path of its workers.

    It comes before installed packages there, so that a file ``optuna.py`` next to a study would be imported
    instead of the package.
    """
    before = os.getcwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def feasible(
    cells: Sequence[Cell], store: Path, address: str, say: Callable[[str], None] = lambda _: None
) -> None:
    """Check, before anything starts, that the joined cluster can run these cells.

    Args:
        cells: The cells.
        store: Folder of results, which all nodes must share.
        address: Address of the cluster as the user wrote it, for messages.
        say: Function that receives notes that do not prevent the study from running, one line each.

    Raises:
        UserError: If something prevents the study from running. The message names the first reason; `raycl
            doctor` lists all of them.
    """
    check_resources(cells)
    known, mine = nodes.ask(store), facts.here()
    sources = sorted({name for cell in cells for name in _needs(cell)})
    gpus = any(cell.resources.gpus for cell in cells)
    found = [fault for node in known for fault in judging.judge(node, mine, store, sources, gpus)]
    found += judging.judge_cluster(known, judging.elastic(), sources)
    if line := token_warning():
        say(line)
    for fault in found:
        if fault.level == "note":
            say(str(fault))
    misses = [fault for fault in found if fault.level == "miss"]
    if misses:
        more = f" ({len(misses) - 1} more: raycl doctor --address {address})" if len(misses) > 1 else ""
        raise UserError(f"{misses[0]}{more}")


def check_resources(cells: Sequence[Cell]) -> None:
    """Refuse requests that exceed every node, including the nodes that the cluster may still start.

    Raises:
        UserError: If there is such a request; the message names the cell, the request and the largest node.
    """
    import ray

    alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    grows, asked = None, False
    for cell in cells:
        wanted = bundle(dataclasses.asdict(cell.resources))
        if wanted["GPU"] > 1 and wanted["GPU"] % 1:
            raise UserError(
                f"resources of {cell.name}: gpus={wanted['GPU']:g}: one GPU can be shared, several cannot; "
                "request a fraction below 1, or an integer"
            )
        if any(_fits(wanted, node) for node in alive):
            continue
        if not asked:
            grows, asked = judging.elastic(), True
        if grows and (not grows.groups or any(_fits(wanted, group) for group, _ in grows.groups)):
            continue
        to_come = [dict(group) for group, _ in (grows.groups if grows else ())]
        raise _fits_nowhere(cell, wanted, alive + to_come)


def _fits(wanted: Mapping[str, float], node: Mapping[str, float]) -> bool:
    return all(node.get(name, 0) >= amount for name, amount in wanted.items())


def _fits_nowhere(cell: Cell, wanted: Mapping[str, float], nodes: Sequence[Mapping[str, float]]) -> UserError:
    if not any(node.get("CPU") for node in nodes):
        (fault,) = judging.judge_cluster((), None)
        return UserError(str(fault))
    scarce = [name for name, amount in wanted.items() if not any(n.get(name, 0) >= amount for n in nodes)]
    largest = max(nodes, key=lambda n: tuple(n.get(name, 0) for name in [*scarce, "GPU", "CPU"]))
    r = cell.resources
    memory, has = "", f"{largest.get('CPU', 0):g} CPUs and {largest.get('GPU', 0):g} GPUs"
    if r.memory is not None:
        memory, has = f", memory={r.memory:g}", f"{has} and {largest.get('memory', 0) / 2**30:.1f} GiB"
    return UserError(
        f"resources of {cell.name}: Resources(cpus={r.cpus:g}, gpus={r.gpus:g}{memory}) fits no node; the "
        f"largest has {has}: request less in the study's `resources`, or start Ray on a larger machine"
    )


def run_on_ray(
    study: Study,
    agenda: Agenda,
    cells: Sequence[Cell],
    shipped: bool,
    at_once: int | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> None:
    """Execute the agenda to its end on the joined cluster.

    A worker process executes one run after another, until a run fails or leaves the process changed; the next
    run then waits some seconds for a new process.

    Args:
        study: The study.
        agenda: Its agenda.
        cells: The cells that can run.
        shipped: Whether the study's files have been sent to the workers.
        at_once: Largest number of live runs; by default as many as the cluster has room for, which changes
            when nodes join or leave.
        say: Function that receives messages about runs, one line each.

    Raises:
        KeyboardInterrupt: If Ctrl-C is pressed.
    """
    from raycl.tune.cluster_watch import bound_to_cluster
    from raycl.tune.room import Needs, Room, following
    from raycl.tune.search import StudySearch
    from raycl.tune.secrets import kept_from_workers
    from raycl.tune.staging import stage

    if agenda.over:
        return
    check_resources(cells)
    needs = Needs(
        agenda.store.root,
        sorted({name for cell in cells for name in _needs(cell)}),
        sorted({folder for cell in cells for folder in _prepared(cell)}),
        any(cell.resources.gpus for cell in cells),
    )
    for line in stage(needs.folders):
        logging.getLogger("raycl").info(line)
    common = {
        "store": str(agenda.store.root),
        "data": str(data_root()),
        "home": SHIPPED if shipped and study.folder else str(study.folder or ""),
    }
    room = Room(cells, at_once)
    scratch = tempfile.mkdtemp(prefix="raycl-tune-")
    searcher = StudySearch(agenda, common, room, say)
    tuner = _tuner(searcher, scratch)
    try:
        bound = bound_to_cluster(agenda, Path(scratch))
        with kept_from_workers(), _silenced(), bound, following(room, needs):
            tuner.fit()
    finally:
        searcher.forget()
        shutil.rmtree(scratch, ignore_errors=True)


def _tuner(searcher: StudySearch, scratch: str) -> tune.Tuner:
    """Return a Tuner that asks the searcher for runs until there are none."""
    from ray import tune

    from raycl.tune.search import Elsewhere, Forgetful, LastWord
    from raycl.tune.trainable import execute

    return tune.Tuner(
        tune.with_resources(execute, _placement),
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            num_samples=-1,
            max_concurrent_trials=MOST,  # without a number, Tune requests one run at a time
            reuse_actors=True,
            trial_dirname_creator=lambda trial: str(trial.trial_id),
        ),
        run_config=tune.RunConfig(
            name="study",
            storage_path=scratch,
            verbose=0,
            callbacks=[LastWord(), Elsewhere(searcher.token, _placement), Forgetful()],
            failure_config=tune.FailureConfig(max_failures=2),
            checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=0, checkpoint_at_end=False),
        ),
    )


def _placement(config: Mapping[str, Any]) -> PlacementGroupFactory:
    """Return Ray's request for the run of a config, which keeps away from nodes that were not found fit."""
    from ray.tune.execution.placement_groups import PlacementGroupFactory

    strangers = config["strangers"]
    if not strangers:
        return PlacementGroupFactory([bundle(config)])
    away = {"ray.io/node-id": f"!in({','.join(strangers)})"}
    return PlacementGroupFactory([bundle(config)], bundle_label_selector=[away])


def bundle(resources: Mapping[str, Any]) -> dict[str, float]:
    """Return the resources that Ray reserves for a run."""
    memory = resources["memory"]
    wanted = {"CPU": resources["cpus"], "GPU": resources["gpus"]}
    return wanted if memory is None else wanted | {"memory": memory * 2**30}


def _needs(cell: Cell) -> Sequence[str]:
    with userfiles.importing_from(cell.home):
        return registry.recipe(cell.benchmark).needs()


def _prepared(cell: Cell) -> Sequence[str]:
    """Return the folders, relative to the data folder, from which a cell's tasks are read."""
    with userfiles.importing_from(cell.home):
        return registry.recipe(cell.benchmark).located(cell.identity).prepared()


@contextlib.contextmanager
def _silenced() -> Iterator[None]:
    """Silence Tune's own messages, because the live view shows the progress."""
    loggers = [logging.getLogger(name) for name in ("ray.tune", "ray.air", "ray.train", "ray")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)

"""Measure what each fault costs a study that runs on a cluster.

    python -m tests.cluster.faults [--only NAME,...] [--out docs/faults.md]

The cluster is made of network namespaces (`tests/helpers/hosts.py`): a Ray head without CPUs, two workers of
one CPU each, a folder that all of them share, and for some faults MLflow on PostgreSQL. The study is
`small_study.py`; its methods keep a journal of every task that they begin, so that what was computed twice is
counted, not estimated.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import itertools
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console

from raycl import report, run_study
from tests.helpers.hosts import (
    SECONDS,
    Cluster,
    Host,
    Process,
    Stuck,
    Tracking,
    no_tracking,
    postgres_programs,
    stoppable,
    wait_for,
    why_not,
)

STUDY = Path(__file__).with_name("small_study.py")
PRUNED = Path(__file__).with_name("pruned_study.py")
TASKS = 5  # of each run
PACE = 2.0  # seconds that a task takes at least, while there is a fault to come
HOLD = 600.0  # the same while a blow falls: the study stands still until it has, however slow the machine is
A_WHILE = 30.0  # seconds that a server or a disk stays away
CUT = 60.0  # seconds without a network
GONE = 3  # the exit code of a driver whose cluster is gone


@dataclass
class Outcome:
    """What a fault cost.

    Attributes:
        codes: of the drivers, in order.
        same: the csv is that of an undisturbed run, byte for byte.
        again: tasks that were begun again, of `tasks`.
        most: how often a task was begun at most; more than twice is too often.
        runs: that were concerned.
        back: seconds from the blow, or from what somebody must do about it, until the work that it struck
            went on; None where none was struck.
        pause: the longest time in which no task of the study began.
    """

    codes: list[int]
    same: bool
    again: int
    tasks: int
    most: int
    runs: int
    back: float | None
    pause: float
    remark: str = ""
    wanted: tuple[int, ...] = (0,)

    @property
    def survived(self) -> bool:
        return self.same and self.most <= 2 and tuple(self.codes) == self.wanted


@dataclass(frozen=True)
class Line:
    """A task that was begun."""

    run: str
    task: int
    host: str
    pid: int  # as its host numbers it
    at: float  # seconds since this machine was started
    clock: float  # Unix time, as the host has it


@dataclass
class Struck:
    """What a fault's own function found out."""

    codes: list[int]
    back: float | None = None
    remark: str = ""


class Scene:
    """A study that runs on a cluster and is struck.

    Args:
        name: of its folder in the store that all share.
        cells: which of the study's cells are played.
        study: its file.
    """

    def __init__(
        self,
        cluster: Cluster,
        name: str,
        tracking: Tracking | None = None,
        cells: str = "*",
        study: Path = STUDY,
    ) -> None:
        self.cluster, self.name, self.cells, self._tracking = cluster, name, cells, tracking
        self.study = study
        cluster.store = cluster.switch.shared / name
        self.folder = folder_of(cluster)
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()
        self.pace(PACE)
        self.driver: Process | None = None

    @property
    def tracking(self) -> Tracking:
        assert self._tracking is not None
        return self._tracking

    def pace(self, seconds: float) -> None:
        """How long a task takes at least, from now on."""
        self.seconds = seconds
        draft = self.folder / ".pace"
        draft.write_text(str(seconds))
        draft.replace(self.folder / "pace")

    def ask_for(self, misdeed: str) -> None:
        """The next task that begins misbehaves."""
        (self.folder / misdeed).touch()

    def play(self, env: Mapping[str, str] | None = None) -> Process:
        """Start the driver; its study bears the scene's name in MLflow."""
        words = ("--only", self.cells, "--set", f"name={self.name}")
        self.driver = self.cluster.driver(self.study, *words, env=env)
        return self.driver

    def wait(self, condition: Callable[[], Any], what: str, seconds: float = SECONDS) -> float:
        """Wait for something while the driver lives; gives the seconds it took."""
        driver = self.driver
        assert driver is not None

        def ended() -> str:
            return "" if driver.code is None else f"the driver ended with {driver.code}:\n{driver.text()}"

        return wait_for(condition, what, seconds, ended)

    @contextlib.contextmanager
    def held(self, results: int) -> Iterator[Line]:
        """Let every task wait from so many results in the store on, until the block is left.

        Gives a task that is amid its run, and that no fault has struck before.
        """
        self.wait(lambda: self.cluster.finished() >= results, f"{results} results")
        seconds = self.seconds
        while True:
            self.wait(self.amid, "a worker to be amid a run")
            self.pace(HOLD)
            if found := self.amid():
                break
            self.pace(seconds)
        try:
            yield found[-1]
        finally:
            self.pace(seconds)

    def amid(self) -> list[Line]:
        """Tasks at work that are not the last of their run, and were begun once."""
        begun = Counter((line.run, line.task) for line in self.journal())
        return [line for line in self.at_work() if line.task < TASKS - 1 and begun[line.run, line.task] == 1]

    def journal(self) -> list[Line]:
        """Every task that was begun so far."""
        try:
            lines = (self.folder / "journal").read_text().splitlines()
        except FileNotFoundError:
            return []
        return [Line(**json.loads(line)) for line in lines]

    def at_work(self) -> list[Line]:
        """What each living process began last."""
        last = {(line.host, line.pid): line for line in self.journal()}
        hosts = self.cluster.switch.hosts
        return [line for (host, pid), line in last.items() if hosts[host].outer(pid)]

    def goes_on(self, run: str, since: int) -> float:
        """Wait until a run has begun a task after line `since` of the journal."""
        return self.wait(lambda: run in {line.run for line in self.journal()[since:]}, "a run to go on")

    def play_again(self) -> float:
        """Start another driver; gives the seconds until a task begins for it."""
        before = {(line.host, line.pid) for line in self.journal()}
        self.play()
        return self.wait(
            lambda: {(line.host, line.pid) for line in self.journal()} - before, "the study to go on"
        )

    def finish(self) -> int:
        """Let the study come to its end, quickly; the driver's exit code."""
        self.pace(0.0)
        assert self.driver is not None
        return self.driver.wait(2 * SECONDS)

    def outcome(self, struck: Struck, expected: str, wanted: tuple[int, ...]) -> Outcome:
        """What it came to."""
        journal = self.journal()
        begun = Counter((line.run, line.task) for line in journal)
        times = [line.at for line in journal]
        return Outcome(
            codes=struck.codes,
            same=self.cluster.csv(self.study, only=self.cells) == expected,
            again=len(journal) - len(begun),
            tasks=len(begun),
            most=max(begun.values()),
            runs=len({run for (run, _), n in begun.items() if n > 1}),
            back=struck.back,
            pause=max(later - earlier for earlier, later in itertools.pairwise(times)),
            remark=struck.remark,
            wanted=wanted,
        )


def folder_of(cluster: Cluster) -> Path:
    """Where the study's methods keep their journal, and find out how to misbehave."""
    return cluster.switch.root / "faults"


@dataclass(frozen=True)
class Fault:
    """One fault.

    Attributes:
        strike: plays a study on the scene and strikes it.
        codes: which exit codes the drivers should have, in order.
        lacking: why it cannot be shown on this machine; "" if it can.
        study: the file of the study that is struck.
    """

    name: str
    title: str
    strike: Callable[[Scene], Struck]
    codes: tuple[int, ...] = (0,)
    tracked: bool = False
    lacking: Callable[[], str] = field(default=lambda: "")
    study: Path = STUDY


FAULTS: dict[str, Fault] = {}


def fault(
    title: str,
    codes: tuple[int, ...] = (0,),
    tracked: bool = False,
    lacking: Callable[[], str] = lambda: "",
    study: Path = STUDY,
) -> Callable[[Callable[[Scene], Struck]], Callable[[Scene], Struck]]:
    """Enter a function in the matrix, under its own name."""

    def enter(strike: Callable[[Scene], Struck]) -> Callable[[Scene], Struck]:
        name = strike.__name__
        needs = no_tracking if tracked else lacking
        FAULTS[name] = Fault(name, title, strike, codes, tracked, needs, study)
        return strike

    return enter


@fault("a worker process is killed (SIGKILL)")
def process(scene: Scene) -> Struck:
    scene.play()
    back = kill_process(scene, 4)
    return Struck([scene.finish()], back)


def kill_process(scene: Scene, results: int) -> float:
    """SIGKILL to a process that trains, and wait until its run goes on."""
    with scene.held(results) as victim:
        since = len(scene.journal())
        os.kill(scene.cluster.switch.hosts[victim.host].outer(victim.pid), signal.SIGKILL)
    return scene.goes_on(victim.run, since)


@fault("all processes of a node are killed (SIGKILL)")
def node(scene: Scene) -> Struck:
    scene.play()
    host, back = kill_node(scene, 4)
    again = len(scene.journal())
    scene.wait(lambda: host.name in {line.host for line in scene.journal()[again:]}, "the node to work again")
    return Struck([scene.finish()], back, "the node is started again and executes runs again")


def kill_node(scene: Scene, results: int) -> tuple[Host, float]:
    """SIGKILL to all of a host, wait until its run goes on elsewhere, and start Ray there again."""
    with scene.held(results) as victim:
        host, since = scene.cluster.switch.hosts[victim.host], len(scene.journal())
        host.kill_all()
    back = scene.goes_on(victim.run, since)
    scene.cluster.start_worker(host)
    return host, back


@fault("the driver is killed (SIGKILL), and the same command is run again", codes=(-9, 0))
def driver(scene: Scene) -> Struck:
    first = scene.play()
    back = kill_driver(scene, 4)
    return Struck([first.wait(), scene.finish()], back)


def kill_driver(scene: Scene, results: int) -> float:
    """SIGKILL to the driver, start another, and wait until the study goes on."""
    assert scene.driver is not None
    with scene.held(results):
        scene.driver.kill()
    return scene.play_again()


@fault("the head is killed (SIGKILL); the cluster and the command are started again", codes=(GONE, 0))
def head(scene: Scene) -> Struck:
    return _without_head(scene, lambda head: head.kill(_not_the_driver))


@fault("the head is killed and started again at once; the command is run again", codes=(GONE, 0))
def head_anew(scene: Scene) -> Struck:
    def anew(head: Host) -> None:
        head.kill(_not_the_driver)
        scene.cluster.start_head()

    return _without_head(scene, anew)


@fault("the head hangs (SIGSTOP); the cluster and the command are started again", codes=(GONE, 0))
def head_hangs(scene: Scene) -> Struck:
    return _without_head(scene, lambda head: head.kill(lambda c: "gcs_server" in c, signal.SIGSTOP))


def _not_the_driver(command: str) -> bool:
    return "raycl.cli" not in command


def _without_head(scene: Scene, strike: Callable[[Host], Any]) -> Struck:
    first = scene.play()
    with scene.held(4):
        strike(scene.cluster.head)
    began = time.monotonic()
    code = first.wait()
    ended = time.monotonic() - began
    lines = [line for line in first.text().splitlines() if line.startswith("raycl: ")]
    if len(lines) != 1 or "Traceback" in first.text():
        raise Stuck(f"a driver without a head should end with one message, and printed:\n{first.text()}")
    for host in [scene.cluster.head, *scene.cluster.workers]:
        host.kill_all()
    scene.cluster.start()
    back = scene.play_again()
    return Struck(
        [code, scene.finish()], back, f"the driver ends by itself after {ended:.0f} s, with one message"
    )


@fault("MLflow's server hangs for 30 s (SIGSTOP)", tracked=True)
def mlflow_hangs(scene: Scene) -> Struck:
    return _untracked(scene, scene.tracking.pause_mlflow, scene.tracking.resume_mlflow)


@fault("MLflow's server is killed (SIGKILL), and started again after 30 s", tracked=True)
def mlflow_killed(scene: Scene) -> Struck:
    return _untracked(scene, scene.tracking.kill_mlflow, scene.tracking.start_mlflow)


@fault("PostgreSQL, on which MLflow keeps its runs, is restarted", tracked=True)
def postgres(scene: Scene) -> Struck:
    return _untracked(scene, scene.tracking.stop_postgres, scene.tracking.start_postgres, A_WHILE / 3)


def _untracked(
    scene: Scene, strike: Callable[[], None], mend: Callable[[], None], seconds: float = A_WHILE
) -> Struck:
    """A study whose MLflow is away for a while: afterwards `raycl sync` makes it whole."""
    tracking = scene.tracking
    scene.play(tracking.variables)
    with scene.held(4):
        strike()
    time.sleep(seconds)
    mend()
    code = scene.finish()
    had = len(tracking.runs(scene.name))
    sync = ("sync", str(STUDY), "--set", f"name={scene.name}", "--store", str(scene.cluster.store))
    for _ in range(2):
        done = scene.cluster.raycl(*sync, env=tracking.variables)
        if done.returncode:
            raise Stuck(f"raycl sync ended with {done.returncode}: {done.stderr}")
        told = tracking.runs(scene.name)
        parents = [key for key in told if key.startswith("cell ")]
        if (
            len(told) - len(parents) != scene.cluster.finished()
            or len(parents) != 3
            or not all(told.values())
        ):
            raise Stuck(f"after raycl sync MLflow has {len(told)} runs: {sorted(told)}")
    whole = "was complete" if had == len(told) else f"had {had} of {len(told)} runs"
    return Struck(
        [code], None, f"training continues; MLflow {whole} at the end, and is complete after `raycl sync`"
    )


@fault("the network of a node is cut for 60 s")
def network(scene: Scene) -> Struck:
    scene.play()
    with scene.held(3) as victim:
        since, host = len(scene.journal()), scene.cluster.switch.hosts[victim.host]
        host.cut()
    began = time.monotonic()
    scene.pace(2 * PACE)  # or all is over before the network is back
    time.sleep(CUT)
    host.mend()

    def settled() -> bool:
        """The run was begun elsewhere; or it was not lost, and the node has begun another."""
        return any((line.run == victim.run) != (line.host == host.name) for line in scene.journal()[since:])

    scene.wait(settled, "the cut off run to go on")
    back = time.monotonic() - began
    code = scene.finish()
    alive = host.name in scene.cluster.nodes()
    if not alive:
        host.kill_all()
        scene.cluster.start_worker(host)
    remark = "Ray kept the node" if alive else "Ray gave up the node, which must be started again"
    return Struck([code], back, remark)


@fault("the store cannot be written for 30 s (read-only)")
def read_only(scene: Scene) -> Struck:
    switch = scene.cluster.switch
    elsewhere = {"MLFLOW_TRACKING_URI": f"sqlite:///{scene.cluster.head.own}/mlflow.db"}  # or it stays busy
    return _unwritable(scene, lambda: switch.read_only(True), lambda: switch.read_only(False), elsewhere)


@fault("the store's disk is full for 30 s")
def disk_full(scene: Scene) -> Struck:
    switch = scene.cluster.switch
    return _unwritable(scene, switch.fill, switch.free)


def _unwritable(
    scene: Scene, strike: Callable[[], None], mend: Callable[[], None], env: Mapping[str, str] | None = None
) -> Struck:
    scene.play(env)
    with scene.held(4):
        strike()
    try:
        had = scene.cluster.finished()
        time.sleep(A_WHILE)
        if scene.cluster.finished() > had:
            raise Stuck("a result was written where nothing can be written")
    finally:
        mend()
    back = scene.wait(lambda: scene.cluster.finished() > had, "the next result")
    assert scene.driver is not None
    said = [line for line in scene.driver.text().splitlines() if "cannot be written" in line]
    return Struck([scene.finish()], back, f"the driver reports it, {len(said)} time{'s' * (len(said) != 1)}")


@fault("a run leaks memory, up to its limit of 1.5 GiB")
def leak(scene: Scene) -> Struck:
    return _misdeed(scene, "leak")


@fault("a run hangs; its limit is 30 s without progress")
def hang(scene: Scene) -> Struck:
    return _misdeed(scene, "hang")


@fault("a run hangs and holds the interpreter's lock")
def hang_hard(scene: Scene) -> Struck:
    return _misdeed(scene, "hang-hard")


def _misdeed(scene: Scene, misdeed: str) -> Struck:
    scene.play()
    back = misbehave(scene, misdeed, 4)
    return Struck([scene.finish()], back)


def misbehave(scene: Scene, misdeed: str, results: int) -> float:
    """Ask for a misdeed, and wait until the run that commits it goes on in another process."""
    with scene.held(results):
        scene.ask_for(misdeed)
    scene.wait((scene.folder / f"{misdeed}.done").exists, "a misdeed")
    began, claimed = time.monotonic(), (scene.folder / f"{misdeed}.done").read_text()
    name, pid = claimed.split()
    lines = scene.journal()
    run = [line.run for line in lines if line.host == name and line.pid == int(pid)][-1]
    scene.wait(
        lambda: any(line.run == run and (line.host, str(line.pid)) != (name, pid)
                    for line in scene.journal()[len(lines) :]),
        "the run to go on in another process",
    )  # fmt: skip
    return time.monotonic() - began


_SLEEP = """
#define _GNU_SOURCE
#include <errno.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
int clock_nanosleep(clockid_t clock, int flags, const struct timespec *wanted, struct timespec *left)
{
    return syscall(SYS_clock_nanosleep, clock, flags, wanted, left) ? errno : 0;
}
"""  # libfaketime 0.9.10 shifts a sleep by the clock that is not shifted, too, and Python sleeps by that one


def _faketime() -> str:
    places = [
        Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"),
        Path("/usr/lib/faketime").glob("*MT.so.1"),
    ]
    return next((str(found) for place in places for found in place), "")


def _no_faketime() -> str:
    if not _faketime():
        return "libfaketime is not installed (Debian: faketime)"
    return "" if shutil.which("cc") else "there is no C compiler"


def _ahead(folder: Path, seconds: int) -> dict[str, str]:
    """Variables of processes whose clock is ahead."""
    code, built = folder / "sleep.c", folder / "sleep.so"
    code.write_text(_SLEEP)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", str(built), str(code)], check=True)
    return {
        "LD_PRELOAD": f"{built}:{_faketime()}", "FAKETIME": f"{seconds:+d}", "DONT_FAKE_MONOTONIC": "1"
    }  # fmt: skip


@fault("a node's clock is an hour ahead", lacking=_no_faketime)
def clock(scene: Scene) -> Struck:
    host = scene.cluster.workers[0]
    _restart(scene.cluster, host, _ahead(scene.cluster.switch.root, 3600))
    try:
        scene.play()
        scene.wait(lambda: host.name in {line.host for line in scene.journal()}, "the host to take part")
        booted = time.time() - float(Path("/proc/uptime").read_text().split()[0])
        seen = {line.host: line.clock - line.at - booted for line in scene.journal()}
        if not 3500 < seen[host.name] < 3700:
            raise Stuck(
                f"the clock of {host.name} should be an hour ahead, and is by {seen[host.name]:.0f} s"
            )
        code = scene.finish()
    finally:
        _restart(scene.cluster, host, {})
    return Struck([code])


@fault(
    "a worker process, and later the driver, are killed while trials of a search are paused and pruned",
    codes=(-9, 0),
    study=PRUNED,
)
def pruning(scene: Scene) -> Struck:
    first = scene.play()
    back = kill_process(scene, 1)
    again = kill_driver(scene, 4)
    remark = f"after the end of the process {back:.0f} s, after that of the driver {again:.0f} s"
    return Struck([first.wait(), scene.finish()], max(back, again), remark)


@fault("a node without the data joins while the study runs")
def joins(scene: Scene) -> Struck:
    cluster = scene.cluster
    host = cluster.workers[1]
    host.kill_all()
    wait_for(lambda: host.name not in cluster.nodes(), f"{host.name} to be given up")
    for data in (host.own / "data").iterdir():
        shutil.rmtree(data)
    scene.play()
    with scene.held(2):
        cluster.start_worker(host)
        seconds = scene.wait(
            lambda: host.name in {line.host for line in scene.at_work()}, "a run on the node that joined"
        )
    remark = f"the node starts a run {seconds:.0f} s after `ray start` there has ended"
    return Struck([scene.finish()], None, remark)


def _restart(cluster: Cluster, host: Host, env: Mapping[str, str]) -> None:
    host.kill_all()
    wait_for(lambda: host.name not in cluster.nodes(), f"{host.name} to be given up")
    cluster.start_worker(host, env)


def cluster_for_faults(**options: Any) -> Cluster:
    """A cluster whose runs keep a journal."""
    cluster = Cluster(**options)
    for host in [cluster.head, *cluster.workers]:
        host.environment["RAYCL_FAULTS"] = str(folder_of(cluster))
    folder_of(cluster).mkdir()
    return cluster


@functools.cache
def undisturbed(study: Path = STUDY) -> str:
    """The csv of a run in this process, without Ray and without faults."""
    with tempfile.TemporaryDirectory(prefix="raycl-undisturbed-") as folder:
        played = run_study(study, folder, local=True, console=Console(quiet=True))
        assert played.code == 0, played.problems
        return report(study, folder, "csv", times=False).rstrip("\n") + "\n"


def strike(cluster: Cluster, fault: Fault, tracking: Tracking | None = None) -> Outcome:
    """Play a study, strike it, and see what came of it."""
    expected = undisturbed(fault.study)
    scene = Scene(cluster, fault.name, tracking, study=fault.study)
    return scene.outcome(fault.strike(scene), expected, fault.codes)


def matrix(names: list[str]) -> Iterator[tuple[Fault, Outcome | str]]:
    """Each fault with its outcome, or with the reason why it could not be shown."""
    faults = [FAULTS[name] for name in names]
    with cluster_for_faults() as cluster:
        tracking = None
        if any(fault.tracked for fault in faults) and not no_tracking():
            tracking = Tracking(cluster)
        for fault in faults:
            if reason := fault.lacking():
                yield fault, f"not shown here: {reason}"
                continue
            _say(fault.title)
            try:
                yield fault, strike(cluster, fault, tracking)
            except Stuck as error:
                yield fault, f"FAILED: {error}"
                _mend(cluster)


def _mend(cluster: Cluster) -> None:
    """A cluster as good as new, after a fault that was not survived."""
    cluster.switch.read_only(False)
    cluster.switch.free()
    for host in [cluster.head, *cluster.workers]:
        host.mend()
        host.kill_all()
    cluster.start()


def row(fault: Fault, outcome: Outcome) -> list[str]:
    """Its line in the table."""
    lost = "none" if not outcome.again else f"{_n(outcome.again, 'task')} of {_n(outcome.runs, 'run')}"
    back = "-" if outcome.back is None else f"{outcome.back:.0f} s"
    codes = " then ".join("killed" if code < 0 else str(code) for code in outcome.codes)
    same = "yes" if outcome.same else "**no**"
    return [fault.title, lost, str(outcome.most), back, f"{outcome.pause:.0f} s", codes, same, outcome.remark]


def _n(count: int, what: str) -> str:
    return f"{count} {what}{'s' * (count != 1)}"


HEADER = ["fault", "tasks started again", "starts of a task, at most", "interrupted run continues after",
          "longest pause of the study", "exit code", "same csv", "remark"]  # fmt: skip


def document(found: list[tuple[Fault, Outcome | str]]) -> str:
    """The page docs/faults.md."""
    outcomes = [(fault, outcome) for fault, outcome in found if isinstance(outcome, Outcome)]
    tasks = max((outcome.tasks for _, outcome in outcomes), default=0)
    rows = [HEADER, ["---"] * len(HEADER), *(row(fault, outcome) for fault, outcome in outcomes)]
    table = "\n".join(f"| {' | '.join(cells)} |" for cells in rows)
    others = [f"- {fault.title}: {text.splitlines()[0]}" for fault, text in found if isinstance(text, str)]
    return f"""# Faults

Written by `make faults`. Each row is a study that runs on a cluster of separate hosts (network namespaces of
one machine) while a fault occurs. The cluster has a Ray head without CPUs, two workers of one CPU each, token
authentication, and a store that all of them share. The study searches three methods on five tasks and runs
them with two seeds (`tests/cluster/small_study.py`: {tasks} tasks, each made to last {PACE:g} s). It must end
with the same csv as an undisturbed run in one process, byte for byte, and no task may be started more than
twice. Where trials are pruned, it is the same study with `Halving(rungs=(1, 3), keep=0.5)`
(`tests/cluster/pruned_study.py`).

- **tasks started again**: tasks that had been started and were started a second time. Tasks that a run has
  finished are never lost.
- **interrupted run continues after**: the time from the fault until the interrupted run starts a task again.
  If somebody must act first (run the command again, start the cluster), the time counts from that command. If
  the store could not be written, it counts from the end of that fault to the next result.
- **longest pause of the study**: the longest time during which no task of the whole study started.
- **exit code**: the code of `raycl run`; {GONE} means that the cluster is gone, and the same command
  resumes the study.

{table}

{os.linesep.join(others) + os.linesep if others else ""}
Measured with {_machine()}; all runs use Ray's default settings. Ray gives up a silent node after five
requests without an answer: 15 s if the host answers and its processes do not, about 60 s if nothing answers.
"""


def _machine() -> str:
    cpu = next((line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
                if line.startswith("model name")), platform.machine())  # fmt: skip
    packages = ", ".join(f"{name} {version(name)}" for name in ("ray", "torch", "mlflow", "optuna"))
    text = f"{os.cpu_count()} CPUs ({cpu}), Linux, Python {platform.python_version()}, {packages}"
    if programs := postgres_programs():
        shown = subprocess.run([f"{programs}/postgres", "--version"], capture_output=True, text=True)
        text += f", PostgreSQL {shown.stdout.split()[2]}"
    return text


def main() -> int:
    """Show them all, or some."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", metavar="NAME,...", help=f"the faults to show, of: {', '.join(FAULTS)}")
    parser.add_argument("--out", metavar="FILE", help="write the page to this file; needs all faults")
    chosen = parser.parse_args()
    names = chosen.only.split(",") if chosen.only else list(FAULTS)
    if unknown := [name for name in names if name not in FAULTS]:
        parser.error(f"--only {unknown[0]}: there are {', '.join(FAULTS)}")
    if reason := why_not():
        sys.stderr.write(f"this machine cannot run the cluster: {reason}\n")
        return 2
    found, bad = [], 0
    with stoppable():
        for fault, outcome in matrix(names):
            found.append((fault, outcome))
            bad += outcome.startswith("FAILED") if isinstance(outcome, str) else not outcome.survived
            _say(f"    {outcome if isinstance(outcome, str) else ' | '.join(row(fault, outcome)[1:])}")
    if chosen.out and not chosen.only:
        Path(chosen.out).parent.mkdir(exist_ok=True)
        Path(chosen.out).write_text(document(found))
    _say(f"{bad} of {_n(len(found), 'fault')} not survived")
    return 1 if bad else 0


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())

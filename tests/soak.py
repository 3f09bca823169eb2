"""Kill the driver of a small study at random points, play on, and compare the table byte for byte.

    python -m tests.soak --kills 200
    python -m tests.soak --kills 200 --seed 1 --only 17     # that one again

Drivers are the real command line, forked from a process that has imported everything already, so that a kill
takes seconds and not minutes. Half are killed at a random moment, of the processor seconds that an
undisturbed driver takes, so that a busy machine shifts nothing; half before a random one of their operations
on files, which hits every gap between two of them. A fifth of all are killed a second time while they play
on, and every fifth has no MLflow database yet. Those of `--ray` play on a standing cluster. With `--prune`
the trials of the search pause after their first task, where half of them are pruned.
"""
# ruff: noqa: T201 -- what it prints is what it is for

from __future__ import annotations

import argparse
import contextlib
import importlib
import itertools
import json
import os
import random
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.helpers.every_kind import PRUNED, STUDY
from tests.helpers.late import LATE

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"  # a fork must find no pool of threads
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ.pop("MLFLOW_TRACKING_URI", None)

WARM = ("raycl.cli", "raycl.api", *LATE)
PATIENCE = 900.0  # seconds that a driver may take on a busy machine
OPERATIONS = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "os.listdir",
              "os.scandir", "shutil.rmtree", "sqlite3.connect"}  # fmt: skip


@dataclass(frozen=True)
class Stop:
    """When a driver is killed.

    Attributes:
        kind: "moment" or "operation".
        share: of the processor seconds, or operations on files, of an undisturbed driver; from 0 to 1.
    """

    kind: str
    share: float

    def __str__(self) -> str:
        return f"{self.kind} {self.share:.4f}"


@dataclass
class Driver:
    """One process of the command line, and how it came out."""

    code: int
    cpu: float
    seconds: float
    operations: int = 0

    @property
    def killed(self) -> bool:
        return self.code == -signal.SIGKILL


@dataclass
class Measure:
    """What an undisturbed driver takes."""

    cpu: float
    seconds: float
    operations: int


@dataclass
class Kept:
    """What is compared: the table, the files of runs and masks, and the ledger word by word."""

    csv: bytes
    files: frozenset[str]
    ledger: dict[str, bytes]


@dataclass
class Case:
    """A kill, and what came of it."""

    number: int
    ray: bool
    stops: list[Stop]
    cold: bool
    runs_at_kill: int = 0
    kills: int = 0
    wrong: list[str] = field(default_factory=list)
    temporaries: int = 0
    checkpoints: int = 0
    parts: int = 0


def warm() -> None:
    """Import what a driver needs, and torch's first step; no thread is left behind."""
    for name in WARM:
        importlib.import_module(name)
    from raycl import process

    process.warm_up()


def case_of(seed: int, number: int, ray: bool, attempt: int = 0) -> Case:
    """The case with this number: the same for the same seed."""
    rng = random.Random(f"{seed}/{number}/{attempt}")
    kind = ("moment", "operation")[number % 2]
    stops = [Stop(kind, rng.random())]
    if rng.random() < 0.2:
        stops.append(Stop(kind, rng.random()))
    return Case(number, ray, stops, cold=number % 5 == 0)


def drive(folder: Path, words: Sequence[str], stop: Stop | None = None, of: Measure | None = None) -> Driver:
    """Fork a driver that runs `raycl WORDS` in a folder; kill it when `stop` says."""
    read, write = os.pipe()
    at = int(1 + stop.share * of.operations) if stop and of and stop.kind == "operation" else 0
    started = time.monotonic()
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        _be_driver(folder, words, at, write)
    os.close(write)
    try:
        if stop and of and stop.kind == "moment":
            _kill_in_time(pid, stop.share * of.cpu)
        _, status, used = _ended(pid, folder, words)
        counted = os.read(read, 64)
    finally:
        os.close(read)
    code = os.waitstatus_to_exitcode(status)
    cpu = used.ru_utime + used.ru_stime
    return Driver(code, cpu, time.monotonic() - started, int(counted or 0))


def _ended(pid: int, folder: Path, words: Sequence[str]) -> tuple[int, int, Any]:
    handle = os.pidfd_open(pid)
    try:
        if not select.select([handle], [], [], PATIENCE)[0]:
            os.kill(pid, signal.SIGKILL)
            os.wait4(pid, 0)
            raise RuntimeError(f"raycl {' '.join(words)} in {folder} did not end within {PATIENCE:g} s")
    finally:
        os.close(handle)
    return os.wait4(pid, 0)


def _kill_in_time(pid: int, cpu: float) -> None:
    """Kill a process when it has used so many processor seconds, unless it ends before."""
    handle, clock = os.pidfd_open(pid), (~pid << 3) | 2  # the clock of a process's processor seconds
    try:
        # One thread of it works at a time: it cannot use more than `left` within `left` seconds.
        while (left := cpu - time.clock_gettime(clock)) > 0:
            if select.select([handle], [], [], left)[0]:
                return
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    finally:
        os.close(handle)


def _be_driver(folder: Path, words: Sequence[str], at: int, write: int) -> None:
    """The child: count operations on files below the folder, and die before number `at`."""
    code = 99
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.chdir(folder)
        log = os.open("out", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        counter, below = itertools.count(1), str(folder)
        last = 0

        def hook(event: str, arguments: tuple[Any, ...]) -> None:
            nonlocal last
            if event in OPERATIONS and below in str(arguments[0]):
                last = next(counter)
                if last == at:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(hook)
        from raycl import cli

        code = cli.main(list(words))
        os.write(write, str(last).encode())
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


class Soak:
    """A folder of studies that are killed, and the undisturbed one that they are compared with."""

    def __init__(self, root: Path, seed: int, study: str = STUDY) -> None:
        self.root, self.seed, self.address, self.study = root, seed, "", study
        os.environ["RAYCL_DATA"] = str(root / "data")
        prepared = self.make("prepared")
        self.play(prepared, self.words(False))  # prepares the data
        self.database = root / "mlflow.db"
        shutil.copy(prepared / "results" / "mlflow.db", self.database)
        _forget_runs(self.database)
        self.measures = {False: self.measure("whole", False)}
        self.whole = self.kept(root / "whole")

    def join(self, address: str) -> None:
        """Play on this cluster from here on, as far as a case is to be played on Ray."""
        self.address = address
        self.measures[True] = self.measure("whole-ray", True)
        assert self.kept(self.root / "whole-ray") == self.whole, (
            "on Ray an undisturbed study ends differently"
        )

    def words(self, ray: bool) -> list[str]:
        return ["run", "mine.py", *(["--address", self.address] if ray else ["--local"])]

    def make(self, name: str) -> Path:
        folder = self.root / name
        folder.mkdir()
        (folder / "mine.py").write_text(self.study)
        return folder

    def play(self, folder: Path, words: Sequence[str]) -> Driver:
        driver = drive(folder, words)
        if driver.code:
            raise RuntimeError(f"raycl {' '.join(words)} in {folder}:\n{(folder / 'out').read_text()}")
        return driver

    def measure(self, name: str, ray: bool) -> Measure:
        folder = self.make(name)
        self.give_database(folder)
        driver = self.play(folder, self.words(ray))
        return Measure(driver.cpu, driver.seconds, driver.operations)

    def give_database(self, folder: Path) -> None:
        """MLflow's tables, empty, as most users' second study finds them."""
        (folder / "results").mkdir(exist_ok=True)
        shutil.copy(self.database, folder / "results" / "mlflow.db")

    def kept(self, folder: Path) -> Kept:
        """What a folder's study has come to."""
        self.play(folder, ["report", "mine.py", "--format", "csv", "--no-times", "--out", "table.csv"])
        store = folder / "results"
        files = (p for room in ("runs", "masks", "backbones") for p in (store / room).rglob("[!.]*.*"))
        ledger = {p.relative_to(store).as_posix(): p.read_bytes()
                  for p in (store / "searches").rglob("[!.]*.json")}  # fmt: skip
        names = frozenset(p.relative_to(store).as_posix() for p in files)
        return Kept((folder / "table.csv").read_bytes(), names, ledger)

    def one(self, case: Case) -> Case:
        """Kill a driver as the case says, play on to the end, and look at everything."""
        folder = self.make(f"case-{case.number}")
        if not case.cold:
            self.give_database(folder)
        words, of = self.words(case.ray), self.measures[case.ray]
        for stop in case.stops:
            driver = drive(folder, words, stop, of)
            if not case.kills:
                case.runs_at_kill = len(list((folder / "results" / "runs").glob("??/[!.]*.json")))
            case.kills += driver.killed
            if driver.code not in (0, -signal.SIGKILL):
                case.wrong.append(f"a driver that was to be killed ended with {driver.code}")
        case.wrong += self.played_on(folder, words, case)
        if not case.wrong:
            shutil.rmtree(folder)
        return case

    def played_on(self, folder: Path, words: Sequence[str], case: Case) -> Iterator[str]:
        """What is wrong after the same command again, a line each."""
        driver = drive(folder, words)
        if driver.code:
            yield f"the same command again ended with {driver.code}"
            return
        found = self.kept(folder)
        if found.csv != self.whole.csv:
            yield "the table differs"
        if found.ledger != self.whole.ledger:
            yield "proposals differ"
        for name in sorted(self.whole.files - found.files):
            yield f"{name} is missing"
        for name in sorted(found.files - self.whole.files):
            if not _is_part(folder / "results" / name):
                yield f"{name} is more than an undisturbed store has"
            case.parts += 1
        yield from _torn(folder / "results")
        pruned = 2 if self.study == PRUNED else 0  # one of each generation
        yield from _in_mlflow(folder / "results" / "mlflow.db", folder, pruned)
        if "Traceback" in (said := (folder / "out").read_text()) or "out of reach" in said:
            yield "a driver said more than it should"
        store = folder / "results"
        case.temporaries = sum(p.is_file() for p in store.rglob(".*"))
        case.checkpoints = sum(p.is_file() for p in (store / "checkpoints").rglob("[!.]*"))


def _is_part(path: Path) -> bool:
    """Whether a file is the run of one task, whose driver was killed after it had put the whole together."""
    return path.suffix == ".json" and "part" in json.loads(path.read_text())["spec"]


def _torn(store: Path) -> Iterator[str]:
    """Files of a store that are not whole, and what should not be there; temporary ones do not count."""
    for room in ("failures", "damaged"):
        for path in (store / room).rglob("[!.]*"):
            yield f"{room} holds {path.name}"
    for path in store.rglob("[!.]*.json"):
        try:
            json.loads(path.read_text())
        except ValueError as error:
            yield f"{path.name}: {error}"
    for path in store.rglob("[!.]*.npz"):
        if not zipfile.is_zipfile(path) or zipfile.ZipFile(path).testzip():
            yield f"{path.name} is torn"


def _in_mlflow(database: Path, folder: Path, pruned: int) -> Iterator[str]:
    """Runs that stand twice in MLflow, or not as they ended."""
    import sqlite3

    with contextlib.closing(sqlite3.connect(database)) as base:
        (sound,) = base.execute("pragma integrity_check").fetchone()
        if sound != "ok":
            yield f"MLflow's database: {sound}"
        rows = base.execute(
            "select t.value, coalesce(p.value, ''), r.status from runs r "
            "join tags t on t.run_uuid = r.run_uuid and t.key = 'raycl.key' "
            "left join tags p on p.run_uuid = r.run_uuid and p.key = 'mlflow.parentRunId' "
            "where r.lifecycle_stage = 'active'"
        ).fetchall()
        (runs,) = base.execute("select count(*) from runs").fetchone()
    if len(rows) != runs:
        yield f"{runs - len(rows)} runs in MLflow have no key"
    for (key, parent), count in Counter((key, parent) for key, parent, _ in rows).items():
        if count > 1:
            yield f"{key} of {parent or 'none'} stands {count} times in MLflow"
    ends = Counter(status for *_, status in rows)
    if ends["KILLED"] != pruned or len(rows) != ends["KILLED"] + ends["FINISHED"]:
        yield f"runs in MLflow are {dict(ends)}; {pruned} should be KILLED, which a pruned trial is"
    if len(rows) != EXPECTED_IN_MLFLOW:
        yield f"MLflow has {len(rows)} runs instead of {EXPECTED_IN_MLFLOW}"


EXPECTED_IN_MLFLOW = 3 + 5 + 2 + 2  # cells; 4 trials, the best of which is seed 1, and seed 2; seeds; seeds


def _forget_runs(database: Path) -> None:
    """Leave MLflow's tables empty but for the default experiment."""
    import sqlite3

    with contextlib.closing(sqlite3.connect(database)) as base:
        tables = [name for (name,) in base.execute("select name from sqlite_master where type = 'table'")]
        for name in tables:
            if name.startswith(("run", "metric", "param", "tag", "latest_metric", "experiment_tag")):
                base.execute(f"delete from {name}")
        base.execute("delete from experiments where experiment_id != 0")
        base.commit()


@contextlib.contextmanager
def standing_cluster(folder: Path) -> Iterator[str]:
    """A Ray head on loopback with a token, in processes of its own; gives its address."""
    token, log = folder / "token", folder / "head.log"
    token.write_text(f"{random.SystemRandom().getrandbits(256):064x}")
    token.chmod(0o600)
    os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    scratch = tempfile.mkdtemp(prefix="soak-")
    words = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", f"--port={port}", "--num-cpus=2",
             "--node-ip-address=127.0.0.1", "--include-dashboard=false", "--block",
             f"--temp-dir={scratch}"]  # fmt: skip
    with log.open("wb") as out:
        head = subprocess.Popen(words, stdout=out, stderr=out, start_new_session=True)
    try:
        deadline = time.monotonic() + 180
        while "Ray runtime started" not in log.read_text():
            if head.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"ray start: {log.read_text()}")
            time.sleep(0.5)
        yield f"127.0.0.1:{port}"
    finally:
        _end(head, scratch)
        shutil.rmtree(scratch, ignore_errors=True)


def _end(head: subprocess.Popen[bytes], scratch: str) -> None:
    """End the cluster: its group, and what names its scratch folder."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(head.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        head.wait(30)
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if scratch in (entry / "cmdline").read_text() and int(entry.name) != os.getpid():
                os.kill(int(entry.name), signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(head.pid, signal.SIGKILL)
    head.wait()


def soak(root: Path, options: argparse.Namespace) -> int:
    """Play all cases; the number of those that came out wrong."""
    warm()
    play = Soak(root, options.seed, PRUNED if options.prune else STUDY)
    _say("undisturbed", play.measures[False])
    print(f"{len(play.whole.files)} files, a table of {len(play.whole.csv)} bytes", flush=True)
    numbers = [options.only] if options.only is not None else list(range(options.kills))
    cases: list[Case] = []
    if on_ray := [number for number in numbers if number < options.ray]:
        with standing_cluster(root) as address:
            play.join(address)
            _say("undisturbed on Ray", play.measures[True])
            for number in on_ray:
                cases += point(play, number, options)
    for number in numbers[len(on_ray) :]:
        cases += point(play, number, options)
    return summed_up(cases, options)


def point(play: Soak, number: int, options: argparse.Namespace) -> list[Case]:
    """Play a case; again at another point if it ended before its kill, as happens close to the end."""
    cases: list[Case] = []
    while len(cases) < 10 and not (cases and (cases[-1].kills or cases[-1].wrong)):
        cases.append(play.one(case_of(options.seed, number, number < options.ray, len(cases))))
    last = cases[-1]
    if last.wrong or options.verbose:
        where = f"{number}{' on Ray' if last.ray else ''} ({', '.join(map(str, last.stops))}"
        came = "; ".join(last.wrong) or "the same"
        print(f"kill {where}, {last.runs_at_kill} runs were done): {came}", flush=True)
    elif (number + 1) % 20 == 0:
        print(f"{number + 1} of {options.kills} points", flush=True)
    return cases


def _say(what: str, of: Measure) -> None:
    print(f"{what}: {of.seconds:.1f} s, {of.cpu:.1f} s of a processor, {of.operations} operations on files",
          flush=True)  # fmt: skip


def summed_up(cases: Sequence[Case], options: argparse.Namespace) -> int:
    """Print what came of all."""
    killed = [case for case in cases if case.kills]
    wrong = [case for case in cases if case.wrong]
    kinds = Counter(case.stops[0].kind for case in killed)
    done = sorted(case.runs_at_kill for case in killed)
    said = ", ".join(f"{count} by {kind}" for kind, count in sorted(kinds.items()))
    print(f"{len(killed)} kill points ({said}), {sum(case.kills for case in killed)} kills: "
          f"{len(killed) - len([c for c in wrong if c.kills])} times the same table")  # fmt: skip
    if done:
        quarters = [done[int(q * (len(done) - 1))] for q in (0, 0.25, 0.5, 0.75, 1)]
        print(f"finished runs in the store when it was killed: least, quartiles, most {quarters}")
    print(f"{sum(case.cold for case in killed)} had no database before; "
          f"{len(cases) - len(killed)} ended before their kill; left over in all: "
          f"{sum(case.temporaries for case in cases)} temporary files, "
          f"{sum(case.checkpoints for case in cases)} checkpoints, "
          f"{sum(case.parts for case in cases)} parts of runs; `raycl gc` deletes them")  # fmt: skip
    for case in wrong:
        print(f"WRONG {case.number}: again with --seed {options.seed} --kills {options.kills} "
              f"--ray {options.ray}{' --prune' * options.prune} --only {case.number} --keep")  # fmt: skip
    return len(wrong)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--kills", type=int, default=200, help="kill points (200)")
    parser.add_argument("--ray", type=int, default=None, help="of them on Ray, the first ones (a tenth)")
    parser.add_argument("--seed", type=int, default=1, help="of all points (1)")
    parser.add_argument("--prune", action="store_true", help="of a study whose search prunes trials")
    parser.add_argument("--only", type=int, help="this point alone")
    parser.add_argument("--keep", action="store_true", help="leave the folder, and say where")
    parser.add_argument("--verbose", action="store_true", help="a line per point")
    options = parser.parse_args()
    options.ray = options.kills // 10 if options.ray is None else options.ray
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the cluster is ended
    root = Path(tempfile.mkdtemp(prefix="raycl-soak-"))
    try:
        return 1 if soak(root, options) else 0
    finally:
        if options.keep:
            print(root)
        else:
            shutil.rmtree(root, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())

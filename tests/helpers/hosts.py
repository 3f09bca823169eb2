"""Separate hosts on one machine: a network namespace each, joined by a switch that has a namespace too.

A host has its own network, process ids, host name, shared memory, scratch folder of Ray and data folder; it
shares the disk, and one folder that stands for the file server, with the others. Nothing is added to the
machine's own network, and every host lives by a process that the kernel ends together with this one: nothing
is left behind, however this process ends. Needs root, and Debian's `iproute2` and `util-linux`.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any

NETWORK = "10.77.0"  # exists inside the namespaces only, so several clusters may use it at once
RAY_PORT, MLFLOW_PORT, POSTGRES_PORT = 6379, 5000, 5432  # of hosts that have all their ports to themselves
PREFIX = "raycl-hosts-"
SECONDS = 240.0  # that anything may take before it counts as stuck
TOOLS = ("ip", "nsenter", "setpriv", "unshare")


class Stuck(AssertionError):
    """Something that was waited for did not come."""


def why_not() -> str:
    """Why hosts cannot be made on this machine; "" if they can."""
    if sys.platform != "linux":
        return "network namespaces are a thing of Linux"
    if os.geteuid() != 0:
        return "network namespaces need root"
    if missing := [tool for tool in TOOLS if shutil.which(tool) is None]:
        return f"not installed: {', '.join(missing)} (Debian: iproute2, util-linux)"
    tried = subprocess.run(
        ["unshare", "--net", "--mount", "--pid", "--uts", "--fork", "--mount-proc", "sh", "-c",
         "ip link add br0 type bridge && ip link add veth0 type veth peer name veth1 && "
         "mount -t tmpfs none /dev/shm"],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    return "" if tried.returncode == 0 else f"namespaces cannot be made: {tried.stderr.strip()}"


def wait_for(
    condition: Callable[[], Any], what: str, seconds: float = SECONDS, beside: Callable[[], str] | None = None
) -> float:
    """Look until the condition holds; gives the seconds it took.

    Args:
        beside: says why there is no point in waiting any longer; "" while there is.

    Raises:
        Stuck: it never held.
    """
    began = time.monotonic()
    while not condition():
        over = beside() if beside else ""
        if over or time.monotonic() - began > seconds:
            raise Stuck(f"waited {time.monotonic() - began:.0f} s for {what}{over and ': ' + over}")
        time.sleep(0.1)
    return time.monotonic() - began


class Process:
    """A process on a host, its output in a file."""

    def __init__(self, entered: subprocess.Popen[bytes], output: Path) -> None:
        self._entered, self.output = entered, output

    @property
    def pid(self) -> int:
        """As this machine numbers it; 0 where it is gone."""
        children = Path(f"/proc/{self._entered.pid}/task/{self._entered.pid}/children")
        with contextlib.suppress(OSError):
            return int((children.read_text().split() or ["0"])[0])
        return 0

    @property
    def code(self) -> int | None:
        """Its exit code; a signal's number, negative; None while it runs."""
        return self._entered.poll()

    def text(self) -> str:
        return self.output.read_text(errors="replace")

    def signal(self, number: int) -> None:
        if pid := self.pid:
            os.kill(pid, number)

    def wake(self) -> None:
        """Let what entered the host go on: it stops together with the process, and would never see it end."""
        if self.code is None:
            self._entered.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self.signal(signal.SIGKILL)
        self._entered.wait(60)

    def let_go(self) -> None:
        """After its host has ended, and it with that."""
        self._entered.kill()
        self._entered.wait()

    def wait(self, seconds: float = SECONDS) -> int:
        """Its exit code.

        Raises:
            Stuck: it runs on.
        """
        try:
            return self._entered.wait(seconds)
        except subprocess.TimeoutExpired:
            raise Stuck(f"still running after {seconds:.0f} s, and said:\n{self.text()[-3000:]}") from None


class Switch:
    """What joins the hosts: a bridge, the folder they share, and scratch on this machine's disk.

    Attributes:
        root: scratch, the same path on every host.
        shared: a file system of its own in memory, seen by all hosts and by nobody else.
    """

    def __init__(self, shared_mib: int = 512) -> None:
        _sweep()
        self.root = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-"))
        self.root.chmod(0o755)  # PostgreSQL runs as another user
        self.shared, self.hosts = self.root / "shared", dict[str, Host]()
        self.shared.mkdir()
        self._mib = shared_mib
        script = (
            f"mount -t tmpfs -o size={shared_mib}m,mode=755 raycl {self.shared} && "
            "ip link add br0 type bridge && ip link set br0 up && ip link set lo up && echo ready && "
            "exec sleep infinity"
        )
        self._anchor = _anchored(["unshare", "--net", "--mount", "--uts", "sh", "-c", script])

    @property
    def pid(self) -> int:
        return self._anchor.pid

    def seen(self, path: Path) -> Path:
        """A path as the hosts see it, for reading from here."""
        return Path(f"/proc/{self.pid}/root{path}")

    def host(self, name: str, environment: Mapping[str, str]) -> Host:
        """Make a host and join it to the switch."""
        host = self.hosts[name] = Host(self, name, f"{NETWORK}.{len(self.hosts) + 1}", environment)
        return host

    def run(self, *command: str, mount: bool = False) -> None:
        """Run a command in the switch's network, or in its view of the disk."""
        inside = ["--mount"] if mount else ["--net"]
        done = subprocess.run(
            ["nsenter", "--target", str(self.pid), *inside, *command], capture_output=True, text=True
        )
        if done.returncode:
            raise OSError(f"{' '.join(command)}: {done.stderr.strip()}")

    def read_only(self, yes: bool) -> None:
        """Let the shared folder take no writes, as a file server in trouble does; or take them again."""

        def remounted() -> bool:
            with contextlib.suppress(OSError):  # busy, while a file is open for writing
                self.run("mount", "-o", f"remount,{'ro' if yes else 'rw'}", str(self.shared), mount=True)
                return True
            return False

        wait_for(remounted, "a moment in which nobody writes")

    def fill(self) -> None:
        """Leave no room in the shared folder."""
        self.run("sh", "-c", f"head -c {self._mib}M /dev/zero > {self.shared}/ballast || true", mount=True)

    def free(self) -> None:
        """Take the ballast away."""
        self.run("rm", "-f", f"{self.shared}/ballast", mount=True)

    def close(self) -> None:
        """End every host and remove the scratch."""
        for host in self.hosts.values():
            host.close()
        self._anchor.kill()
        self._anchor.wait()
        shutil.rmtree(self.root, ignore_errors=True)


class Host:
    """One host: commands run on it as on a machine of its own."""

    def __init__(self, switch: Switch, name: str, address: str, environment: Mapping[str, str]) -> None:
        self.switch, self.name, self.address = switch, name, address
        self._started = list[Process]()
        self.own = switch.root / "hosts" / name
        self.data = switch.root / "data"
        for folder in ("ray", "data", "log"):
            (self.own / folder).mkdir(parents=True)
        scratch = Path("/tmp/ray")  # Ray's own default, which on this host is the host's own folder
        for folder in (self.data, scratch):
            folder.mkdir(exist_ok=True)
        self.environment = dict(environment) | {"RAYCL_DATA": str(self.data), "HOME": str(self.own)}
        script = (
            f"hostname {name} && mount -t tmpfs -o size=512m none /dev/shm && "
            f"mount --bind {self.own}/ray {scratch} && mount --bind {self.own}/data {self.data} && "
            f"ip link set lo up && exec {sys.executable} -ISc '{_FIRST}'"
        )
        self._anchor = _anchored(
            ["nsenter", "--target", str(switch.pid), "--mount", "unshare", "--net", "--mount", "--pid",
             "--uts", "--fork", "--kill-child", "--mount-proc", "sh", "-c", script]
        )  # fmt: skip
        children = Path(f"/proc/{self._anchor.pid}/task/{self._anchor.pid}/children").read_text().split()
        self.pid = int(children[0])
        self._port = f"port{len(switch.hosts)}"
        switch.run("ip", "link", "add", self._port, "type", "veth", "peer", "name", "eth0",
                   "netns", str(self.pid))  # fmt: skip
        switch.run("ip", "link", "set", self._port, "master", "br0", "up")
        self.run("ip", "addr", "add", f"{address}/24", "dev", "eth0")
        self.run("ip", "link", "set", "eth0", "up")

    def _inside(self, command: Sequence[str], extra: Mapping[str, str], user: str) -> dict[str, Any]:
        as_user = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"] if user else []
        return {
            "args": ["nsenter", "--target", str(self.pid), "--net", "--mount", "--pid", "--uts",
                     f"--wd={self.switch.root}", *as_user, *command],
            "env": self.environment | dict(extra),
            "stdin": subprocess.DEVNULL,
            "start_new_session": True,  # Ctrl-C is for this process, which then ends them all
        }  # fmt: skip

    def try_run(
        self, *command: str, seconds: float = SECONDS, env: Mapping[str, str] | None = None, user: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        inside = self._inside(command, env or {}, user)
        # Into files: a daemon that the command leaves behind would keep a pipe open.
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
            done = subprocess.run(**inside, stdout=out, stderr=err, timeout=seconds)
            out.seek(0), err.seek(0)
            return subprocess.CompletedProcess(command, done.returncode, out.read(), err.read())

    def run(self, *command: str, **options: Any) -> str:
        """Run a command that must succeed; gives what it printed.

        Raises:
            Stuck: it did not.
        """
        done = self.try_run(*command, **options)
        if done.returncode:
            said = f"{done.stdout[-1500:]}{done.stderr[-1500:]}"
            raise Stuck(f"{' '.join(command)} on {self.name} ended with {done.returncode}:\n{said}")
        return done.stdout

    def start(self, *command: str, log: str, env: Mapping[str, str] | None = None, user: str = "") -> Process:
        """Start a command; both its streams go to a file."""
        output = self.own / "log" / log
        with output.open("wb") as file:
            entered = subprocess.Popen(
                **self._inside(command, env or {}, user), stdout=file, stderr=subprocess.STDOUT
            )
        self._started.append(Process(entered, output))
        return self._started[-1]

    def pids(self, wanted: Callable[[str], bool] = lambda command: True) -> list[int]:
        """Processes of this host by their command lines, as this machine numbers them."""
        home, found = os.readlink(f"/proc/{self.pid}/ns/pid"), []
        for place in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if place.name.isdigit() and os.readlink(place / "ns/pid") == home:
                    command = (place / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                    if int(place.name) != self.pid and wanted(command):
                        found.append(int(place.name))
        return found

    def outer(self, pid: int) -> int:
        """A process that this host numbers so, as this machine numbers it; 0 where it is gone."""
        for found in self.pids():
            with contextlib.suppress(OSError):
                status = Path(f"/proc/{found}/status").read_text()
                numbers = next(line for line in status.splitlines() if line.startswith("NSpid:"))
                if numbers.split()[-1] == str(pid) and "(zombie)" not in status:
                    return found
        return 0

    def kill(
        self, wanted: Callable[[str], bool] = lambda command: True, number: int = signal.SIGKILL
    ) -> list[int]:
        """Send a signal to processes of this host; gives their ids."""
        found = self.pids(wanted)
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        return found

    def kill_all(self) -> int:
        """SIGKILL to every process of this host, and wait until they are gone; gives how many there were."""
        killed = set(self.kill())
        wait_for(lambda: not killed & set(self.pids()), f"processes of {self.name} to be gone")
        return len(killed)

    def cut(self) -> None:
        """Pull the cable."""
        self.switch.run("ip", "link", "set", self._port, "down")

    def mend(self) -> None:
        """Put the cable in again."""
        self.switch.run("ip", "link", "set", self._port, "up")

    def close(self) -> None:
        """End it and all that runs on it: without its first process the kernel ends the rest."""
        self._anchor.kill()
        self._anchor.wait()
        for process in self._started:
            process.let_go()


_FIRST = (
    'import signal; signal.signal(17, 1); print("ready", flush=True); signal.pause()'  # reaps all orphans
)


def _anchored(command: list[str]) -> subprocess.Popen[str]:
    """A process that holds namespaces, which the kernel ends together with this one.

    Raises:
        OSError: it did not come up.
    """
    made = subprocess.Popen(
        ["setpriv", "--pdeathsig", "KILL", *command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    assert made.stdout is not None and made.stderr is not None
    if made.stdout.readline().strip() != "ready":
        raise OSError(f"{' '.join(command)}: {made.stderr.read().strip()}")
    made.stdout.close()
    made.stderr.close()
    return made


def _sweep() -> None:
    """Remove scratch that a process left behind which was killed: its hosts have gone with it."""
    for place in Path(tempfile.gettempdir()).glob(f"{PREFIX}*-*"):
        owner = place.name.removeprefix(PREFIX).partition("-")[0]
        if owner.isdigit() and not Path(f"/proc/{owner}").exists():
            shutil.rmtree(place, ignore_errors=True)


def environment(token: Path) -> dict[str, str]:
    """What processes on hosts inherit: this one's, without what would lead them elsewhere."""
    led = ("RAY_", "RAYCL_", "MLFLOW_", "PYTEST_", "PG", "TUNE_", "COLUMNS", "LINES")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(led) and not k.lower().endswith("_proxy")}
    return kept | {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), kept.get("PATH", "/usr/bin:/bin")]),
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_USAGE_STATS_ENABLED": "0",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "OMP_NUM_THREADS": "1",
    }


class Cluster:
    """A Ray head without CPUs and some workers, closed by a token; drivers run on the head's host.

    Attributes:
        store: in the folder that all hosts share.
    """

    def __init__(
        self,
        workers: int = 2,
        cpus: int = 1,
        shared_mib: int = 512,
        extra: Mapping[str, str] | None = None,
    ) -> None:
        self.switch = Switch(shared_mib)
        try:
            self.token = self.switch.root / "token"
            self.token.write_text(secrets.token_hex(32))
            self.token.chmod(0o600)
            self.store, self.cpus, self._drivers = self.switch.shared / "results", cpus, 0
            self.environment = environment(self.token) | dict(extra or {})
            self.head = self.switch.host("head", self.environment)
            self.workers = [self.switch.host(f"worker{n + 1}", self.environment) for n in range(workers)]
        except BaseException:
            self.switch.close()
            raise

    @property
    def address(self) -> str:
        return f"{self.head.address}:{RAY_PORT}"

    def __enter__(self) -> Cluster:
        try:
            self.start()
        except BaseException:
            self.switch.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.switch.close()

    def start(self) -> None:
        """Start Ray on every host."""
        self.start_head()
        with ThreadPoolExecutor() as side_by_side:
            list(side_by_side.map(self.start_worker, self.workers))

    def start_head(self) -> None:
        self.head.run("ray", "start", "--head", "--num-cpus=0", f"--port={RAY_PORT}",
                      "--include-dashboard=false", *self._common(self.head))  # fmt: skip

    def start_worker(
        self,
        host: Host,
        env: Mapping[str, str] | None = None,
        options: Sequence[str] = (),
        python: str = sys.executable,
    ) -> None:
        """Start Ray on a host, in up to three attempts.

        Ray gives a node 30 s to come up, whatever else the machine does.
        """
        command = [python, "-m", "ray.scripts.scripts", "start", f"--address={self.address}"]
        for last in (False, False, True):
            try:
                host.run(*command, f"--num-cpus={self.cpus}", *self._common(host), *options, env=env)
                return
            except Stuck:
                if last:
                    raise
                host.kill_all()

    @staticmethod
    def _common(host: Host) -> list[str]:
        return [f"--node-ip-address={host.address}", "--disable-usage-stats",
                "--object-store-memory=100000000"]  # fmt: skip

    def nodes(self) -> list[str]:
        """Names of hosts whose Ray nodes are alive, as the head knows them."""
        asked = (
            "import json, ray; ray.init(address='auto', log_to_driver=False, logging_level='ERROR'); "
            "print('alive', json.dumps([n['NodeManagerHostname'] for n in ray.nodes() if n['Alive']]))"
        )
        said = self.head.run(sys.executable, "-c", asked).splitlines()  # Ray says things of its own between
        return list(
            json.loads(next(line for line in said if line.startswith("alive ")).removeprefix("alive "))
        )

    def raycl(self, *words: str, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """Run a command of raycl on the head's host, to its end."""
        return self.head.try_run(*_raycl(words), env=env)

    def driver(
        self, study: Path, *words: str, env: Mapping[str, str] | None = None, store: Path | None = None
    ) -> Process:
        """Start `raycl run` on the head's host."""
        self._drivers += 1
        command = ["run", str(study), "--address", self.address, "--store", str(store or self.store), *words]
        return self.head.start(*_raycl(command), log=f"driver{self._drivers}.log", env=env)

    def csv(self, study: Path, store: Path | None = None, only: str = "*") -> str:
        """The study's results as the report prints them, without times."""
        done = self.raycl("report", str(study), "--only", only, "--store", str(store or self.store),
                          "--format", "csv", "--no-times")  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    def finished(self) -> int:
        """Results in the store."""
        return len(list(self.switch.seen(self.store).glob("runs/??/*.json")))


def _raycl(words: Sequence[str]) -> list[str]:
    return [sys.executable, "-m", "raycl.cli", *words]


class Tracking:
    """PostgreSQL on a host of its own, and MLflow on another, behind a password and a list of host names."""

    def __init__(self, cluster: Cluster) -> None:
        self.db = cluster.switch.host("db", cluster.environment)
        self.server = cluster.switch.host("mlflow", cluster.environment)
        self.passwords = {name: secrets.token_urlsafe(18) for name in ("raycl", "postgres", "flask")}
        self.folder = self.db.own / "postgres"
        self.user = postgres_user()
        self.uri = f"http://{self.server.address}:{MLFLOW_PORT}"
        self.variables = {  # of a driver
            "MLFLOW_TRACKING_URI": self.uri,
            "MLFLOW_TRACKING_USERNAME": "raycl",
            "MLFLOW_TRACKING_PASSWORD": self.passwords["raycl"],
        }
        self._starts = 0
        self._make_database()
        self.start_postgres()
        self.db.run("createdb", "-h", self.db.address, "-U", "raycl", "mlflow", env=self._postgres)
        self.start_mlflow()

    @property
    def _postgres(self) -> dict[str, str]:
        return {"PGPASSWORD": self.passwords["postgres"]}

    def _make_database(self) -> None:
        self.folder.mkdir()
        shutil.chown(self.folder, self.user)
        secret = self.db.own / "password"
        secret.write_text(self.passwords["postgres"])
        shutil.chown(secret, self.user)
        self.db.run(f"{postgres_programs()}/initdb", "-D", str(self.folder), "-U", "raycl", "--no-sync",
                    "--auth=scram-sha-256", f"--pwfile={secret}", user=self.user)  # fmt: skip
        secret.unlink()
        with (self.folder / "pg_hba.conf").open("a") as file:
            file.write(f"host all raycl {NETWORK}.0/24 scram-sha-256\n")

    def start_postgres(self) -> None:
        """Start the database, and wait until it takes connections."""
        self._starts += 1
        self.postgres = self.db.start(
            f"{postgres_programs()}/postgres", "-D", str(self.folder), "-k", str(self.folder), "-h",
            self.db.address, "-p", str(POSTGRES_PORT), log=f"postgres{self._starts}.log", user=self.user,
        )  # fmt: skip
        ready = [f"{postgres_programs()}/pg_isready", "-q", "-h", self.db.address]
        wait_for(lambda: self.db.try_run(*ready).returncode == 0, "PostgreSQL", beside=_ended(self.postgres))

    def stop_postgres(self) -> None:
        """As `pg_ctl stop -m fast` does: connections are closed."""
        self.postgres.signal(signal.SIGINT)
        self.postgres.wait()

    def start_mlflow(self) -> None:
        """Start the server, and wait until it answers."""
        place = f"{self.db.address}:{POSTGRES_PORT}/mlflow"
        address = f"{self.server.address}:{MLFLOW_PORT}"
        settings = self.server.own / "auth.ini"
        settings.write_text(
            "[mlflow]\ndefault_permission = NO_PERMISSIONS\nadmin_username = raycl\n"
            f"database_uri = sqlite:///{self.server.own}/auth.db\n"
            "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
        )
        self._starts += 1
        self.mlflow = self.server.start(
            sys.executable, "-m", "mlflow", "server", "--host", self.server.address, "--port",
            str(MLFLOW_PORT), "--app-name", "basic-auth", "--allowed-hosts", address, "--workers", "1",
            "--artifacts-destination", str(self.server.own / "artifacts"), log=f"mlflow{self._starts}.log",
            env={  # not as options, which `ps` would show
                "MLFLOW_BACKEND_STORE_URI": f"postgresql+psycopg2://raycl:{self.passwords['postgres']}@{place}",
                "MLFLOW_AUTH_CONFIG_PATH": str(settings),
                "MLFLOW_AUTH_ADMIN_PASSWORD": self.passwords["raycl"],
                "MLFLOW_FLASK_SERVER_SECRET_KEY": self.passwords["flask"],
                "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            },
        )  # fmt: skip
        wait_for(lambda: self.status("/health") == 200, "MLflow", beside=_ended(self.mlflow))

    def kill_mlflow(self) -> None:
        """SIGKILL to all of its processes."""
        self.server.kill_all()

    def pause_mlflow(self) -> None:
        """SIGSTOP: it takes connections and answers none."""
        self.server.kill(number=signal.SIGSTOP)

    def resume_mlflow(self) -> None:
        """SIGCONT, and what waited is answered."""
        self.server.kill(number=signal.SIGCONT)
        self.mlflow.wake()

    def status(self, path: str, host: str = "", password: str | None = None) -> int:
        """The HTTP status of a request from the server's own host; 0 where nothing answers."""
        login = "" if password is None else f"raycl:{password}"
        done = self.server.try_run(sys.executable, "-c", _ASK, self.uri + path, host, login)
        return int(done.stdout or 0)

    def runs(self, study: str) -> dict[str, str]:
        """Runs of a study by the tag `raycl.key`, and the digest of what each holds."""
        done = self.server.run(sys.executable, "-c", _LIST, study, env=self.variables)
        return dict(json.loads(done.splitlines()[-1]))


_ASK = """
import base64, sys, urllib.error, urllib.request
_, url, host, login = sys.argv
ask = urllib.request.Request(url, headers={"Host": host} if host else {})
if login:
    ask.add_header("Authorization", "Basic " + base64.b64encode(login.encode()).decode())
try:
    print(urllib.request.urlopen(ask, timeout=30).status)
except urllib.error.HTTPError as error:
    print(error.code)
except OSError:
    print(0)
"""
_LIST = """
import json, sys
from mlflow.tracking import MlflowClient
client = MlflowClient()
experiment = client.get_experiment_by_name(sys.argv[1])
runs = client.search_runs([experiment.experiment_id], max_results=5000) if experiment else []
told = {run.data.tags["raycl.key"]: run.data.tags.get("raycl.content", "") for run in runs}
assert len(told) == len(runs), "a run stands there twice"
print(json.dumps(told))
"""


def _ended(process: Process) -> Callable[[], str]:
    return lambda: "" if process.code is None else f"it ended with {process.code}:\n{process.text()[-3000:]}"


def postgres_programs() -> str:
    """The folder of PostgreSQL's server programs, or ""."""
    found = shutil.which("initdb")
    if found:
        return str(Path(found).resolve().parent)
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return str(places[-1].parent) if places else ""


def postgres_user() -> str:
    """The user that PostgreSQL runs as, since it refuses to be root."""
    import pwd

    known = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in known else "nobody"


def no_tracking() -> str:
    """Why MLflow on PostgreSQL cannot be had on this machine; "" if it can."""
    import importlib.util

    if not postgres_programs():
        return "PostgreSQL's server programs are not installed (Debian: postgresql)"
    lacking = [name for name in ("psycopg2", "flask_wtf") if importlib.util.find_spec(name) is None]
    return f"not installed: {', '.join(lacking)}" if lacking else ""


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """SIGTERM ends this process as Ctrl-C does, through every `finally`."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)

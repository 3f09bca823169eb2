"""Plays the recipes in docker/ without a container engine.

A `Room` gives what an engine would: a network, host names and process ids of its own, and a folder for each
path that a container mounts. Commands, environments, health checks and secrets are taken out of the recipes
themselves; only paths are replaced. Needs root, and Debian's `iproute2` and `util-linux`.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from tests.helpers.hosts import SECONDS, postgres_programs, postgres_user

HOME = Path(__file__).parents[2]
DOCKER = HOME / "docker"
ADDRESS = "198.18.0.1"  # exists inside a room only
UNSHARE = ("unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")


class Room:
    """A machine within this one, with scratch on its disk; ends all it started when it closes or dies.

    Attributes:
        root: scratch; short, since the paths of sockets must be.
    """

    def __init__(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="rc-"))
        self.root.chmod(0o711)  # PostgreSQL runs as another user
        for name in ("home", "logs", "ray", "store", "data", "artifacts", "studies"):
            (self.root / name).mkdir()
        names = f"{socket.gethostname()} head mlflow db"
        (self.root / "hosts").write_text(f"127.0.0.1 localhost\n{ADDRESS} {names}\n")
        (self.root / "resolv.conf").write_text("nameserver 127.0.0.1\n")  # nobody there: names are in hosts
        script = (
            f"mount --bind {self.root}/hosts /etc/hosts && mount -t tmpfs none /dev/shm && "
            f"mount --bind {self.root}/resolv.conf /etc/resolv.conf && "
            f"ip link set lo up && ip address add {ADDRESS}/32 dev lo && ip route add default dev lo && "
            "echo ready && exec sleep infinity"
        )
        words = ["setpriv", "--pdeathsig", "KILL", *UNSHARE, "sh", "-c", script]
        self._holder = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        assert self._holder.stdout is not None and self._holder.stdout.readline() == "ready\n"
        [self._init] = _children(self._holder.pid)
        self.started: dict[str, subprocess.Popen[bytes]] = {}
        self._again: dict[str, Callable[[], object]] = {}

    def environment(self, **more: str) -> dict[str, str]:
        """What every process in the room finds: little, and nothing of this one's."""
        return {
            "PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
            "HOME": str(self.root / "home"),
            "RAY_TMPDIR": str(self.root / "ray"),
            "LANG": "C.UTF-8",
            **more,
        }

    def _words(self, command: Sequence[str], user: int) -> list[str]:
        inside = ["nsenter", "--target", str(self._init), "--net", "--mount", "--pid"]
        drop = ["setpriv", "--reuid", str(user), "--regid", str(user), "--clear-groups"] if user else []
        return [*inside, *drop, *command]

    def start(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        user: int = 0,
        restarts: int = 0,
    ) -> subprocess.Popen[bytes]:
        """Start a process; what it says goes to logs/NAME.

        Args:
            restarts: how often to start it again, should it end while it is waited for.
        """
        self._again[name] = lambda: self.start(name, command, environment, user, restarts - 1)
        if not restarts:
            del self._again[name]
        with self.log(name).open("ab") as log:
            self.started[name] = subprocess.Popen(
                self._words(command, user), stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                env=dict(environment), cwd=self.root, start_new_session=True,
            )  # fmt: skip
        return self.started[name]

    def run(
        self, command: Sequence[str], environment: Mapping[str, str] | None = None, user: int = 0
    ) -> subprocess.CompletedProcess[str]:
        """Run a process to its end."""
        return subprocess.run(
            self._words(command, user), capture_output=True, text=True, stdin=subprocess.DEVNULL,
            env=dict(environment or self.environment()), cwd=self.root, timeout=SECONDS,
        )  # fmt: skip

    def log(self, name: str) -> Path:
        return self.root / "logs" / name

    def wait(self, name: str, ready: Callable[[], bool]) -> None:
        """Wait until it is ready.

        Raises:
            AssertionError: what was started under that name has ended, or it never came.
        """
        began = time.monotonic()
        while not ready():
            said = self.log(name).read_text(errors="replace")[-3000:]
            if self.started[name].poll() is not None and name in self._again:
                self._again[name]()
            assert self.started[name].poll() is None, f"{name} ended:\n{said}"
            assert time.monotonic() - began < SECONDS, f"{name} is not ready:\n{said}"
            time.sleep(0.2)

    def command_lines(self) -> list[str]:
        """What `ps` shows of the room, to anybody on this machine."""
        lines = []
        mine = os.readlink(f"/proc/{self._init}/ns/net")
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if os.readlink(folder / "ns" / "net") == mine:
                    lines.append((folder / "cmdline").read_text(errors="replace").replace("\0", " "))
        return lines

    def signal(self, program: str, word: str, number: int) -> None:
        """Send a signal to the one process of that program whose command line holds that word."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                inside = os.readlink(folder / "ns" / "pid") == os.readlink(f"/proc/{self._init}/ns/pid")
                words = (folder / "cmdline").read_text(errors="replace").split("\0")
                if inside and Path(words[0]).name == program and any(word in w for w in words[1:]):
                    found.append(int(folder.name))
        parents = [pid for pid in found if _parent(pid) not in found]
        assert len(parents) == 1, (program, word, found)
        os.kill(parents[0], number)

    def inside(self, name: str) -> list[str]:
        """What enters the namespaces of a process that was started through `unshare --pid --fork`."""
        pid = self.started[name].pid
        while children := _children(pid):
            pid = children[0]
            if os.readlink(f"/proc/{pid}/ns/pid") != os.readlink(f"/proc/{self._init}/ns/pid"):
                break
        return ["nsenter", "--target", str(pid), "--net", "--mount", "--pid"]

    def close(self) -> None:
        """End everything in the room, and take its scratch away."""
        for name in reversed(self.started):
            if self.started[name].poll() is None:
                self.started[name].send_signal(signal.SIGTERM)
        self._holder.kill()  # and with it the first process of the room, and with that all of them
        self._holder.wait()
        for process in self.started.values():
            process.wait(60)
        assert self._holder.stdout is not None
        self._holder.stdout.close()
        shutil.rmtree(self.root, ignore_errors=True)


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


class Recipe:
    """compose.yaml as an engine would read it: variables filled in, paths where the room has them."""

    def __init__(self, room: Room) -> None:
        self.room = room
        self.folder = room.root / "docker"
        shutil.copytree(DOCKER, self.folder, ignore=shutil.ignore_patterns("secrets", ".env"))
        made = room.run([str(self.folder / "make-secrets")])
        assert made.returncode == 0, made.stderr
        text = (self.folder / "compose.yaml").read_text()
        given = dict(line.split("=", 1) for line in (self.folder / ".env").read_text().split())
        self.content: dict[str, Any] = yaml.safe_load(filled_in(text, given))

    @property
    def services(self) -> dict[str, Any]:
        return dict(self.content["services"])

    def secret(self, name: str) -> str:
        return (self.folder / "secrets" / name).read_text()

    def mounts(self, service: str) -> dict[str, Path]:
        """Where a container's paths lie here: its volumes, and its secrets."""
        found: dict[str, Path] = {}
        for volume in self.services[service].get("volumes", []):
            source, target = volume.split(":")[:2]
            found[target] = (self.folder / source).resolve() if "/" in source else self.room.root / source
        for secret in self.services[service].get("secrets", []):
            name = secret if isinstance(secret, str) else secret["source"]
            target = f"/run/secrets/{name}" if isinstance(secret, str) else secret["target"]
            found[target] = (self.folder / self.content["secrets"][name]["file"]).resolve()
        return found

    def here(self, service: str, word: str) -> str:
        """A word of a command or an environment, with the room's paths for the container's."""
        for target, place in sorted(self.mounts(service).items(), key=lambda item: -len(item[0])):
            word = re.sub(rf"(?<![\w/.]){re.escape(target)}(?=/|$)", str(place), word)
        return word

    def environment(self, service: str, name: str = "") -> dict[str, str]:
        """The image's environment, the service's files and its own variables.

        Containers do not share their /tmp: each has Ray's files to itself, and so does each service here.
        """
        values = {"RAYCL_DATA": "/data", **image_environment()}
        for file in self.services[service].get("env_file", []):
            lines = (self.folder / file).read_text().split()
            values |= dict(line.split("=", 1) for line in lines)
        values |= self.services[service].get("environment", {})
        own = {name: self.here(service, str(value)) for name, value in values.items()}
        login = self.mounts(service).get("/home/raycl/.mlflow/credentials")
        if login:  # the one path that a program finds by itself, below its home
            place = self.room.root / "home" / ".mlflow"
            place.mkdir(exist_ok=True)
            shutil.copy(login, place / "credentials")
        if service == "db":  # its socket, for the image's /var/run/postgresql
            own["PGHOST"] = str(self.room.root / "database")
        scratch = self.room.root / "ray" / (name or service)
        scratch.mkdir(exist_ok=True)
        return self.room.environment(**own, RAY_TMPDIR=str(scratch))

    def command(self, service: str) -> list[str]:
        return [self.here(service, str(word)) for word in self.services[service]["command"]]

    def start(self, service: str, changes: Mapping[str, str] | None = None, name: str = "") -> None:
        """Start a service's command.

        Args:
            changes: words to replace, such as a port that two services on one network cannot share.
        """
        words = [(changes or {}).get(word, word) for word in self.command(service)]
        assert set(changes or {}) <= set(self.command(service))
        restarts = 3 if self.services[service].get("restart") == "unless-stopped" else 0
        self.room.start(name or service, words, self.environment(service, name), restarts=restarts)

    def healthy(self, service: str, changes: Mapping[str, str] | None = None) -> bool:
        """Whether its own health check passes."""
        kind, *words = self.services[service]["healthcheck"]["test"]
        assert kind == "CMD"
        for old, new in (changes or {}).items():
            words = [word.replace(old, new) for word in words]
        return self.room.run(words, self.environment(service)).returncode == 0

    def start_database(self) -> None:
        """PostgreSQL as the image's entry point makes it: by these variables, and not as root."""
        service, folder = self.services["db"], self.room.root / "database"
        variables = service["environment"]
        user = pwd.getpwnam(postgres_user()).pw_uid
        folder.mkdir()
        password = folder.with_suffix(".first")
        password.write_text(Path(self.here("db", variables["POSTGRES_PASSWORD_FILE"])).read_text())
        for path in (folder, password):
            os.chown(path, user, user)
        initdb = [f"{postgres_programs()}/initdb", f"--pgdata={folder}",
                  f"--username={variables['POSTGRES_USER']}", f"--pwfile={password}",
                  "--no-sync", "--auth-local=trust",
                  *shlex.split(variables["POSTGRES_INITDB_ARGS"])]  # fmt: skip
        made = self.room.run(initdb, user=user)
        password.unlink()
        assert made.returncode == 0, made.stderr
        with (folder / "pg_hba.conf").open("a") as rules:
            rules.write("host all all all scram-sha-256\n")
        server = [f"{postgres_programs()}/postgres", "-D", str(folder), "-c", "listen_addresses=*",
                  "-c", f"unix_socket_directories={folder}", "-c", "fsync=off"]  # fmt: skip
        self.room.start("db", server, self.room.environment(), user=user)
        local = self.environment("db")
        self.room.wait("db", lambda: self.healthy("db"))
        create = ["createdb", f"--username={variables['POSTGRES_USER']}", variables["POSTGRES_DB"]]
        named = self.room.run(create, local)
        assert named.returncode == 0, named.stderr


def filled_in(text: str, given: Mapping[str, str]) -> str:
    """``${NAME:-default}`` replaced, as compose does."""
    return re.sub(r"\$\{(\w+):-([^}]*)\}", lambda found: given.get(found[1], found[2]), text)


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions and their words, continued lines joined, comments left out."""
    lines = [
        line for line in (DOCKER / "Dockerfile").read_text().split("\n") if not line.lstrip().startswith("#")
    ]
    text = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [(name, words) for name, _, words in (line.partition(" ") for line in text.split("\n")) if name]


def image_environment() -> dict[str, str]:
    """The variables that the Dockerfile sets for every role, apart from paths of its own building."""
    found: dict[str, str] = {}
    for name, words in instructions():
        if name == "ENV":
            found |= dict(word.split("=", 1) for word in shlex.split(words))
    own = ("PATH", "VIRTUAL_ENV", "UV_LINK_MODE", "NVIDIA_VISIBLE_DEVICES", "NVIDIA_DRIVER_CAPABILITIES")
    return {name: value for name, value in found.items() if name not in own}

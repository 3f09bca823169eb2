"""A Ray head on loopback with its dashboard and a token, in processes of its own."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.helpers.sockets import descendants

# Ray's processes leave their parent. This one adopts all that come from it, and ends them when its input is
# closed, which is also the case when the process that started it was killed.
KEEPER = """
import ctypes, os, signal, subprocess, sys
from tests.helpers.sockets import descendants
SUBREAPER = 36
assert ctypes.CDLL(None).prctl(SUBREAPER, 1, 0, 0, 0) == 0
code = subprocess.call(sys.argv[1:], stdin=subprocess.DEVNULL)
if code == 0:
    sys.stdin.read()
while below := descendants(os.getpid()) - {os.getpid()}:
    for pid in below:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    try:
        os.waitpid(-1, 0)
    except ChildProcessError:
        break
sys.exit(code)
"""
HOME = Path(__file__).parents[2]
SECONDS = 600.0  # a machine may be busy


@dataclass(frozen=True)
class Head:
    """A running head.

    Attributes:
        address: of its dashboard.
        folder: scratch; its sockets, logs and the token are in it.
        environment: of a command that submits to it.
    """

    address: str
    folder: Path
    environment: Mapping[str, str]
    pid: int

    def processes(self, *words: str) -> list[int]:
        """The numbers of its processes and its jobs' whose command lines hold all these words."""
        return [pid for pid in sorted(descendants(self.pid)) if all(word in _command(pid) for word in words)]


@contextlib.contextmanager
def running_head(path: Sequence[Path] = (), **more: str) -> Iterator[Head]:
    """Start a head, and end exactly what was started.

    Args:
        path: folders in which its jobs look for programs first.
        more: environment variables of the head.
    """
    folder = Path(tempfile.mkdtemp(prefix="rh-"))  # short, since the paths of sockets must be
    environment = _environment(folder, path)
    try:
        for _ in range(3):  # Ray gives a node 30 s to start, and a busy machine may need longer
            process, address = _started(folder, environment | more)
            if process.poll() is None:
                break
        else:
            raise AssertionError((folder / "head.log").read_text())
        try:
            yield Head(address, folder, environment, process.pid)
        finally:
            _end(process)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _environment(folder: Path, path: Sequence[Path]) -> dict[str, str]:
    token = folder / "token"
    token.write_text(secrets.token_hex(32))
    token.chmod(0o600)
    (folder / "home").mkdir()
    return {
        "PATH": os.pathsep.join([*map(str, path), str(Path(sys.executable).parent), "/usr/bin", "/bin"]),
        "HOME": str(folder / "home"),
        "PYTHONPATH": str(HOME),
        "LANG": "C.UTF-8",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_worker_niceness": "0",  # at Ray's 15, a busy machine gives its workers no time
        "RAY_worker_register_timeout_seconds": str(int(SECONDS)),
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "RAYCL_CACHE": str(folder / "cache"),
        "RAYCL_DATA": os.environ.get("RAYCL_DATA", str(folder / "data")),
    }


def _started(folder: Path, environment: Mapping[str, str]) -> tuple[subprocess.Popen[bytes], str]:
    """A keeper whose head is up, or that has ended; and the address of the head's dashboard."""
    gcs, dashboard, client, agent, metrics = _free_ports(5)
    words = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", f"--port={gcs}", "--num-cpus=2",
             "--node-ip-address=127.0.0.1", "--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}",
             f"--dashboard-agent-listen-port={agent}", f"--metrics-export-port={metrics}",
             f"--ray-client-server-port={client}", f"--temp-dir={folder}/ray"]  # fmt: skip
    log = folder / "head.log"
    with log.open("wb") as out:
        keeper = subprocess.Popen(
            [sys.executable, "-c", KEEPER, *words],
            stdin=subprocess.PIPE, stdout=out, stderr=out, start_new_session=True, env=environment,
            cwd=folder,
        )  # fmt: skip
    deadline = time.monotonic() + SECONDS
    while keeper.poll() is None and "Ray runtime started" not in log.read_text():
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.5)
    return keeper, f"http://127.0.0.1:{dashboard}"


def _free_ports(many: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(many)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


def _end(keeper: subprocess.Popen[bytes]) -> None:
    """End the head and everything below it."""
    assert keeper.stdin is not None
    keeper.stdin.close()
    keeper.wait()


def _command(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    return ""

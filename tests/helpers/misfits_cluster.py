"""A cluster of separate hosts whose nodes do not fit together, and a driver that says what it finds."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.helpers.hosts import Cluster, Host, Tracking, no_tracking, wait_for, why_not

HOME = Path(__file__).parents[2]
__all__ = ["ASK", "JOIN", "Cluster", "Misfits", "Tracking", "no_tracking", "wait_for", "why_not"]

# What a driver does before a study starts, in a process of its own: a process has one connection to Ray.
ASK = """
import sys
from pathlib import Path
from raycl.errors import UserError
from raycl.study.expand import cells_of; from raycl.study.file import read_study
from raycl.tune.launch import cluster, feasible
_, address, store, study = sys.argv
try:
    with cluster(address, None):
        feasible(cells_of(read_study(study)), Path(store), address, lambda line: print("note:", line))
except UserError as error:
    sys.exit(f"raycl: {error}")
"""
JOIN = """
import sys
from raycl.errors import UserError
from raycl.tune.fitness.address_check import check_address
try:
    print(check_address(sys.argv[1]))
except UserError as error:
    sys.exit(f"raycl: {error}")
"""


class Misfits(Cluster):
    """A head without CPUs; "worker1" with a GPU that is not there; "worker2" with another raycl, another disk
    where the store is and no room for data; "worker3" without raycl. "lonely" belongs to no cluster.
    """

    def __init__(self) -> None:
        super().__init__(workers=3)
        self.lonely = self.switch.host("lonely", self.environment)

    def start(self) -> None:
        other, bare = self._other_raycl(), self._without_raycl()
        self.start_head()
        with ThreadPoolExecutor() as side_by_side:
            started = [
                side_by_side.submit(self.start_worker, self.workers[0], options=["--num-gpus=1"]),
                side_by_side.submit(self.start_worker, self.workers[1], {"PYTHONPATH": str(other)}),
                side_by_side.submit(self.start_worker, self.workers[2], {"PYTHONPATH": ""}, python=bare),
            ]
            for one in started:
                one.result()
        apart = self.workers[1]
        apart.run("mount", "-t", "tmpfs", "none", str(self.switch.shared))
        apart.run("mkdir", str(self.store))
        apart.run("mount", "-t", "tmpfs", "-o", "size=1m", "none", str(apart.data))
        self.head.run("mkdir", str(self.store))

    def _other_raycl(self) -> Path:
        """A copy in which one file that workers run is another, and one that only drivers do."""
        folder = self.switch.root / "other"
        shutil.copytree(HOME / "raycl", folder / "raycl", ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("masks.py", "cli.py"):
            with (folder / "raycl" / name).open("a") as file:
                file.write("# newer\n")
        return folder

    def _without_raycl(self) -> str:
        """A Python with everything this one has, but raycl: a path file read by another is not followed."""
        folder = self.switch.root / "bare"
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True, timeout=120)
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        site = folder / "lib" / version / "site-packages"
        (site / "beside.pth").write_text(sysconfig.get_path("purelib") + "\n")
        return str(folder / "bin" / "python")

    def driver_says(
        self, script: str, *words: str, host: Host | None = None, env: Mapping[str, str] | None = None
    ) -> tuple[int, str, str]:
        """Exit code, output and errors of a script on the head's host, or another."""
        done = (host or self.head).try_run(sys.executable, "-c", script, *words, env=env)
        return done.returncode, done.stdout, done.stderr

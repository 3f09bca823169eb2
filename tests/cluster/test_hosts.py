"""Three hosts play a study, and strangers are kept out.

Hosts are network namespaces of this machine (`tests/helpers/hosts.py`), so that nothing is shared that hosts
do not share.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.hosts import PREFIX, Cluster, Host, Tracking, no_tracking, wait_for, why_not

pytestmark = pytest.mark.slow
STUDY = Path(__file__).with_name("hosts_study.py")
HOME = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    if reason := why_not():
        pytest.skip(reason)
    with Cluster(workers=2) as made:
        yield made


@pytest.fixture(scope="module")
def expected(cluster: Cluster) -> str:
    """The csv of the study, played in one process."""
    store = cluster.switch.shared / "local"
    done = cluster.raycl("run", str(STUDY), "--local", "--store", str(store))
    assert done.returncode == 0, done.stdout + done.stderr
    return cluster.csv(STUDY, store)


def prepared(host: Host) -> dict[str, bytes]:
    """A host's own files of data; its stamps say how they look on its own disk."""
    files = [path for path in (host.own / "data").rglob("*") if path.suffix in (".npy", ".json")]
    files = [path for path in files if path.name != "stamps.json"]
    return {path.relative_to(host.own).as_posix(): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def played(cluster: Cluster, request: pytest.FixtureRequest) -> str:
    """The csv of the study, played on the hosts; with MLflow, where it can be had."""
    variables = {} if no_tracking() else request.getfixturevalue("tracking").variables
    assert not any(prepared(host) for host in cluster.workers)
    driver = cluster.driver(STUDY, env=variables)
    assert driver.wait() == 0, driver.text()
    return cluster.csv(STUDY)


def test_three_hosts_give_the_csv_of_one_process(cluster: Cluster, played: str, expected: str) -> None:
    assert played == expected
    had = prepared(cluster.head)
    for host in cluster.workers:  # which had nothing, and made nothing of their own
        got = prepared(host)
        assert any(name.endswith(".npy") for name in got) and got.items() <= had.items()


NOTEBOOK = """
import sys
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

shell = InteractiveShell.instance(config=Config({"HistoryManager": {"enabled": False}}))
shell.user_ns |= {"STORE": sys.argv[1], "ADDRESS": sys.argv[2] or None}
for cell in sys.argv[3:]:
    shell.run_cell(cell, store_history=True).raise_error()
"""
CELLS = (
    "FACTORS = [0.5]",
    """
from raycl.method import Method

class Pull(Method):
    def edit_gradients(self, batch):
        for p in self.net.body.parameters():
            p.grad += sum(FACTORS) * 0.01 * p.detach()
""",
    """
from raycl import Seeds, Study, report, run_study

study = Study(
    name="cells",
    methods={"pull": {"method": Pull}},
    benchmarks=["digits_split"],
    network="mlp(hidden=4)",
    fit={"epochs": 1, "lr": 0.1},
    search=None,
    final=Seeds(1, 2),
)
played = run_study(study, STORE, address=ADDRESS, local=ADDRESS is None)
assert played.code == 0, played.problems
print("csv:", repr(report(study, STORE, "csv", times=False)))
""",
)


def test_a_class_of_a_notebook_is_executed_on_other_hosts(cluster: Cluster) -> None:
    """Its text is in no file: what it reaches travels with the runs."""

    def csv(store: str, address: str) -> str:
        words = (sys.executable, "-c", NOTEBOOK, str(cluster.switch.shared / store), address, *CELLS)
        (line,) = (line for line in cluster.head.run(*words).splitlines() if line.startswith("csv: "))
        return line

    there = csv("notebook", cluster.address)
    assert "complete" in there and there == csv("notebook-local", "")


def test_mlflow_on_postgres_holds_every_run_of_it(cluster: Cluster, tracking: Tracking, played: str) -> None:
    told = tracking.runs("hosts")
    assert len([key for key in told if key.startswith("cell ")]) == 3
    assert len(told) == 3 + cluster.finished() and all(told.values())
    done = cluster.raycl("sync", str(STUDY), "--store", str(cluster.store), env=tracking.variables)
    assert done.returncode == 0 and tracking.runs("hosts") == told


def test_a_wrong_token_is_refused(cluster: Cluster) -> None:
    token = cluster.switch.root / "guessed"
    token.write_text("0" * 64)
    token.chmod(0o600)
    driver = cluster.driver(
        STUDY, env={"RAY_AUTH_TOKEN_PATH": str(token)}, store=cluster.switch.shared / "refused"
    )
    assert driver.wait() == 2, driver.text()
    said = driver.text().strip().splitlines()
    assert len(said) == 1 and said[0].startswith("raycl: "), driver.text()
    assert cluster.address in said[0] and "token" in said[0]
    assert "0" * 64 not in said[0] and cluster.token.read_text() not in said[0]


def test_a_wrong_password_is_refused(cluster: Cluster, tracking: Tracking) -> None:
    wrong = tracking.variables | {"MLFLOW_TRACKING_PASSWORD": "a-guess-of-mine"}
    driver = cluster.driver(STUDY, env=wrong, store=cluster.switch.shared / "refused")
    assert driver.wait() == 2, driver.text()
    said = driver.text().strip().splitlines()
    assert len(said) == 1 and said[0].startswith("raycl: MLflow at "), driver.text()
    assert "a-guess-of-mine" not in said[0]


def test_mlflow_asks_for_a_password_and_for_its_own_name(tracking: Tracking) -> None:
    ask = "/api/2.0/mlflow/experiments/search?max_results=1"
    assert tracking.status(ask) == 401
    assert tracking.status(ask, password="a-guess-of-mine") == 401
    assert tracking.status(ask, password=tracking.passwords["raycl"]) == 200
    assert tracking.status(ask, password=tracking.passwords["raycl"], host="evil.example") == 403


def test_no_secret_stands_in_a_command_line(cluster: Cluster, tracking: Tracking) -> None:
    secrets = [cluster.token.read_text(), *tracking.passwords.values()]
    seen = []
    for host in cluster.switch.hosts.values():
        for pid in host.pids():
            with contextlib.suppress(OSError):
                seen.append(Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace"))
    assert any("gcs_server" in line for line in seen) and any("mlflow" in line for line in seen)
    assert not [line for line in seen if any(secret in line for secret in secrets)]


def test_hosts_end_with_the_process_that_made_them() -> None:
    if reason := why_not():
        pytest.skip(reason)
    script = (
        "import time\n"
        "from tests.helpers.hosts import Switch, wait_for\n"
        "switch = Switch(); host = switch.host('alone', {'PATH': '/usr/sbin:/usr/bin:/sbin:/bin'})\n"
        "host.start('sleep', '1000', log='sleep')\n"
        "wait_for(host.pids, 'a process on the host')\n"
        "print(switch.root, switch.pid, host.pid, *host.pids(), flush=True); time.sleep(1000)\n"
    )
    made = subprocess.Popen([sys.executable, "-c", script], cwd=HOME, stdout=subprocess.PIPE, text=True)
    assert made.stdout is not None
    with made:
        try:
            root, *pids = made.stdout.readline().split()
            alive = [Path(f"/proc/{pid}").exists() for pid in pids]
        finally:
            os.kill(made.pid, signal.SIGKILL)
    assert Path(root).name.startswith(PREFIX) and len(pids) >= 3 and all(alive)
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), "all processes to be gone")
    from tests.helpers.hosts import Switch

    Switch().close()  # sweeps before it begins
    assert not Path(root).exists()

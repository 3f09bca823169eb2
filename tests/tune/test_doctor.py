"""`raycl doctor` on this machine: what it looks at, without Ray."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from raycl.cli import main
from raycl.tune.doctor import DoctorReport, this_machine, verdict
from raycl.tune.doctor.machine import look_at_data, look_at_store, look_at_token
from raycl.tune.doctor.packages import bounds, torch_problems
from raycl.tune.doctor.tracker import look_at_mlflow
from raycl.tune.fitness import address_check
from raycl.tune.fitness.facts import Facts, here
from raycl.tune.fitness.judging import Fault
from tests.helpers.misfits_cluster import Cluster, Tracking, no_tracking, why_not

ALONE = """
import sys
from raycl.cli import main
code = main(["doctor", *sys.argv[1:]])
print("ray" in sys.modules, file=sys.stderr)
sys.exit(code)
"""


@pytest.fixture
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """No settings, and a home folder of the test's own."""
    for name in (
        "RAY_ADDRESS",
        "RAY_AUTH_MODE",
        "RAY_AUTH_TOKEN",
        "RAY_AUTH_TOKEN_PATH",
        "MLFLOW_TRACKING_URI",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RAYCL_DATA", str(tmp_path / "data"))
    return monkeypatch


@pytest.fixture(scope="module")
def mine() -> Facts:
    return here()


def alone(*words: str, **settings: str) -> tuple[int, str, str]:
    """In a process of its own."""
    done = subprocess.run([sys.executable, "-c", ALONE, *words], capture_output=True, text=True, timeout=300,
                          env=os.environ | settings)  # fmt: skip
    return done.returncode, done.stdout, done.stderr


def part(fill: Callable[[DoctorReport], None]) -> DoctorReport:
    report = DoctorReport("here")
    fill(report)
    return report


def text_of(report: DoctorReport) -> str:
    return " ".join(str(report).split())


def says(text: object, wanted: str) -> bool:
    """Whether it stands there, wherever its lines break: long paths break too."""
    return "".join(wanted.split()) in "".join(str(text).split())


def test_a_machine_that_lacks_nothing_is_fit_and_ray_is_not_even_imported(
    clean: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    code, out, err = alone("--store", str(tmp_path / "results"), PYTHONWARNINGS="ignore")
    assert (code, err.split()[-1]) == (0, "False"), out + err
    assert out.splitlines()[-1] == "ready: no problems found"
    assert max(map(len, out.splitlines())) <= 80
    for label in (
        "raycl",
        "Python",
        "packages",
        "GPUs",
        "cores",
        "memory",
        "store",
        "data",
        "MLflow",
        "Ray token",
    ):
        assert f"\n  {label} " in out
    assert not (tmp_path / "results").exists()  # it looks, and makes nothing


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a file system that takes no folders")
def test_a_store_that_only_seems_to_be_makeable_is_found_out(
    clean: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["doctor", "--store", "/proc/results"]) == 1
    assert says(capsys.readouterr().out, "MISS store /proc/results: cannot be made in /proc")


def test_what_is_missing_is_listed_and_the_exit_code_is_1(
    clean: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]  # nothing listens there once it is closed
    clean.setenv("MLFLOW_TRACKING_URI", f"http://someone:s3cret-word@127.0.0.1:{port}")
    clean.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "none"))
    assert main(["--verbose", "doctor", "--store", str(tmp_path / "file" / "x")]) == 1
    out, err = capsys.readouterr()
    assert "not ready: 3 problems found" in out, out
    assert says(out, f"MISS store {tmp_path}/file/x: cannot be made in {tmp_path}/file")
    assert says(out, f"MISS MLflow at http://someone:***@127.0.0.1:{port}: does not answer")
    assert says(out, f"MISS there is no token file RAY_AUTH_TOKEN_PATH={tmp_path}/none")
    assert "s3cret-word" not in out + err
    assert max(map(len, out.splitlines())) <= 80


def test_a_cluster_that_cannot_be_joined_is_bad_input(clean: pytest.MonkeyPatch, tmp_path: Path) -> None:
    code, out, err = alone("--store", str(tmp_path), "--address", "127.0.0.1:1", PYTHONWARNINGS="ignore")
    assert code == 2 and out.startswith("this machine (")
    assert err.startswith("raycl: no Ray cluster answers at --address 127.0.0.1:1")
    assert "Connection refused" in err and err.splitlines()[1:] == ["True"]  # one line, and that Ray is there


# Packages: metadata that stand first on the path are what importlib finds.


@pytest.fixture
def packages(tmp_path: Path) -> Iterator[Callable[..., None]]:
    folder = tmp_path / "site"
    folder.mkdir()

    def add(name: str, version: str, *needs: str) -> None:
        info = folder / f"{name}-{version}.dist-info"
        info.mkdir()
        lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
        (info / "METADATA").write_text("\n".join([*lines, *(f"Requires-Dist: {need}" for need in needs), ""]))

    sys.path.insert(0, str(folder))
    yield add
    sys.path.remove(str(folder))


def test_nothing_is_wrong_with_this_environment(mine: Facts) -> None:
    assert bounds(mine) == [] and torch_problems(mine) == []


def test_packages_older_than_raycl_can_use(mine: Facts, packages: Callable[..., None]) -> None:
    packages("ray", "2.10.0")
    packages("mlflow", "4.1")
    found = dict(bounds(mine))
    assert "pip install 'ray>=" in found.pop(
        next(text for text in found if text.startswith("ray 2.10.0 does not satisfy >="))
    )
    assert list(found) == ["mlflow 4.1 does not satisfy <4,>=3.17"]


def test_a_package_that_is_missing(mine: Facts, packages: Callable[..., None]) -> None:
    packages("raycl", "0.1.0", "no-such-package-of-any-name>=1", "torch>=2.9", "pytest>=99; extra == 'dev'")
    ((text, remedy),) = bounds(mine)
    assert (
        text == "no-such-package-of-any-name is not installed"
        and remedy == "pip install 'no-such-package-of-any-name>=1'"
    )


def test_torch_and_torchvision_that_are_no_pair(mine: Facts, packages: Callable[..., None]) -> None:
    packages("torchvision", "0.20.0", "torch==2.5.0", "numpy")
    ((text, remedy),) = torch_problems(mine)
    assert "needs torch ==2.5.0, but torch is 2." in text and "in one command" in remedy


# The store.


def test_a_store_is_tried_out(tmp_path: Path) -> None:
    report = part(lambda report: look_at_store(report, tmp_path))
    assert "can be written" in text_of(report) and report.misses == []
    assert list(tmp_path.iterdir()) == []


def test_a_store_on_a_disk_that_takes_no_writes(tmp_path: Path) -> None:
    mount = (
        'mount -t tmpfs none $0 && mkdir $0/results && mount -o remount,ro $0 && exec $1 -c "$2" $0/results'
    )
    script = (
        "import sys; from pathlib import Path; from raycl.tune.doctor import DoctorReport;"
        "r = DoctorReport('');"
        "from raycl.tune.doctor.machine import look_at_store; look_at_store(r, Path(sys.argv[1]));"
        "look_at_store(r, Path(sys.argv[1]) / 'new'); print(r)"
    )
    command = ["unshare", "--mount", "sh", "-c", mount, str(tmp_path), sys.executable, script]
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("mounting needs root, and Debian's `util-linux`")
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    if "mount" in done.stderr or "unshare" in done.stderr:
        pytest.skip(f"nothing can be mounted: {done.stderr.strip()}")
    assert says(done.stdout, f"MISS store {tmp_path}/results: cannot be written (Read-only file system)")
    assert says(done.stdout, f"MISS store {tmp_path}/results/new: cannot be made")


# MLflow.


def mlflow(store: Path, mine: Facts) -> DoctorReport:
    return part(lambda report: look_at_mlflow(report, store, mine))


def test_a_database_is_not_made_by_a_visit(clean: pytest.MonkeyPatch, mine: Facts, tmp_path: Path) -> None:
    assert "made by the first run" in text_of(mlflow(tmp_path, mine))
    assert list(tmp_path.iterdir()) == []


def test_a_database_of_mlflow_answers(clean: pytest.MonkeyPatch, mine: Facts, tmp_path: Path) -> None:
    from mlflow.tracking import MlflowClient

    MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/mlflow.db").create_experiment("one")
    report = mlflow(tmp_path, mine)
    assert "answers, 2 experiments" in text_of(report) and report.misses == []  # and MLflow's own


def test_another_database_is_none_of_mlflow(clean: pytest.MonkeyPatch, mine: Facts, tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "mlflow.db")) as made:
        made.execute("CREATE TABLE other (id)")
    assert "no such table: experiments" in text_of(mlflow(tmp_path, mine))
    (tmp_path / "mlflow.db").write_bytes(b"none at all" * 100)
    assert len(mlflow(tmp_path, mine).misses) == 1


def test_no_password_is_said_of_a_server_that_is_not_there(
    clean: pytest.MonkeyPatch, mine: Facts, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    for scheme in ("http", "postgresql"):
        clean.setenv("MLFLOW_TRACKING_URI", f"{scheme}://me:hidden-word@127.0.0.1:{port}/x")
        report = mlflow(tmp_path, mine)
        assert len(report.misses) == 1 and "hidden-word" not in text_of(report)
        assert f"{scheme}://me:***@127.0.0.1:{port}/x" in text_of(report)


@pytest.mark.release
def test_a_server_behind_a_password_and_its_database() -> None:
    """Real ones, each on a host of its own."""
    if reason := why_not() or no_tracking():
        pytest.skip(reason)
    look = (
        "from pathlib import Path; from raycl.tune.doctor import DoctorReport; report = DoctorReport('');"
        "from raycl.tune.doctor.tracker import look_at_mlflow; from raycl.tune.fitness.facts import here;"
        "look_at_mlflow(report, Path('results').absolute(), here()); print(report)"
    )
    cluster = Cluster(workers=0)
    try:
        tracking = Tracking(cluster)
        word = tracking.passwords["postgres"]
        database = f"postgresql+psycopg2://raycl:{word}@{tracking.db.address}:5432"
        with_name = "http://tracking:5000"
        (cluster.head.own / "ray" / "hosts").write_text(f"{tracking.server.address} tracking\n")
        cluster.head.run("mount", "--bind", "/tmp/ray/hosts", "/etc/hosts")
        for changes, wanted in (
            ({}, f"{tracking.uri}: answers"),
            (
                {"MLFLOW_TRACKING_PASSWORD": "wrong-word"},
                "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASS",
            ),
            (
                {"MLFLOW_TRACKING_URI": with_name},
                "start it with --allowed-hosts that include the host and port",
            ),
            ({"MLFLOW_TRACKING_URI": f"{database}/mlflow"}, "/mlflow: answers, 1 experiment"),
            ({"MLFLOW_TRACKING_URI": f"{database}/postgres"}, "/postgres: answers, and is empty"),
            (
                {"MLFLOW_TRACKING_URI": f"{database.replace(word, 'wrong-word')}/mlflow"},
                "put the right password",
            ),
        ):
            said = cluster.head.run(sys.executable, "-c", look, env=tracking.variables | changes)
            assert says(said, wanted), said
            assert not any(says(said, secret) for secret in ("wrong-word", *tracking.passwords.values()))
        for server in (tracking.mlflow, tracking.postgres):
            server.kill()
    finally:
        cluster.switch.close()


# Tokens.


def tokens() -> DoctorReport:
    return part(look_at_token)


@pytest.fixture
def token() -> Iterator[Path]:
    """A token that others can reach; pytest's own folders are closed to them."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        file = Path(folder) / "token"
        file.write_text("0" * 64)
        file.chmod(0o600)
        yield file


def test_a_token_that_others_can_read(clean: pytest.MonkeyPatch, token: Path) -> None:
    clean.setenv("RAY_AUTH_TOKEN_PATH", str(token))
    clean.setenv("RAY_AUTH_MODE", "token")
    assert tokens().findings == []
    token.chmod(0o644)
    (found,) = tokens().misses
    assert str(found).endswith(f"can be read by other users of this machine; chmod 600 {token}")
    assert "0" * 64 not in text_of(tokens())
    os.chmod(token.parent, 0o700)  # nobody gets that far
    assert tokens().findings == []


def test_a_token_of_ones_own_machine_is_a_note(clean: pytest.MonkeyPatch, token: Path) -> None:
    home = token.parent / ".ray"
    home.mkdir(mode=0o755)
    clean.setenv("HOME", str(token.parent))
    assert "RAY_AUTH_MODE is not set; there is no token file ~/.ray/auth_token" in text_of(tokens())
    assert tokens().findings == []  # Ray makes one
    (home / "auth_token").write_text("0" * 64)
    (home / "auth_token").chmod(0o644)
    assert [thing.level for thing in tokens().findings] == ["note"]


def test_modes(clean: pytest.MonkeyPatch, tmp_path: Path) -> None:
    clean.setenv("HOME", str(tmp_path))
    clean.setenv("RAY_AUTH_MODE", "token")
    assert ["there is no token file ~/.ray/auth_token" in str(thing) for thing in tokens().misses] == [True]
    clean.setenv("RAY_AUTH_TOKEN", "0" * 64)
    assert tokens().findings == [] and "0" * 64 not in text_of(tokens())
    clean.setenv("RAY_AUTH_MODE", "disabled")
    assert [thing.level for thing in tokens().findings] == ["note"]
    clean.setenv("RAY_AUTH_MODE", "tokens")
    assert ["neither token nor disabled" in str(thing) for thing in tokens().misses] == [True]


# Data, and how it looks.


def test_prepared_data_that_were_cut_off(clean: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from raycl.benchmarks import sources

    sources.prepare("digits")
    assert "digits" in text_of(part(lambda report: look_at_data(report, here())))
    file = min((tmp_path / "data" / "digits").glob("*.npy"))
    file.write_bytes(file.read_bytes()[:-1])
    (found,) = part(lambda report: look_at_data(report, here())).misses
    assert "data set digits: files are missing or cut off" in str(found)


def test_long_names_break_where_the_screen_ends() -> None:
    report = DoctorReport("here", [("store", "/a/" + "very-long-name" * 12)])
    report.findings = [Fault("miss", "node " + "x" * 90, "lacks something", "remedy")]
    assert max(map(len, str(report).splitlines())) <= 80


def test_the_last_line() -> None:
    good, bad = (
        DoctorReport("a"),
        DoctorReport("b", findings=[Fault("miss", "", "x"), Fault("note", "", "y")]),
    )
    assert verdict([good]) == "ready: no problems found"
    assert verdict([good, bad]) == "not ready: 1 problem found"
    assert verdict([bad, bad]) == "not ready: 2 problems found"


def test_this_machine_is_looked_at_whole(clean: pytest.MonkeyPatch, tmp_path: Path) -> None:
    report = this_machine(tmp_path)
    assert [label for label, _ in report.rows] == [
        "raycl", "Python", "packages", "GPUs", "cores", "memory", "store", "data", "MLflow", "Ray token",
    ]  # fmt: skip
    assert address_check.auth_mode() == ""

"""`raycl submit` where it sends nothing: each wrong word and each address in one line, exit code 2."""

from __future__ import annotations

import contextlib
import http.server
import io
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import raycl
from raycl.cli import main, parser
from raycl.errors import UserError
from raycl.study.expand import cells_of
from raycl.study.file import read_study
from raycl.terminal.commandline import again, of_the_job
from raycl.tune.launch import SHIPPED
from raycl.tune.submission import check_dashboard_address, cluster_folder, entry
from raycl.tune.submission.following import _Printed
from raycl.tune.submission.sending import _fill

HOME = Path(__file__).parents[2]
STUDY = """
from raycl import Study

from .common import LR

STUDY = Study(methods={"finetune": {"fit.lr": LR}}, benchmarks=["digits_split"], search=None)
"""

Typed = Callable[..., tuple[int, str]]


@pytest.fixture
def typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Typed:
    """Type a command beside ``mine.py``; gives its code and the one line of its errors."""
    (tmp_path / "mine.py").write_text(STUDY)
    (tmp_path / "common.py").write_text("LR = 0.1\n")
    monkeypatch.chdir(tmp_path)
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)

    def run(*words: str) -> tuple[int, str]:
        capsys.readouterr()
        code = main([*words])
        said = capsys.readouterr()
        assert said.out == "" and said.err.startswith("raycl: ") and said.err.count("\n") == 1
        return code, said.err.strip()

    return run


@contextlib.contextmanager
def answering(status: int, body: bytes) -> Iterator[str]:
    """A server that gives one answer to everything; yields its address."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *words: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def nobody() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("head:8265", "--address head:8265 has no http://; write the address of the head's dashboard"),
        ("head:6379", "such as http://HEAD:8265"),
        ("auto", "on a machine of the cluster, use raycl run --address auto"),
        ("", "'' is not the address of a dashboard"),
        ("ray://head:10001", "'ray://head:10001' is not the address of a dashboard"),
        ("http://", "names no host and port"),
        ("http://head:port", "names no host and port"),
        ("http://head:99999", "names no host and port"),
        ("http://head:8265/?a=b", "names no host and port"),
    ],
)
def test_what_is_no_address_of_a_dashboard(typed: Typed, address: str, said: str) -> None:
    code, line = typed("submit", "mine.py", "--address", address, "--store", "/store")
    assert code == 2 and said in line
    code, line = typed("attach", "mine-1", "--address", address)
    assert code == 2 and said in line


def test_addresses_of_dashboards() -> None:
    for address in ("http://head:8265", "https://ray.example.org", "http://[::1]:8265", "http://h/proxy"):
        assert check_dashboard_address(address) == check_dashboard_address(f"{address}/") == address


@pytest.mark.parametrize("store", [None, "results", "~/results", "", "./x", "C:\\store"])
def test_a_store_is_an_absolute_path(store: str | None) -> None:
    with pytest.raises(UserError, match="such as --store /store/results"):
        cluster_folder(store)
    assert cluster_folder("/store/results/") == "/store/results"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["none.py"], "none.py: there is no such study file"),
        (["mine.py", "--set", "methods.finetune.nonsense=1"], "nonsense"),
        (["mine.py", "--set", "fit.epochs=-1"], "epochs = -1 must be at least 1"),
        (["mine.py", "--only", "hat/*"], "hat/*"),
        (["mine.py", "--small"], "defines no SMALL"),
        (["mine.py", "--runtime-env", "none.yaml"], "--runtime-env none.yaml cannot be read"),
        (["mine.py", "--runtime-env", "list.yaml"], "list.yaml is not a mapping"),
        (["mine.py", "--runtime-env", "place.yaml"], "sets working_dir"),
        (["mine.py", "--runtime-env", "vars.yaml"], "env_vars = 3 should be a mapping"),
        (["mine.py", "--local"], "unrecognized arguments: --local"),
    ],
)
def test_a_wrong_study_is_refused_here(typed: Typed, tmp_path: Path, words: list[str], said: str) -> None:
    """Nothing listens at the address, so that this line means that nobody was asked."""
    (tmp_path / "list.yaml").write_text("- pip\n")
    (tmp_path / "place.yaml").write_text("working_dir: .\n")
    (tmp_path / "vars.yaml").write_text("env_vars: 3\n")
    code, line = typed("submit", *words, "--address", nobody(), "--store", "/store")
    assert code == 2 and said in line and "dashboard" not in line


def test_an_unknown_method_is_refused_here(typed: Typed, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(STUDY.replace('"finetune"', '"finetuna"'))
    code, line = typed("submit", "mine.py", "--address", nobody(), "--store", "/store")
    assert code == 2 and "did you mean 'finetune'" in line


def test_where_nothing_answers(typed: Typed) -> None:
    for words in (["submit", "mine.py", "--store", "/store"], ["attach", "mine-1"]):
        address = nobody()
        code, line = typed(*words, "--address", address)
        assert code == 2 and f"no Ray dashboard answers at --address {address} (Connection refused)" in line
        assert "ssh -L 8265:127.0.0.1:8265 HEAD" in line and "raycl run --address auto" in line


@pytest.mark.parametrize(
    ("status", "body"),
    [(200, b"<html>"), (200, b'{"version": 1}'), (404, b"no"), (401, b"log in"), (200, b"3")],
)
def test_where_something_else_answers(typed: Typed, status: int, body: bytes) -> None:
    with answering(status, body) as address:
        code, line = typed("submit", "mine.py", "--address", address, "--store", "/store")
    assert code == 2 and "what listens there is not a Ray dashboard" in line


def test_a_dashboard_that_asks_for_a_token_that_is_not_there(
    typed: Typed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "none"))
    with answering(401, b"Unauthorized: Missing authentication token") as address:
        code, line = typed("submit", "mine.py", "--address", address, "--store", "/store")
    assert code == 2 and "there is no token file" in line and "ray get-auth-token" in line


WITHOUT = """
import sys
for name in sys.argv.pop(1).split(","):
    sys.modules[name] = None
from raycl.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize(
    ("lacking", "said"),
    [
        ("ray", "ray is not installed: pip install 'ray[default]>="),
        (
            "aiohttp,pydantic",
            "ray[default] is not installed (aiohttp, pydantic missing); install it with pip",
        ),
    ],
)
def test_without_what_it_needs(tmp_path: Path, lacking: str, said: str) -> None:
    command = [sys.executable, "-c", WITHOUT, lacking, "attach", "mine-1", "--address", nobody()]
    environment = os.environ | {"PYTHONPATH": str(HOME)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 2 and said in done.stderr and done.stderr.count("\n") == 1


LOADED = "import sys\nfrom raycl.cli import main\nmain(sys.argv[1:])\nprint(*sys.modules)"


def test_it_loads_no_more_than_a_plan(typed: Typed, tmp_path: Path) -> None:
    """Once a plan has checked the study, neither loads torch; before Ray is needed, Ray is not loaded."""
    environment = os.environ | {"PYTHONPATH": str(HOME)}
    whole = STUDY.replace("from .common import LR", "").replace("LR", "0.1")  # one that imports has code
    (tmp_path / "mine.py").write_text(whole)

    def loaded(*words: str) -> set[str]:
        command = [sys.executable, "-c", LOADED, *words]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        return {name.partition(".")[0] for name in done.stdout.split()}

    loaded("plan", "mine.py")
    assert "torch" not in loaded("plan", "mine.py")
    found = loaded("submit", "mine.py", "--address", nobody(), "--store", "/store")
    assert "raycl" in found and not found & {"torch", "ray", "mlflow", "optuna"}


@pytest.mark.parametrize("file", ["prm/table_05.py", "quickstart.py"])
def test_a_study_is_the_same_study_where_it_is_sent(file: str, tmp_path: Path) -> None:
    """Its helper files come with it, and each run has the same key."""
    place = tmp_path / "files"
    place.mkdir()
    _fill(place, HOME / "studies" / file)
    here, there = HOME / "studies" / file, place / SHIPPED / Path(file).name
    studies = [read_study(path, small=file != "quickstart.py") for path in (here, there)]
    assert studies[0].name == studies[1].name
    keys = [[cell.spec({}, 1, checked=False).key for cell in cells_of(s, check=False)] for s in studies]
    assert keys[0] == keys[1] and len(keys[0]) > 1
    assert sorted(path.name for path in place.iterdir()) == ["raycl_job.py", "raycl_study_files"]


# What begins a job on the head.


def begun(*words: str, path: str = str(HOME), cwd: Path) -> subprocess.CompletedProcess[str]:
    """The program as the head executes it: a copy in a folder without raycl."""
    (cwd / "raycl_job.py").write_text(Path(entry.__file__).read_text())
    environment = os.environ | {"PYTHONPATH": path}
    command = [sys.executable, "raycl_job.py", *words]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)


def test_a_head_with_the_same_raycl(tmp_path: Path) -> None:
    source = entry.digest(HOME / "raycl")
    done = begun(raycl.__version__, source, "--version", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"raycl {raycl.__version__}\n", "")


def test_a_head_with_another_raycl(tmp_path: Path) -> None:
    done = begun("0.0.7", "", "--version", cwd=tmp_path)
    assert done.returncode == 2 and done.stdout == "" and done.stderr.count("\n") == 1
    assert f"raycl {raycl.__version__} is installed on {socket.gethostname()}" in done.stderr
    assert "0.0.7 on the machine that submits; install the same version on both" in done.stderr


def test_a_head_whose_files_of_raycl_differ(tmp_path: Path) -> None:
    done = begun(raycl.__version__, "00000000", "--version", cwd=tmp_path)
    assert done.returncode == 0 and done.stdout == f"raycl {raycl.__version__}\n"
    assert done.stderr.startswith("raycl: note: the files of raycl") and done.stderr.count("\n") == 1


def test_a_head_without_raycl(tmp_path: Path) -> None:
    """A package of its name stands before it, and cannot be imported."""
    (tmp_path / "raycl").mkdir()
    (tmp_path / "raycl" / "__init__.py").write_text("raise ImportError('nothing here')\n")
    done = begun("0.1.0", "", "--version", cwd=tmp_path)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert f"raycl cannot be imported by {sys.executable} on" in done.stderr
    assert "(nothing here); install raycl 0.1.0 there" in done.stderr


def test_every_file_counts_in_the_digest(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "a.py").write_text("1\n")
    before = entry.digest(tmp_path)
    (tmp_path / "inner" / "a.py").write_text("2\n")
    assert entry.digest(tmp_path) != before and len(before) == 8


# Command lines.


def test_the_commands_of_a_job_and_of_its_return() -> None:
    words = ["submit", "my study.py", "--small", "--only", "hat/*", "--set", "final=1", "--fresh", "--keep",
             "final", "--address", "http://h:8265", "--store", "/s", "--runtime-env", "e.yaml"]  # fmt: skip
    arguments = parser().parse_args(words)
    command = again(arguments)
    assert command == (
        "raycl submit 'my study.py' --small --only 'hat/*' --address http://h:8265 --set final=1 "
        "--keep final --store /s --runtime-env e.yaml"
    )
    inside = parser().parse_args(["run", "raycl_study_files/my study.py", *of_the_job(arguments)])
    assert (inside.small, inside.only, inside.fresh, inside.keep) == (True, "hat/*", True, "final")
    assert (inside.set, inside.store, inside.address) == (["final=1"], "/s", "auto")
    assert again(inside) == command
    assert again(inside, everything=True) == again(inside).replace(" --only 'hat/*'", "")


def test_a_log_that_is_sent_again_is_printed_once() -> None:
    out = io.StringIO()
    printed = _Printed(out)
    log = "Runtime env is setting up.\nRunning entrypoint for job a-1: exec python x\none\ntwo\nthree\n"
    for ends in (10, 60, 80, len(log)):  # a connection breaks in the middle, and another begins anew
        printed.begin()
        for place in range(0, ends, 7):
            printed.add(log[place : min(place + 7, ends)])
    assert out.getvalue() == "one\ntwo\nthree\n"

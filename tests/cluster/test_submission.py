"""`raycl submit` and `raycl attach` against a real head on loopback, with its dashboard and a token."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.helpers.head import HOME, SECONDS, Head, running_head
from tests.helpers.hosts import wait_for

pytestmark = pytest.mark.slow  # it starts a cluster of its own, and a driver for each job

COMMON = '''
import os
import time
from pathlib import Path

from raycl.methods.finetune import Finetune


class Gated(Finetune):
    """Finetuning that waits until a file is there, if the environment names one."""

    def learn(self, task, fit):
        gate = os.environ.get("GATE")
        while gate and not Path(gate).exists():
            time.sleep(0.05)
        super().learn(task, fit)


class Broken(Finetune):
    def learn(self, task, fit):
        raise RuntimeError("broken on purpose")
'''
STUDY = """
from raycl import Search, Seeds, Study

from .common import Gated

STUDY = Study(
    methods={"finetune": {"search": None}, "gated": {"method": "common:Gated"}},
    benchmarks=["digits_split"],
    network="mlp(hidden=8, drop1=0.0, drop2=0.0)",
    fit={"epochs": 1, "lr": 0.1},
    search=None,
    final=Seeds(1, 2),
)
"""
RUNS = 4
STARTED: list[subprocess.Popen[bytes]] = []  # of one test


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    with running_head() as made:
        yield made


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder with studies, and a runtime environment that closes a gate, which is open at the end."""
    made = tmp_path / "studies"
    made.mkdir()
    (made / "common.py").write_text(COMMON)
    (made / "gated.py").write_text(STUDY)
    plain = STUDY.replace("from .common import Gated", "").replace(
        ', "gated": {"method": "common:Gated"}', ""
    )
    (made / "plain.py").write_text(plain)
    (made / "broken.py").write_text(STUDY.replace("Gated", "Broken").replace("gated", "broken"))
    (made / "env.yaml").write_text(yaml.safe_dump({"env_vars": {"GATE": str(tmp_path / "gate")}}))
    yield made
    (tmp_path / "gate").touch()  # a job that waits would keep the head's CPUs from those of other tests
    while STARTED:
        with STARTED.pop() as process:  # which waits for its end
            process.kill()


def started(head: Head, folder: Path, log: str, *words: str, **more: str) -> subprocess.Popen[bytes]:
    """A command of raycl, on a machine that has the head's token; its output and errors go to a file."""
    with (folder / log).open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "raycl", *words],
            stdout=out, stderr=out, cwd=folder, env={**head.environment, **more}, start_new_session=True,
        )  # fmt: skip
    STARTED.append(process)
    return process


def played(head: Head, folder: Path, *words: str, **more: str) -> tuple[int, str]:
    """Code and output of a command of raycl, at its end."""
    code = started(head, folder, "played.log", *words, **more).wait(SECONDS)
    return code, (folder / "played.log").read_text()


def submitted(head: Head, study: str, store: Path, *words: str) -> list[str]:
    return ["submit", study, "--address", head.address, "--store", str(store), *words]


def finished(store: Path) -> dict[str, float]:
    return {path.stem: path.stat().st_mtime for path in store.glob("runs/??/*.json")}


def says(folder: Path, log: str, text: str) -> None:
    """Wait until a command has said this."""
    file = folder / log
    wait_for(lambda: text in file.read_text(), f"{text!r} in {log}", SECONDS)


def csv(head: Head, folder: Path, store: Path) -> str:
    code, out = played(
        head, folder, "report", "gated.py", "--store", str(store), "--format", "csv", "--no-times"
    )
    assert code == 0
    return out


def test_a_killed_job_resumes_with_the_same_command(head: Head, folder: Path, tmp_path: Path) -> None:
    store, command = tmp_path / "store", submitted(head, "gated.py", tmp_path / "store")
    command += ["--runtime-env", "env.yaml"]
    first = started(head, folder, "first.log", *command)
    wait_for(
        lambda: len(finished(store)) >= 2, "two runs", SECONDS, lambda: _over(first, folder / "first.log")
    )
    before = finished(store)

    second = started(head, folder, "second.log", *command)  # while the other runs
    says(folder, "second.log", "job gated-1 runs gated with store")
    says(folder, "second.log", "1/4 ")  # what came before is printed as well
    second.send_signal(signal.SIGINT)
    assert second.wait(SECONDS) == 130
    said = (folder / "second.log").read_text()
    assert "no second job is started" in said and "Traceback" not in said
    assert f"follow it again with: raycl attach gated-1 --address {head.address}" in said

    third = started(head, folder, "third.log", "attach", "gated-1", "--address", head.address)
    says(folder, "third.log", "1/4 ")
    [driver] = head.processes("raycl run", "gated.py")
    os.kill(driver, signal.SIGKILL)
    for follower, log in ((first, "first.log"), (third, "third.log")):
        assert follower.wait(SECONDS) == 128 + signal.SIGKILL
        said = (folder / log).read_text()
        again = f"raycl submit gated.py --address {head.address} --store {store} --runtime-env env.yaml"
        assert (
            f"job gated-1 was killed by SIGKILL; finished runs are in the store, resume with: {again}" in said
        )

    (tmp_path / "gate").touch()
    code, out = played(head, folder, *command)
    assert (
        code == 0
        and "job gated-2 runs gated on the cluster" in out
        and out.count("/4 ") == RUNS - len(before)
    )
    after = finished(store)
    assert len(after) == RUNS and before.items() <= after.items()  # nothing was computed again
    local = tmp_path / "local"
    assert played(head, folder, "run", "gated.py", "--local", "--store", str(local))[0] == 0
    assert csv(head, folder, store) == csv(head, folder, local)
    page = (store / "gated.html").read_text()
    assert f"raycl submit gated.py --address {head.address}" in page and "raycl_study_files" not in page


def _over(process: subprocess.Popen[bytes], log: Path) -> str:
    return "" if process.poll() is None else log.read_text()


def test_a_stopped_job_says_how_to_resume(head: Head, folder: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    words = submitted(head, "gated.py", store, "--runtime-env", "env.yaml", "--only", "gated/*")
    process = started(head, folder, "out.log", *words)
    wait_for(
        lambda: head.processes("raycl run", str(store)),
        "a driver",
        SECONDS,
        lambda: _over(process, folder / "out.log"),
    )
    says(folder, "out.log", "runs gated on the cluster")
    name = (folder / "out.log").read_text().partition("raycl: job ")[2].split()[0]
    other = started(head, folder, "other.log", *submitted(head, "gated.py", store))  # with other options
    says(folder, "other.log", f"stop it with `ray job stop {name}` and submit again")
    stop = [sys.executable, "-m", "ray.scripts.scripts", "job", "stop", name, "--address", head.address]
    subprocess.run(stop, env=dict(head.environment), check=True, capture_output=True)
    assert process.wait(SECONDS) == 130
    said = (folder / "out.log").read_text()
    assert (
        other.wait(SECONDS) == 130
        and "note: it was submitted as raycl submit" in (folder / "other.log").read_text()
    )
    assert (
        f"job {name} was stopped; finished runs are in the store, resume with: raycl submit gated.py" in said
    )


def test_a_failed_study_gives_its_exit_code(head: Head, folder: Path, tmp_path: Path) -> None:
    code, out = played(head, folder, *submitted(head, "broken.py", tmp_path / "store", "--only", "broken/*"))
    assert code == 1 and "RuntimeError: broken on purpose" in out and "failed" in out
    code, again = played(head, folder, "attach", "broken-1", "--address", head.address)
    assert code == 1 and again == out.partition("\n")[2]  # the first line is of the submission
    code, out = played(head, folder, "attach", "broken-7", "--address", head.address)
    assert code == 2 and "there is no job 'broken-7'" in out and "broken-1" in out


def test_a_token_is_needed(head: Head, folder: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_text("b" * 64)
    wrong.chmod(0o600)
    words = submitted(head, "plain.py", tmp_path / "store")
    code, out = played(head, folder, *words, RAY_AUTH_TOKEN_PATH=str(wrong))
    assert code == 2 and f"refuses the token of RAY_AUTH_TOKEN_PATH={wrong}" in out and out.count("\n") == 1
    code, out = played(head, folder, *words, RAY_AUTH_MODE="")
    assert code == 2 and "asks for a token, but RAY_AUTH_MODE is not 'token'" in out and out.count("\n") == 1


@pytest.mark.parametrize(
    ("variable", "said"),
    [
        ("PYTHONPATH", "raycl 0.0.7 is installed on"),
        ("PATH", "there is no `python` on the PATH of Ray's head; start Ray in the environment of raycl"),
    ],
    ids=["another", "none"],
)
def test_a_head_that_has_another_raycl(
    head: Head, folder: Path, tmp_path: Path, variable: str, said: str
) -> None:
    other = tmp_path / "other"
    (other / "raycl").mkdir(parents=True)
    (other / "raycl" / "__init__.py").write_text('__version__ = "0.0.7"\n')
    for program in [*Path("/usr/bin").iterdir(), *Path("/bin").iterdir()]:
        if not program.name.startswith("python") and not (other / program.name).exists():
            (other / program.name).symlink_to(program)  # Ray itself needs some of them
    (folder / "env.yaml").write_text(yaml.safe_dump({"env_vars": {variable: str(other)}}))
    code, out = played(
        head, folder, *submitted(head, "plain.py", tmp_path / "s"), "--runtime-env", "env.yaml"
    )
    lines = [line for line in out.splitlines() if line.startswith("raycl: ")]
    assert code == 2 and len(lines) == 2 and said in lines[1] and not (tmp_path / "s").exists()


def test_the_fixture_ends_what_it_started(tmp_path: Path) -> None:
    """A process that leaves its parent, as those of Ray do, ends with the keeper's input."""
    from tests.helpers.head import KEEPER

    file = tmp_path / "pid"
    script = f"setsid sh -c 'echo $$ > {file}; exec sleep 1000' & sleep 0.5"
    keeper = subprocess.Popen(
        [sys.executable, "-c", KEEPER, "sh", "-c", script], stdin=subprocess.PIPE, cwd=HOME
    )
    wait_for(lambda: file.exists() and file.read_text().strip(), "the process", SECONDS)
    pid = int(file.read_text())
    assert keeper.stdin is not None and Path(f"/proc/{pid}").exists()
    keeper.stdin.close()
    assert keeper.wait(SECONDS) == 0 and not Path(f"/proc/{pid}").exists()

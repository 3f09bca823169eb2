"""Preparation is safe: many processes at once, killed ones, full disks, damage, folders nobody may write to.

What kills a process here is SIGKILL, and what fills a disk is a write that the system refuses.
"""

from __future__ import annotations

import gzip
import json
import os
import signal
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from raycl.benchmarks import data_root, prepared, sources
from raycl.benchmarks.prepared import Blocks, Contents, Folder
from raycl.errors import UserError
from raycl.registry import load

pytestmark = pytest.mark.usefixtures("empty")

ROWS, SIDE, STEP = 40, 64, 8  # of the large array; rows a block
LARGE = f"""
import os, signal, sys
from pathlib import Path
import numpy as np
from raycl.benchmarks import prepared
from raycl.benchmarks.prepared import Blocks, Contents, Folder

prepared.BLOCK_BYTES = {STEP * SIDE * SIDE}
log, die_in, die_at, token = Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]), sys.argv[5]

def made(name):
    def make(start, stop):
        with open(log, "a") as file:
            file.write(f"{{name}} {{start}}\\n")
        if (name, start) == (die_in, die_at):
            os.kill(os.getpid(), signal.SIGKILL)
        rows = np.arange(start, stop, dtype=np.uint8)
        return rows.repeat({SIDE} * {SIDE}).reshape(-1, {SIDE}, {SIDE})
    return Blocks(({ROWS}, {SIDE}, {SIDE}), np.uint8, make, token)

folder = Folder(Path(sys.argv[1]), "the large one", "remedy")
folder.fill(lambda: Contents({{"first": made("first"), "second": made("second"), "plain": np.arange(9)}}))
"""


FORKS = """
import json, os, sys, traceback
import raycl.cli, raycl.terminal.datasets, raycl.benchmarks.sources  # once, for all that are forked below
import sklearn.datasets, torchvision.datasets
for line in sys.stdin:
    code, jobs, environment = json.loads(line)
    running = []
    for out, words in jobs:
        running.append(os.fork())
        if not running[-1]:
            status = 1
            try:
                for number, name in ((1, "out"), (2, "err")):
                    os.dup2(os.open(f"{out}.{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
                os.environ.update(environment)
                sys.argv[1:] = words
                exec(code, {"__name__": "__main__"})
                status = 0
            except SystemExit as error:
                status = error.code or 0
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(status)
    print(json.dumps([os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in running]), flush=True)
"""


class Done(NamedTuple):
    """How a process ended, and what it said."""

    returncode: int
    stdout: str
    stderr: str


Children = Callable[..., list[Done]]


@pytest.fixture(scope="module")
def forks() -> Iterator[subprocess.Popen[str]]:
    """A process that has imported raycl, and from which others start in no time."""
    command = [sys.executable, "-c", FORKS]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        yield server
        server.communicate()


@pytest.fixture
def children(forks: subprocess.Popen[str], tmp_path: Path) -> Children:
    """Run code in processes of their own, at once, each with its own words; they see RAYCL_DATA."""

    def run(code: str, *jobs: Sequence[object]) -> list[Done]:
        assert forks.stdin is not None and forks.stdout is not None
        outs = [tempfile.mktemp(prefix="said-", dir=tmp_path) for _ in jobs]
        told = [(out, [str(word) for word in words]) for out, words in zip(outs, jobs, strict=True)]
        forks.stdin.write(json.dumps([code, told, {"RAYCL_DATA": os.environ["RAYCL_DATA"]}]) + "\n")
        forks.stdin.flush()
        codes = json.loads(forks.stdout.readline())
        return [
            Done(status, Path(f"{out}.out").read_text(), Path(f"{out}.err").read_text())
            for status, out in zip(codes, outs, strict=True)
        ]

    return run


@pytest.fixture
def large(tmp_path: Path, children: Children) -> Callable[..., list[str]]:
    """Prepare two large arrays in a process; the blocks that it made. -1: it is not killed."""
    log = tmp_path / "log"

    def run(name: str, dies: tuple[str, int] = ("", -1), token: str = "one") -> list[str]:
        log.write_text("")
        (done,) = children(LARGE, (tmp_path / name, log, *dies, token))
        assert done.returncode == (-signal.SIGKILL if dies[0] else 0), done.stderr
        return log.read_text().splitlines()

    return run


def blocks(name: str, start: int = 0) -> list[str]:
    return [f"{name} {row}" for row in range(start, ROWS, STEP)]


def content(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.suffix == ".npy"}


def test_work_on_a_large_array_goes_on_where_it_was_killed(
    large: Callable[..., list[str]], tmp_path: Path
) -> None:
    assert large("whole") == blocks("first") + blocks("second")
    assert large("cut", ("first", 24))[-1] == "first 24"
    assert Folder(tmp_path / "cut", "", "").status() == "partial"
    assert large("cut", ("second", 16)) == [*blocks("first", 24), "second 0", "second 8", "second 16"]
    assert large("cut") == blocks("second", 16)  # and the first array is not made again
    assert content(tmp_path / "cut") == content(tmp_path / "whole")
    assert sorted(f.name for f in (tmp_path / "cut").glob(".*")) == [".lock"]
    assert Folder(tmp_path / "cut", "", "").problems(deep=True) == []


def test_work_cut_off_under_another_token_starts_again(
    large: Callable[..., list[str]], tmp_path: Path
) -> None:
    large("cut", ("second", 16), "one")
    assert large("cut", token="two") == blocks("first") + blocks("second")


def test_a_finished_array_that_is_damaged_before_the_rest_is_done_is_made_again(
    large: Callable[..., list[str]], tmp_path: Path
) -> None:
    large("cut", ("second", 0))
    (file,) = (tmp_path / "cut").glob("first-*.npy")
    file.write_bytes(file.read_bytes()[:-1] + b"\7")
    assert large("cut") == blocks("first") + blocks("second")
    assert Folder(tmp_path / "cut", "", "").problems(deep=True) == []


@pytest.mark.parametrize("moment", ["images_28", "labels"])
def test_a_plain_preparation_that_was_killed_is_finished_by_the_next(moment: str, children: Children) -> None:
    code = (
        "import os, signal, sys\nfrom raycl.benchmarks import sources\n"
        "def progress(what, done, of):\n"
        "    if (what, done) == (sys.argv[1], of):\n        os.kill(os.getpid(), signal.SIGKILL)\n"
        "sources.prepare('digits', progress=progress)"
    )
    (done,) = children(code, (moment,))
    assert done.returncode == -signal.SIGKILL
    assert sources.status("digits") == "partial"
    assert len(load("digits_split").tasks) == 5
    assert sources.verify("digits") == []
    assert not list((data_root() / "digits").glob(".*.tmp"))


def test_of_many_at_once_one_does_the_work(tmp_path: Path) -> None:
    calls: list[int] = []

    def read() -> Contents:
        calls.append(1)
        return Contents({"x": np.arange(5)})

    folder = Folder(tmp_path / "x", "x", "remedy")
    threads = [threading.Thread(target=folder.fill, args=(read, 0)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 1
    assert folder.open()["x"].tolist() == [0, 1, 2, 3, 4]


def idx_files(folder: Path) -> Path:
    """600 + 200 random images in the format of MNIST."""
    draw = np.random.default_rng(0)
    folder.mkdir(parents=True)
    for part, count in (("train", 600), ("t10k", 200)):
        images = draw.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        labels = (np.arange(count) % 10).astype(np.uint8)
        for name, values in (("images-idx3", images), ("labels-idx1", labels)):
            header = struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape)
            (folder / f"{part}-{name}-ubyte.gz").write_bytes(gzip.compress(header + values.tobytes(), 1))
    return folder


@pytest.fixture
def mnist(tmp_path: Path) -> Path:
    """A folder with the real MNIST where there is one, else files of its format."""
    real = os.environ.get("RAYCL_TEST_DATA")
    return Path(real).resolve() if real else idx_files(tmp_path / "mnist-files")


def check_one_prepared(done: Sequence[Done]) -> None:
    """All of them succeeded, one did the work, and the files are whole."""
    assert [one.returncode for one in done] == [0] * len(done), done
    assert sum("train_images" in one.stderr for one in done) == 1  # who writes an array says so
    assert all(one.stdout.startswith("mnist is in ") for one in done)
    assert sources.verify("mnist") == []
    kept = sorted(file.name.partition("-")[0] for file in (data_root() / "mnist").iterdir())
    assert kept == [".lock", "manifest.json", "stamps.json", "test_images", "test_labels", "train_images",
                    "train_labels"]  # fmt: skip


PREPARE = "import sys; from raycl.cli import main; sys.exit(main(['data', 'prepare', *sys.argv[1:]]))"


def test_of_eight_processes_one_prepares(mnist: Path, children: Children) -> None:
    check_one_prepared(children(PREPARE, *[("mnist", "--from", mnist)] * 8))


def test_of_four_processes_that_use_the_digits_first_one_prepares_them(children: Children) -> None:
    code = "from raycl.benchmarks import sources; assert len(sources.arrays('digits')) == 4"
    assert [one.returncode for one in children(code, *[()] * 4)] == [0] * 4
    assert sources.verify("digits") == []
    kept = sorted(file.suffix for file in (data_root() / "digits").iterdir() if file.name != ".lock")
    assert kept == [".json", ".json", *[".npy"] * 4]


@pytest.mark.release
def test_of_eight_commands_one_prepares(mnist: Path) -> None:
    command = [sys.executable, "-m", "raycl.cli", "data", "prepare", "mnist", "--from", str(mnist)]
    running = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(8)
    ]
    said = [process.communicate(timeout=300) for process in running]
    check_one_prepared(
        [Done(process.returncode, *texts) for process, texts in zip(running, said, strict=True)]
    )


FULL = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
from raycl.cli import main
sys.exit(main(["data", "prepare", *sys.argv[2:]]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="limits of the size of a file are POSIX's")
@pytest.mark.parametrize("limit", [2_000, 100_000, 1_500_000])
def test_a_write_that_fails_is_one_line_and_nothing_half_is_taken_for_whole(
    limit: int, children: Children
) -> None:
    (done,) = children(FULL, (limit, "digits"))
    assert done.returncode == 2
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("raycl: ")]
    assert f"cannot write data folder {data_root() / 'digits'}: " in line
    assert line.endswith("free some space, or set RAYCL_DATA to a folder on another disk")
    assert "Traceback" not in done.stderr
    assert sources.status("digits") != "present"
    assert sources.prepare("digits") == data_root() / "digits"  # with room it is finished
    assert sources.verify("digits") == []


@pytest.mark.skipif(sys.platform == "win32", reason="limits of the size of a file are POSIX's")
def test_the_disk_may_fill_up_while_files_are_unpacked(mnist: Path, children: Children) -> None:
    (done,) = children(FULL, (200_000, "mnist", "--from", mnist))
    assert done.returncode == 2
    assert "cannot write data folder" in done.stderr and "Traceback" not in done.stderr
    sources.prepare("mnist", mnist)
    assert sources.verify("mnist") == []
    assert not (data_root() / "downloads" / "mnist").exists()


def test_what_cannot_be_read_is_not_said_to_be_what_cannot_be_written(tmp_path: Path) -> None:
    def read() -> Contents:
        (tmp_path / "given").read_bytes()
        raise AssertionError

    with pytest.raises(UserError, match=f"^{tmp_path / 'given'} cannot be read: No such file"):
        Folder(tmp_path / "x", "x", "remedy").fill(read)


def flip(file: Path, quietly: bool = False) -> None:
    """Change one bit in the last byte; `quietly`: as a failing disk does, which tells nobody."""
    before = file.stat()
    with open(file, "r+b") as data:
        data.seek(-1, os.SEEK_END)
        last = data.read(1)[0]
        data.seek(-1, os.SEEK_END)
        data.write(bytes([last ^ 1]))
    if quietly:
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_a_flipped_byte_is_refused_when_the_data_are_next_used() -> None:
    (file,) = sources.prepare("digits").glob("images_8-*.npy")
    flip(file)
    with pytest.raises(
        UserError, match=r"^[^\n]*images_8-\w+\.npy has changed[^\n]*raycl data prepare digits$"
    ):
        sources.arrays("digits")
    sources.prepare("digits")  # the remedy
    assert sources.arrays("digits")["images_8"].max() == 255


def test_a_byte_that_flipped_quietly_is_found_by_verify_and_refused_from_then_on() -> None:
    (file,) = sources.prepare("digits").glob("images_8-*.npy")
    flip(file, quietly=True)
    assert sources.missing("digits") is None  # nothing that one sees without reading it all
    (problem,) = sources.verify("digits")
    assert file.name in problem
    assert file.name in str(sources.missing("digits"))


def test_a_file_that_only_looks_changed_is_read_once_and_trusted_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (file,) = sources.prepare("digits").glob("images_8-*.npy")
    read: list[str] = []
    whole = prepared._sha256
    monkeypatch.setattr(prepared, "_sha256", lambda path: read.append(path.name) or whole(path))
    os.utime(file, ns=(1, 1))
    for _ in range(3):
        sources.arrays("digits")
    assert read == [file.name]


READ_ONLY = """
import os, sys
from raycl.registry import load; from raycl.benchmarks import prepared, sources
from raycl.cli import main
import filelock, raycl.terminal.datasets
if os.geteuid() == 0:
    os.setgid(65534)
    os.setuid(65534)  # root may write anywhere
assert not os.access(os.environ["RAYCL_DATA"], os.W_OK)
read, whole = [], prepared._sha256
prepared._sha256 = lambda path: read.append(path.name) or whole(path)
for _ in range(3):
    assert sources.missing("digits") is None and len(sources.arrays("digits")) == 4
assert len(load("digits_split").tasks) == 5
assert len(read) == int(sys.argv[1]), read
assert main(["data", "prepare", "digits"]) == 0
assert main(["data", "verify", "digits"]) == 0
assert main(["data", "list"]) == 0
assert main(["data", "prepare", "mnist", "--from", sys.argv[2]]) == 2
"""


@pytest.fixture
def read_only(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A data folder that holds the digits, and that nobody but root may write to."""
    with tempfile.TemporaryDirectory(prefix="raycl-test-") as name:
        root = Path(name) / "data"
        monkeypatch.setenv("RAYCL_DATA", str(root))
        sources.prepare("digits")
        Path(name).chmod(0o755)
        yield root
        for folder in (root, root / "digits"):
            folder.chmod(0o755)


@pytest.mark.parametrize(("stamped", "reads"), [(True, 0), (False, 4)])
def test_a_read_only_data_folder_works(
    read_only: Path, stamped: bool, reads: int, children: Children
) -> None:
    """Where no stamp can be written, each file is still read no more than once a process."""
    if not stamped:
        (read_only / "digits" / "stamps.json").unlink()
    for file in (read_only / "digits").iterdir():
        file.chmod(0o444)
    for folder in (read_only / "digits", read_only):
        folder.chmod(0o555)
    before = sorted((read_only / "digits").iterdir())
    (done,) = children(READ_ONLY, (reads, read_only))
    assert done.returncode == 0, done.stderr
    assert "cannot write data folder" in done.stderr  # mnist
    assert sorted((read_only / "digits").iterdir()) == before


def test_a_manifest_of_another_format_is_not_read(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "x", "x", "remedy")
    folder.fill(lambda: Contents({"x": np.arange(5)}))
    manifest = json.loads((folder.path / "manifest.json").read_text())
    (folder.path / "manifest.json").write_text(json.dumps(manifest | {"format": prepared.FORMAT + 1}))
    with pytest.raises(UserError, match=r"^x: .*manifest.json cannot be read; remedy$"):
        folder.open()


def test_blocks_are_asked_for_in_order_and_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepared, "BLOCK_BYTES", 3 * 8)
    asked, told = [], []

    def make(start: int, stop: int) -> np.ndarray:
        asked.append((start, stop))
        return np.arange(start, stop)

    folder = Folder(tmp_path / "x", "x", "remedy")
    contents = Contents({"x": Blocks((7,), np.int64, make, "token")}, "a part", {"class_names": ["a"]})
    folder.fill(lambda: contents, progress=lambda what, done, of: told.append((what, done, of)))
    assert asked == [(0, 3), (3, 6), (6, 7)]
    assert [done for what, done, of in told if what == "x"] == [0, 3, 6, 7]
    assert folder.open()["x"].tolist() == list(range(7))
    assert (folder.subset, folder.facts, folder.nbytes) == ("a part", {"class_names": ["a"]}, 128 + 56)


def test_the_fingerprint_is_that_of_the_contents(tmp_path: Path) -> None:
    folders = [Folder(tmp_path / name, name, "") for name in "abc"]
    for folder, last in zip(folders, (4, 4, 5), strict=True):
        folder.fill(lambda last=last: Contents({"x": np.arange(last)}))  # type: ignore[misc]
    one, same, other = (folder.fingerprint for folder in folders)
    assert one == same != other
    assert Folder(tmp_path / "none", "", "").fingerprint == ""


MEMORY = """
import sys
import numpy as np, torch
torch.set_num_threads(1)
from raycl.registry import load
from raycl.training.fit import Fit

def grown():
    fields = dict(line.split(":") for line in open("/proc/self/smaps_rollup").read().splitlines()[1:])
    return {name: int(fields[name].split()[0]) for name in ("Pss", "Private_Dirty", "Rss")}

load("digits_permuted").tasks[0].train.take(np.arange(128))  # what everybody needs
before = grown()
tasks = load("permuted_mnist(tasks=250)").tasks
order = np.random.default_rng(0).permutation(54_000)
for step, start in enumerate(range(0, 54_000, 128)):
    tasks[step % 250].train.take(order[start : start + 128])
tasks[0].test.take(np.arange(1000))
print("ready", flush=True)
sys.stdin.readline()
print(*(after - before[name] for name, after in grown().items()), flush=True)
sys.stdin.readline()
"""


def growth_of_two() -> list[list[int]]:
    """Growth in kB of Pss, Private_Dirty and Rss of two processes that use MNIST at the same time."""
    command = [sys.executable, "-c", MEMORY]
    workers = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    told: list[list[int]] = []
    try:
        for worker in workers:
            assert worker.stdout is not None and worker.stdout.readline() == "ready\n"
        for worker in workers:
            assert worker.stdout is not None and worker.stdin is not None
            worker.stdin.write("go\n")
            worker.stdin.flush()
            told.append([int(word) for word in worker.stdout.readline().split()])
    finally:
        for worker in workers:
            worker.communicate("go\n")
    return told


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="measured with Linux's smaps_rollup")
def test_two_processes_share_one_copy_of_mnist(real_data: Path) -> None:
    sources.prepare("mnist", real_data)
    copy = 55_000  # kB, of the images and labels
    growths = growth_of_two()
    assert all(private < 30_000 for _, private, _ in growths), growths
    assert all(resident > 0.8 * copy for *_, resident in growths), growths  # they did read the images
    assert sum(pss for pss, *_ in growths) < 1.6 * copy, growths

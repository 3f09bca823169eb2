"""How commands end that do not come to their end: one line, an exit code, and no traceback on the screen."""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path

import pytest

from tests.helpers.warm import Said, typed

STUDY = """
from raycl import *
STUDY = Study(methods={"one": {}, "finetune": {}}, benchmarks=["digits_split"],
              network="mlp(hidden=8)", fit={"epochs": 1}, search=None, final=Seeds(1))
"""
VIEW = """
from raycl import *
from raycl import View
class Mine(View):
    title, notes = "mine", ()
    def lines(self, section):
        raise %s
STUDY = Study(methods={"finetune": {}}, benchmarks=["digits_split"], network="mlp(hidden=8)",
              fit={"epochs": 1}, search=None, final=Seeds(1), views=[Mine()])
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "mine.py").write_text(STUDY)
    (tmp_path / "a file").write_text("")
    os.mkfifo(tmp_path / "pipe")
    return tmp_path


def only_line(said: Said, code: int = 2) -> str:
    """The one line that a command says on the error stream."""
    assert said.code == code and "Traceback" not in said.out + said.err, said
    (line,) = said.err.splitlines()
    assert line.startswith("raycl: ") and line.isprintable()
    return line


@pytest.mark.parametrize("command", ["plan", "run", "report", "sync", "gc", "ui"])
@pytest.mark.parametrize(
    ("store", "part"),
    [
        ("a file", "--store 'a file' is a file, not a folder"),
        ("a file/x", "--store 'a file/x': 'a file' is a file"),
        ("", "--store '' is empty"),
        ("pipe", "--store pipe is a pipe, a socket or a device, not a folder"),
        ("a\nb" * 200, "--store 'a\\nba"),
        ("/dev/null/x", "/dev/null is a file"),
    ],
)
def test_a_store_that_can_be_none(folder: Path, command: str, store: str, part: str) -> None:
    study = ["mine.py"] if command != "ui" else []
    line = only_line(typed([command, *study, "--store", store], folder))
    assert part in line and line.endswith("name a folder with --store DIR")


@pytest.mark.parametrize("store", ["", "a\nb" * 200])
def test_a_doctor_is_told_of_a_store_that_can_be_no_path(folder: Path, store: str) -> None:
    """Of any other store its page says what is wrong."""
    assert only_line(typed(["doctor", "--store", store], folder)).endswith("name a folder with --store DIR")


def test_a_doctors_page_says_that_a_store_is_a_file(folder: Path) -> None:
    said = typed(["doctor", "--store", "a file"], folder)
    assert said.code == 1 and "MISS  store" in said.out and said.err == ""


@pytest.mark.skipif(os.geteuid() == 0, reason="root may enter every folder")
def test_a_store_that_is_closed(folder: Path) -> None:
    (folder / "shut").mkdir(mode=0)
    assert "cannot be read (Permission denied)" in only_line(
        typed(["plan", "mine.py", "--store", "shut"], folder)
    )


@pytest.mark.parametrize("form", ["table", "csv", "html", "latex"])
@pytest.mark.parametrize(
    ("out", "part"),
    [
        ("no where/x", "there is no folder 'no where'; make it with mkdir -p 'no where'"),
        (".", "--out . is a folder"),
        ("", "--out '' is empty"),
        ("a file/x", "'a file' is a file"),
        ("x" * 5000, "File name too long"),
    ],
)
def test_a_report_that_cannot_be_written(folder: Path, form: str, out: str, part: str) -> None:
    assert part in only_line(typed(["report", "mine.py", "--format", form, "--out", out], folder))


@pytest.mark.parametrize("form", ["csv", "html"])
def test_a_report_is_written_over_a_file_and_into_a_device(folder: Path, form: str) -> None:
    words = ["report", "mine.py", "--format", form, "--out"]
    assert typed([*words, "a file"], folder).code == 0 and "finetune" in (folder / "a file").read_text()
    assert typed([*words, "/dev/null"], folder).code == 0 and not Path("/dev/null").is_file()
    (folder / "link").symlink_to("a file")
    assert typed([*words, "link"], folder).code == 0 and (folder / "link").is_symlink()


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--format", "xml"], "invalid choice: 'xml'"),
        (["--points", "--format", "html"], "--points writes csv; leave out --format html"),
        (["--only"], "expected one argument"),
        (["--nosuch"], "unrecognized arguments: --nosuch"),
        (["--no\nsuch\x1b[31m"], "unrecognized arguments: --no such [31m"),
        (["--small"], "mine.py: defines no SMALL"),
    ],
)
def test_options_that_do_not_exist(folder: Path, words: list[str], part: str) -> None:
    assert part in only_line(typed(["report", "mine.py", *words], folder))


@pytest.mark.parametrize(
    ("words", "part"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["nosuch"], "invalid choice: 'nosuch'"),
        (["bench"], "type `python -m bench` or `make bench`"),
        (["--verbose", "bench", "--help"], "type `python -m bench` or `make bench`"),
        (["methods", "nosuch"], "unknown method 'nosuch'"),
        (["benchmarks", "digits_split(tasks='a/b')", "--show"], "digits_split"),
        (["benchmarks", "digits_split", "--show", "--out", "no/x.png"], "cannot write the contact sheet"),
        (["run", "mine.py", "--local", "--address", "auto"], "--local and --address"),
        (["plan", "."], "."),
        (["plan", "pipe"], "pipe"),
        (["plan", ""], "is a folder, not a study file"),
        (["plan", "nowhere.py"], "nowhere.py: there is no such study file"),
        (["plan", "a file"], "a file"),
        (["gc", "a file"], "a file"),
        (["data", "prepare", "mnist", "--from", "nowhere"], "nowhere"),
        (["data", "prepare", "mnist", "--from", "a file"], "a file"),
        (["ui", "--port", "http"], "invalid int value: 'http'"),
    ],
)
def test_other_things_that_are_not_there(folder: Path, words: list[str], part: str) -> None:
    assert part in only_line(typed(words, folder))


@pytest.mark.parametrize("port", ["0", "-1", "65536", "1" * 30])
def test_ports_that_are_none(folder: Path, port: str) -> None:
    (folder / "results").mkdir()
    (folder / "results" / "mlflow.db").touch()
    assert "is not a port; use a number from 1 to 65535" in only_line(typed(["ui", "--port", port], folder))


def test_a_port_that_is_taken(folder: Path) -> None:
    (folder / "results").mkdir()
    (folder / "results" / "mlflow.db").touch()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert f"--port {port} cannot be used (Address already in use)" in only_line(
            typed(["ui", "--port", port], folder)
        )


def test_a_fault_of_a_view_names_its_line_and_a_file_with_the_whole(folder: Path) -> None:
    error = "RuntimeError('a\\x1b[31mb ' + 'x' * 5000 + ' ://u:secret@h/ end')"
    (folder / "view.py").write_text(VIEW % error)
    line = only_line(typed(["report", "view.py", "--format", "html"], folder, {"TMPDIR": str(folder)}))
    assert line.startswith("raycl: view.py:7: RuntimeError: a [31mb xxx") and "secret" not in line
    (file,) = folder.glob("raycl-error-*.txt")
    assert line.endswith(f"(traceback in {file})") and len(line) < 600
    whole = file.read_text()
    assert "Traceback" in whole and "x" * 5000 in whole and "secret" not in whole


@pytest.mark.parametrize("error", ["SystemExit(0)", "SystemExit", "GeneratorExit", "MemoryError"])
def test_a_view_that_ends_the_program_is_told(folder: Path, error: str) -> None:
    (folder / "view.py").write_text(VIEW % error)
    assert only_line(typed(["report", "view.py"], folder)).startswith("raycl: view.py:7: ")


@pytest.mark.parametrize(
    ("error", "code", "part"),
    [
        ("MemoryError()", 1, "internal error: MemoryError"),
        ("RecursionError('deep')", 1, "internal error: RecursionError: deep"),
        ("SystemExit(0)", 1, "internal error: SystemExit: 0"),
        ("SystemExit", 1, "internal error: SystemExit"),
        ("GeneratorExit", 1, "internal error: GeneratorExit"),
        ("type('Odd', (Exception,), {'__str__': lambda self: 1 / 0})()", 1, "internal error: Odd ("),
        ("OSError(28, 'No space left on device')", 2, "the output cannot be written: No space left"),
        ("PermissionError(13, 'Permission denied', 'a b')", 2, "'a b': Permission denied"),
        ("BrokenPipeError(32, 'Broken pipe')", 1, "internal error: BrokenPipeError"),
        ("KeyboardInterrupt", 130, "interrupted"),
    ],
)
def test_every_exception_is_one_line(
    error: str,
    code: int,
    part: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from raycl.terminal.ending import ended

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("raycl.terminal.ending._silence", lambda: None)  # the output is pytest's own
    made = eval(error)
    assert ended(made() if isinstance(made, type) else made) == code
    said = capsys.readouterr().err
    assert said.startswith("raycl: ") and part in said and said.count("\n") == 1 and "Traceback" not in said


def test_verbose_shows_the_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    from raycl.terminal.ending import ended

    assert ended(RuntimeError("odd"), verbose=True) == 1
    assert "RuntimeError: odd\nraycl: internal error" in capsys.readouterr().err


def test_where_no_file_can_be_written_the_line_stands_all_the_same(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from raycl.terminal.ending import ended

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))
    assert ended(RuntimeError("odd")) == 1
    assert capsys.readouterr().err == (
        "raycl: internal error: RuntimeError: odd (--verbose shows where; please report it)\n"
    )


@pytest.mark.parametrize("words", [["plan", "mine.py"], ["report", "mine.py"], ["methods"], ["--help"]])
def test_streams_that_nobody_reads(folder: Path, words: list[str]) -> None:
    read, write = os.pipe()
    os.close(read)
    said = typed(words, folder, out=write)
    os.close(write)
    assert (said.code, said.err) == (0, "")
    said = typed(words, folder, out=-1)
    assert (said.code, said.out, said.err) == (0, "", "")


@pytest.mark.parametrize("words", [["plan", "mine.py"], ["report", "mine.py"], ["methods"], ["--help"]])
def test_an_output_that_is_full(folder: Path, words: list[str]) -> None:
    said = typed(words, folder, out="/dev/full")
    assert "the output cannot be written: No space left on device" in only_line(said)


def test_a_study_that_nobody_watches_any_more_is_not_complete(folder: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    said = typed(["run", "mine.py", "--local"], folder, out=write)
    os.close(write)
    assert "finished runs are kept" in only_line(said, 1)
    assert len(list((folder / "results" / "runs").glob("??/*.json"))) == 1
    assert typed(["run", "mine.py", "--local"], folder).code == 0


def test_a_failed_cell_names_a_file_that_one_can_type(folder: Path) -> None:
    (folder / "bug.py").write_text(
        "from raycl import *\nfrom raycl.method import Method\n"
        "class Bug(Method):\n    def learn(self, task, fit):\n"
        "        raise RuntimeError('first\\nsecond \\x1b[31m' + 'x' * 10000)\n"
        "STUDY = Study(methods={'bug:Bug': {}}, benchmarks=['digits_split'],\n"
        "              network='mlp(hidden=8)', fit={'epochs': 1}, search=None, final=Seeds(1))\n"
    )
    said = typed(["run", "bug.py", "--local", "--store", "my results"], folder, limit=200.0)
    assert said.code == 1 and said.err.count("Traceback") <= 1  # --local prints it, once
    line = said.err.splitlines()[-1]
    assert "bug.py:5: RuntimeError: first second [31mxxx" in line and len(line) < 600
    found = re.search(r"\(traceback in '(.*)'\)$", line)
    assert found and "x" * 10000 in (folder / found[1]).read_text()

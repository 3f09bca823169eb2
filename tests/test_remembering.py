"""Plans and finished studies need no class: what earlier processes found out is remembered while it holds."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import raycl
from raycl import Float, Search, Seeds, Study, remembering
from raycl.cli import main
from raycl.study import making, memory
from raycl.study.expand import cells_of
from raycl.study.file import read_study
from raycl.userfiles.statements import only_names_values
from tests.helpers.tiny import tiny

HEAVY = {"torch", "mlflow", "matplotlib", "ray", "sklearn"}
QUICKSTART = Path(__file__).parent.parent / "studies" / "quickstart.py"
FEW = (
    "--set",
    "fit.epochs=1",
    "--set",
    "search.trials=1",
    "--only",
    "finetune/digits_split,supsup/digits_split",
)
LOADED = "import sys\nfrom raycl.cli import main\nmain(sys.argv[1:])\nprint(*sys.modules, file=sys.stderr)"


def loaded_by(*command: str, package: Path | None = None) -> tuple[str, set[str]]:
    """What a command prints, and the packages that its process has loaded at its end."""
    root = package or Path(raycl.__file__).parent.parent
    environment = os.environ | {"PYTHONPATH": str(root)}
    line = [sys.executable, "-c", LOADED, *command]  # with -c, Python looks in the current folder first
    done = subprocess.run(line, capture_output=True, text=True, timeout=600, env=environment, cwd=root)
    assert done.returncode == 0, done.stderr
    return done.stdout, {name.partition(".")[0] for name in done.stderr.split()}


def made(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A list that grows by one each time cells are made from classes."""
    calls: list[int] = []
    real = making.made_cells

    def counted(*given: object) -> object:
        calls.append(1)
        return real(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(making, "made_cells", counted)
    return calls


def test_a_second_plan_of_the_quickstart_loads_nothing_heavy(tmp_path: Path) -> None:
    command = ("plan", str(QUICKSTART), "--store", str(tmp_path / "store"))
    first, before = loaded_by(*command)
    second, after = loaded_by(*command)
    assert "torch" in before and not after & HEAVY
    assert first == second and "112 runs, 0 done" in second


def test_a_second_run_of_a_finished_study_loads_nothing_heavy(tmp_path: Path) -> None:
    command = ("run", str(QUICKSTART), *FEW, "--local", "--store", str(tmp_path / "store"))
    loaded_by(*command)
    finished, _ = loaded_by(*command)  # notes what the first one left
    page = (tmp_path / "store" / "quickstart.html").stat()
    again, after = loaded_by(*command)
    assert not after & HEAVY
    assert again == finished and "side by side" not in again and "compare" in again
    assert (tmp_path / "store" / "quickstart.html").stat().st_mtime_ns == page.st_mtime_ns


def test_another_package_or_library_has_another_stamp(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "lib" / "raycl"
    shutil.copytree(Path(raycl.__file__).parent, copy, ignore=shutil.ignore_patterns("__pycache__"))
    command = ("plan", str(QUICKSTART), "--store", str(tmp_path / "store"))
    loaded_by(*command, package=copy.parent)
    assert not loaded_by(*command, package=copy.parent)[1] & HEAVY
    method = copy / "methods" / "hat.py"
    method.write_text(method.read_text() + "\n# changed\n")
    assert "torch" in loaded_by(*command, package=copy.parent)[1]
    remembering.stamp.cache_clear()
    before = remembering.stamp()
    remembering.stamp.cache_clear()
    monkeypatch.setattr(remembering, "_version", lambda library: f"{library} 0")
    assert remembering.stamp() != before
    remembering.stamp.cache_clear()


@pytest.mark.parametrize(
    "change",
    [
        {"fit": {"epochs": 3}},
        {"network": "mlp(hidden=9)"},
        {"final": Seeds(4)},
        {"methods": {"finetune": {"fit.lr": Float(0.1, 0.2)}}},
        {"orders": 2},
        {"paper": "spg"},
        {"name": "other"},
    ],
)
def test_a_changed_study_is_made_anew(change: dict[str, object], monkeypatch: pytest.MonkeyPatch) -> None:
    calls, study = made(monkeypatch), Study(methods={"finetune": {}}, benchmarks=["digits_split"])
    first = cells_of(study)
    assert cells_of(study) == first and len(calls) == 1
    cells_of(study.with_(**change))
    cells_of(study, check=False)
    cells_of(study, only="finetune/*")
    assert len(calls) == 4


def test_changed_data_and_memory_are_looked_at_anew(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RAYCL_DATA", str(tmp_path))
    calls, study = made(monkeypatch), Study(methods={"finetune": {}}, benchmarks=["digits_split"])
    cells_of(study)
    os.utime(tmp_path / "digits" / "manifest.json", ns=(1, 1))
    cells_of(study)
    monkeypatch.setattr(memory, "machine_bytes", lambda: 1)
    cells_of(study)
    assert len(calls) == 3
    cells_of(study)
    assert len(calls) == 3


def test_recalled_cells_give_the_same_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = made(monkeypatch)
    methods = {m: {} for m in ("hat", "ewc", "supsup", "packnet", "ksm", "prm")} | {"mtl": {"search": None}}
    study = Study(methods=methods, benchmarks=["digits_split"], network="mlp(hidden=9)", search=Search())
    first, second = cells_of(study), cells_of(study)
    assert len(calls) == 1 and first == second
    for one, other in zip(first, second, strict=True):
        assert other.kinds.loaded is None and other.method is one.method and other.network is one.network
        assert one.spec({}, 2).key == other.spec({}, 2).key
        assert one.search is None or one.key == other.key


OWN = """
from raycl.method import Method
class Mine(Method):
    pass
"""


def test_code_of_a_user_is_never_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.py").write_text(OWN)
    (tmp_path / "own.py").write_text(
        "from raycl import Study\n"
        "STUDY = Study(methods={'a': {'method': 'mine:Mine'}}, benchmarks=['digits_split'])"
    )
    calls = made(monkeypatch)
    for _ in range(2):
        cells_of(read_study(tmp_path / "own.py"))
    assert len(calls) == 2


def test_a_damaged_or_hostile_file_is_made_anew(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    calls, study = made(monkeypatch), Study(methods={"finetune": {}}, benchmarks=["digits_split"])
    first = cells_of(study)
    (kept,) = Path(os.environ["RAYCL_CACHE"]).glob("*/cells-*")

    class Evil:
        def __reduce__(self) -> object:
            return os.mkdir, (str(tmp_path / "made"),)

    for content in (b"", b"{}\n", kept.read_bytes()[:-9], b"{}\n" + pickle.dumps([Evil()])):
        kept.write_bytes(content)
        assert cells_of(study) == first
    assert len(calls) == 5 and not (tmp_path / "made").exists()


def test_nothing_is_kept_where_that_is_unwanted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RAYCL_CACHE", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    calls, study = made(monkeypatch), Study(methods={"finetune": {}}, benchmarks=["digits_split"])
    for _ in range(2):
        cells_of(study)
    assert len(calls) == 2 and not (tmp_path / ".cache" / "raycl-plans").exists()


def test_old_stamps_are_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    root = Path(os.environ["RAYCL_CACHE"])
    for n in range(9):
        (root / f"old{n}").mkdir(parents=True)
        os.utime(root / f"old{n}", (n, n))
    remembering.keep("a", "key", b"content")
    assert remembering.recall("a", "key") == b"content"
    assert sorted(p.name for p in root.glob("old*")) == [f"old{n}" for n in range(6, 9)]


def test_tables_of_answers_are_read_by_later_processes() -> None:
    remembering.add("table", "one", {"a": [1]})
    assert remembering.answer("table", "one") is None
    remembering.save()
    remembering._table.cache_clear()
    assert remembering.answer("table", "one") == {"a": [1]}
    (file,) = Path(os.environ["RAYCL_CACHE"]).glob("*/table.jsonl")
    assert [json.loads(line) for line in file.read_text().splitlines()] == [["one", {"a": [1]}]]


@pytest.mark.slow
def test_an_unchanged_page_is_not_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from raycl.reporting import html

    drawn: list[int] = []
    real = html.html_text

    def counted(*given: object, **named: object) -> str:
        drawn.append(1)
        return real(*given, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(html, "html_text", counted)
    file, store = tmp_path / "s.py", tmp_path / "store"
    file.write_text(
        "from raycl import Seeds, Study\n"
        "STUDY = Study(methods={'finetune': {}}, benchmarks=['digits_split'], "
        "search=None, final=Seeds(1), fit={'epochs': 1})"
    )
    command = ["run", str(file), "--local", "--store", str(store)]
    page = store / "s.html"
    assert main(command) == 0 and len(drawn) == 1
    text = page.read_text()
    assert main(command) == 0 and len(drawn) == 1 and page.read_text() == text
    page.write_text(text + " ")
    assert main(command) == 0 and len(drawn) == 2 and page.read_text() == text
    file.write_text(file.read_text().replace("Seeds(1)", "Seeds(1, 2)"))
    assert main(command) == 0 and len(drawn) == 3 and page.read_text() != text
    assert main([*command, "--fresh"]) == 0 and len(drawn) == 4
    page.unlink()
    assert main(command) == 0 and len(drawn) == 5 and page.exists()


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("from raycl import Study\nSTUDY = Study(methods={m: {} for m in ('hat', 'ewc')})", True),
        ("'''Doc.'''\nfrom raycl import Search\nX = [Search(trials=2 ** n) for n in range(3)]", True),
        ("from raycl import Study\nA = {'a': 1}\nB = {**A, 'b': A['a']}\nC = A.get('a')", True),
        ("import torch", False),
        ("from raycl import run_study", False),
        ("from raycl.metrics import acc", False),
        ("from raycl import Study as dict", False),
        ("from helper import X", False),
        ("X = open('a')", False),
        ("max(['1'], key=exec)", False),
        ("X = print", False),
        ("def f(): pass", False),
        ("X = (lambda: 1)", False),
        ("from raycl import Study\nStudy.methods = 1", False),
        ("from raycl import Study\nX = Study.__init__", False),
        ("X = {}\nX['a'] = 1", False),
        ("__builtins__", False),
        ("dict = int\nX = dict()", False),
        ("import os; os.environ.clear()", False),
        ("(", False),
    ],
)
def test_files_that_only_name_values(text: str, plain: bool) -> None:
    assert only_names_values(text.encode()) is plain


def test_a_file_that_changes_the_process_is_still_put_back(tmp_path: Path) -> None:
    file = tmp_path / "s.py"
    file.write_text(
        "import sys\nsys.setrecursionlimit(777)\nfrom raycl import Study\n"
        "STUDY = Study(methods={'finetune': {}}, benchmarks=['digits_split'])"
    )
    out, _ = loaded_by("plan", str(file), "--store", str(tmp_path / "store"))
    assert "the recursion limit at 777 when" in " ".join(out.split())
    again, _ = loaded_by("plan", str(file), "--store", str(tmp_path / "store"))
    assert again == out


def test_studies_that_are_not_plain_values_are_not_described() -> None:
    study = tiny({"finetune": {}})
    assert memory.described(study) is not None
    assert memory.described(study.with_(sheets=[lambda: None])) is None
    assert memory.described(study.with_(fit={"epochs": object()})) is None

"""A user's files: found by their folder, told apart, read again when they change, and blamed by line."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import raycl
from raycl import calls, registry, userfiles
from raycl.cli import main
from raycl.errors import UserError
from raycl.method import Method
from raycl.runs import checkpoints, execution
from raycl.runs.build import check_code, make_method
from raycl.runs.inputs import make_benchmark, method_of, network_of
from raycl.study.expand import cells_of
from raycl.study.file import read_study

pytestmark = pytest.mark.usefixtures("mlflow_tables")

STUDY = """
from raycl import Seeds, Study
STUDY = Study(methods={"mine": {"method": "mine:Mine"}}, benchmarks=["digits_split"],
              network="mlp(hidden=8)", search=None, final=Seeds(1), fit={"epochs": 1, "lr": RATE})
"""
MINE = """
from raycl.method import Method
from helper import RATE

class Mine(Method):
    def learn(self, task, fit):
        fit(self, task, lr=RATE)
"""


def write(folder: Path, rate: float, **files: str) -> Path:
    """A study with a method of its own, which learns at a rate that a helper beside it says."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = {"mine": MINE, "helper": f"RATE = {rate}\n", "s": STUDY.replace("RATE", "0.1"), **files}
    for name, text in texts.items():
        (folder / f"{name}.py").write_text(text)
    return folder / "s.py"


def key_of(study: Path) -> str:
    (cell,) = cells_of(read_study(study), check=False)
    return cell.spec({}, 1).key


def acc_of(study: Path, store: Path) -> float:
    played = raycl.run_study(study, store, local=True)
    assert played.code == 0, played.problems
    (result,) = played.agenda.states[0].results.values()
    acc = result.acc()
    assert acc is not None
    return acc


class TestEqualNames:
    def test_two_folders_with_a_file_of_one_name_never_meet(self, tmp_path: Path) -> None:
        a, b = write(tmp_path / "a", 0.1), write(tmp_path / "b", 1e-9)
        assert key_of(a) != key_of(b)
        first, second = acc_of(a, tmp_path / "store"), acc_of(b, tmp_path / "store")
        alone = acc_of(write(tmp_path / "c", 1e-9), tmp_path / "other")
        assert second == alone != first

    def test_one_class_copied_to_another_folder_finds_its_results(self, tmp_path: Path) -> None:
        assert key_of(write(tmp_path / "a", 0.1)) == key_of(write(tmp_path / "b", 0.1))

    def test_helpers_of_one_name_are_told_apart_by_relative_imports_too(self, tmp_path: Path) -> None:
        relative = MINE.replace("from helper import RATE", "from .helper import RATE\nfrom . import helper")
        relative = relative.replace("lr=RATE", "lr=helper.RATE")
        heads = {"mine": relative, "s": "from .helper import RATE\n" + STUDY.replace("RATE})", "RATE / 2})")}
        studies = [write(tmp_path / name, rate, **heads) for name, rate in (("a", 0.1), ("b", 0.2))]
        assert [read_study(study).fit["lr"] for study in studies] == [0.05, 0.1]
        keys = [key_of(study) for study in studies]
        assert keys[0] != keys[1]
        for study in studies:
            study.write_text(STUDY.replace("RATE", "0.1"))
        keys = [key_of(study) for study in studies]  # of which now the helpers alone differ
        assert keys[0] != keys[1]

    @pytest.mark.parametrize("way", ["from helper import RATE", "from .helper import RATE"])
    def test_the_way_of_an_import_is_in_no_key(self, tmp_path: Path, way: str) -> None:
        study = write(tmp_path / "b", 0.1, mine=MINE.replace("from helper import RATE", way))
        assert key_of(study) == key_of(write(tmp_path / "a", 0.1))

    def test_both_may_be_planned_side_by_side(self, tmp_path: Path) -> None:
        studies = [read_study(write(tmp_path / name, rate)) for name, rate in (("a", 0.1), ("b", 0.2))]
        cells = [cells_of(study)[0] for study in studies]
        specs = [cell.spec({}, 1) for cell in cells]
        assert specs[0].method == specs[1].method == "mine:Mine"
        assert [method_of(spec) for spec in specs] == [cell.method for cell in cells]
        for spec in specs:
            check_code(spec)

    def test_gc_keeps_what_each_of_them_needs(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        a, b = write(tmp_path / "a", 0.1), write(tmp_path / "b", 0.2)
        for study in (a, b):
            acc_of(study, tmp_path / "store")
        assert main(["gc", str(a), str(b), "--store", str(tmp_path / "store")]) == 0
        assert "0 unneeded files or folders (2 studies read)" in capsys.readouterr().out

    def test_gc_deletes_nothing_that_a_broken_study_may_need(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        a, b = write(tmp_path / "studies" / "a", 0.1), write(tmp_path / "studies" / "b", 0.2)
        for study in (a, b):
            acc_of(study, tmp_path / "store")
        b.write_text("import nosuch\n" + b.read_text())
        monkeypatch.chdir(tmp_path)
        before = sorted((tmp_path / "store").rglob("*.json"))
        assert main(["gc", "--store", "store", "--yes"]) == 2
        assert "studies/b/s.py:1: ModuleNotFoundError" in capsys.readouterr().err
        assert sorted((tmp_path / "store").rglob("*.json")) == before


class TestChanges:
    def test_an_edited_file_is_read_again_and_computed_again(self, tmp_path: Path) -> None:
        study = write(tmp_path, 0.1)
        first = acc_of(study, tmp_path / "store")
        write(tmp_path, 1e-9)
        assert acc_of(study, tmp_path / "store") != first
        write(tmp_path, 0.1)
        assert raycl.run_study(study, tmp_path / "store", local=True).agenda.ran == 0
        assert acc_of(study, tmp_path / "store") == first

    def test_a_change_of_one_digit_within_a_second_is_seen(self, tmp_path: Path) -> None:
        keys = {key_of(write(tmp_path, rate)) for rate in (0.1, 0.2, 0.3, 0.4)}
        assert len(keys) == 4
        assert not list(tmp_path.rglob("__pycache__"))

    def test_a_file_that_changes_under_a_planned_run_fails_it(self, tmp_path: Path) -> None:
        (cell,) = cells_of(read_study(write(tmp_path, 0.1)))
        spec = cell.spec({}, 1)
        write(tmp_path, 0.2)
        userfiles.refresh()
        result = execution.execute(spec)
        assert result.status == "failed"
        assert "the code of mine:Mine differs from the code that this run was planned with" in result.message

    def test_a_moved_project_finds_its_results(self, tmp_path: Path) -> None:
        study = write(tmp_path / "here", 0.1)
        acc_of(study, tmp_path / "here" / "results")
        (tmp_path / "here").rename(tmp_path / "there")
        there = tmp_path / "there"
        assert raycl.run_study(there / "s.py", there / "results", local=True).agenda.ran == 0


class TestShadows:
    NAMES = ("ray", "mlflow", "optuna", "torch", "numpy", "random", "types", "rich", "json")

    @pytest.mark.parametrize("road", [["--local"], pytest.param([], id="ray", marks=pytest.mark.slow)])
    def test_files_called_like_packages_stand_in_for_none(self, tmp_path: Path, road: list[str]) -> None:
        shadows = dict.fromkeys(self.NAMES, "raise SystemExit('the wrong file')\n")
        own = MINE + "import json, random, ray, mlflow, numpy\nassert json.dumps and numpy.zeros\n"
        study = write(tmp_path, 0.1, **shadows, mine=own)
        done = subprocess.run(
            [sys.executable, "-m", "raycl.cli", "run", study.name, "--store", "results", *road],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert "wrong file" not in done.stdout + done.stderr
        assert (tmp_path / "results" / "mlflow.db").exists()

    def test_a_class_may_stand_in_such_a_file(self, tmp_path: Path) -> None:
        study = write(
            tmp_path, 0.1, ray=MINE, s=STUDY.replace("RATE", "0.1").replace("mine:Mine", "ray:Mine")
        )
        (cell,) = cells_of(read_study(study))
        assert calls.name_of(cell.method) == "ray:Mine"

    def test_a_studys_folder_does_not_join_the_path(self, tmp_path: Path) -> None:
        before = list(sys.path)
        read_study(write(tmp_path, 0.1))
        assert sys.path == before and "helper" not in sys.modules


class TestNames:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        texts = {
            "made": "from raycl.method import Method\ndef make():\n    class M(Method): pass\n    return M\n"
            "Mine = make()\n",
            "again": "from mine import Mine\nfrom raycl.methods.ewc import EWC\nMine2 = Mine\n",
        }
        return write(tmp_path, 0.1, **texts).parent

    @pytest.mark.parametrize(
        ("text", "name"),
        [("mine:Mine", "mine:Mine"), ("made:Mine", "made:Mine"), ("again:Mine", "mine:Mine"),
         ("again:Mine2", "mine:Mine"), ("again:EWC", "ewc")],
    )  # fmt: skip
    def test_a_class_has_a_name_that_finds_it(self, folder: Path, text: str, name: str) -> None:
        with userfiles.importing_from(folder):
            kind = registry.method(text)
            assert calls.name_of(kind) == name
            assert registry.method(name) is kind

    def test_a_study_that_is_a_value_finds_files_on_pythons_path(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.syspath_prepend(folder)
        study = raycl.Study(
            methods={"mine:Mine": {}}, benchmarks=["digits_split"], search=None, final=raycl.Seeds(1)
        )
        keys = {cells_of(study, check=False)[0].spec({}, 1).key}
        (folder / "helper.py").write_text("RATE = 0.7\n")
        userfiles.refresh()
        keys.add(cells_of(study, check=False)[0].spec({}, 1).key)
        assert len(keys) == 2

    def test_a_class_without_source_is_refused(self) -> None:
        made: Any = type("Mine", (Method,), {"__module__": "nowhere"})
        from raycl.userfiles import digest

        with pytest.raises(UserError, match="source of class Mine cannot be read"):
            digest.digest_of(made)


class TestCheckpoints:
    NET = """
from torch import nn
from raycl.networks import Heads
from layers import Layer
class Net(Heads):
    def __init__(self, input_shape, classes, config, width=1.0):
        super().__init__(input_shape, classes, config, width)
        self.body = nn.Sequential(nn.Flatten(), Layer(64, 8))
        self.make_heads(8, classes)
"""
    LAYER = "from torch import nn\nclass Layer(nn.Linear):\n    pass\n"

    def test_one_made_in_a_folder_is_read_in_another(self, tmp_path: Path) -> None:
        forms = []
        for name in ("a", "b"):
            study = write(tmp_path / name, 0.1, net=self.NET, layers=self.LAYER)
            study.write_text(study.read_text().replace('"mlp(hidden=8)"', '"net:Net"'))
            (cell,) = cells_of(read_study(study))
            spec = cell.spec({}, 1)
            benchmark = make_benchmark(spec)
            forms.append(
                (checkpoints.CheckpointFormat(benchmark, method_of(spec), network_of(spec)), spec, benchmark)
            )
        (there, spec, benchmark), (here, other, _) = forms
        raw = there.to_bytes(make_method(spec, benchmark))
        method = here.from_bytes(raw, "cpu")
        assert type(method) is method_of(other) and type(method) is not method_of(spec)
        assert type(method.net) is network_of(other)


Plan = Callable[[str], str]


@pytest.fixture
def said(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Plan:
    """What `raycl plan` says of a study beside a file mine.py; it must be one line, and exit with 2."""

    def plan(mine: str, study: str = STUDY.replace("RATE", "0.1")) -> str:
        write(tmp_path, 0.1, mine=mine, s=study)
        monkeypatch.chdir(tmp_path)
        assert main(["plan", "s.py"]) == 2
        text = capsys.readouterr().err
        assert text.count("\n") == 1 and "Traceback" not in text and "raycl_files" not in text
        return text

    return plan


CLASS = "from raycl.method import Method\nclass Mine(Method):\n"


class TestFaults:
    @pytest.mark.parametrize(
        ("mine", "line"),
        [
            ("import nosuch\n", "mine.py:1: ModuleNotFoundError: No module named 'nosuch'"),
            ("x = (\n", "mine.py:1: SyntaxError: '(' was never closed"),
            ("x = 1\n  y = 2\n", "mine.py:2: IndentationError: unexpected indent"),
            ("\n1 / 0\n", "mine.py:2: ZeroDivisionError"),
            ("import sys\nsys.exit(0)\n", "mine.py:2: it calls sys.exit(0)"),
            ("raise SystemExit\n", "mine.py:1: it calls sys.exit()"),
            ("from helper import nothing\n", "mine.py:1: ImportError: cannot import name 'nothing'"),
            ("from . import nothing\n", "mine.py:1: ImportError"),
            ("from .nothing import x\n", "mine.py:1: ModuleNotFoundError: No module named 'nothing'"),
            ("from ..other import x\n", "mine.py:1: ImportError: from ..other: it leads out of the study"),
            ("from .. import other\n", "mine.py:1: ImportError: from ..: it leads out of the study"),
            ("import mine2\n", "mine.py:1: ModuleNotFoundError"),
            ("class E(BaseException): pass\nraise E('odd')\n", "mine.py:2: E: odd"),
            ("def f(): f()\nf()\n", "mine.py:1: RecursionError"),
            (f"{CLASS}    def make(self):\n        1 / 0\n", "mine.py:4: ZeroDivisionError"),
            (f"{CLASS}    def __init__(self):\n        pass\n", "mine.py:2 (class Mine): TypeError"),
            (f"{CLASS}    def __init__(self, world, config):\n        self.net = world.build()\n",
             "mine.py:4: AttributeError: cannot assign module before"),
            (f"{CLASS}    @classmethod\n    def required_masks(cls, spec):\n        return spec.nothing\n",
             "mine.py:5: AttributeError"),
            (f"{CLASS}    @classmethod\n    def builds_on(cls, spec):\n        return 3\n",
             "mine.py:2 (class Mine): AttributeError"),
            (f"{CLASS}    def make(self):\n        raise SystemExit(3)\n", "mine.py:4: it calls sys.exit(3)"),
            (f"{CLASS}    def learn(self): pass\n", "Mine.learn is called as learn(self, task, fit), and"),
            (f"{CLASS}    def loss(self): pass\n", "mine.py:2 (class Mine): Mine.loss is called as"),
            (f"{CLASS}    version = 'a'\n", "Mine.version = 'a' must be an integer"),
            (f"{CLASS}    class Config(Method.Config):\n        lamb = 0.5\n", "mine.py:2 (class Mine)"),
            ("class Mine: pass\n", "mine.py defines no Method called 'Mine'"),
        ],
    )  # fmt: skip
    def test_a_faulty_method_is_told_by_file_and_line(self, said: Plan, mine: str, line: str) -> None:
        assert line in said(mine)

    @pytest.mark.parametrize(
        ("head", "line"),
        [
            ("import sys\nsys.exit()\n", "s.py:2: it calls sys.exit()"),
            ("1 / 0\n", "s.py:1: ZeroDivisionError"),
            ("import helper\nhelper.nothing\n", "s.py:2: AttributeError"),
            ("import broken\n", "broken.py:1: NameError"),
        ],
    )
    def test_a_faulty_study_too(self, said: Plan, tmp_path: Path, head: str, line: str) -> None:
        (tmp_path / "broken.py").write_text("nothing\n")
        assert line in said(MINE, head + STUDY.replace("RATE", "0.1"))

    @pytest.mark.parametrize("raw", [b"\xff\xfe\x00", b"\x00", b"# -*- coding: nosuch -*-\n"])
    def test_a_file_that_is_no_text_is_told(
        self, tmp_path: Path, raw: bytes, capsys: pytest.CaptureFixture[str]
    ) -> None:
        write(tmp_path, 0.1)
        (tmp_path / "mine.py").write_bytes(raw)
        assert main(["plan", str(tmp_path / "s.py")]) == 2
        text = capsys.readouterr().err
        assert text.count("\n") == 1 and "mine.py" in text

    def test_a_recipe_and_its_answers_are_checked(self, said: Plan) -> None:
        study = STUDY.replace("RATE", "0.1").replace('"digits_split"', '"mine:Data"')
        head = f"{MINE}from raycl.benchmarks import Recipe\nclass Data(Recipe):\n"
        assert "mine.py:11: ZeroDivisionError" in said(
            f"{head}    def build(self, seed):\n        1 / 0\n", study
        )
        wrong = f"{head}    def identity(self): return 3\n    def build(self, seed): return None\n"
        assert "identity() returns 3" in said(wrong, study)

    def test_a_benchmark_that_is_named_twice_is_told(self, said: Plan) -> None:
        study = STUDY.replace("RATE", "0.1").replace(
            '["digits_split"]', '["digits_split", "digits_split(size=8)"]'
        )
        assert "benchmarks: 'digits_split' is named twice for 'mine'" in said(MINE, study)

    def test_a_view_that_raises_is_told_too(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        text = STUDY.replace("RATE", "0.1").replace("search=None", "search=None, sheets=[sheet]")
        head = "def sheet():\n    raise KeyError('x')\n"
        study = write(tmp_path, 0.1, s=head + text)
        assert main(["report", str(study), "--store", str(tmp_path / "store")]) == 2
        assert "s.py:2: KeyError: 'x'" in capsys.readouterr().err


def test_the_line_of_a_traceback_is_that_of_the_users_file_on_this_or_another_node(tmp_path: Path) -> None:
    here, there = tmp_path / "mine.py", "/tmp/ray/session/working_dir/raycl_study_files/mine.py"
    frame = '  File "{}", line {}, in learn\n    self.nett\n'
    torch = frame.format("/opt/python/site-packages/torch/nn/modules/module.py", 1976)
    error = "AttributeError: 'Bad' object has no attribute 'nett'\n"
    for file, torch_file in ((here, execution.__file__), (there, "/other/raycl/training/fit.py")):
        trace = "Traceback (most recent call last):\n" + frame.format(file, 3) + frame.format(file, 9)
        told = userfiles.located(trace + frame.format(torch_file, 7) + error)
        assert told == f"{'mine.py' if file == there else here}:9: {error.strip()}"
    assert userfiles.located(torch.join(["Traceback (most recent call last):\n", error])) == error.strip()
    assert userfiles.located("the worker process died") == "the worker process died"


def test_load_imports_nothing_that_a_store_names(tmp_path: Path) -> None:
    study = write(tmp_path / "own", 0.1)
    acc_of(study, tmp_path / "store")
    (key,) = raycl.runs.store.Store(tmp_path / "store").finished()  # type: ignore[attr-defined]
    with pytest.raises(UserError, match="uses mine:Mine, a class of your own; name its study"):
        raycl.load(key, tmp_path / "store")
    model, matrix = raycl.load(key, tmp_path / "store", study)
    assert type(model.method).__name__ == "Mine" and matrix.shape == (5, 5)
    write(tmp_path / "own", 0.2)
    with pytest.raises(UserError, match="the code of mine:Mine differs from the code"):
        raycl.load(key, tmp_path / "store", study)

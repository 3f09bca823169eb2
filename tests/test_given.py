"""Classes that a study is given themselves: of a file, of a script, and of the cells of a notebook."""

from __future__ import annotations

import re
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from raycl import Seeds, Study
from raycl.errors import UserError
from raycl.study.expand import cells_of
from raycl.study.file import read_study

METHOD = '''
from dataclasses import dataclass
from typing import Annotated

from raycl import Float
from raycl.method import Method
from weights import double


FACTORS = [1.0]
FACTORS.append(0.5)


def strength(lamb):
    return double(lamb) * sum(FACTORS)


class Pull(Method):
    """A pull towards zero."""

    @dataclass(frozen=True, kw_only=True)
    class Config(Method.Config):
        lamb: Annotated[float, Float(1e-4, 1.0, log=True)] = 0.01

    def edit_gradients(self, batch):
        for p in self.net.body.parameters():
            p.grad += strength(self.config.lamb) * p.detach()
'''
STUDY = """
from raycl import Seeds, Study

study = Study(
    methods={"pull": {"method": Pull}},
    benchmarks=["digits_split"],
    network="mlp(hidden=4)",
    preset="spg+desk",
    fit={"epochs": 1},
    search=None,
    final=Seeds(1),
)
"""


@pytest.fixture
def beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a module that the class imports, which is on Python's path as a notebook's folder is."""
    (tmp_path / "weights.py").write_text(
        "import scale\n\ndef double(x):\n    return x * scale.TWO\n", encoding="utf-8"
    )
    (tmp_path / "scale.py").write_text("TWO = 2.0\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for name in ("weights", "scale"):
        sys.modules.pop(name, None)


class Notebook:
    """IPython's own shell in this process, whose cells are executed as a kernel executes them."""

    def __init__(self) -> None:
        from IPython.core.interactiveshell import InteractiveShell
        from traitlets.config import Config

        quiet = Config({"HistoryManager": {"enabled": False}})
        self.shell = InteractiveShell.instance(config=quiet)

    def run(self, text: str) -> Any:
        found = self.shell.run_cell(text, store_history=True)
        found.raise_error()
        return found.result

    def key(self, study: str = "study") -> str:
        """Return the key of the one run of a study."""
        cell = cells_of(self.shell.user_ns[study])[0]
        return str(cell.spec({}, 1).key)


@pytest.fixture
def notebook(beside: Path) -> Iterator[Notebook]:
    from IPython.core.interactiveshell import InteractiveShell

    main, shown = sys.modules["__main__"], sys.displayhook
    made = Notebook()
    assert sys.modules["__main__"] is made.shell.user_module
    yield made
    made.shell.restore_sys_module_state()
    InteractiveShell.clear_instance()
    sys.modules["__main__"], sys.displayhook = main, shown


def test_a_class_of_a_cell_is_a_method_and_its_key_follows_what_was_executed(notebook: Notebook) -> None:
    notebook.run(METHOD)
    notebook.run(STUDY)
    first = cells_of(notebook.shell.user_ns["study"])[0]
    assert first.kinds.method == "notebook:Pull"
    assert first.home is not None and {f.name for f in first.home.glob("*.py")} == {
        "notebook.py",
        "weights.py",
        "scale.py",
    }
    written = (first.home / "notebook.py").read_text()
    assert written.startswith("# In [1]:") and "FACTORS.append(0.5)" in written and "Study(" not in written
    before = notebook.key()
    notebook.run("unrelated = 3")
    notebook.run(METHOD + "# a comment\n")
    notebook.run(STUDY)
    assert notebook.key() == before  # the same code, executed again in another cell
    notebook.run("FACTORS = [2.0]")  # a constant that a function of the class uses
    assert notebook.key() != before
    changed = notebook.key()
    notebook.run("def strength(lamb):\n    return 0.0")
    assert notebook.key() not in (before, changed)


def test_a_study_whose_class_was_defined_again_is_refused(notebook: Notebook) -> None:
    notebook.run(METHOD)
    notebook.run(STUDY)
    notebook.run(METHOD.replace("+= strength", "-= strength"))
    with pytest.raises(UserError, match=re.escape("methods['pull']: method: class Pull has been defined")):
        notebook.key()
    notebook.run(STUDY)
    assert notebook.key()


def test_a_cell_that_failed_halfway_is_not_taken_for_what_was_executed(notebook: Notebook) -> None:
    notebook.run(METHOD)
    notebook.run(STUDY)
    with pytest.raises(ZeroDivisionError):
        notebook.run("1 / 0\ndef strength(lamb):\n    return 3.0\n")
    with pytest.raises(UserError, match="the cell that defines strength did not run to its end"):
        notebook.key()


def test_networks_and_benchmarks_may_be_classes_of_cells(notebook: Notebook) -> None:
    notebook.run(
        "from dataclasses import dataclass\nimport numpy as np\nfrom torch import nn\n"
        "from raycl import Seeds, Study\nfrom raycl.benchmarks import Recipe, split_by_class\n"
        "from raycl.networks import Block, Blocks, Heads\n"
    )
    notebook.run(
        "class Net(Blocks, Heads):\n"
        "    def __init__(self, input_shape, classes, config, width=1.0):\n"
        "        super().__init__(input_shape, classes, config, width)\n"
        "        self.body = nn.ModuleList([Block(nn.Linear(64, 4), flatten=True)])\n"
        "        self.make_heads(4, classes)\n"
    )
    notebook.run(
        "@dataclass(frozen=True, kw_only=True)\n"
        "class Bars(Recipe):\n"
        "    tasks: int = 4\n\n"
        "    def build(self, seed):\n"
        "        y = np.arange(80) % 8\n"
        "        x = np.zeros((80, 8, 8), np.uint8)\n"
        "        x[np.arange(80), y] = 255\n"
        "        return split_by_class('bars', x, y, x, y, tasks=self.tasks)\n"
    )
    notebook.run(
        "study = Study(methods={'finetune': {}, 'own': {'method': 'finetune', 'benchmarks': [Bars]}},\n"
        "    benchmarks=[Bars(tasks=2), 'digits_split'], network=Net, preset='spg+desk', search=None,\n"
        "    final=Seeds(1))\n"
    )
    found = cells_of(notebook.shell.user_ns["study"])
    assert [cell.benchmark for cell in found] == ["notebook:Bars(tasks=2)", "digits_split", "notebook:Bars"]
    assert {cell.kinds.network for cell in found} == {"notebook:Net"}
    assert found[0].code.keys() == {"network", "benchmark"}


def test_code_that_cannot_be_followed_says_that_it_belongs_into_a_file(notebook: Notebook) -> None:
    notebook.run(METHOD.replace("double(lamb) *", "eval('2') *"))
    notebook.run(STUDY)
    with pytest.raises(UserError, match=r"uses eval.* write it into a file, such as pull\.py"):
        notebook.key()
    notebook.run("exec('class Typed(Method):\\n    pass')\nPull = Typed")
    notebook.run(STUDY)
    with pytest.raises(UserError, match=r"source of class Typed is not in this script or notebook: write"):
        notebook.key()
    notebook.run("def inside():\n    class Pull(Method):\n        pass\n    return Pull\nPull = inside()")
    notebook.run(STUDY)
    with pytest.raises(UserError, match="class Pull is defined inside a function: move it to the top level"):
        notebook.key()
    notebook.run(STUDY.replace("Pull", '"__main__:Pul"'))
    with pytest.raises(UserError, match=r"nor this notebook defines a class 'Pul'; did you mean 'Pull'\?"):
        notebook.key()


@pytest.mark.parametrize("given", ["Pull", '"__main__:Pull"'])
def test_a_script_runs_with_its_own_class_and_is_not_executed_again(
    beside: Path, capsys: pytest.CaptureFixture[str], given: str
) -> None:
    file = beside / "pull.py"
    text = (
        METHOD
        + STUDY.replace('"method": Pull', f'"method": {given}')
        + (
            "from raycl import run_study\nprint('begun')\n"
            "run_study(study, 'st', local=True)\n"
            "result = run_study(study, 'st', local=True)\n"
            "print(result.code, result.study.methods)\n"
        )
    )
    file.write_text(text, encoding="utf-8")
    runpy.run_path(str(file), run_name="__main__")
    said = capsys.readouterr().out
    assert said.count("begun") == 1
    assert "0 {'pull': {'method': 'pull:Pull'}}" in said
    assert len(list((beside / "st" / "runs").rglob("*.json"))) == 1
    # The same class by name, in the same file, is the same run.
    named = beside / "named.py"
    named.write_text(STUDY.replace("Pull}", '"pull:Pull"}').replace("study =", "STUDY ="), encoding="utf-8")
    file.write_text(METHOD, encoding="utf-8")
    key = cells_of(read_study(named))[0].spec({}, 1).key
    assert [f.stem for f in (beside / "st" / "runs").rglob("*.json")] == [key]


def test_a_class_of_a_file_beside_the_study_has_the_key_of_its_name(beside: Path) -> None:
    (beside / "pull.py").write_text(METHOD, encoding="utf-8")
    by_class = beside / "by_class.py"
    by_class.write_text("from pull import Pull\n" + STUDY.replace("study =", "STUDY ="), encoding="utf-8")
    by_name = beside / "by_name.py"
    by_name.write_text(STUDY.replace("Pull}", '"pull:Pull"}').replace("study =", "STUDY ="), encoding="utf-8")
    first, second = (cells_of(read_study(file))[0] for file in (by_class, by_name))
    assert first.spec({}, 1).key == second.spec({}, 1).key
    assert first.home == second.home == beside


def test_raycls_own_classes_are_given_by_class_too() -> None:
    from raycl.benchmarks.digits import DigitsSplit
    from raycl.methods.hat import HAT
    from raycl.networks.mlp import MLP

    study = Study(
        methods={"a": {"method": HAT}},
        benchmarks=[DigitsSplit(size=28)],
        network=MLP,
        preset="spg+desk",
        search=None,
        final=Seeds(1),
    )
    named = study.with_(methods={"hat": {}}, benchmarks=["digits_split(size=28)"], network="mlp")
    assert cells_of(study)[0].spec({}, 1).key == cells_of(named)[0].spec({}, 1).key

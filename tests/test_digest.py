"""What of a user's file changes the key of a result, and what does not."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest

from raycl import userfiles
from raycl.errors import UserError
from raycl.userfiles import digest

COUNT = itertools.count()
Digest = Callable[..., str]

MINE = """
from __future__ import annotations
import numpy as np
from dataclasses import dataclass
from typing import Annotated
from raycl import Float, Study, Seeds
from raycl.method import Method
from helper import strength, UNUSED
import tools

HIGH = 2.0
TABLE = [1, 2]
TABLE.append(3)
SEEDS = (1, 2)

def scale(x):
    return deeper(x) * TABLE[0]

def deeper(x):
    return x + 1

class Base(Method):
    def loss(self, batch):
        return scale(super().loss(batch))

class Mine(Base):
    '''What it is.'''

    @dataclass(frozen=True, kw_only=True)
    class Config(Method.Config):
        lamb: Annotated[float, Float(0.1, HIGH)] = 1.0

    def learn(self, task, fit):
        from late import late
        fit(self, task)
        SEEDS = strength() + tools.gain + late()

class Other(Method):
    rate = 3

def view(x):
    return x

STUDY = Study(methods={"mine:Mine": {}}, benchmarks=["digits_split"], final=Seeds(*SEEDS))
"""
HELPER = "RATE = 3\ndef strength():\n    return RATE\ndef unused():\n    return 1\nUNUSED = 5\n"
TOOLS = "gain = 2\n"
LATE = "def late():\n    return 1\ndef later():\n    return 1\n"


@pytest.fixture
def digest_of(tmp_path: Path) -> Digest:
    """The digest of class Mine, where some texts of the files are replaced by others."""

    def written(*changes: tuple[str, str], mine: str = MINE, name: str = "Mine") -> str:
        folder = tmp_path / str(next(COUNT))
        folder.mkdir()
        files = {"mine.py": mine, "helper.py": HELPER, "tools.py": TOOLS, "late.py": LATE}
        for old, new in changes:
            assert any(old in text for text in files.values()), old
            files = {file: text.replace(old, new) for file, text in files.items()}
        for file, text in files.items():
            (folder / file).write_text(text)
        kind = getattr(userfiles.load(folder, "mine"), name)
        return digest.digest_of(kind)

    return written


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("fit(self, task)", "fit(self, task, epochs=1)"),
        ("= 1.0", "= 2.0"),
        ("HIGH = 2.0", "HIGH = 3.0"),
        ("return deeper(x) *", "return deeper(x) +"),
        ("return x + 1", "return x + 2"),
        ("TABLE = [1, 2]", "TABLE = [2, 2]"),
        ("TABLE.append(3)", "TABLE.append(4)"),
        ("super().loss(batch)", "-super().loss(batch)"),
        ("RATE = 3", "RATE = 4"),
        ("return RATE", "return -RATE"),
        ("gain = 2", "gain = 3"),
        ("def late():\n    return 1", "def late():\n    return 2"),
        ("class Mine(Base)", "class Mine(Method)"),
        ("from raycl.method import Method", "from raycl.methods.hat import HAT as Method"),
    ],
)
def test_what_a_class_reaches_changes_its_digest(digest_of: Digest, old: str, new: str) -> None:
    assert digest_of() != digest_of((old, new))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"digits_split"', '"digits_writers"'),
        ("rate = 3", "rate = 4"),
        ("    return x\n", "    return -x\n"),
        ("SEEDS = (1, 2)", "SEEDS = (1, 2, 3)"),  # in the method, a name of its own
        ("'''What it is.'''", "'''What it was.'''"),
        ("def unused():\n    return 1", "def unused():\n    return 2"),
        ("UNUSED = 5", "UNUSED = 6"),
        ("def later():\n    return 1", "def later():\n    return 2"),
        ("class Other(Method)", "# a comment\n\n\nclass Other(Method)"),
        ("fit(self, task)", "fit(\n            self,\n            task,\n        )  # a comment"),
        ("HIGH = 2.0", "class New(Method):\n    pass\n\nHIGH = 2.0"),
        ("from helper import strength, UNUSED", "from helper import strength"),
    ],
)
def test_what_it_does_not_reach_leaves_its_digest(digest_of: Digest, old: str, new: str) -> None:
    assert digest_of() == digest_of((old, new))


def test_a_digest_does_not_depend_on_the_folder(digest_of: Digest) -> None:
    assert digest_of() == digest_of()
    assert digest_of() != digest_of(name="Other")


HEAD = "from raycl.method import Method\n"


MINE_IS = "class Mine(Method):\n    "


@pytest.mark.parametrize(
    "text",
    [
        # Looked up by what runs, and not by a name: the whole file counts.
        f"{MINE_IS}def f(self): return globals()['K']\nK = @\n",
        # Bound by an assignment, under a condition, in a loop, by unpacking, by an import.
        "def make(n):\n    class M(Method):\n        k = n\n    return M\nMine = make(@)\n",
        f"if True:\n    K = @\n{MINE_IS}k = K\n",
        f"for K in (1, @):\n    pass\n{MINE_IS}k = K\n",
        f"K, L = 1, @\n{MINE_IS}k = L\n",
        # Changed after the class statement.
        f"{MINE_IS}pass\nMine.version = @\n",
        f"{MINE_IS}pass\nsetattr(Mine, 'k', @)\n",
        f"import torch\n{MINE_IS}k = torch.pi\ntorch.tau = @\n",
        # Decorators, annotations that are strings, defaults, lambdas, comprehensions.
        f"def deco(k):\n    k.x = @\n    return k\n@deco\n{MINE_IS}pass\n".replace("@deco", "\\deco"),
        f"K = @\n{MINE_IS}x: 'list[K]'\n",
        f"K = @\n{MINE_IS}f = lambda self, k=K: k\n",
        f"K = @\n{MINE_IS}def f(self): return [K for _ in 'ab']\n",
        # In other files.
        f"from stars import *\n{MINE_IS}k = STAR\n",
        f"import pack.inner\n{MINE_IS}k = pack.inner.STAR\n",
        f"from pack import inner\n{MINE_IS}k = inner.STAR\n",
        f"from pack.inner import STAR\n{MINE_IS}k = STAR\n",
        f"from .stars import STAR\n{MINE_IS}k = STAR\n",
        "from stars import Mine\n",
    ],
)
def test_every_way_to_reach_something(tmp_path: Path, text: str) -> None:
    found = []
    for value in ("1", "2"):
        folder = tmp_path / value
        (folder / "pack").mkdir(parents=True)
        written = text.replace("@", value).replace("\\deco", "@deco")
        (folder / "mine.py").write_text(f"from raycl.method import Method\n{written}")
        own = f"from raycl.method import Method\nSTAR = {value}\nclass Mine(Method):\n    k = STAR\n"
        (folder / "stars.py").write_text(own)
        (folder / "pack" / "__init__.py").write_text("")
        (folder / "pack" / "inner.py").write_text(f"STAR = {value}\n")
        module = userfiles.load(folder, "mine")
        userfiles.remember(module.Mine, module, "Mine")
        found.append(digest.digest_of(module.Mine))
    assert found[0] != found[1]


def test_a_name_imported_from_elsewhere_is_another_name(tmp_path: Path) -> None:
    found = []
    for source in ("pi", "e"):
        (tmp_path / source).mkdir()
        text = f"from math import {source} as K\nfrom raycl.method import Method\n{MINE_IS}k = K\n"
        (tmp_path / source / "mine.py").write_text(text)
        found.append(digest.digest_of(userfiles.load(tmp_path / source, "mine").Mine))
    assert found[0] != found[1]


KNOB = """
from raycl.method import Method
import consts
class Mine(Method):
    rate = consts.RATE
    def learn(self, task, fit):
        fit(self, task, lr=consts.RATE)
"""


@pytest.mark.parametrize(
    "change",
    [
        "import consts; consts.RATE = 2",
        "import consts; consts.TABLE.append(2)",
        "import consts; consts.helper = print",
        "import consts; consts.NEW = 1",
        "import consts; del consts.RATE",
        "import pack",
    ],
)
def test_a_value_that_another_file_changes_is_refused(tmp_path: Path, change: str) -> None:
    texts = {
        "consts": "RATE = 1\nTABLE = [1]\nOTHER = {}\ndef helper(): pass\n",
        "mine": KNOB.replace("rate = consts.RATE", "pass"),
        "s": f"{change}\nimport mine\n",
    }
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack" / "__init__.py").write_text("import consts\nconsts.RATE = 3\n")
    for name, text in texts.items():
        (tmp_path / f"{name}.py").write_text(text)
    userfiles.load(tmp_path, "s")
    with pytest.raises(UserError, match=r"consts\.\w+, on which Mine depends, is changed by another file"):
        digest.digest_of(userfiles.load(tmp_path, "mine").Mine)


@pytest.mark.parametrize(
    "harmless",
    [
        "import consts; consts.CLASSES['x'] = print",  # a registry
        "import consts; consts.RATE = 1",
        "import consts, pack",
        "import consts; consts.count()",
    ],
)
def test_what_changes_no_value_is_no_matter(tmp_path: Path, harmless: str) -> None:
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack" / "__init__.py").write_text("import pack.inner\n")
    (tmp_path / "pack" / "inner.py").write_text("X = 1\n")
    texts = {
        "consts": "RATE = 1\nCLASSES = {}\nSEEN = [object()]\ndef count(): SEEN.append(object())\n",
        "mine": KNOB,
        "s": f"{harmless}\nimport mine\n",
    }
    for name, text in texts.items():
        (tmp_path / f"{name}.py").write_text(text)
    userfiles.load(tmp_path, "s")
    kind = userfiles.load(tmp_path, "mine").Mine
    assert digest.digest_of(kind)
    # What runs change later is their own affair: another import does not take it for a change.
    userfiles.load(tmp_path, "consts").RATE = 5
    (tmp_path / "late.py").write_text("from mine import Mine\nclass Late(Mine): pass\n")
    assert digest.digest_of(userfiles.load(tmp_path, "late").Late)

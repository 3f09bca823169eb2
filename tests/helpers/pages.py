"""Code blocks of Markdown pages, and the commands in them, for tests that run every one.

A block of Python with a title is a file: it is saved next to the others of its page, and imported as a study
is. A block without a title is executed, in one namespace for each page. In a block of shell commands, each
line that begins with `raycl` is typed. A comment in front of a block, ``<!-- not run: REASON -->``, takes it
out; a single command is left to another test if `ELSEWHERE` names that test.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.helpers.warm import Said, started, typed

HOME = Path(__file__).parents[2]
LIMIT = 3600.0  # seconds after which a command that hangs is ended
ELSEWHERE = {  # a command, and the test that runs it
    "make quickstart": "test_quickstart_from_a_fresh_clone",
    "make test": "all of these",
    "pip install -e '.[tune]'": "the Makefile runs it for make quickstart and make test",
    "ray start --head": "test_resuming.py",
    "ray start --address=HEAD:6379": "test_resuming.py, as a head",
    "raycl run studies/quickstart.py --address auto": "test_resuming.py, by host and port",
    "raycl doctor --address auto": "tune/test_doctor.py, by host and port",
    "raycl data prepare mnist": "needs a network; from a folder: test_mnist_desk",
    "raycl data prepare cifar100 --from ~/data": "benchmarks/test_cifar.py",
    "raycl run studies/examples/mnist_desk.py": "test_mnist_desk",
    "raycl run studies/spg/table_02.py --small": "test_studies.py plans it; its runs take half an hour",
    "raycl ui": "test_tracking.py starts the same server",
}
SEARCH = ["--set", "search.trials=2", "--set", "search.startup_trials=2"]
ONE_EPOCH = ["--set", "final=1", "--set", "fit.epochs=1"]
SMALL = [*SEARCH, *ONE_EPOCH]  # for a study whose search is a `Search`

_FENCE = re.compile(r"^```(\w*)(?: title=\"([^\"]+)\")?\n(.*?)^```$", flags=re.S | re.M)
_NOT_RUN = re.compile(r"<!-- not run: (.+?) -->\n$")


@dataclass(frozen=True)
class CodeBlock:
    """A block of code of a page.

    Attributes:
        place: page and line, for messages.
        language: such as "python"; "" and "text" are output.
        title: name of the file that it is, or "".
        text: the code.
        not_run: why it is not run, or "".
    """

    place: str
    language: str
    title: str
    text: str
    not_run: str

    @property
    def commands(self) -> list[str]:
        """The lines of a block of shell commands, without comments."""
        lines = [line.split("  #")[0].strip() for line in self.text.splitlines()]
        return [line for line in lines if line and not line.startswith("#")]


def code_blocks(page: Path) -> Iterator[CodeBlock]:
    """Yield the code blocks of a page in their order."""
    text = page.read_text(encoding="utf-8")
    assert text.count("\n```") % 2 == 0, f"{page.name}: a block of code is not closed"
    for found in _FENCE.finditer(text):
        reason = _NOT_RUN.search(text, 0, found.start())
        line = text.count("\n", 0, found.start()) + 1
        language, title, code = found.groups()
        yield CodeBlock(f"{page.name}:{line}", language, title or "", code, reason[1] if reason else "")


def blocks(page: Path, language: str) -> list[str]:
    """Return the blocks of a page in one language."""
    return [block.text for block in code_blocks(page) if block.language == language]


def commands(page: Path) -> list[str]:
    """Return the shell commands of a page."""
    return [line for block in code_blocks(page) if block.language == "sh" for line in block.commands]


def raycl(folder: Path, words: list[str], **environment: str) -> Said:
    """Type a command; a run on Ray gets a process of its own."""
    if words[0] == "run" and "--local" not in words:
        return started(words, folder, environment, limit=LIMIT)
    return typed(words, folder, environment, limit=LIMIT)


def type_command(folder: Path, line: str, overrides: list[str], only: list[str] | None = None) -> None:
    """Type a command of a page, in this process and with small numbers of trials and epochs.

    Args:
        folder: The folder in which it is typed.
        line: The command.
        overrides: Options for commands that read a study.
        only: Options for a run that selects no cells itself.
    """
    program, command, *rest = shlex.split(line)
    assert program == "raycl", f"{line!r} is run by no test"
    words = [command, *rest]
    if command in ("run", "plan", "report", "sync"):
        words += overrides
    if command == "run" and "--local" not in words:
        words += ["--local"]  # Ray's road has tests of its own
    if command == "run" and "--only" not in words:
        words += only or []
    done = raycl(folder, words)
    assert done.code == 0, f"{line}\n{done.out}\n{done.err}"

"""Command lines, `--set` expressions, studies and settings drawn at random from nasty parts.

Whatever a stranger types ends with one of the exit codes, within a bounded time, and with one line of error.
``RAYCL_FUZZ=5000 RAYCL_FUZZ_SEED=7`` draws more of them, and others.
"""

from __future__ import annotations

import os
import random
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers.nasty import BENCHMARKS, FIELDS, KEYS, MINE, OWN, SETTINGS, STUDY_FIELDS, VALUES, WORDS
from tests.helpers.warm import Said, typed

LINES = int(os.environ.get("RAYCL_FUZZ", "120"))
FEW = 30  # of them, drawn by the quick tests
SEED = int(os.environ.get("RAYCL_FUZZ_SEED", "1"))
SECONDS = 120.0  # far more than any line takes on a machine that has nothing else to do
MEMORY = 24 * 2**30  # bytes of address space

Draw = random.Random


def command(draw: Draw) -> list[str]:
    """A command line."""
    return draw.choice([on_a_study, on_a_study, on_a_study, on_what_there_is])(draw)


def on_a_study(draw: Draw) -> list[str]:
    words = [draw.choice(["plan", "plan", "report"]), draw.choice(["mine.py"] * 8 + WORDS)]
    for _ in range(draw.choice([0, 1, 1, 1, 2, 3])):
        words += draw.choice([setting, setting, setting, only, store, other])(draw)
    return words


def setting(draw: Draw) -> list[str]:
    field = draw.choice(FIELDS)
    value = draw.choice([*WORDS, f"{draw.choice(WORDS)}{draw.choice(WORDS)}"])
    return ["--set", draw.choice([f"{field}={value}"] * 9 + [field, value])]


def only(draw: Draw) -> list[str]:
    part = draw.choice(["hat", "hat/digits_split", "[x]/*", "a,b", "*", "finetune / digits_split", *WORDS])
    return ["--only", draw.choice([part, f"{part}{draw.choice([',', '/', ''])}{draw.choice(WORDS)}"])]


def store(draw: Draw) -> list[str]:
    return ["--store", draw.choice(["results", "own.py", "own.py/x", "a b", "pipe", *WORDS])]


def other(draw: Draw) -> list[str]:
    return draw.choice(
        [
            ["--small"],
            ["--format", draw.choice(["csv", "latex", "table", "xml"])],
            [
                "--out",
                draw.choice(
                    ["out.csv", "own.py/x", ".", "pipes/x", "/dev/null", *(w for w in WORDS if w != "pipe")]
                ),
            ],
            ["--claims"],
            ["--points"],
            ["--tables"],
            ["--no-times"],
            [draw.choice(WORDS)],
            ["--nosuch"],
        ]
    )


def on_what_there_is(draw: Draw) -> list[str]:
    word = draw.choice([*WORDS, "hat", "mnist", "digits"])
    value = draw.choice([*WORDS, repr(draw.choice(WORDS))])
    call = f"{draw.choice(BENCHMARKS)}({draw.choice(SETTINGS)}={value})"
    return draw.choice(
        [
            ["methods", word or "hat"],
            ["benchmarks", word, *(["--show"] if draw.random() < 0.2 else [])],
            ["benchmarks", call],
            ["benchmarks", call, word],
            ["bench", word or "nosuch"],
            ["data", word],
            ["data", "prepare", word, "--from", draw.choice(["nowhere", "own.py", "pipe", *WORDS])],
            ["data", "verify", word or "nosuch"],
            ["ui", "--port", word],
            ["ui", *store(draw)],
            ["gc", draw.choice(["mine.py", "own.py", word]), *store(draw)],
            [word],
            [word, word],
        ]
    )


def study(draw: Draw) -> str:
    """A study file: one that is right but for a field or two, or a row of nonsense."""
    fields = {
        "methods": "{'hat': {}, 'finetune': {}}",
        "benchmarks": "['digits_split']",
        "network": "'mlp(hidden=8)'",
        "fit": "{'epochs': 1}",
        "search": "None",
        "final": "Seeds(1)",
    }
    for _ in range(draw.choice([1, 1, 2])):
        draw.choice([nasty_field, nasty_key, nasty_key, nasty_benchmark])(draw, fields)
    inside = ", ".join(f"{name}={value}" for name, value in fields.items())
    before = draw.choice(
        [""] * 8 + ["import sys; sys.exit(0)", "1 / 0", "import nosuch", "x = ", "raise BaseException"]
    )
    return f"from raycl import *\n{before}\nSTUDY = Study({inside})\n"


def nasty_field(draw: Draw, fields: dict[str, str]) -> None:
    fields[draw.choice(STUDY_FIELDS)] = draw.choice(VALUES)


def nasty_key(draw: Draw, fields: dict[str, str]) -> None:
    key = draw.choice(KEYS)
    if key.startswith("fit.") and draw.random() < 0.5:
        fields["fit"] = f"{{{key[4:]!r}: {draw.choice(VALUES)}}}"
        return
    label = draw.choice(["'hat'", "'own:Own'", "'[x]'", "''", "'a/b'", "'\\n'", "3", "None", "'x' * 5000"])
    method = draw.choice(["hat", "own:Own", "ewc", "spg", "packnet"])
    fields["methods"] = f"{{{label}: {{'method': {method!r}, {key!r}: {draw.choice(VALUES)}}}}}"


def nasty_benchmark(draw: Draw, fields: dict[str, str]) -> None:
    call = f"{draw.choice(BENCHMARKS)}({draw.choice(SETTINGS)}={draw.choice([*VALUES, *map(repr, WORDS)])})"
    fields["benchmarks"] = draw.choice(
        [f"[{call!r}]", f"[{call!r}]", f"['digits_split', {draw.choice(VALUES)}]"]
    )


def judged(said: Said) -> str:
    """What is wrong with how a command came out, or ""."""
    if said.code not in (0, 1, 2, 3, 130):
        return f"exit code {said.code} after {said.seconds:.0f} s"
    if "Traceback" in said.out + said.err:
        return "a traceback"
    if "internal error" in said.err:
        return "an internal error"
    ours = [line for line in said.err.splitlines() if not line.startswith("       ")]  # remedies are indented
    if said.code == 2 and len([line for line in ours if line.startswith("raycl: ")]) != 1:
        return "not one line of error"
    if any(not line.startswith("raycl: ") for line in ours):
        return "a line that is not ours"
    if any(len(line) > 1200 or not line.isprintable() for line in ours):
        return "a line that no screen can show"
    return ""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "mine.py").write_text(MINE)
    (tmp_path / "own.py").write_text(OWN)
    (tmp_path / "a b").mkdir()
    os.mkfifo(tmp_path / "pipe")
    return tmp_path


def trouble(folder: Path, draws: Callable[[Draw], list[str]], salt: str, numbers: range) -> list[str]:
    """Command lines that came out wrong, and how."""
    found = []
    for number in numbers:
        words = draws(random.Random(f"{salt} {SEED} {number}"))
        words = [word.replace("\0", "") for word in words]  # no shell hands one on
        said = typed(words, folder, limit=SECONDS, memory=MEMORY)
        if wrong := judged(said):
            shown = shlex.join(word if len(word) < 200 else f"{word[:60]}...{len(word)}" for word in words)
            drawn = (folder / "drawn.py").read_text(errors="replace")[:600] if "drawn.py" in words else ""
            found.append(f"{number}: {wrong}: raycl {shown}\n{said.err[-1500:]}\n{drawn}")
    return found


PARTS = [
    pytest.param(range(FEW), id="few"),
    pytest.param(range(FEW, LINES), id="rest", marks=pytest.mark.slow),
]


@pytest.mark.parametrize("numbers", PARTS)
def test_command_lines(folder: Path, numbers: range) -> None:
    assert not (found := trouble(folder, command, "command", numbers)), "\n".join(found)


@pytest.mark.parametrize("numbers", PARTS)
def test_studies(folder: Path, numbers: range) -> None:
    def drawn(draw: Draw) -> list[str]:
        (folder / "drawn.py").write_text(study(draw), encoding="utf-8", errors="surrogatepass")
        return ["plan", "drawn.py"]

    assert not (found := trouble(folder, drawn, "study", numbers)), "\n".join(found)


@pytest.mark.release
def test_studies_that_are_played(folder: Path) -> None:
    def drawn(draw: Draw) -> list[str]:
        (folder / "drawn.py").write_text(study(draw), encoding="utf-8", errors="surrogatepass")
        return ["run", "drawn.py", "--local", "--store", f"store-{draw.random()}"]

    assert not (found := trouble(folder, drawn, "played", range(LINES // 4))), "\n".join(found)

"""Completion in a shell: what bash offers, and that zsh reads its script."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from raycl import registry
from raycl.cli import main

OFFER = """
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(( $# - 1 ))
_shtab_raycl raycl "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture
def script(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    assert main(["completion", "bash"]) == 0
    path = tmp_path / "raycl.bash"
    path.write_text(capsys.readouterr().out)
    return path


def offered(script: Path, line: str) -> set[str]:
    """What bash offers for the last word of a line."""
    done = subprocess.run(
        ["bash", "-c", OFFER, "bash", script, *line.split(" ")],
        capture_output=True,
        text=True,
        cwd=script.parent,
        check=True,
    )
    assert done.stderr == ""
    return set(done.stdout.split())


def test_bash_offers_commands_options_values_and_names(script: Path) -> None:
    (script.parent / "mine.py").write_text("")
    (script.parent / "mine_results").mkdir()
    assert offered(script, "raycl me") == {"methods", "metrics"}
    assert offered(script, "raycl run mine.py --ke") == {"--keep"}
    assert offered(script, "raycl run mine.py --keep f") == {"final"}
    assert offered(script, "raycl methods ") == set(registry.method_names())
    assert offered(script, "raycl networks res") == {
        name for name in registry.network_names() if name.startswith("res")
    }
    assert offered(script, "raycl presets ksm") >= {"ksm_desk", "ksm_cpg"}
    assert offered(script, "raycl benchmarks digits_sp") == {"digits_split"}
    assert offered(script, "raycl data prepare cifar") == {"cifar10", "cifar100"}
    assert offered(script, "raycl run mi") == {"mine.py", "mine_results"}
    assert offered(script, "raycl gc --store mi") == {"mine_results"}


def test_zsh_reads_its_script(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "zsh"]) == 0
    text = capsys.readouterr().out
    assert "#compdef raycl" in text and ":NAME:_raycl_methods" in text
    assert f"compadd -- {' '.join(registry.method_names())}" in text
    if zsh := shutil.which("zsh"):
        (tmp_path / "_raycl").write_text(text)
        subprocess.run([zsh, "-n", tmp_path / "_raycl"], check=True)

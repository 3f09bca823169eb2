"""A process whose run hangs or hoards ends itself, whatever it is doing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from raycl.tune.stall_watch import Watch, last_words, own_bytes

CODE = """
import sys, time
from pathlib import Path
from raycl.tune import stall_watch
stall_watch.GRACE = 1.0
folder, silence, memory = Path(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3]) or None
with stall_watch.Watch(folder, silence, memory) as watching:
    {body}
print("came to its end")
"""
BUSY = "import re; re.match(r'(a+)+$', 'a' * 60 + 'b')"  # never returns, and never lets go of the interpreter
IDLE = "time.sleep(3600)"
HOARD = "hoard = []\n    while True: hoard.append(bytearray(2**26)); time.sleep(0.02)"
LIVELY = "for _ in range(40): watching.alive(); time.sleep(0.1)"
PAUSED = "with watching.paused(): time.sleep(5)"


def ended(body: str, folder: Path, silence: float, memory: float = 0) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-c", CODE.format(body=body), str(folder), str(silence), str(memory)]
    return subprocess.run(words, capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize(
    ("body", "silence", "memory", "why"),
    [
        (IDLE, 1.0, 0, "no batch was trained or evaluated for"),
        (HOARD, 3600, 2**30, "GiB of memory, but may take 1.00"),
        (BUSY, 1.0, 0, ""),  # only the runtime can end it, and leaves a traceback
    ],
)
def test_ends(body: str, silence: float, memory: float, why: str, tmp_path: Path) -> None:
    found = ended(body, tmp_path / "run", silence, memory)
    assert found.returncode == 1 and "came to its end" not in found.stdout
    assert 'File "<string>", line' in found.stderr, "no traceback says where it hung"
    assert why in last_words(tmp_path / "run")


@pytest.mark.parametrize("body", [LIVELY, PAUSED])
def test_lets_live(body: str, tmp_path: Path) -> None:
    found = ended(body, tmp_path / "run", 3.0)
    assert found.returncode == 0 and "came to its end" in found.stdout, found.stderr
    assert last_words(tmp_path / "run") == ""


def test_a_new_attempt_drops_the_last_words_of_the_one_before(tmp_path: Path) -> None:
    (tmp_path / "ended.txt").write_text("an earlier attempt")
    with Watch(tmp_path, 3600, None):
        assert last_words(tmp_path) == ""
    assert own_bytes() > 2**20

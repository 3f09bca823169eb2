"""Every claim is judged in full by a study in the form of its paper, and `golden/judged.json` says by which.

The rows of each study are filled by hand, so nothing is trained. With RAYCL_RECORD=1 the file is written.
"""

from __future__ import annotations

import functools
import json
import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from raycl import userfiles
from raycl.papers import samples, verdicts
from raycl.papers.claims import claims
from raycl.papers.findings import Verdict
from raycl.papers.judging import NO_VERDICT, NOT_RUN
from raycl.study.file import read_study
from tests.helpers import fullform

pytestmark = pytest.mark.slow  # the first test plans all studies and fills their rows, whichever it is

JUDGED = Path(__file__).parents[1] / "golden" / "judged.json"
PARTS = ("ImageNet", "CUBS", "Cars", "Flowers", "WikiArt", "Sketch")  # the tasks of imagenet_to_sketch
IMPOSSIBLE: dict[str, str] = {}
"""Claims that no study can judge, and why."""


@pytest.fixture(autouse=True)
def _without_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """What only data tell: the task of each part, and the shapes that a network's size depends on."""
    monkeypatch.setattr(samples, "tasks_of", lambda text, part: (_place(part),))
    monkeypatch.setattr(verdicts, "trunk_bytes", lambda row: 1e6)


def _place(part: str) -> int:
    """The number of a part's task. Of the superclasses of CIFAR-100, any number will do."""
    return PARTS.index(part) + 1 if part in PARTS else 2


@functools.cache
def found() -> dict[str, dict[str, Verdict]]:
    """The verdicts on each claim, by study."""
    by_claim: dict[str, dict[str, Verdict]] = defaultdict(dict)
    for name, path in fullform.full_studies().items():
        study = read_study(path)
        if study.paper:
            with userfiles.importing_from(study.folder):  # a study may have classes of its own
                for one in verdicts.verdicts(study, fullform.rows_of(study)):
                    by_claim[one.claim.id][name] = one
    return by_claim


def in_full(one: Verdict) -> bool:
    """Whether a study compares all that the claim is about, each with numbers enough for a verdict."""
    return one.complete and all(finding.word not in (NOT_RUN, NO_VERDICT) for finding in one.findings)


def judged_by(claim: str) -> list[str]:
    return [name for name, one in found()[claim].items() if in_full(one)]


def lacking(claim: str) -> Iterator[str]:
    """What the studies lack that come closest."""
    best = sorted(found()[claim].items(), key=lambda named: -named[1].compared / named[1].asked)
    for name, one in best[:3]:
        part = [finding for finding in one.findings if finding.compared < finding.asked]
        reasons = dict.fromkeys(finding.reason or f"{finding.where}: {finding.right}" for finding in part)
        data = f" with {', '.join(one.other_data)}" if one.other_data else ""
        yield f"{name}: {one.compared} of {one.asked}{data}; {'; '.join(list(reasons)[:5])}"


@pytest.mark.parametrize("claim", [one.id for one in claims()])
def test_a_study_judges_the_claim_in_full(claim: str) -> None:
    if claim in IMPOSSIBLE:
        assert not judged_by(claim), f"{claim} is judged; take it out of IMPOSSIBLE"
    else:
        assert judged_by(claim), "\n".join([f"{claim} is judged in full by no study:", *lacking(claim)])


def test_which_study_judges_a_claim_is_recorded() -> None:
    """Claims that are arithmetic are judged by every study of the paper."""
    table = {one.id: judged_by(one.id) for one in claims()}
    arithmetic = {one.id for one in claims() if next(iter(found()[one.id].values())).arithmetic}
    table = {claim: ["every study"] if claim in arithmetic else names for claim, names in table.items()}
    if os.environ.get("RAYCL_RECORD"):
        JUDGED.write_text(json.dumps(table, indent=1) + "\n")
    how = "record it: RAYCL_RECORD=1 python -m pytest tests/reporting/test_judged_claims.py"
    assert table == json.loads(JUDGED.read_text()), how


def test_what_is_filled_is_what_the_methods_report() -> None:
    """A metric that nothing measures is not judged: the diagnostics are those that a test has recorded."""
    assert "blocked_layers" in fullform.diagnostics_of("hat")
    assert "overlap_ratio" in fullform.diagnostics_of("impresslearn")
    assert fullform.diagnostics_of("finetune") == {}
    assert all(fullform.diagnostics_of(name) for name in ("spg", "prm", "pmask", "ksm", "supsup"))

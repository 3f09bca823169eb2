"""Every sampler proposes from the ledger alone, whoever finishes first, and whatever is killed in between."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from raycl import Choice, Float, Halving, Int, Median, Search, Seeds, Study, cli
from raycl.errors import UserError
from raycl.runs.store import Store
from raycl.study.agenda import Agenda
from raycl.study.cells import Cell
from raycl.study.expand import cells_of
from raycl.study.file import read_study
from raycl.study.trials import _outcome
from raycl.tune import proposals
from raycl.tune.replay import Replays, told_as
from tests import test_pruning
from tests.test_agenda import hash_of, ledger, play

OWN = """
import optuna

def make_sampler(seed):
    return optuna.samplers.NSGAIISampler(seed=seed, population_size=3)
"""
STUDY = """
from raycl import *

STUDY = Study(
    methods={{"finetune": {keys}}}, benchmarks=["digits_split"],
    network="mlp(hidden=8, drop1=0.0, drop2=0.0)", search=Search(trials=4, {search}), final=Seeds(1),
)
"""
LR = '{"fit.lr": Float(1e-3, 1, log=True), "fit.momentum": Float(0, 0.9)}'
needs_cmaes = pytest.mark.skipif(importlib.util.find_spec("cmaes") is None, reason="needs pip install cmaes")
GP = {"sampler": "gp"}  # a proposal takes a second
SAMPLERS = [
    pytest.param({"sampler": "random"}, id="random"),
    pytest.param({"sampler": "qmc"}, id="qmc"),
    pytest.param(GP, id="gp"),
    pytest.param({"sampler": "cmaes"}, id="cmaes", marks=needs_cmaes),
    pytest.param({"sampler": "nsgaii"}, id="nsgaii"),
    pytest.param({"multivariate": True, "group": True}, id="group"),
    pytest.param({"sampler": "own:make_sampler"}, id="own"),
]


def written(folder: Path, search: str, keys: str = LR, own: str = OWN) -> Path:
    (folder / "own.py").write_text(own)
    (folder / "study.py").write_text(STUDY.format(search=search, keys=keys))
    return folder / "study.py"


def cells(folder: Path, concurrency: int = 3, trials: int = 14, own: str = OWN, **search: Any) -> list[Cell]:
    """One cell with two ranges, a choice and an integer, next to a file with a sampler."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "own.py").write_text(own)
    space = {
        "fit.lr": Float(1e-3, 1, log=True),
        "fit.momentum": Float(0, 0.9),
        "fit.batch": Choice(16, 32, 64),
        "fit.epochs": Int(1, 9),
    }
    return cells_of(
        Study(
            methods={"finetune": space},
            benchmarks=["digits_split"],
            network="mlp(hidden=8, drop1=0.0, drop2=0.0)",
            search=Search(trials=trials, concurrency=concurrency, startup_trials=4, **search),
            final=Seeds(1),
            folder=folder,
        ),
        check=False,
    )


@pytest.fixture(autouse=True)
def _a_new_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proposals, "_REPLAYS", Replays())


def diverges(job: Any) -> bool:
    return hash_of(job.key) % 5 == 0


@pytest.mark.parametrize("search", SAMPLERS)
def test_the_ledger_is_the_same_with_any_number_of_workers_and_after_kills(
    tmp_path: Path, search: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = 6 if search == GP else 14
    planned = cells(tmp_path, trials=wanted, **search)
    for n, slots in enumerate([1, 2, 4] if search != GP else [1, 4]):
        monkeypatch.setattr(proposals, "_REPLAYS", Replays())
        agenda = Agenda(planned, Store(tmp_path / f"{n}"), proposals.propose)
        play(agenda, slots, seed=n, diverges=diverges)
        assert agenda.states[0].complete
    starts = 0
    while True:
        monkeypatch.setattr(proposals, "_REPLAYS", Replays())
        agenda = Agenda(planned, Store(tmp_path / "cut"), proposals.propose)
        if not play(agenda, 3, seed=starts, diverges=diverges, stop_after=4):
            break
        starts += 1
    first, *others = (ledger(path) for path in sorted(tmp_path.glob("?*/")))
    assert starts > 1 and len(first) > wanted  # some diverged and were replaced
    assert all(other == first for other in others)
    values = [json.dumps(json.loads(text)["params"], sort_keys=True) for text in first.values()]
    assert len(set(values)) > 0.7 * len(values)  # a genetic algorithm proposes some values twice


@pytest.mark.parametrize("search", SAMPLERS)
def test_concurrency_belongs_to_what_a_proposal_depends_on(tmp_path: Path, search: dict[str, Any]) -> None:
    one, other = cells(tmp_path, 1, **search)[0], cells(tmp_path, 4, **search)[0]
    assert one.key != other.key and one.drawing == other.drawing
    assert len({one.key, cells(tmp_path, 1)[0].key, cells(tmp_path, 1, sampler="random", seed=2)[0].key}) == 3


def drawn(cell: Cell, many: int, told: bool = True) -> list[dict[str, Any]]:
    """The proposals of a sequential search whose objective prefers a rate of 0.2 and a momentum of 0.3."""
    found: list[dict[str, Any]] = []
    for n in range(many):
        history = [(params, value(params) if told else None) for params in found]
        found.append(proposals.propose(cell, n, history, []))
    return found


def value(params: dict[str, Any]) -> float:
    return float(1 - abs(params["fit.lr"] - 0.2) - abs(params["fit.momentum"] - 0.3))


def test_random_trials_are_those_with_which_tpe_begins(tmp_path: Path) -> None:
    (random,), (tpe,) = cells(tmp_path, 1, sampler="random"), cells(tmp_path, 1)
    ten, other = drawn(random, 10), drawn(tpe, 10)
    assert ten[:4] == other[:4] and ten[4:] != other[4:]
    assert ten == drawn(random, 10, told=False)


def test_qmc_spreads_its_points_evenly_from_the_first(tmp_path: Path) -> None:
    """Eight points of Sobol's sequence lie in eight different eighths of each range, scrambled or not."""
    (cell,) = cells(tmp_path, 1, sampler="qmc")
    found = drawn(cell, 16)
    for eight in (found[:8], found[8:]):
        assert sorted(int(params["fit.momentum"] / 0.9 * 8) for params in eight) == list(range(8))
    assert found == drawn(cell, 16, told=False)
    (later,) = cells(tmp_path, 1, sampler="qmc", seed=2)
    assert drawn(later, 8) != found[:8]


@pytest.mark.parametrize(
    "search", [pytest.param(GP, id="gp", marks=pytest.mark.slow), *SAMPLERS[3:6]]
)  # fmt: skip
def test_a_sampler_learns_from_what_it_is_told(tmp_path: Path, search: dict[str, Any]) -> None:
    many = 10 if search == GP else 40

    def late(cell: Cell) -> float:
        return sum(value(params) for params in drawn(cell, many)[many // 2 :]) / (many - many // 2)

    assert late(cells(tmp_path, 1, **search)[0]) > late(cells(tmp_path, 1, sampler="random")[0]) + 0.1


def test_a_replay_that_continues_proposes_as_one_from_the_beginning(tmp_path: Path) -> None:
    (cell,) = cells(tmp_path, 2, sampler="own:make_sampler")
    continued = drawn(cell, 12)
    for n in (11, 3, 7):  # out of order, so that nothing can be continued
        history = [(params, value(params)) for params in continued[:n]]
        assert proposals.propose(cell, n, history, []) == continued[n]
    altered = [(params, 1 - value(params)) for params in continued[:11]]
    assert proposals.propose(cell, 11, altered, []) != continued[11]


def test_a_replay_tells_a_sampler_what_it_would_have_known(tmp_path: Path) -> None:
    """TPE keeps no notes, so that it proposes the same in a replay as from the values of the trials."""
    same = "(seed=seed, n_startup_trials=4, n_ei_candidates=24, multivariate=False, constant_liar=True)"
    own, seen = OWN.replace("NSGAIISampler(seed=seed, population_size=3)", f"TPESampler{same}"), []
    assert "NSGAII" not in own
    for sampler in ("own:make_sampler", "tpe"):
        (cell,) = cells(tmp_path, own=own, sampler=sampler)
        agenda = Agenda([cell], Store(tmp_path / sampler[:3]), proposals.propose)
        play(agenda, 3, seed=0, diverges=lambda job: job.role.trial in (2, 7))
        seen.append([trial.params for trial in agenda.states[0].trials])
    assert seen[0] == seen[1] and len(seen[0]) == 16


@pytest.mark.parametrize("rule", [Halving(rungs=(1, 3)), Median(after=2, warmup=3)])
def test_a_replay_tells_of_pruned_trials_what_the_ledger_tells(tmp_path: Path, rule: Any) -> None:
    """TPE proposes the same from a replay and from the ledger, and something else had it not been told."""
    same = "(seed=seed, n_startup_trials=4, n_ei_candidates=24, multivariate=False, constant_liar=True)"
    own, seen = OWN.replace("NSGAIISampler(seed=seed, population_size=3)", f"TPESampler{same}"), []
    for sampler in ("own:make_sampler", "tpe"):
        (cell,) = cells(tmp_path, own=own, sampler=sampler, prune=rule)
        agenda = Agenda([cell], Store(tmp_path / sampler[:3]), proposals.propose)
        test_pruning.play(agenda, 3, seed=0)
        seen.append([trial.params for trial in agenda.states[0].trials])
    (state,) = agenda.states
    assert seen[0] == seen[1] and state.lost("pruned") >= 3
    first = next(t for t in state.trials if t.n >= 4 and t.result and t.result.status == "pruned")
    known = state.cell.search.known(first.n + 6, [False] * 20)  # type: ignore[union-attr]
    history = [(t.params, _outcome(t, state.cell)) for t in state.trials[:known]]
    assert any(isinstance(outcome, tuple) for _, outcome in history)
    forgotten = [(params, None if isinstance(outcome, tuple) else outcome) for params, outcome in history]
    n = len(state.trials)
    assert proposals.propose(cell, n, history, []) != proposals.propose(cell, n, forgotten, [])


def test_a_pruned_trial_is_told_as_optuna_has_it() -> None:
    """`Study.tell` of a trial with reported values and the state PRUNED gives the same trial."""
    study = optuna.create_study(direction="maximize")
    trial = study.ask()
    for learnt, score in ((1, 0.5), (3, 0.25)):
        trial.report(score, learnt)
    study.tell(trial, state=TrialState.PRUNED)
    (wanted,) = study.trials
    state, values, scores = told_as((0.5, None, 0.25))
    assert (state, values, scores) == (wanted.state, wanted.values, wanted.intermediate_values)
    assert told_as(0.5) == (TrialState.COMPLETE, [0.5], {}) and told_as(None) == (TrialState.FAIL, None, {})


def test_a_sampler_of_ones_own_is_keyed_by_its_code(tmp_path: Path) -> None:
    study = written(tmp_path, 'sampler="own:make_sampler"')
    (cell,) = cells_of(read_study(study), check=False)
    (tmp_path / "own.py").write_text(OWN + "\n# a comment\n")
    (same,) = cells_of(read_study(study), check=False)
    (tmp_path / "own.py").write_text(OWN.replace("population_size=3", "population_size=4"))
    (other,) = cells_of(read_study(study), check=False)
    assert cell.key == same.key != other.key and cell.drawing == other.drawing


def test_plain_tpe_keeps_the_keys_and_proposals_that_it_had() -> None:
    """They were recorded before there was any other sampler.

    The last bits of a proposal depend on the processor (NumPy computes logarithms differently with AVX-512),
    and so numbers are compared to nine digits.
    """
    recorded = json.loads((Path(__file__).parents[1] / "golden" / "proposals.json").read_text())
    for label, concurrency in (("hat", 1), ("supsup", 4), ("hypernet", 3)):
        search = Search(trials=20, concurrency=concurrency, startup_trials=3)
        (cell,) = cells_of(
            Study(methods={label: {}}, benchmarks=["digits_split"], network="mlp(hidden=8)", preset="spg",
                  search=search),
            check=False,
        )  # fmt: skip
        assert cell.key == recorded[label]["key"]
        found: list[dict[str, Any]] = []
        for n, wanted in enumerate(recorded[label]["proposals"]):
            known = max(0, n - concurrency + 1)
            told = [
                (params, None if k % 5 == 4 else 0.9 - abs(params.get("fit.lr", 0.6) - 0.2))
                for k, params in enumerate(found[:known])
            ]
            found.append(proposals.propose(cell, n, told, found[known:]))
            proposed = json.loads(json.dumps(found[-1]))
            assert proposed.keys() == wanted.keys()
            for name, value in proposed.items():
                number = isinstance(value, float)
                assert value == (pytest.approx(wanted[name], rel=1e-9) if number else wanted[name])
        assert len(found) == 14


@pytest.mark.parametrize(
    ("search", "keys", "message"),
    [
        ('sampler="tpa"', LR, "search.sampler = 'tpa' is not a sampler; did you mean 'tpe'?"),
        (
            "sampler=3",
            LR,
            "search.sampler = 3 is not a sampler (known: tpe, random, qmc, gp, cmaes, nsgaii, or",
        ),
        ('sampler="gp", group=True', LR, "search.group = True is for sampler = 'tpe', not 'gp': remove it"),
        ("group=True", LR, "search.group = True needs search.multivariate = True"),
        ("multivariate=1", LR, "search.multivariate = 1 must be True or False"),
        (
            'sampler="cmaes"',
            '{"fit.batch": Choice(16, 32)}',
            "needs at least two ranges (Float or Int), but of fit.batch it has none",
        ),
        (
            'sampler="cmaes"',
            '{"fit.batch": Choice(16, 32), "fit.lr": Float(0.1, 1)}',
            "but of fit.batch, fit.lr it has fit.lr alone",
        ),
        ('sampler="absent:make"', LR, "'absent:make': no file absent.py beside the study"),
        ('sampler="own:absent"', LR, "own.py defines no function called 'absent'"),
    ],
)
def test_samplers_that_cannot_be_used_are_refused_in_a_line_when_planned(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], search: str, keys: str, message: str
) -> None:
    study = written(tmp_path, search, keys)
    assert cli.main(["plan", str(study), "--store", str(tmp_path / "store")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return 7", "own.py:2 (function make_sampler) returns 7; it should return a sampler of Optuna"),
        ("raise KeyError('x')", "own.py:3: KeyError: 'x'"),
    ],
)
def test_a_faulty_sampler_of_ones_own_ends_the_run_with_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], body: str, message: str
) -> None:
    study = written(tmp_path, 'sampler="own:make_sampler"', own=f"\ndef make_sampler(seed):\n    {body}\n")
    assert cli.main(["run", str(study), "--local", "--store", str(tmp_path / "store")]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "own.py" in line]
    assert message in line


def test_a_missing_package_is_named_with_the_command_that_installs_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "cmaes" else find_spec(name, *rest)
    )
    study = written(tmp_path, 'sampler="cmaes"')
    assert cli.main(["run", str(study), "--local", "--store", str(tmp_path / "store")]) == 2
    said = capsys.readouterr().err
    assert (
        "cmaes is not installed: pip install 'optuna>=" in said and "'cmaes>=0.11', or write another" in said
    )


def test_a_plan_names_the_sampler_unless_it_is_the_papers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for search, line in (
        ("startup_trials=3", ""),
        ('sampler="gp", startup_trials=3', "trials: a Gaussian process after 3 random ones"),
        ('sampler="qmc"', "trials: points of a scrambled Sobol sequence"),
        ("multivariate=True", "trials: multivariate TPE after 10 random ones"),
        ('sampler="own:make_sampler"', "trials: proposed by own:make_sampler"),
    ):
        assert cli.main(["plan", str(written(tmp_path, search)), "--store", str(tmp_path / "store")]) == 0
        found = [text for text in capsys.readouterr().out.splitlines() if text.startswith("trials")]
        assert found == ([line] if line else [])


def test_a_proposal_outside_the_domains_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (cell,) = cells(tmp_path, 1, sampler="own:make_sampler")
    monkeypatch.setattr("raycl.tune.replay._suggested", lambda trial, key, domain: -1)
    with pytest.raises(UserError, match=r"own:make_sampler proposes fit\.\w+ = -1, outside"):
        proposals.propose(cell, 0, [], [])

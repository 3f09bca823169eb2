"""Collect the results of a study from the store: one row per cell, and one section per benchmark."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from raycl import metrics, registry, userfiles
from raycl.errors import UserError, screen_line
from raycl.metrics import Metric, all_metrics
from raycl.results.measures import gaps, measure
from raycl.results.rows import (
    BLOCKED,
    COMPLETE,
    DIVERGED,
    FAILED,
    INCOMPLETE,
    MISSING,
    CellRow,
    FinalRun,
    Group,
    Member,
    Section,
    Tried,
)
from raycl.runs.fingerprint import fingerprint
from raycl.runs.result import Result
from raycl.study.agenda import Agenda
from raycl.study.cells import Cell, Data
from raycl.study.objectives import ACC, named
from raycl.study.progress import CellState, Trial
from raycl.study.values import Seeds, Study
from raycl.text import counted

MAIN = "main"  # The fit stream that learns the task itself.
PHASES = "method"  # The name of the time that a method spends outside of fits.


def collect(study: Study, agenda: Agenda) -> list[CellRow]:
    """Return a row for each cell, in the agenda's order."""
    return [row_of(state, agenda, study.metrics) for state in agenda.states]


def sections(study: Study, rows: Sequence[CellRow]) -> list[Section]:
    """Group the rows by benchmark and then by label, in the study's order."""
    found = []
    for text, mine in _grouped(rows, lambda row: row.cell.benchmark).items():
        labels = _grouped(mine, lambda row: row.cell.label)
        groups = tuple(Group(label, tuple(those)) for label, those in labels.items())
        lengths = [len(final.a) for row in mine for final in row.finals]
        facts = _facts(text, mine[0].cell)
        found.append(
            Section(
                text,
                len(facts.classes) or max(lengths, default=0),
                facts.classes,
                facts.similar,
                facts.subset,
                facts.deviations,
                study.orders,
                groups,
                tuple(study.metrics),
                mine[0].cell.named,
            )
        )
    return found


def _grouped(rows: Sequence[CellRow], name: Callable[[CellRow], str]) -> dict[str, list[CellRow]]:
    """Return the rows by a name, in the order in which the names come first."""
    found: dict[str, list[CellRow]] = {}
    for row in rows:
        found.setdefault(name(row), []).append(row)
    return found


def searched_on(study: Study) -> str:
    """Return how the configurations were chosen, for the header of a table."""
    if all(keys.get("search", study.search) is None for keys in study.methods.values()):
        return "no search"
    split = "test (protocol paper)" if study.protocol == "paper" else "validation"
    return f"{'some ' if study.search is None else ''}searched on {split}"


def subset_of(cell: Cell) -> str:
    """Return why numbers on the cell's benchmark cannot be compared with published ones, or ""."""
    return _facts(cell.benchmark, cell).subset


def _facts(text: str, cell: Cell) -> Data:
    """Return what reports say about the data of a benchmark; where they are missing, less is known."""
    if cell.data is not None:
        return cell.data
    with userfiles.importing_from(cell.home):
        recipe = registry.recipe(text)
        try:
            found = registry.load(text, cell.trial_seed, 0, cell.identity)
        except UserError:
            return Data((), recipe.similar, "", recipe.deviations())
    return Data(found.classes, found.similar, found.subset, recipe.deviations())


def row_of(state: CellState, agenda: Agenda, own: Sequence[Metric] = ()) -> CellRow:
    """Return the results of a cell as a row.

    Args:
        state: The cell and the state of its runs.
        agenda: The agenda of the study.
        own: The metrics that the study adds to raycl's.
    """
    known = all_metrics(own)
    cell, results = state.cell, state.results
    betas = reference_accuracies(state, agenda)
    wanted = tuple(state.seeds or (cell.trial_seed,))
    done = {seed: results[seed] for seed in wanted if seed in results and results[seed].status == "done"}
    finals = tuple(_final(seed, result, betas.get(seed), known) for seed, result in done.items())
    trials = tuple(_tried(t, t.result, cell) for t in state.trials if t.result is not None)
    status, reason = _status(state, agenda)
    lost = tuple(seed for seed in wanted if seed in results and results[seed].status == "diverged")
    accs = [t.acc for t in trials if t.acc is not None]
    row = CellRow(
        cell=cell,
        finals=finals,
        seeds=wanted,
        diverged=lost,
        trials=trials,
        best=_best(state),
        ps=metrics.ps(accs),
        runs=state.total,
        done=state.done,
        status=status,
        reason=reason,
        notes=(),
        reference=cell.kinds.is_reference,
        front=_front(state, finals, betas, known),
    )
    return dataclasses.replace(row, notes=(*_notes(row, state, known), *_doubts(state, agenda)))


def _tried(trial: Trial, result: Result, cell: Cell) -> Tried:
    return Tried(
        trial.n,
        trial.params,
        trial.objective(cell),
        trial.acc("test"),
        float(result.provenance.get("seconds", 0)),
        result.status,
        len(result.reports) if result.status == "pruned" else 0,
        trial.values(cell) if len(cell.objectives) > 1 else (),
    )


def _front(
    state: CellState,
    finals: tuple[FinalRun, ...],
    betas: Mapping[int, metrics.Matrix],
    known: Sequence[Metric],
) -> tuple[Member, ...]:
    """Return the trials of a cell that no other one beats; () for a search with one objective.

    Args:
        state: The cell and the state of its runs.
        finals: The final runs of the best trial.
        betas: `reference_accuracies` of the cell.
        known: The metrics to compute.
    """
    if len(state.cell.objectives) < 2:
        return ()
    found, chosen = [], state.chosen
    for trial in state.front:
        assert trial.result is not None
        own, wanted = finals, len(state.seeds) or 1
        if trial is not state.best:
            runs = [run for (n, _), run in state.front_finals.items() if n == trial.n]
            own = tuple(
                _final(run.seed, run.result, betas.get(run.seed), known)
                for run in runs
                if run.seed is not None and run.result is not None and run.result.status == "done"
            )
            wanted = len(state.seeds) if any(trial is each for each in chosen) else 0
        found.append(Member(_tried(trial, trial.result, state.cell), trial is state.best, own, wanted))
    return tuple(found)


def _best(state: CellState) -> dict[str, Any] | None:
    if state.cell.search is None:
        return {}
    best = state.best
    return None if best is None else dict(best.params)


def final_run(result: Result) -> FinalRun:
    """Return the numbers of a finished run by itself, without those that need reference runs."""
    return _final(result.spec.seed, result, None, all_metrics(()))


def _final(seed: int, result: Result, beta: metrics.Matrix | None, known: Sequence[Metric]) -> FinalRun:
    result = result.unpacked()
    a, reports = result.matrix(), result.reports
    spent = result.seconds_by_task()
    fits = tuple(sum(seconds.values()) - seconds.get(PHASES, 0.0) for seconds in spent)
    training = tuple(seconds.get(MAIN, 0.0) for seconds in spent)
    cpu = [sum(report.cpu_seconds.values()) for report in reports if report.cpu_seconds]
    epochs = [report.epochs[MAIN] for report in reports if MAIN in report.epochs]
    beta = beta if beta is not None and len(beta) == len(a) else None
    return FinalRun(
        seed=seed,
        key=result.key,
        a=a,
        beta=beta,
        measured=measure(known, a, result.matrix("val"), beta),
        ct=result.ct,
        ct_fits=sum(fits),
        ct_train=sum(training),
        ct_wall=result.ct_wall,
        ct_cpu=sum(cpu) if len(cpu) == len(reports) else None,
        ct_gpu=None if result.on_cpu else result.ct_wall,
        ct_task=tuple(sum(seconds.values()) for seconds in spent),
        ct_fits_task=fits,
        ct_train_task=training,
        epochs_mean=sum(epochs) / len(epochs) if epochs else None,
        params=float(reports[-1].parameters),
        bytes_total=float(reports[-1].stored_bytes),
        peak_bytes=float(max(report.peak_bytes for report in reports)),
        transfer_task=None if beta is None else metrics.fwt_vs_one_task(a, beta),
        provenance=result.provenance,
        diagnostics=tuple(report.diagnostics for report in reports),
    )


def reference_accuracies(state: CellState, agenda: Agenda) -> dict[int, metrics.Matrix]:
    """Return the accuracies [T] of the reference's finished runs on each task just learnt, by seed."""
    reference = None if state.cell.kinds.is_reference else _reference(state, agenda)
    if reference is None:
        return {}
    return {seed: np.diagonal(r.matrix()) for seed, r in reference.results.items() if r.status == "done"}


def _reference(state: CellState, agenda: Agenda) -> CellState | None:
    """Return the reference cell for the forward transfer of this cell, or None.

    It has the same benchmark, order and network. Of several, the one whose training settings differ least is
    chosen, because methods have settings of their own and a cell does not record its preset otherwise.
    """
    cell = state.cell
    like = [
        other
        for other in agenda.reference_states.get((cell.benchmark, cell.order), ())
        if other.cell.kinds.network == cell.kinds.network and _differing(cell, other.cell, "net.") == 0
    ]
    return min(like, key=lambda other: _differing(cell, other.cell, "fit."), default=None)


def _differing(a: Cell, b: Cell, room: str) -> int:
    """Return how many settings that are fixed in both cells differ.

    Searched settings do not count. `room` is the prefix of the settings that are compared, such as ``fit.``.
    """
    return sum(
        a.settings[key].value != b.settings[key].value
        for key in a.settings.keys() & b.settings.keys()
        if key.startswith(room) and a.settings[key].domain is None and b.settings[key].domain is None
    )


def _status(state: CellState, agenda: Agenda) -> tuple[str, str]:
    if state.complete:
        return COMPLETE, ""
    if state.cell.blocked:
        return BLOCKED, str(state.cell.blocked)
    message = failure_of(state, agenda)
    if message:
        return FAILED, message
    if state.cell.search and state.searched and state.best is None:
        return DIVERGED, lost_of(state)
    return (INCOMPLETE if state.done else MISSING), ""


def lost_of(state: CellState) -> str:
    """Return `lost_trials` of a cell whose search is over without a best trial."""
    text = lost_trials(state.lost("diverged"), state.lost("invalid"), len(state.trials))
    pruned = state.lost("pruned")
    return f"{text}, {pruned} pruned" if pruned else text


def lost_trials(diverged: int, invalid: int, trials: int) -> str:
    """Return a text such as ``2 of 9 trials diverged, 1 invalid``, or ``all 9 trials diverged``.

    Args:
        diverged, invalid: The numbers of trials that diverged, and whose values no run accepts; not both 0.
        trials: The number of all trials.
    """
    refused = f"{'were' if invalid > 1 else 'was'} invalid"
    if diverged == trials or not (diverged or invalid):
        return f"all {trials} trials diverged"
    if invalid == trials:
        return f"all {trials} trials were invalid"
    of = f"of {counted(trials, 'trial')}"
    if not diverged:
        return f"{invalid} {of} {refused}"
    return f"{diverged} {of} diverged" + (f", {invalid} {refused}" if invalid else "")


def failure_of(state: CellState, agenda: Agenda) -> str:
    """Return the error of the last attempt at a missing run of the cell as one line, or ""."""
    for message in state.failed.values():
        return userfiles.located(message, len(message))
    for trial in state.runs:
        failure = agenda.store.failure(trial.spec.key) if trial.result is None else None
        if failure is not None:
            return userfiles.located(failure.message, len(failure.message))
    return ""


def older(state: CellState) -> int:
    """Count the finished runs of a cell that were made by a different version of the source code."""
    runs = {t.spec.key: t.result for t in state.runs if t.result is not None}
    now = fingerprint(state.cell.kinds.roots)
    return sum(
        "source" in result.provenance and result.provenance["source"] != now for result in runs.values()
    )


def _notes(row: CellRow, state: CellState, known: Sequence[Metric]) -> list[str]:
    notes = []
    if row.status in (BLOCKED, FAILED):
        first = row.reason.strip().partition("\n")[0]
        notes.append(f"{row.status}: {screen_line(first)}")
    elif row.status == DIVERGED:
        notes.append(row.reason)
    elif row.status == MISSING:
        notes.append("not run")
    elif row.status == INCOMPLETE:
        notes.append(f"incomplete: {row.done} of {counted(row.runs, 'run')} done")
    if row.diverged:
        which = ", ".join(map(str, row.diverged))
        noun = "seed" if len(row.diverged) == 1 else "seeds"
        notes.append(f"{noun} {which} diverged")
    if row.finals and len(row.finals) < len(row.seeds):
        notes.append(f"mean over {len(row.finals)} of {counted(len(row.seeds), 'seed')}")
    notes += gaps([final.measured for final in row.finals], known)
    notes += _search_notes(row)
    if stale := older(state):
        part = "" if stale == row.done else f"{stale} of {row.done} "
        notes.append(f"{part}results of older source code")
    return notes


def _doubts(state: CellState, agenda: Agenda) -> list[str]:
    """Return reasons to doubt the results of a cell.

    They are changes that its runs made to their own process, and result files without a digest.
    """
    runs = {t.spec.key: t.result for t in state.runs if t.result is not None}
    changed = [what for result in runs.values() for what in result.provenance.get("left", ())]
    notes = []
    if changed:
        from raycl.process import describe_left  # imported here, because it loads torch

        notes.append(f"its runs changed their process, which may affect times: {describe_left(changed)}")
    if unsealed := len(agenda.store.unsealed & runs.keys()):
        part = "" if unsealed == len(runs) else f"{unsealed} of {len(runs)} "
        notes.append(
            f"{part}results in files of an older format, which have no digest to verify their content"
        )
    return notes


def _search_notes(row: CellRow) -> list[str]:
    if not row.trials:
        return []
    notes = []
    lost = row.lost("diverged"), row.lost("invalid")
    if any(lost) and row.status != DIVERGED:
        notes.append(lost_trials(*lost, len(row.trials)))
    if pruned := row.lost("pruned"):
        verb = "was" if pruned == 1 else "were"
        notes.append(
            f"{pruned} of {counted(len(row.trials), 'trial')} {verb} pruned, and ps is over the others alone"
        )
    if not isinstance(row.cell.final, Seeds):
        notes.append("the best trial itself, one seed")
    if len(row.cell.objectives) == 1 and row.cell.objectives[0] != ACC:
        notes.append(f"searched for {row.cell.objectives[0]}, not for acc")
    if row.front:
        count = f"{len(row.front)} of {counted(len(row.trials), 'trial')}"
        best = "".join(f"; the numbers are of trial {m.trial.n}, the knee" for m in row.front if m.best)
        notes.append(f"{count} on the Pareto front of {named(row.cell.objectives)}{best}")
    return notes

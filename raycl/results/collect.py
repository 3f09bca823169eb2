"""Collect the results of a study from the store: one row per cell, and one section per benchmark."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from raycl import metrics, registry, userfiles
from raycl.errors import UserError, fault_of, screen_line
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
    Section,
    Tried,
)
from raycl.runs.fingerprint import fingerprint
from raycl.runs.result import Result
from raycl.study.agenda import Agenda
from raycl.study.cells import Cell
from raycl.study.progress import CellState
from raycl.study.values import Seeds, Study
from raycl.text import counted

MAIN = "main"  # The fit stream that learns the task itself.


def collect(study: Study, agenda: Agenda) -> list[CellRow]:
    """Return a row for each cell, in the agenda's order."""
    return [row_of(state, agenda, study.metrics) for state in agenda.states]


def sections(study: Study, rows: Sequence[CellRow]) -> list[Section]:
    """Group the rows by benchmark and then by label, in the study's order."""
    found = []
    for text in dict.fromkeys(row.cell.benchmark for row in rows):
        mine = [row for row in rows if row.cell.benchmark == text]
        labels = dict.fromkeys(row.cell.label for row in mine)
        groups = tuple(Group(label, tuple(r for r in mine if r.cell.label == label)) for label in labels)
        lengths = [len(final.a) for row in mine for final in row.finals]
        classes, similar, subset = _facts(text, mine[0].cell)
        tasks = len(classes) or max(lengths, default=0)
        own = tuple(study.metrics)
        found.append(Section(text, tasks, classes, similar, subset, study.orders, groups, own))
    return found


def searched_on(study: Study) -> str:
    """Return how the configurations were chosen, for the header of a table."""
    own = any(keys.get("search") is not None for keys in study.methods.values())
    if study.search is None and not own:
        return "no search"
    split = "test (protocol paper)" if study.protocol == "paper" else "validation"
    return f"{'some ' if study.search is None else ''}searched on {split}"


def subset_of(cell: Cell) -> str:
    """Return why numbers on the cell's benchmark cannot be compared with published ones, or ""."""
    return _facts(cell.benchmark, cell)[2]


def _facts(text: str, cell: Cell) -> tuple[tuple[int, ...], bool | None, str]:
    """Return classes, similarity and subset of a benchmark.

    Where the data are missing, only the similarity is known.
    """
    if cell.data is not None:
        return cell.data.classes, cell.data.similar, cell.data.subset
    with userfiles.importing_from(cell.home):
        try:
            benchmark = registry.load(text, cell.trial_seed, 0, cell.identity)
        except UserError:
            return (), registry.recipe(text).similar, ""
    return benchmark.classes, benchmark.similar, benchmark.subset


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
    trials = tuple(
        Tried(
            t.n,
            t.params,
            t.objective(cell),
            t.acc("test"),
            float(t.result.provenance.get("seconds", 0)),
        )
        for t in state.trials
        if t.result is not None
    )
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
    )
    return dataclasses.replace(row, notes=(*_notes(row, state, known), *_doubts(state, agenda)))


def _best(state: CellState) -> dict[str, Any] | None:
    if state.cell.search is None:
        return {}
    best = state.best
    return None if best is None else dict(best.params)


def _final(seed: int, result: Result, beta: metrics.Matrix | None, known: Sequence[Metric]) -> FinalRun:
    result = result.unpacked()
    a, reports = result.matrix(), result.reports
    training = tuple(report.seconds.get(MAIN, 0.0) for report in reports)
    epochs = [report.epochs[MAIN] for report in reports if MAIN in report.epochs]
    beta = beta if beta is not None and len(beta) == len(a) else None
    return FinalRun(
        seed=seed,
        key=result.key,
        a=a,
        beta=beta,
        measured=measure(known, a, result.matrix("val"), beta),
        ct=result.ct,
        ct_train=sum(training),
        ct_task=tuple(sum(report.seconds.values()) for report in reports),
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
        for other in agenda.reference_states
        if (other.cell.benchmark, other.cell.order) == (cell.benchmark, cell.order)
        and other.cell.kinds.network == cell.kinds.network
        and _differing(cell, other.cell, "net.") == 0
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
        return DIVERGED, f"all {len(state.trials)} trials diverged"
    return (INCOMPLETE if state.done else MISSING), ""


def failure_of(state: CellState, agenda: Agenda) -> str:
    """Return the error of the last attempt at a missing run of the cell as one line, or ""."""
    for message in state.failed.values():
        return fault_of(message, len(message))
    for trial in [*state.trials, *state.finals.values()]:
        failure = agenda.store.failure(trial.spec.key) if trial.result is None else None
        if failure is not None:
            return fault_of(failure.message, len(failure.message))
    return ""


def older(state: CellState) -> int:
    """Count the finished runs of a cell that were made by a different version of the source code."""
    runs = {t.spec.key: t.result for t in [*state.trials, *state.finals.values()] if t.result is not None}
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
    runs = {t.spec.key: t.result for t in [*state.trials, *state.finals.values()] if t.result is not None}
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
    lost = sum(trial.acc is None for trial in row.trials)
    if lost and row.status != DIVERGED:
        notes.append(f"{lost} of {counted(len(row.trials), 'trial')} diverged")
    if not isinstance(row.cell.final, Seeds):
        notes.append("the best trial itself, one seed")
    return notes

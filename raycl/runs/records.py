"""Checks of the files of runs and proposals: the type and range of every field, whoever wrote the file.

A digest shows that a file has not changed since it was written. It does not show who wrote it, and files of
the first format have no digest. Therefore every file is checked, and an impossible result is refused.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from raycl.plainfiles import Unfit, check_plain, check_seal, mapping, number, only, sealed, text, whole
from raycl.runs.reports import STORED, TaskReport
from raycl.specs import RunSpec, key_of, keyed

RUN, RUN_1 = "raycl-run/2", "raycl-run/1"  # Version 1 has no digest.
PROPOSAL = "raycl-proposal/2"  # Version 1 does not name its format.
PRUNED = "raycl-pruned/1"
LOST = ("diverged", "invalid")  # Statuses of runs that their hyperparameters leave without a value.
MOST_TASKS = 1_000_000
MOST_POINTS = 10_000  # Many more than `raycl.training.curves` keeps.
LATEST = 1e11  # Largest number of seconds that is accepted as a duration or as a Unix time.
_RUN = ("format", "key", "spec", "status", "message", "reports", "provenance")
_OPTIONAL = {
    "config": dict,
    "fit": dict,
    "identity": dict,
    "inputs": dict,
    "code": dict,
    "order": int,
    "part": int,
    "evaluate": str,
    "numerics": str,
    "network": str,
    "benchmark": str,
    "method": str,
}
_TEXTS = ("raycl", "commit", "source", "python", "torch", "numpy", "system", "cpu", "device", "numerics")
_SECONDS = ("seconds", "started", "earlier_seconds")
_FIELDS = dataclasses.fields(TaskReport)
_NEEDED = {f.name for f in _FIELDS if f.default is f.default_factory is dataclasses.MISSING}
_KNOWN = {STORED.get(f.name, f.name) for f in _FIELDS}


def run_record(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of a run's file, given that of `Result.to_json`.

    Raises:
        ValueError: If the content is not a valid result; the message says what is wrong and where.
        TypeError: If the content holds a value that JSON cannot represent.
    """
    plain = sealed({**content, "format": RUN})
    check_run(plain, plain["key"])
    return plain


def check_run(plain: Mapping[str, Any], key: str) -> None:
    """Check that a file holds a valid result of the run with the given key.

    Raises:
        Unfit: If it does not; the message says what is wrong and where.
    """
    form = plain.get("format")
    if form == RUN:
        check_seal(plain)
        only(plain, (*_RUN, "digest"), "it")
    elif form == RUN_1:
        only(plain, _RUN, "it")
    else:
        raise Unfit("another format or another run")
    spec = _checked_spec(mapping(plain["spec"], "spec"), key)
    if plain["key"] != key:
        raise Unfit("another format or another run")
    status = text(plain["status"], "status")
    if status not in ("done", *LOST, "failed", "paused"):
        raise Unfit(f"status = {status[:40]!a} is not one of done, {', '.join(LOST)}, failed and paused")
    text(plain["message"], "message")
    _check_provenance(mapping(plain["provenance"], "provenance"))
    if type(plain["reports"]) is not list:
        raise Unfit("reports is not a list")
    check_reports(plain["reports"], status, spec.part, spec.evaluate)
    if form == RUN_1 and status == "done" and spec.part is None and spec.evaluate != "full":
        _check_last(plain["reports"])


def _checked_spec(plain: dict[str, Any], key: str) -> RunSpec:
    """Check a spec and return it; the classes that it names are not loaded."""
    check_plain(plain, "spec")
    if key_of(keyed(plain)) != key:
        raise Unfit("another format or another run")
    for name, kind in _OPTIONAL.items():
        if name in plain and (type(plain[name]) is not kind or (kind is int and plain[name] < 0)):
            raise Unfit(f"spec.{name} is not a valid {kind.__name__}")
    whole(plain.get("seed"), "spec.seed")
    for name, version in mapping(plain.get("versions"), "spec.versions").items():
        whole(version, f"spec.versions.{name[:40]}")
    for part in ("inputs", "code"):
        for name, value in plain.get(part, {}).items():
            text(value, f"spec.{part}.{name[:40]}")
    if plain.get("kind") not in ("sequence", "pretrain"):
        raise Unfit("spec.kind is neither sequence nor pretrain")
    if plain.get("evaluate") not in (None, "learnt", "ends", "full"):
        raise Unfit("spec.evaluate is not one of learnt, ends and full")
    try:
        spec = RunSpec.from_json(plain)
    except TypeError as error:
        raise Unfit(f"spec: {str(error)[:100]}") from None
    if spec.key != key:  # A canonical spec does not contain values that equal their defaults.
        raise Unfit("its spec is not in canonical form")
    return spec


def _check_provenance(plain: dict[str, Any]) -> None:
    check_plain(plain, "provenance")
    for name in _SECONDS:
        if name in plain:
            number(plain[name], f"provenance.{name}", LATEST)
    for name in _TEXTS:
        if name in plain:
            text(plain[name], f"provenance.{name}")
    if "threads" in plain:
        whole(plain["threads"], "provenance.threads")


def check_reports(
    reports: Sequence[Any], status: str, part: int | None = None, evaluate: str | None = "full"
) -> None:
    """Check that reports are of consecutive tasks, match the status, and hold possible measurements.

    Args:
        reports: The reports, as plain values.
        status: Status of the run.
        part: `RunSpec.part` of the run.
        evaluate: `RunSpec.evaluate` of the run.

    Raises:
        Unfit: If a check fails; the message says what is wrong and where.
    """
    if status in ("done", "paused") and not reports:
        raise Unfit(f"its status is {status}, but it has no reports")
    if part is not None and len(reports) > 1:
        raise Unfit(f"a run of one task has {len(reports)} reports")
    last = len(reports) - 1 if status == "done" else MOST_TASKS
    for n, report in enumerate(reports):
        place, task = f"report {n + 1}", n if part is None else part
        _check_names(mapping(report, place), task, place)
        low = 0 if part is None else task
        high = last if part is None and evaluate == "full" else task
        try:
            _check_values(report)
            for split in ("val", "test"):
                _check_accuracies(report[split], low, high, split)
        except Unfit as error:
            raise Unfit(f"{place}: {error}") from None


def _check_last(reports: Sequence[Mapping[str, Any]]) -> None:
    """Check that the last report measures every task that an earlier report measures.

    Files of the first format have no digest, so that missing reports would not be noticed otherwise.
    """
    measured = {task for report in reports for task in report["test"]}
    if missing := measured - set(reports[-1]["test"]):
        raise Unfit(
            f"its last report does not measure task {min(map(int, missing)) + 1}; reports are missing"
        )


def _check_names(plain: dict[str, Any], task: int, place: str) -> None:
    """Check that a report has the entries of one and is of the task."""
    if wrong := sorted((_NEEDED - plain.keys()) | (plain.keys() - _KNOWN)):
        raise Unfit(f"{place} {'lacks' if wrong[0] in _NEEDED else 'has an unknown'} {wrong[0][:40]!a}")
    if whole(plain["task"], f"{place}: task", MOST_TASKS) != task:
        raise Unfit(f"{place} is of task {plain['task'] + 1}, expected task {task + 1}")


def _check_values(plain: dict[str, Any]) -> None:
    """Check the measurements of a report, except the accuracies; a message does not name the report."""
    for name in ("updates", "peak_bytes", "parameters", "stored_bytes"):
        whole(plain[name], name)
    for stream, value in mapping(plain["epochs"], "epochs").items():
        whole(value, f"epochs.{stream[:40]}")
    for name in ("seconds", "cpu_seconds"):
        for stream, value in mapping(plain.get(name, {}), name).items():
            number(value, f"{name}.{stream[:40]}", LATEST)
    for account, columns in mapping(plain.get("curves", {}), "curves").items():
        _check_curves(mapping(columns, f"curves.{account[:40]}"), f"curves.{account[:40]}")
    number(plain["evaluation_seconds"], "evaluation_seconds", LATEST)
    number(plain.get("ended", 0.0), "ended", LATEST)
    check_plain(mapping(plain.get("figures", {}), "figures"), "figures")


def _check_curves(columns: Mapping[str, Any], place: str) -> None:
    """Check that the lists of numbers by epoch have equal, bounded lengths."""
    check_plain(columns, place)
    lengths = {len(values) if type(values) is list else -1 for values in columns.values()}
    if "epoch" not in columns or len(lengths) != 1 or not 0 <= max(lengths) <= MOST_POINTS:
        raise Unfit(f"{place} is not lists of equal length by epoch")
    for name, values in columns.items():
        if not all(value is None or type(value) in (int, float) for value in values):
            raise Unfit(f"{place}.{name[:40]} has something else than numbers")


def _check_accuracies(values: Any, low: int, high: int, place: str) -> None:
    for task, value in mapping(values, place).items():
        if not (task.isascii() and task.isdigit() and len(task) < 8 and str(int(task)) == task):
            raise Unfit(f"{place} has {task[:40]!a}, which is not the index of a task")
        if not low <= int(task) <= high:
            raise Unfit(f"{place} measures task {int(task) + 1}, which this report cannot measure")
        # The text of the place takes longer than the check, so that it is made where a message needs it.
        if type(value) is not float or not 0 <= value <= 1:
            number(value, f"{place} of task {int(task) + 1}", 1.0)


def proposal_record(cell: str, n: int, params: Mapping[str, Any], about: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of a proposal's file: trial `n` of the cell with the key `cell`."""
    content = {"format": PROPOSAL, "key": cell, "n": n, "params": dict(params), "cell": dict(about)}
    return sealed(content)


def checked_params(plain: Mapping[str, Any], cell: str, n: int) -> dict[str, Any]:
    """Return the values in a proposal's file, which must be trial `n` of the cell with the key `cell`.

    This function does not know the cell's domains; its caller checks that the values lie in them.

    Raises:
        Unfit: If the file holds another proposal, or was modified.
    """
    if "format" in plain or "digest" in plain:
        if plain.get("format") != PROPOSAL:
            raise Unfit("another format")
        check_seal(plain)
        only(plain, ("format", "key", "n", "params", "cell", "digest"), "it")
        if plain["key"] != cell:
            raise Unfit("it belongs to another cell")
    else:
        only(plain, ("n", "params", "cell"), "it")  # This is the first format.
    if whole(plain["n"], "n") != n:
        raise Unfit(f"it is trial {plain['n']}, expected trial {n}")
    params = mapping(plain["params"], "params")
    check_plain(params, "params")
    return params


@dataclasses.dataclass(frozen=True)
class Pruned:
    """Record of a search that a trial was pruned.

    Attributes:
        run: Key of the trial's run.
        scores: Its mean accuracy on the tasks learnt so far, after each task until the one after which it was
            pruned; None where it was not measured.
    """

    run: str
    scores: tuple[float | None, ...]

    @property
    def learnt(self) -> int:
        """The number of tasks after which the trial was pruned."""
        return len(self.scores)


def pruned_record(cell: str, n: int, pruned: Pruned) -> dict[str, Any]:
    """Return the content of the file which says that trial `n` of the cell with the key `cell` was pruned."""
    content = {"format": PRUNED, "key": cell, "n": n, "run": pruned.run, "scores": list(pruned.scores)}
    return sealed(content)


def checked_pruned(plain: Mapping[str, Any], cell: str, n: int) -> Pruned:
    """Return the record in a file, which must be of trial `n` of the cell with the key `cell`.

    Raises:
        Unfit: If the file holds another record, or was modified.
    """
    if plain.get("format") != PRUNED:
        raise Unfit("another format")
    check_seal(plain)
    only(plain, ("format", "key", "n", "run", "scores", "digest"), "it")
    if plain["key"] != cell or plain["n"] != n:
        raise Unfit("it belongs to another trial")
    if type(plain["scores"]) is not list or not 0 < len(plain["scores"]) <= MOST_TASKS:
        raise Unfit("scores is not a list of at least one score")
    scores = [None if score is None else number(score, "a score", 1.0) for score in plain["scores"]]
    return Pruned(text(plain["run"], "run"), tuple(scores))

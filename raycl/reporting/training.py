"""The training curves of a study's final runs, put together over their tasks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from raycl.results.collect import MAIN
from raycl.results.rows import Section
from raycl.runs.result import Result
from raycl.runs.store import Store

RAYCLS = ("epoch", "train_loss", "val_loss", "lr")  # names of the numbers that every method has


@dataclass
class Trained:
    """The training curves of one run.

    Attributes:
        label: The label of the method.
        seed: The seed of the run.
        series: By name, pairs of an epoch, counted over all tasks from 1, and a number.
        ends: The epochs with which the tasks end.
    """

    label: str
    seed: int
    series: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    ends: list[int] = field(default_factory=list)

    @property
    def own(self) -> list[str]:
        """The names of the method's own numbers."""
        return [name for name in self.series if name not in RAYCLS]


def trained_of(section: Section, store: Store) -> list[Trained]:
    """Return the curves of the first final run of each method that has any, of its main fits."""
    found = []
    for group in section.groups:
        for final in group.finals[:1]:
            whole = store.whole(final.key)
            trained = _joined(group.label, final.seed, whole) if whole is not None else None
            found += [trained] if trained is not None and trained.series else []
    return found


def _joined(label: str, seed: int, result: Result) -> Trained:
    """Put the curves of a run's tasks after one another; a method without main fits shows its first ones."""
    trained, before = Trained(label, seed), 0
    for report in result.reports:
        columns = report.curves.get(MAIN) or next(iter(report.curves.values()), {})
        epochs: Sequence[float | None] = columns.get("epoch", [])
        for name, values in columns.items():
            points = [(before + (e or 0), v) for e, v in zip(epochs, values, strict=True) if v is not None]
            if name != "epoch" and points:
                trained.series.setdefault(name, []).extend(points)
        before += int(epochs[-1] or 0) if epochs else 0
        trained.ends.append(before)
    return trained

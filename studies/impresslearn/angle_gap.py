"""Figure 2 by angle: the accuracy on each new task, and its distance to the nearest basis task.

A heterogeneous basis of rotated MNIST contains tasks at certain angles, and a new task may differ from one of
them by a few degrees only. This program shows how much of the accuracy such neighbours explain. It reads the
runs of fig_02 and trains nothing::

    python -m studies.impresslearn.angle_gap [--small] [--store DIR]
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path

from raycl import Study
from raycl.probes.wrong_mask import angle_gap
from raycl.registry import recipe
from raycl.runs.store import Store
from raycl.study.agenda import Agenda
from raycl.study.expand import cells_of
from raycl.study.file import read_study

HERE = Path(__file__).parent


def rows(study: Study, store: Path) -> list[tuple[int, float, float, float, int]]:
    """Return one row for each size of a heterogeneous basis and each angle of a new task.

    A row is (K, angle, gap in degrees, mean accuracy over seeds and densities, number of accuracies).
    """
    found: dict[tuple[int, float], list[float]] = defaultdict(list)
    for state in Agenda(cells_of(study, "het-*", check=False), Store(store)).states:
        k = state.cell.settings["method.k"].value
        angles = recipe(state.cell.benchmark).angles()  # type: ignore[attr-defined]
        for result in state.results.values():
            for task, accuracy in result.reports[-1].test.items():
                found[k, angles[task]].append(accuracy)
    lines = []
    for (k, angle), accuracies in sorted(found.items()):
        basis = recipe(state.cell.benchmark).window(0, k).angles()  # type: ignore[attr-defined]
        gap = min(angle_gap(angle, other) for other in basis)
        lines.append((k, angle, gap, sum(accuracies) / len(accuracies), len(accuracies)))
    return lines


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--store", type=Path, default=Path("results"))
    arguments = parser.parse_args()
    print("  K  angle  gap to the nearest basis task  acc  runs")
    for k, angle, gap, accuracy, count in rows(
        read_study(HERE / "fig_02.py", small=arguments.small), arguments.store
    ):
        print(f"{k:>3}  {angle:>5.0f}  {gap:>29.0f}  {accuracy:.3f}  {count:>3}")

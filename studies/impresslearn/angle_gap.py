"""Figure 2 by angle: accuracy on each new task beside its distance to the nearest basis task.

A heterogeneous basis of rotated MNIST holds tasks at some angles, and a new task may lie a few degrees from
one of them: how much of what looks like learning is that? Reads the runs of fig_02, trains nothing::

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
    """(K, angle, gap in degrees, mean accuracy over seeds and densities, how many) of heterogeneous bases."""
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

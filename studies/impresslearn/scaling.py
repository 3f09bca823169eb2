"""How ImpressLearn scales: accuracy with the basis, storage with the tasks, and speed with the workers.

`raycl run` computes the accuracies. ``python -m studies.impresslearn.scaling`` draws storage.png, which shows
parameters and bytes by number of tasks, and marks the number from which on a basis is cheaper. With
``--workers 1 2 4`` it also trains a bank of 64 LeNet masks with these numbers of workers, and draws
workers.png.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from raycl import Boxes
from raycl.papers.accounts.impresslearn import TABLE_2, break_even, total_bytes, total_bytes_own

from .common import DENSITIES, PAPER, PERMUTED, bases, own

VIEWS = [
    Boxes(
        "Accuracy on new tasks by size of the basis and density",
        colour="method.density",
        point=["seed"],
        reference="own-*",
        notes=["bands: tasks with masks of their own"],
    )
]
STUDY = PAPER.full.with_(
    methods=bases({"het": (5, 10, 20, 40, 100, 250)}, DENSITIES.full) | own(DENSITIES.full),
    benchmarks=[PERMUTED.full.new_tasks],
    views=VIEWS,
)
SMALL = PAPER.small.with_(
    methods=bases({"het": (5, 10, 25, 100)}, DENSITIES.small) | own(DENSITIES.small),
    benchmarks=[PERMUTED.small.new_tasks],
    views=VIEWS,
)


def draw_storage(path: Path) -> None:
    """Draw what all tasks store and learn, for LeNet at density 1/8 with masks as bitmaps."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    lenet = next(row for row in TABLE_2 if row.name == "PermMNIST")
    tasks = sorted({round(10 ** (i / 8)) for i in range(33)})
    drawing, (left, right) = pyplot.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for masks in (5, 25, 100):
        accounts = {t: lenet.account(coding="bitmap", tasks=t, masks=masks) for t in tasks}
        (line,) = left.plot(
            tasks, [total_bytes(a, masks, t) for t, a in accounts.items()], label=f"K = {masks}"
        )
        even = break_even(accounts[1], masks)
        left.axvline(even, color=line.get_color(), linestyle=":", linewidth=1)
        right.plot(tasks, [masks * lenet.layers * t for t in tasks], label=f"K = {masks}")
    single = lenet.account(coding="bitmap", tasks=1, masks=1)
    left.plot(tasks, [total_bytes_own(single, t) for t in tasks], "k--", label="a mask per task")
    right.plot(tasks, [lenet.weights * t for t in tasks], "k--", label="a mask per task")
    for axes, name in ((left, "bytes kept, all tasks"), (right, "numbers learnt, all tasks")):
        axes.set(xscale="log", yscale="log", xlabel="tasks", ylabel=name)
        axes.legend()
    left.set_title("dotted: from here on a basis is cheaper")
    drawing.savefig(path, dpi=150)


def draw_workers(path: Path, counts: list[int]) -> None:
    """Measure and draw the wall time of training a bank of 64 LeNet masks, and print the efficiency."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    from bench.trials import bank_seconds

    seconds = []
    for count in counts:
        with tempfile.TemporaryDirectory(prefix="raycl-bank-") as folder:
            seconds.append(bank_seconds(Path(folder), count))
        efficiency = counts[0] * seconds[0] / (count * seconds[-1])
        print(f"{count:>3} workers  {seconds[-1]:7.1f} s  efficiency {efficiency:.2f}", flush=True)
    drawing, axes = pyplot.subplots(figsize=(5, 4), layout="constrained")
    axes.plot(counts, seconds, "o-", label="measured")
    axes.plot(counts, [counts[0] * seconds[0] / count for count in counts], "k:", label="ideal")
    axes.set(xscale="log", yscale="log", xlabel="workers", ylabel="seconds for 64 masks")
    axes.set_xticks(counts, [str(count) for count in counts], minor=False)
    axes.legend()
    drawing.savefig(path, dpi=150)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--workers", type=int, nargs="+", default=[])
    parser.add_argument("--out", type=Path, default=Path())
    arguments = parser.parse_args()
    draw_storage(arguments.out / "storage.png")
    if arguments.workers:
        draw_workers(arguments.out / "workers.png", sorted(set(arguments.workers)))

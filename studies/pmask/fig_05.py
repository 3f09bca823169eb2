"""PMASK, Figure 5: the mask of each layer and task, on scikit-learn's digits. The task uses white weights.

    python -m studies.pmask.fig_05 masks.png

A dark patch has no weight that the task uses, and all weights of a bright patch are used. Large layers are
averaged down to 256 x 256.
"""

import sys

import torch
from matplotlib.figure import Figure

from raycl.probes.gates import mask_images
from raycl.runs.execution import trained
from raycl.study.expand import cells_of
from raycl.study.file import read_study


def draw(path: str, study: str = "studies/pmask/monitoring.py", label: str = "pmask") -> None:
    """Train one run of a study's small form, and draw its masks after the last task."""
    torch.set_num_threads(1)  # more threads than idle cores are slower than one
    (cell,) = cells_of(read_study(study, small=True), only=f"{label}/*")
    method, _ = trained(cell.spec({}, cell.trial_seed))
    images = mask_images(method)
    tasks, layers = (sorted({place[axis] for place in images}) for axis in (0, 1))
    figure = Figure(figsize=(1.8 * len(layers), 1.9 * len(tasks)), layout="constrained")
    for (task, layer), image in images.items():
        ax = figure.add_subplot(
            len(tasks), len(layers), tasks.index(task) * len(layers) + layers.index(layer) + 1
        )
        ax.imshow(image, cmap="gray", vmin=0, vmax=255, aspect="auto", interpolation="nearest")
        ax.set_title(f"task {task + 1}, {layer}", fontsize=8)
        ax.set_xticks([])
        ax.set_yticks([])
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    draw(sys.argv[1] if len(sys.argv) > 1 else "masks.png")

"""Section 3, text: how much homogeneous masks overlap, compared with independent masks of the same density.

The paper finds that masks of one task are close to independent at low density. Every run with a basis
measures this, so the study shares its runs with Figure 3.
"""

from raycl import Boxes

from .common import DENSITIES, PAPER, PERMUTED, bases

VIEWS = [
    Boxes(
        "Overlap of the masks of one task, as a multiple of that of independent masks",
        x="method.density",
        point=["seed"],
        value="overlap_ratio",
        notes=["1: as independent masks; without the last layer, which is small"],
    )
]
GRID = {"hom": (10,)}

STUDY = PAPER.full.with_(
    methods=bases(GRID, DENSITIES.full), benchmarks=[PERMUTED.full.new_tasks], views=VIEWS
)
SMALL = PAPER.small.with_(
    methods=bases(GRID, (0.05, 0.15, 0.3)), benchmarks=[PERMUTED.small.new_tasks], views=VIEWS
)

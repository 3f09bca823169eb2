"""Figure 6: basis tasks of permuted MNIST, with trained coefficients, the mask given, or the mask inferred.

With K masks, all three are measured on the same K tasks, and the mask is inferred among K. They do not have
the same information: basis-GN sees the labelled training set of the task, and inference by entropy sees one
unlabelled batch.
"""

from collections.abc import Sequence

from raycl import Boxes, BoxFigure, BoxKind
from raycl.probes.basis_gn import CAUTION

from .common import DENSITIES, GIVEN, INFER, PAPER, PERMUTED, Data, Methods, given, inferred, relearnt

KINDS = [BoxKind("basis-GN", "gn-het-*"), BoxKind(GIVEN, "gg-*"), INFER]
VIEWS = [
    BoxFigure("Figure 6: basis tasks of permuted MNIST", [Boxes("Basis tasks", kinds=KINDS)], notes=[CAUTION])
]


def methods(data: Data, sizes: Sequence[int], densities: Sequence[float]) -> Methods:
    """Return basis-GN, and SupSup with the mask given (GG) or inferred among K tasks (GN)."""
    return (
        relearnt(data, {"het": sizes}, densities, whole=True)
        | given(data, sizes, densities)
        | inferred(data, sizes, densities)
    )


STUDY = PAPER.full.with_(
    methods=methods(PERMUTED.full, (5, 10, 20, 40, 100), DENSITIES.full),
    benchmarks=[PERMUTED.full.new_tasks],
    views=VIEWS,
)
SMALL = PAPER.small.with_(
    methods=methods(PERMUTED.small, (5, 10, 25), DENSITIES.small),
    benchmarks=[PERMUTED.small.new_tasks],
    views=VIEWS,
)

"""Figure 6: basis tasks of permuted MNIST, with trained coefficients, the mask given, or the mask inferred.

The three do not have the same information: basis-GN sees the labelled training set of the task, and inference
by entropy sees one unlabelled batch.
"""

from .common import DENSITIES, PAPER, PERMUTED, Data, Methods, boxes, own, recovered

VIEWS = boxes("Permuted MNIST, basis tasks")


def methods(data: Data, sizes: tuple[int, ...], densities: tuple[float, ...]) -> Methods:
    """Return basis-GN, and SupSup with the mask given (GG) or inferred among K tasks (GN)."""
    found = recovered(data, {"het": sizes}, densities)
    for k in sizes:
        window = data.window(0, k)
        found |= own(densities, window, f"gg-{k}")
        found |= own(densities, window, f"gn-one-shot-{k}", {"method.inference": "one_shot"})
    return found


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

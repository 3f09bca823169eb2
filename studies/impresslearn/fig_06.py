"""Figure 6: permuted MNIST, basis tasks: alpha trained on labels, the mask given, the mask inferred.

The three are not equally informed: basis-GN sees a labelled training set of the task, entropy inference one
unlabelled batch.
"""

from .common import DENSITIES, PAPER, PERMUTED, Data, Methods, boxes, own, recovered

VIEWS = boxes("Permuted MNIST, basis tasks")


def methods(data: Data, sizes: tuple[int, ...], densities: tuple[float, ...]) -> Methods:
    """basis-GN, SupSup with the mask given (GG) and with the mask inferred (GN) among K tasks."""
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

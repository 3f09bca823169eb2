"""Figure 6: permuted MNIST, basis tasks: alpha trained on labels, the mask given, the mask inferred.

The three are not equally informed: basis-GN sees a labelled training set of the task, entropy inference one
unlabelled batch.
"""

from impresslearn_common import (
    DENSITIES,
    DESK_DENSITIES,
    PERMUTED,
    PERMUTED_DESK,
    Data,
    Keys,
    figure,
    own,
    recovered,
)


def methods(data: Data, sizes: tuple[int, ...], densities: tuple[float, ...]) -> Keys:
    """basis-GN, SupSup with the mask given (GG) and with the mask inferred (GN) among K tasks."""
    found = recovered(data, {"het": sizes}, densities)
    for k in sizes:
        found |= own(densities, data.window(0, k), f"gg-{k}")
        found |= own(densities, data.window(0, k), f"gn-one-shot-{k}", method__inference="one_shot")
    return found


STUDY = figure(PERMUTED, methods(PERMUTED, (5, 10, 20, 40, 100), DENSITIES), "Permuted MNIST, basis tasks")
DESK = figure(
    PERMUTED_DESK, methods(PERMUTED_DESK, (5, 10, 25), DESK_DENSITIES), "Permuted MNIST, basis tasks"
)

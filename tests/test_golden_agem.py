"""A-GEM's projection replays the formula worked out apart from it (golden 13a)."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from raycl.methods.agem import project
from tests.helpers import facts

MODES: dict[str, Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]] = {
    "as drawn": lambda g, ref: (g, ref),
    "g = drawn - 2*ref": lambda g, ref: (g - 2 * ref, ref),
    "g = drawn + 2*ref": lambda g, ref: (g + 2 * ref, ref),
    "g = -ref": lambda g, ref: (-ref, ref),
    "ref = 0": lambda g, ref: (g, torch.zeros_like(ref)),
}


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("pieces", [[0], [3, 1], [1, 1, 2]])
def test_projection(pieces: list[int]) -> None:
    case = facts.golden("13a_agem")
    values = facts.drawn(case)
    for run in case["runs"]:
        g, ref = MODES[run["mode"]](values[f"g{run['i']}"], values[f"ref{run['i']}"])
        cuts = [*pieces, len(g) - sum(pieces)]  # strung together again they are one vector
        found = project(g.split(cuts), ref.split(cuts))
        assert (found is not None) == run["violated"]
        after = g if found is None else torch.cat([part for part in found if part is not None])
        facts.assert_close(after, run["projected"], f"run {run['i']}")
        facts.assert_close(after @ ref, run["dot_after"], f"run {run['i']} product")
        facts.assert_close(g @ ref, run["dot"], f"run {run['i']} product before")

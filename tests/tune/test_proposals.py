"""What TPE is asked and told."""

from __future__ import annotations

import json

from raycl import Study
from raycl.study.expand import cells_of
from raycl.tune.proposals import tpe


def test_choices_among_tuples_are_drawn_told_and_read_back() -> None:
    (cell,) = cells_of(Study(methods={"hypernet": {}}, benchmarks=["digits_split"], network="mlp(hidden=8)"))
    history: list[tuple[dict[str, object], float | None]] = []
    for n in range(12):  # beyond the random start
        params = tpe(cell, n, history, [])
        assert params["method.hidden"] in cell.space["method.hidden"].options  # type: ignore[union-attr]
        history.append((json.loads(json.dumps(params)), 0.5 + 0.01 * n))  # as the ledger keeps them
    assert len({json.dumps(params) for params, _ in history}) > 1

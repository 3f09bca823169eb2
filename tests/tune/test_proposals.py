"""What samplers are asked and told."""

from __future__ import annotations

import json

from raycl import Search, Study
from raycl.study.expand import cells_of
from raycl.tune.proposals import propose


def test_choices_among_tuples_are_drawn_told_and_read_back() -> None:
    (cell,) = cells_of(Study(methods={"hypernet": {}}, benchmarks=["digits_split"], network="mlp(hidden=8)"))
    history: list[tuple[dict[str, object], float | None]] = []
    for n in range(12):  # beyond the random start
        params = propose(cell, n, history, [])
        assert params["method.hidden"] in cell.space["method.hidden"].options  # type: ignore[union-attr]
        history.append((json.loads(json.dumps(params)), 0.5 + 0.01 * n))  # as the ledger keeps them
    assert len({json.dumps(params) for params, _ in history}) > 1


def test_methods_with_one_search_space_see_the_same_random_trials() -> None:
    methods = {
        "hat": {},
        "prm-d": {"method": "prm", "method.dissimilar": "all"},
        "finetune": {},
        "later": {"method": "hat", "search": Search(seed=2)},
    }
    study = Study(
        methods=methods, benchmarks=["digits_split", "digits_rotated"], orders=2, preset="prm",
        network="mlp(hidden=8)", search=Search(trials=20),
    )  # fmt: skip
    cells = {(cell.label, cell.benchmark, cell.order): cell for cell in cells_of(study)}

    def drawn(*which: object) -> list[dict[str, object]]:
        return [propose(cells[which], n, [], []) for n in range(3)]  # type: ignore[index]

    hat = drawn("hat", "digits_split", 0)
    assert hat == drawn("prm-d", "digits_split", 0)
    assert len({json.dumps(params) for params in hat}) == 3
    others = [
        drawn("hat", "digits_split", 1),
        drawn("hat", "digits_rotated", 0),
        drawn("finetune", "digits_split", 0),
        drawn("later", "digits_split", 0),
    ]
    assert all(hat != other for other in others)
    told = [(params, 0.1 * n) for n, params in enumerate(hat * 4)]  # beyond the random start
    after = [propose(cells[label, "digits_split", 0], len(told), told, []) for label in ("hat", "prm-d")]
    assert after[0] == after[1] and after[0] not in hat

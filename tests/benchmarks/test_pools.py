from __future__ import annotations

import numpy as np
import pytest

from raycl.benchmarks.pools import shuffled, stratified, uniform


def test_draws_are_pinned() -> None:
    assert shuffled(8, 0, 1).tolist() == [7, 4, 5, 1, 6, 2, 0, 3]
    assert uniform(3, 7).tolist() == pytest.approx(
        [0.625095466604667, 0.8972138009695755, 0.7756856902451935]
    )


def test_draws_depend_on_every_word() -> None:
    draws = {tuple(shuffled(20, *words)) for words in [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 1)]}
    assert len(draws) == 5
    assert all(sorted(draw) == list(range(20)) for draw in draws)


@pytest.mark.parametrize(("val", "test"), [(0.2, 0.2), (0.1, 0.0), (0.0, 0.0), (0.15, 0.3)])
def test_stratified_shares(val: float, test: float) -> None:
    labels = np.repeat([0, 3, 4, 9], [7, 50, 33, 101])
    parts = stratified(labels, val, test, 5)
    rows = np.concatenate(parts)
    assert sorted(rows.tolist()) == list(range(191))
    for part, share in zip(parts, (1 - val - test, val, test), strict=True):
        assert abs(len(part) - share * 191) <= 1
        assert part.dtype == np.int64
        for label, count in ((0, 7), (3, 50), (4, 33), (9, 101)):
            assert abs((labels[part] == label).sum() - share * count) <= 2

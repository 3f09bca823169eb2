from __future__ import annotations

import numpy as np
import pytest

from raycl.benchmarks.families import block_numbers
from raycl.benchmarks.pools import shuffled, stratified, three_parts, uniform


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


def test_labels_are_numbered_by_their_block() -> None:
    labels = np.array([5, 0, 3, 1, 0])
    assert block_numbers(labels, [[3, 0], [5]]).tolist() == [1, 0, 0, 2, 0]  # 1 is in none
    assert block_numbers(labels[1:2], [[0], [9]]).tolist() == [0]  # a block's label may not occur


def test_a_share_of_each_group_of_training_images_is_held_out() -> None:
    trained = np.zeros((40, 1, 2, 2), np.uint8), np.tile(np.arange(4), 10)
    tested = np.ones((6, 1, 2, 2), np.uint8), np.arange(6) % 4
    train, val, test = three_parts(trained, tested, 0.2, 3)
    assert sorted([*train.rows, *val.rows]) == list(range(40))
    assert np.bincount(trained[1][val.rows]).tolist() == [2, 2, 2, 2]
    assert test.rows.tolist() == list(range(6))
    assert test.images is tested[0] and train.images is val.images is trained[0]
    groups = block_numbers(trained[1], [[0, 1], [2, 3]])
    _, by_group, _ = three_parts(trained, tested, 0.2, 3, groups=groups)
    assert np.bincount(groups[by_group.rows]).tolist() == [4, 4]
    assert by_group.rows.tolist() != val.rows.tolist()

"""X-means: its criterion by hand, planted groups, noise, and rows that cannot be split."""

from __future__ import annotations

import math
from typing import get_args

import numpy as np
import pytest
from numpy.typing import NDArray

from raycl.probes.xmeans import Criterion, bic, xmeans

SIX = np.array([0.0, 1.0, 2.0, 10.0, 11.0, 12.0])
ONE, TWO = np.zeros(6, np.int64), np.array([0, 0, 0, 1, 1, 1])


def noise(rows: int, dimensions: int = 2000, seed: int = 0) -> NDArray[np.float64]:
    return np.random.default_rng(seed).normal(size=(rows, dimensions))


def planted(*sizes: int, shift: float = 1.0, dimensions: int = 2000) -> NDArray[np.float64]:
    """Noise around one centre per group; centres are `shift` times as far spread."""
    rng = np.random.default_rng(1)
    return np.concatenate(
        [rng.normal(0, shift, dimensions) + rng.normal(size=(n, dimensions)) for n in sizes]
    )


def test_criterion_by_hand_on_six_points() -> None:
    # Sums of squares: 154 around 6; 2 + 2 around 1 and 11. Six rows in one dimension.
    one = -3 * math.log(2 * math.pi * 154 / 5) - 5 / 2 - math.log(6)  # 2 parameters
    two = 6 * math.log(1 / 2) - 3 * math.log(2 * math.pi * 4 / 4) - 4 / 2 - 2 * math.log(6)  # 4
    for criterion in ("spherical", "pelleg"):  # the same in one dimension
        assert bic(SIX[:, None], ONE, criterion) == pytest.approx(one)
        assert bic(SIX[:, None], TWO, criterion) == pytest.approx(two)
    assert two > one


def test_criterion_by_hand_in_two_dimensions() -> None:
    rows = np.stack([SIX, np.zeros(6)], 1)
    spherical = 6 * math.log(1 / 2) - 6 * math.log(2 * math.pi * 4 / (2 * 4)) - 2 * 4 / 2 - 3 * math.log(6)
    pelleg = 6 * math.log(1 / 2) - 6 * math.log(2 * math.pi * 4 / 4) - 4 / 2 - 3 * math.log(6)
    assert bic(rows, TWO) == pytest.approx(spherical)  # 1 share, 4 coordinates, 1 variance
    assert bic(rows, TWO, "pelleg") == pytest.approx(pelleg)
    uneven = np.array([0, 0, 0, 0, 1, 1])  # 0, 1, 2, 10 around 3.25, and 11, 12 around 11.5
    scatter = 10.5625 + 5.0625 + 1.5625 + 45.5625 + 0.5
    shares = 4 * math.log(4 / 6) + 2 * math.log(2 / 6)
    wanted = shares - 6 * math.log(2 * math.pi * scatter / 8) - 4 - 3 * math.log(6)
    assert bic(rows, uneven) == pytest.approx(wanted)


def test_as_many_clusters_as_rows_are_never_better() -> None:
    assert bic(SIX[:2, None], np.array([0, 1])) == -math.inf


def test_six_points_are_two_clusters() -> None:
    assert xmeans(SIX[:, None], 1).tolist() == TWO.tolist()
    assert xmeans(SIX[::-1, None], 1).tolist() == TWO.tolist()  # named in the order in which they occur


@pytest.mark.parametrize("sizes", [(2, 2), (3, 3), (5, 5), (3, 12)])
def test_two_planted_groups_are_found(sizes: tuple[int, int]) -> None:
    wanted = [0] * sizes[0] + [1] * sizes[1]
    for k_init in (1, 2):
        assert xmeans(planted(*sizes), k_init).tolist() == wanted
    assert xmeans(planted(*sizes, shift=2.0), 1, criterion="pelleg").tolist() == wanted


@pytest.mark.parametrize("rows", [2, 4, 7, 20])
@pytest.mark.parametrize("criterion", ["spherical", "pelleg"])
def test_noise_stays_one_cluster_and_is_two_where_two_are_asked_for(rows: int, criterion: Criterion) -> None:
    for seed in range(3):
        assert not xmeans(noise(rows, seed=seed), 1, criterion=criterion).any()
        assert xmeans(noise(rows, seed=seed), 2, criterion=criterion).max() == 1


def test_three_rows_of_noise_are_beyond_the_spherical_criterion() -> None:
    splits = {
        criterion: sum(bool(xmeans(noise(3, 500, seed), 1, criterion=criterion).any()) for seed in range(20))
        for criterion in get_args(Criterion)
    }
    assert splits["pelleg"] == 0 and 5 <= splits["spherical"] <= 15


def test_the_criteria_differ_where_the_paper_s_is_blind() -> None:
    rows = planted(3, 3, shift=0.7)  # the centres are 0.7 sqrt(2) apart in each dimension
    assert xmeans(rows, 1).max() == 1 and xmeans(rows, 1, criterion="pelleg").max() == 0


def test_two_rows_are_never_split() -> None:
    rows = np.array([[0.0, 0.0], [1e6, 0.0]])
    assert xmeans(rows, 1).tolist() == [0, 0] and xmeans(rows, 2).tolist() == [0, 1]
    assert xmeans(np.concatenate([rows, rows + 1e9]), 2).tolist() == [0, 0, 1, 1]  # nor within a cluster


def test_identical_points_are_not_split() -> None:
    for k_init in (1, 2, 5):
        assert xmeans(np.full((5, 3), 7.0), k_init).tolist() == [0] * 5
    assert xmeans(np.array([[0.0], [1.0], [0.0]]), 2).tolist() == [0, 1, 0]
    nearly = np.full((4, 1), 1.0) + np.array([[0.0], [1.0], [2.0], [3.0]]) * 1e-9
    assert xmeans(nearly, 1).tolist() == [0] * 4


def test_one_row() -> None:
    assert xmeans(np.ones((1, 3)), 2).tolist() == [0]


def test_clusters_are_as_many_as_asked_for_at_least_and_at_most() -> None:
    rows = planted(4, 4, 4, 4, shift=3.0)
    wanted = [i // 4 for i in range(16)]
    assert all(xmeans(rows, k).tolist() == wanted for k in (1, 2, 3, 4))
    assert xmeans(rows, 6).max() + 1 == 6
    assert [xmeans(rows, 1, k).max() + 1 for k in (1, 2, 3, 4, 9)] == [1, 2, 3, 4, 4]


def test_the_largest_cluster_is_split_first() -> None:
    far = np.zeros(2000)
    far[0] = 1e4  # two clusters at first, of 4 and of 6 rows
    rows = np.concatenate([planted(2, 2, shift=3.0), planted(3, 3, shift=3.0) + far])
    assert xmeans(rows, 2, 3).tolist() == [0] * 4 + [1] * 3 + [2] * 3
    assert xmeans(rows, 2).tolist() == [0] * 2 + [1] * 2 + [2] * 3 + [3] * 3


def test_every_row_ends_in_the_cluster_whose_centre_is_nearest() -> None:
    rng = np.random.default_rng(3)
    seen = set()
    for _ in range(8):
        rows = rng.normal(size=(20, 2)) + rng.normal(0, 3, (4, 2))[rng.integers(0, 4, 20)]
        labels = xmeans(rows, 1)
        centres = np.stack([rows[labels == k].mean(0) for k in range(labels.max() + 1)])
        distances = np.square(rows[:, None] - centres).sum(2)
        assert distances.argmin(1).tolist() == labels.tolist()
        assert [int(k) for k in dict.fromkeys(labels.tolist())] == list(range(labels.max() + 1))
        seen.add(int(labels.max()))
    assert max(seen) >= 3


def test_the_same_seed_the_same_clusters() -> None:
    rows = noise(12, 3)
    first = xmeans(rows, 3, seed=5)
    np.random.seed(0)  # noqa: NPY002  # nothing may hang on NumPy's own generator
    assert first.tolist() == xmeans(rows, 3, seed=5).tolist()


@pytest.mark.parametrize(("rows", "k_init"), [(np.ones(3), 1), (np.ones((0, 2)), 1), (np.ones((3, 2)), 0)])
def test_what_makes_no_sense(rows: NDArray[np.float64], k_init: int) -> None:
    with pytest.raises(ValueError, match=r"should be \[rows, dimensions\]|k_init = 0 must be at least 1"):
        xmeans(rows, k_init)

"""Metrics on small matrices, worked out on paper; and the identities between them."""

from __future__ import annotations

import numpy as np
import pytest

from raycl import metrics, noise
from raycl.errors import UserError

A = np.array([[0.8, 0.1, 0.2], [0.6, 0.9, 0.3], [0.5, 0.7, 0.85]])
ONE = [0.7, 0.95, 0.8]


def test_worked_example() -> None:
    assert metrics.acc(A) == pytest.approx(2.05 / 3)
    assert metrics.acc_just(A) == pytest.approx(2.55 / 3)
    assert metrics.fwt_vs_one(A, ONE) == pytest.approx(0.1 / 3)
    assert metrics.fwt_vs_one_task(A, ONE).tolist() == pytest.approx([0.1, -0.05, 0.05])
    assert metrics.bwt(A) == pytest.approx(-0.25)
    assert metrics.bwt_T(A) == pytest.approx(-0.5 / 3)
    assert metrics.forgetting(A) == pytest.approx((0.3 + 0.2) / 2)
    ncl = np.array([[0.8, 0, 0], [0.1, 0.9, 0], [0.2, 0.3, 0.9]])
    assert metrics.gain_over_ncl(A, ncl) == pytest.approx((0.3 + 0.4 - 0.05) / 3)


def test_forgetting_looks_at_learnt_rows_or_at_all() -> None:
    a = np.array([[0.5, 0.95, 0.0], [0.9, 0.6, 0.0], [0.7, 0.8, 0.4]])
    assert metrics.forgetting(a) == pytest.approx((0.2 - 0.2) / 2)  # 0.9 - 0.7, 0.6 - 0.8
    assert metrics.forgetting(a, rows="all") == pytest.approx((0.2 + 0.15) / 2)  # 0.95 before it was learnt
    assert metrics.forgetting_matrix(a).tolist() == [[0, 0, 0], pytest.approx([-0.4, 0, 0]),
                                                     pytest.approx([0.2, -0.2, 0])]  # fmt: skip
    with pytest.raises(ValueError, match="should be 'learnt' or 'all'"):
        metrics.forgetting_matrix(a, rows="some")


def test_forgetting_ratio() -> None:
    last = [[0.0, 0.0], [0.6, 0.8]]
    assert metrics.forgetting_ratio(last, [0.5, 0.5], [0.9, 0.8]) == pytest.approx((0.1 / 0.4 + 1) / 2 - 1)
    assert metrics.forgetting_ratio(last, [0.5, 0.8], [0.9, 0.8]) is None  # joint no better than random


def test_identities() -> None:
    rng = np.random.default_rng(0)
    for tasks in (2, 3, 10):
        a, one, ncl = rng.random((tasks, tasks)), rng.random(tasks), rng.random((tasks, tasks))
        values = {name: getattr(metrics, name)(a) for name in ("acc", "acc_just", "bwt", "bwt_T")}
        forward = metrics.fwt_vs_one(a, one)
        assert forward is not None
        assert values["acc"] == pytest.approx(one.mean() + forward + values["bwt_T"], abs=1e-12)
        assert values["bwt_T"] == pytest.approx(values["bwt"] * (tasks - 1) / tasks, abs=1e-12)
        assert values["acc_just"] == pytest.approx(values["acc"] - values["bwt_T"], abs=1e-12)
        assert metrics.gain_over_ncl(a, ncl) == pytest.approx(values["acc"] - metrics.acc(ncl), abs=1e-12)


def test_what_was_not_measured_is_absent() -> None:
    a = metrics.matrix([{0: 0.8}, {1: 0.9}, {0: 0.5, 1: 0.7, 2: 0.85}])  # diagonal and last row
    assert np.isnan(a).sum() == 4
    assert metrics.acc(a) == pytest.approx(2.05 / 3) and metrics.bwt(a) == pytest.approx(-0.25)
    assert metrics.forgetting(a) is None
    joint = metrics.matrix([{}, {}, {0: 0.5, 1: 0.7, 2: 0.85}])
    assert metrics.acc(joint) is not None
    for name in ("acc_just", "bwt", "bwt_T", "forgetting"):
        assert getattr(metrics, name)(joint) is None
    assert metrics.fwt_vs_one(joint, ONE) is None and metrics.gain_over_ncl(A, joint) is not None


def test_one_task() -> None:
    assert metrics.acc([[0.7]]) == metrics.acc_just([[0.7]]) == 0.7
    assert metrics.bwt([[0.7]]) is None and metrics.forgetting([[0.7]]) is None
    assert metrics.bwt_T([[0.7]]) == 0.0


def test_spread() -> None:
    assert metrics.ps([0.5, 0.7, 0.9]) == pytest.approx(np.sqrt(0.08 / 3))  # over trials, ddof 0
    assert metrics.std([0.5, 0.7, 0.9]) == pytest.approx(0.2)  # over seeds, ddof 1
    assert metrics.ps([0.5]) is None and metrics.std([0.5]) is None
    assert metrics.mean([0.5, 0.7]) == pytest.approx(0.6)
    assert metrics.mean([]) is None and metrics.mean([0.5, None]) is None


def test_the_interval_of_ps_by_hand() -> None:
    """Two ones among five trials: a resample has k ones, k of Binomial(5, 2/5), and ps sqrt(k (5 - k)) / 5.

    So it is 0 in .088, .4 in .336 and sqrt(6) / 5 in .576 of the resamples: the 5 % quantile is the first
    and the 95 % quantile the last.
    """
    assert metrics.ps_interval([0, 1, 0, 1, 0]) == pytest.approx((0, np.sqrt(6) / 5), abs=1e-12)
    assert metrics.ps_interval([0.7] * 5) == pytest.approx((0, 0), abs=1e-12)


def test_the_interval_of_ps_is_as_wide_as_theory_says() -> None:
    """Of many normal draws: sigma plus or minus 1.645 sigma / sqrt(2 n)."""
    sigma, n = 0.1, 2000
    drawn = np.random.default_rng(1).normal(0.5, sigma, n)
    low, high = metrics.ps_interval(list(drawn)) or (0, 0)
    assert (low + high) / 2 == pytest.approx(metrics.ps(list(drawn)), rel=0.01)
    assert high - low == pytest.approx(2 * 1.645 * sigma / np.sqrt(2 * n), rel=0.1)


def test_the_interval_of_ps_moves_with_its_unit_and_not_with_the_order() -> None:
    accs = [0.2, 0.5, 0.6, 0.7, 0.9, 0.9]
    low, high = metrics.ps_interval(accs) or (0, 0)
    assert 0 < low < (metrics.ps(accs) or 0) < high
    assert metrics.ps_interval([0.9, 0.2, 0.7, 0.5, 0.9, 0.6]) == (low, high)  # the same trials
    assert metrics.ps_interval([100 * a - 7 for a in accs]) == pytest.approx((100 * low, 100 * high))


def test_the_interval_of_several_searches_is_of_the_mean_of_their_ps() -> None:
    """Each by itself, so a difference in level is none in spread; independent, so the mean is narrower."""
    accs = [float(a) for a in np.random.default_rng(2).normal(0.5, 0.1, 40)]
    one = metrics.ps_interval(accs) or (0, 0)
    four = metrics.ps_interval(*([level + a for a in accs] for level in (0, 1, 2, 3))) or (0, 0)
    assert sum(four) / 2 == pytest.approx(sum(one) / 2, rel=0.03)
    assert (four[1] - four[0]) / (one[1] - one[0]) == pytest.approx(1 / np.sqrt(4), rel=0.15)


def test_of_few_trials_ps_has_no_interval() -> None:
    assert metrics.ps_interval() is None and metrics.ps_interval([0.1, 0.2, 0.3, 0.4]) is None
    assert metrics.ps_interval([0.1] * 5, [0.1] * 4) is None


def test_the_half_width_of_a_mean_by_hand() -> None:
    """.01 .02 .03 have s = .01, and t is 4.302653 with two degrees of freedom."""
    assert noise.mean_half_width([0.01, 0.02, 0.03]) == pytest.approx(4.302653 * 0.01 / np.sqrt(3))
    assert noise.mean_half_width([0, 1]) == pytest.approx(12.706205 * 0.5)  # s = 1 / sqrt(2), n = 2
    assert noise.mean_half_width([0.5] * 4) == 0
    assert noise.mean_half_width([0.5]) is None and noise.mean_half_width([]) is None
    thousand = [float(v) for v in np.random.default_rng(0).normal(size=1000)]
    normal = 1.959964 * np.std(thousand, ddof=1) / np.sqrt(1000)
    assert noise.mean_half_width(thousand) == pytest.approx(normal, rel=2e-3)


def test_the_half_width_of_a_difference_of_independent_means_by_hand() -> None:
    """v1 = .09 / 3 = .03 and v2 = .16 / 4 = .04: f = .0049 / (.0009 / 2 + .0016 / 3) = 4.983, t = 2.5734."""
    spread, exact = noise.Spread, noise.Spread(0.0, 7)
    found = noise.welch_half_width(spread(0.3, 3), spread(0.4, 4))
    assert found == pytest.approx(2.5734 * np.sqrt(0.07), rel=1e-4)
    assert noise.welch_half_width(spread(0.4, 4), spread(0.3, 3)) == pytest.approx(found)
    # Equal numbers and variances have as many degrees of freedom as both together: t(8) is 2.306004.
    equal = noise.welch_half_width(spread(0.3, 5), spread(0.3, 5))
    assert equal == pytest.approx(2.306004 * 0.3 * np.sqrt(2 / 5))
    # Beside an exact number it is the half-width of a mean.
    values = [0.01, 0.02, 0.03]
    alone = noise.welch_half_width(spread(metrics.std(values), 3), exact)
    assert alone == noise.mean_half_width(values)
    assert noise.welch_half_width(exact, exact) == 0
    assert noise.welch_half_width(spread(1e-170, 3), exact) == 0  # whose square is none
    tiny = noise.welch_half_width(spread(1e-100, 3), spread(1e-100, 3))
    assert tiny == pytest.approx(2.776445e-100 * np.sqrt(2 / 3))
    assert noise.welch_half_width(spread(None, 1), spread(0.1, 5)) is None  # one value has no spread
    assert noise.welch_half_width(spread(0.1, 5), spread(0.1, 1)) is None  # and none stands behind one


def test_the_half_width_of_a_difference_with_pooled_variances_by_hand() -> None:
    """(2 * .04 + 1 * .01) / 3 = .03 with three degrees of freedom; 1 / n is the mean of 1/3 and 1/2."""
    spread = noise.Spread
    found = noise.pooled_half_width([spread(0.2, 3), spread(None, 1), spread(0.1, 2)])
    assert found == pytest.approx(3.182446 * np.sqrt(2 * 0.03 * 5 / 12))
    assert noise.pooled_half_width([spread(0.0, 3), spread(0.0, 3)]) == 0
    assert noise.pooled_half_width([spread(None, 1)]) is None and noise.pooled_half_width([]) is None


def test_what_is_beyond_noise() -> None:
    assert noise.beyond_noise(0.03, 0.02) and noise.beyond_noise(-0.03, 0.02)
    assert not noise.beyond_noise(0.02, 0.02) and not noise.beyond_noise(0.75 - 0.745, 0.005)
    assert noise.beyond_noise(0.01, 0.0)
    assert not noise.beyond_noise(0.0, 0.0) and not noise.beyond_noise(0.85 - 0.80 - 0.05, 0.0)
    assert not noise.beyond_noise(1.0, None)  # of a single value


@pytest.mark.parametrize("n", [2, 3, 5, 10])
def test_of_equal_means_one_in_twenty_is_beyond_noise(n: int) -> None:
    """At every number of seeds; two standard errors were 30 %, 18 %, 12 % and 8 %."""
    drawn = np.random.default_rng(n).normal(0.0, 0.02, (20_000, n)).tolist()
    found = [noise.beyond_noise(float(np.mean(v)), noise.mean_half_width(v)) for v in drawn]
    assert np.mean(found) == pytest.approx(0.05, abs=0.005)


def test_of_equal_methods_one_pair_in_twenty_is_beyond_the_noise_of_its_table() -> None:
    """Six methods of three seeds each, of which the first two are compared."""
    drawn = np.random.default_rng(0).normal(0.8, 0.02, (20_000, 6, 3))
    stds, gaps = drawn.std(2, ddof=1).tolist(), (drawn[:, 0] - drawn[:, 1]).mean(1).tolist()
    found = [
        noise.beyond_noise(gap, noise.pooled_half_width([noise.Spread(s, 3) for s in each]))
        for gap, each in zip(gaps, stds, strict=True)
    ]
    assert np.mean(found) == pytest.approx(0.05, abs=0.005)


def test_shapes_that_are_none() -> None:
    with pytest.raises(ValueError, match=r"of shape \(1, 2\) should have the shape \[tasks, tasks\]"):
        metrics.acc([[0.5, 0.6]])
    with pytest.raises(ValueError, match=r"of shape \(2,\) should be one for each of 3 tasks"):
        metrics.fwt_vs_one(A, [0.5, 0.5])


def test_the_table_of_metrics_gives_what_the_functions_do() -> None:
    """Each with the inputs that it names; together they are what reports have, in the order of csv."""
    given = {"test": A, "val": A - 0.1, "reference": np.array(ONE)}
    values = {m.name: m.function(*(given[name] for name in m.inputs)) for m in metrics.METRICS}
    assert values == {
        "acc": pytest.approx(2.05 / 3),
        "fwt_vs_one": pytest.approx(0.1 / 3),
        "bwt": pytest.approx(-0.25),
        "bwt_T": pytest.approx(-0.5 / 3),
        "forgetting": pytest.approx((0.3 + 0.2) / 2),
        "acc_just": pytest.approx(2.55 / 3),
        "val_acc": pytest.approx(2.05 / 3 - 0.1),
    }
    assert list(values) == ["acc", "fwt_vs_one", "bwt", "bwt_T", "forgetting", "acc_just", "val_acc"]
    assert {m.name for m in metrics.METRICS if m.signed} == {"fwt_vs_one", "bwt", "bwt_T"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": 3}, "Metric: name = 3 should be letters, digits and underscores, such as 'worst'"),
        ({"name": "a-b"}, "Metric: name = 'a-b' should be letters"),
        ({"name": "worst\n"}, "Metric: name = 'worst.n' should be letters"),
        ({"name": "a" * 41}, "choose a name of at most 40 characters"),
        ({"name": "acc_std"}, r"Metric\('acc_std'\): choose a name .* that does not end in _std"),
        ({"function": 0.5}, r"Metric\('worst'\): function = 0.5 should be a function, such as lambda a: ..."),
        ({"definition": " "}, r"Metric\('worst'\): definition = ' ' should define the metric in one line"),
        ({"inputs": "test"}, r"Metric\('worst'\): inputs = 'test' should be a list such as \[\"test\"\]"),
        ({"inputs": []}, r"inputs = \[\] should be a list"),
        (
            {"inputs": ["tests"]},
            "inputs: 'tests' should be one of 'test', 'val', 'reference'; did you mean 'test'",
        ),
        ({"tracked": "ends"}, "tracked: 'ends' should be one of 'curve', 'end', ''; did you mean 'end'"),
        ({"tracked": None}, "tracked: None should be one of"),
        ({"signed": 1}, "signed = 1 must be True or False"),
    ],
)
def test_a_metric_that_is_none(changes: dict[str, object], message: str) -> None:
    base = {"name": "worst", "function": lambda a: a[-1].min(), "definition": "lowest final accuracy"}
    with pytest.raises(UserError, match=message) as caught:
        metrics.Metric(**(base | changes))  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)

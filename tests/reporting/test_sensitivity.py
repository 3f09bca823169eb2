"""Parameter sensitivity: interval, cost and figure of searches whose trials are written by hand."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence

import numpy as np
import pytest

from raycl import metrics
from raycl.reporting import plots, render
from raycl.reporting.plots import searches
from raycl.reporting.searches import Searches
from raycl.reporting.sensitivity import Sensitivity, sensitivity
from raycl.results.collect import collect, sections
from raycl.results.rows import Section
from raycl.runs.store import Store
from raycl.study.values import Search, Seeds, Study
from tests.helpers import hand
from tests.helpers.hand import ALONE, BENCHMARK, OTHER, RATE

TWO_OF_FIVE = (0.4, 0.8, 0.4, 0.8, 0.4)  # ps .4 * sqrt(.24)


def study_of(methods: Sequence[str] = ("finetune",), **changes: object) -> Study:
    """Methods whose rate is searched, beside the reference without a search."""
    known = {"one": {"method": ALONE, "search": None}, "finetune": {"fit.lr": RATE},
             "few": {"method": OTHER, "fit.lr": RATE}}  # fmt: skip
    plain = {"methods": {label: known[label] for label in ("one", *methods)}, "final": Seeds(1)}
    return hand.study(**(plain | {"search": Search(trials=5, concurrency=1, startup_trials=2)} | changes))


def put(
    store: Store, study: Study, name: str, accs: Sequence[float | None], seconds: Sequence[float] = ()
) -> None:
    """Trials of test accuracy `acc`; None is a diverged one. Trial n has the rate (n + 1) / 100."""
    cell = hand.cells(study)[name]
    for n, acc in enumerate(accs):
        params = {"fit.lr": (n + 1) / 100}
        store.propose(cell.key, n, params, {})
        rows = () if acc is None else hand.reports([[acc], [acc, acc]])
        took = {"seconds": seconds[n]} if seconds else {}
        hand.put(store, cell.spec(params, cell.trial_seed), rows, "done" if rows else "diverged", **took)


def section_of(store: Store, study: Study) -> Section:
    (section,) = sections(study, collect(study, hand.read(store, study)))
    return section


def found_in(store: Store, study: Study, label: str = "finetune") -> Sensitivity:
    (group,) = [group for group in section_of(store, study).groups if group.label == label]
    return sensitivity(group.rows)


def test_spread_and_cost_of_a_search(store: Store) -> None:
    """A diverged trial costs time, counts among the trials and is not in the spread."""
    study = study_of()
    put(store, study, f"finetune/{BENCHMARK}", (0.4, None, 0.8, 0.4, 0.8, 0.4), (10, 2, 20, 30, 40, 18))
    found = found_in(store, study)
    assert found.ps == pytest.approx(0.4 * math.sqrt(0.24))
    assert (found.trials, found.diverged, found.runs) == (6, 1, 6)
    assert found.seconds == 120 and found.per_trial == 20 and found.lost == pytest.approx(1 / 6)
    assert found.interval == metrics.ps_interval(TWO_OF_FIVE)
    assert (found.low, found.high) == found.interval


def test_equal_trials_are_one_run(store: Store) -> None:
    """They spread as trials do, and were computed once."""
    study = study_of()
    cell = hand.cells(study)[f"finetune/{BENCHMARK}"]
    for n, (rate, acc) in enumerate(((0.1, 0.5), (0.2, 0.7), (0.1, 0.5), (0.1, 0.5))):
        store.propose(cell.key, n, {"fit.lr": rate}, {})
        rows = hand.reports([[acc], [acc, acc]])
        hand.put(store, cell.spec({"fit.lr": rate}, cell.trial_seed), rows, seconds=100 * rate)
    found = found_in(store, study)
    assert (found.trials, found.runs, found.seconds, found.per_trial) == (4, 2, 30, 15)
    assert found.ps == pytest.approx(0.2 * math.sqrt(3) / 4) and found.interval is None  # four are too few


def test_a_method_without_a_search_has_nothing_to_say(store: Store) -> None:
    found = found_in(store, study_of(), "one")
    assert found == Sensitivity(None, None, 0, 0, 0, 0, None)
    assert (found.low, found.high, found.per_trial, found.lost, found.printed_interval) == (*[None] * 4, "")


def test_of_several_orders_ps_is_the_mean_and_the_cost_the_sum(store: Store) -> None:
    """Not the spread of all trials together: orders differ in level, and that is no sensitivity."""
    study = study_of(orders=2)
    for order, level in ((0, 0.0), (1, 0.1)):
        accs = [level + acc for acc in TWO_OF_FIVE]
        put(store, study, f"finetune/{BENCHMARK}/order {order}", accs, [3.0] * 5)
    found = found_in(store, study)
    assert found.ps == pytest.approx(0.4 * math.sqrt(0.24))
    assert (found.trials, found.runs, found.seconds, found.per_trial) == (10, 10, 30, 3)
    assert found.interval == metrics.ps_interval(TWO_OF_FIVE, [0.1 + acc for acc in TWO_OF_FIVE])


def test_an_order_with_too_few_trials_takes_the_interval_with_it(store: Store) -> None:
    study = study_of(orders=2)
    put(store, study, f"finetune/{BENCHMARK}/order 0", TWO_OF_FIVE)
    assert found_in(store, study).interval == metrics.ps_interval(TWO_OF_FIVE)  # the other has no ps
    put(store, study, f"finetune/{BENCHMARK}/order 1", TWO_OF_FIVE[:4])
    assert found_in(store, study).interval is None


def test_a_width_other_than_one_stands_beside_the_trials(store: Store) -> None:
    for width, printed in ((1, "5"), (4, "5, 4 at once")):
        study = study_of(search=Search(trials=5, concurrency=width, startup_trials=2))
        put(store, study, f"finetune/{BENCHMARK}", TWO_OF_FIVE)
        (row,) = Searches().lines(section_of(store, study))[1]
        assert row[3] == printed


SMALL = """\
Parameter sensitivity and cost of the search: digits_permuted(tasks=2)
method      ps      interval  trials  diverged  search (s)  per trial (s)
finetune  .196  .000 to .196       6      .167         120           20.0
few       .100             -       2      .000        12.0            6.0
interval: 90% bootstrap, from 5 trials on; search: run time of all trials
"""


def both(store: Store) -> Study:
    study = study_of(("finetune", "few"))
    put(store, study, f"finetune/{BENCHMARK}", (0.4, None, 0.8, 0.4, 0.8, 0.4), (10, 2, 20, 30, 40, 18))
    put(store, study, f"few/{BENCHMARK}", (0.5, 0.7), (5, 7))
    return study


def test_the_table_under_the_table(store: Store) -> None:
    study = both(store)
    text = render(study, hand.read(store, study))
    shown = text[text.index("Parameter sensitivity") :]
    assert shown == SMALL
    assert max(map(len, text.splitlines())) <= 80
    unsearched = hand.study()
    assert "sensitivity" not in render(unsearched, hand.read(store, unsearched))


def test_csv_has_the_interval_with_the_results_and_the_cost_with_the_times(store: Store) -> None:
    study = both(store)
    agenda = hand.read(store, study)
    lines = {line["label"]: line for line in csv.DictReader(io.StringIO(render(study, agenda, "csv")))
             if line["seed"] == "mean"}  # fmt: skip
    interval = metrics.ps_interval(TWO_OF_FIVE)
    assert (float(lines["finetune"]["ps_low"]), float(lines["finetune"]["ps_high"])) == interval
    assert [lines[label]["search_seconds"] for label in ("one", "finetune", "few")] == ["", "120.0", "12.0"]
    assert [lines[label]["ps_low"] for label in ("one", "few")] == ["", ""]
    timeless = render(study, agenda, "csv", times=False).splitlines()[0].split(",")
    assert "search_seconds" not in timeless and {"ps", "ps_low", "ps_high"} <= set(timeless)


def test_the_page_says_what_ps_is_and_where_its_interval_comes_from(store: Store) -> None:
    study = both(store)
    page = render(study, hand.read(store, study), "html")
    assert page.count(".000 to .196</td>") == 2  # in the table of results and in that of searches
    for words in ("ddof 0", "over the completed trials", "PRM", "90% bootstrap interval over the trials",
                  ">search (s)</th>", "seconds of run time summed over all trials"):  # fmt: skip
        assert words in page, words
    unsearched = hand.study()
    assert "interval</th>" not in render(unsearched, hand.read(store, unsearched), "html")


def drawn_of(store: Store, study: Study) -> str:
    section = section_of(store, study)
    return Searches().figure(section, "b1-ps")


def test_a_line_per_search_with_its_numbers(store: Store) -> None:
    drawn = drawn_of(store, both(store))
    for text in (">finetune<", ">few<", "ps .196, n = 5", ">1 diverged<", "ps .100, n = 2",
                 "test accuracy of a trial (fraction)", "ps (fraction)"):  # fmt: skip
        assert text in drawn, text
    assert ">one<" not in drawn


def test_the_figure_has_a_dot_per_completed_trial_and_a_ring_for_the_winner(store: Store) -> None:
    import matplotlib.pyplot as plt

    study = study_of()
    put(store, study, f"finetune/{BENCHMARK}", (0.4, None, 0.8, 0.5, 0.7, 0.6))
    (row,) = section_of(store, study).groups[1].rows
    ax = plt.figure().subplots()
    searches._cloud(ax, row, 2, plots.styles_of(["finetune"])["finetune"])
    dots = [line.get_xydata() for line in ax.lines if line.get_marker() == "o"]
    assert [len(xy) for xy in dots] == [5, 1]
    assert dots[0][:, 0] == pytest.approx([0.4, 0.8, 0.5, 0.7, 0.6])
    assert len(set(dots[0][:, 1])) == 5 and all(2 < y < 2.5 for y in dots[0][:, 1])
    assert dots[1][0] == pytest.approx(dots[0][1])  # trial 2, whose accuracy is .8
    (bar,) = ax.containers
    middle, ends = bar.lines[0].get_xdata()[0], bar.lines[2][0].get_segments()[0][:, 0]
    spread = math.sqrt(0.1 / 5)  # .4 to .8 in steps of .1
    assert middle == pytest.approx(0.6) and ends == pytest.approx([0.6 - spread, 0.6 + spread])
    assert len(ax.collections) == 1  # the bar's own lines; five points show no density
    plt.close("all")


def test_a_density_is_drawn_from_thirty_trials_on(store: Store) -> None:
    import matplotlib.pyplot as plt

    for trials, lines in ((29, 1), (30, 2)):
        study = study_of(search=Search(trials=trials, startup_trials=trials), fit={"epochs": trials})
        put(store, study, f"finetune/{BENCHMARK}", [0.4 + n / 100 for n in range(trials)])
        row = next(row for group in section_of(store, study).groups for row in group.rows if row.trials)
        ax = plt.figure().subplots()
        searches._cloud(ax, row, 2, plots.styles_of(["finetune"])["finetune"])
        assert len(ax.collections) == lines  # the bar's own lines, and the density
    plt.close("all")


def test_a_density_keeps_to_the_trials() -> None:
    """Two heaps of equal size: two equal peaks, nothing between them and nothing beyond."""
    values = np.array([0.10, 0.11, 0.12, 0.80, 0.81, 0.82])
    at, density = searches._density(values)
    assert (at[0], at[-1]) == (0.10, 0.82) and density.max() == 1.0
    assert density == pytest.approx(density[::-1])
    assert density[np.argmin(abs(at - 0.46))] < 0.1


@pytest.mark.parametrize("accs", [(0.5,) * 6, (0.1, 0.1, 0.1, 0.1, 0.1, 0.9), (0.5,), (0.0, 1.0)])
def test_trials_that_are_alike_or_alone_are_drawn(store: Store, accs: tuple[float, ...]) -> None:
    study = study_of()
    put(store, study, f"finetune/{BENCHMARK}", accs)
    assert f"n = {min(len(accs), 5)}" in drawn_of(store, study)


def test_all_trials_diverged(store: Store) -> None:
    study = study_of()
    put(store, study, f"finetune/{BENCHMARK}", (None, None), (4, 6))
    found = found_in(store, study)
    assert (found.ps, found.interval, found.lost, found.seconds) == (None, None, 1.0, 10)
    assert drawn_of(store, study) == "" and "finetune" in render(study, hand.read(store, study), "html")

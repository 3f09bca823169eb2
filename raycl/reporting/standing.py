"""How the methods of a study stand: the best on each benchmark, and means over all benchmarks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from raycl import noise
from raycl.metrics import mean
from raycl.results import measures
from raycl.results.rows import Group, Section
from raycl.study.values import Study
from raycl.text import fraction, one_line, seconds

BEST, NEAR = "best", "near"


def marks(section: Section) -> dict[str, str]:
    """Return by label which methods have the highest `acc`, and which are within noise of it.

    The reference method, which learns each task with a network of its own, is left out. Nothing is marked if
    the noise is not known, as with a single seed, or if there is only one method.
    """
    found = {
        group.label: value
        for group in section.groups
        if not group.reference and (value := group.stat("acc").mean) is not None
    }
    if len(found) < 2 or section.noise is None:
        return {}
    best = max(found.values())
    near = {
        label: NEAR for label, value in found.items() if not noise.beyond_noise(best - value, section.noise)
    }
    return near | {label: BEST for label, value in found.items() if value == best}


def means(study: Study, found: Sequence[Section]) -> tuple[list[str], list[list[str]]]:
    """Return a table of means over the benchmarks, for the methods that have an `acc` on each of them.

    The rank is that of the mean `acc` among these methods, 1 for the highest, and equal ones share the mean
    of their ranks. Times are summed. There are no rows for a single benchmark.
    """
    groups: dict[str, list[Group]] = {}
    for section in found:
        for group in section.groups:
            if group.stat("acc").mean is not None:
                groups.setdefault(group.label, []).append(group)
    everywhere = {label: mine for label, mine in groups.items() if len(mine) == len(found)}
    main = [metric for metric in found[0].metrics if metric.main] if found else []
    header = ["method", *(metric.name for metric in main), "mean rank", "ps", "time, summed (s)"]
    if len(found) < 2 or len(everywhere) < 2:
        return header, []
    ranks = _ranks(everywhere, len(found))
    rows = []
    for label, mine in everywhere.items():
        blank = mine[0].reference
        values = [
            None
            if blank and metric.blank_for_reference
            else mean([group.stat(metric.name).mean for group in mine])
            for metric in main
        ]
        times = [group.stat("ct").mean for group in mine]
        rows.append(
            [
                one_line(label),
                *(measures.format_value(m, value) for m, value in zip(main, values, strict=True)),
                f"{ranks[label]:.1f}",
                fraction(mean([group.stat("ps").mean for group in mine])),
                seconds(sum(t for t in times if t is not None)) if None not in times else "-",
            ]
        )
    return header, rows


def _ranks(everywhere: Mapping[str, Sequence[Group]], benchmarks: int) -> dict[str, float]:
    """Return the mean rank of each label over the benchmarks, by mean `acc`."""
    totals = dict.fromkeys(everywhere, 0.0)
    for place in range(benchmarks):
        accs = {label: mine[place].stat("acc").mean or 0.0 for label, mine in everywhere.items()}
        for label, value in accs.items():
            above = sum(other > value for other in accs.values())
            same = sum(other == value for other in accs.values())
            totals[label] += above + (same + 1) / 2
    return {label: total / benchmarks for label, total in totals.items()}

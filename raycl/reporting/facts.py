"""What was run, where and when: the facts about a study that the HTML and the Markdown report state."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from raycl.reporting import settings
from raycl.results.collect import searched_on
from raycl.results.rows import COMPLETE, CellRow, Section
from raycl.runs.result import Result
from raycl.study.agenda import Agenda
from raycl.study.values import Search, Seeds, Study
from raycl.text import about as approximate
from raycl.text import counted, moment

OWN = "each method has its own (see its configuration)"

PROVENANCE = {
    "raycl": ("raycl", "commit"),
    "torch": ("torch",),
    "numpy": ("numpy",),
    "python": ("python",),
    "system": ("system", "cpu"),
    "device": ("device",),
    "threads": ("threads",),
    "numerics": ("numerics",),
}


def summary(rows: Sequence[CellRow], found: Sequence[Section]) -> str:
    """Return a line such as ``16 methods on 2 benchmarks, 192 runs, 3 diverged``."""
    labels = dict.fromkeys(row.cell.label for row in rows)
    text = f"{counted(len(labels), 'method')} on {counted(len(found), 'benchmark')}, "
    runs, done = sum(row.runs for row in rows), sum(row.done for row in rows)
    complete = all(row.status == COMPLETE for row in rows)
    text += f"{counted(runs, 'run')}" if complete else f"not complete: {done} of {counted(runs, 'run')} done"
    lost = sum(len(row.diverged) + row.lost("diverged") for row in rows)
    invalid = sum(row.lost("invalid") for row in rows)
    pruned = sum(row.lost("pruned") for row in rows)
    counts = {"diverged": lost, "invalid": invalid, "pruned": pruned}
    return text + "".join(f", {many} {how}" for how, many in counts.items() if many)


def what(study: Study, rows: Sequence[CellRow], found: Sequence[Section]) -> list[tuple[str, str]]:
    """Return the facts of the study as pairs of a name and a text."""
    final, cells = study.final, [row.cell for row in rows]
    facts = [
        ("methods", ", ".join(dict.fromkeys(row.cell.label for row in rows))),
        ("benchmarks", ", ".join(section.name for section in found)),
        ("network", settings.network_text(study, cells) or OWN),
        ("preset", settings.preset_text(study, cells) or OWN),
        ("search", settings.unless_own(_search(study), "search", study, cells) or OWN),
        (
            "final runs",
            f"seeds {', '.join(map(str, final))}" if isinstance(final, Seeds) else "the best trial",
        ),
    ]
    if training := settings.fit_texts(study, cells):
        facts.append(("training", "; ".join(training)))
    if study.orders > 1:
        facts.append(("task orders", str(study.orders)))
    return facts


def _search(study: Study) -> str:
    search = study.search
    if search is None:
        return "none"
    if isinstance(search, Search):
        text = (
            f"{counted(search.trials, 'trial')} per cell, {search.how}, "
            f"up to {search.concurrency} at a time, seed {search.seed}"
            + (f", {search.prune.how}" if search.prune else "")
            + (f", {search.sought}" if search.sought else "")
        )
    else:
        text = f"grid of {counted(len(search.points()), 'point')} per cell"
    return f"{text}; {searched_on(study)}"


def where(agenda: Agenda) -> list[tuple[str, str]]:
    """Return the provenance of all finished runs.

    Where runs differ, each value is followed by its number of runs.
    """
    results = _results(agenda)
    abouts = [result.provenance for result in results]
    facts = []
    began = [float(p["started"]) for p in abouts if "started" in p]
    if began:
        ends = [float(p["started"]) + float(p.get("seconds", 0)) for p in abouts if "started" in p]
        facts.append(("when", f"{moment(min(began))} to {moment(max(ends))}"))
    spent = sum(float(p.get("seconds", 0)) for p in abouts)
    if spent:
        facts.append(("run time", f"about {approximate(spent)} summed over {counted(len(results), 'run')}"))
    for name, keys in PROVENANCE.items():
        values = Counter(" ".join(str(p[k]) for k in keys if p.get(k) not in (None, "")) for p in abouts)
        values.pop("", None)
        if values:
            facts.append((name, _tallied(values)))
    return facts


def _tallied(values: Mapping[str, int]) -> str:
    if len(values) == 1:
        return next(iter(values))
    return "; ".join(f"{value} ({counted(n, 'run')})" for value, n in sorted(values.items()))


def _results(agenda: Agenda) -> list[Result]:
    """Return all finished runs of the study, each of them once."""
    found = {
        trial.spec.key: trial.result
        for state in agenda.states
        for trial in state.runs
        if trial.result is not None
    }
    return list(found.values())

"""The results of a study for a notebook: data frames, tables in HTML, and figures of matplotlib."""

from __future__ import annotations

import contextlib
import html
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from matplotlib.figure import Figure

from raycl import registry
from raycl.errors import UserError
from raycl.metrics import Metric, all_metrics
from raycl.reporting import plots, table
from raycl.reporting.plots.look import kept_figures
from raycl.results.collect import collect, final_run, sections
from raycl.results.numbers import FACTS, TIMES
from raycl.results.rows import DIVERGED, MISSING, CellRow, FinalRun, Section, Stat
from raycl.runs.result import Result
from raycl.runs.store import Store
from raycl.study.agenda import Agenda
from raycl.study.progress import CellState, Trial
from raycl.study.values import Study
from raycl.text import fraction, seconds

if TYPE_CHECKING:
    import pandas as pd

Frame: TypeAlias = Literal["runs", "trials", "tasks", "matrix", "curves"]
Record: TypeAlias = dict[str, Any]

NO_PANDAS = (
    "pandas is not installed: pip install pandas; report(study, format='csv') has the same numbers without it"
)


def frame(study: Study, agenda: Agenda, kind: Frame = "runs") -> pd.DataFrame:
    """Return results of a study as a data frame; accuracies are fractions, times are in seconds.

    Args:
        study: The study.
        agenda: Its agenda.
        kind: "runs" has a row per final run, "trials" one per trial of a search, "tasks" one per final run
            and task, "matrix" one per entry of the matrices of test accuracies, and "curves" one per point of
            the training curves of final runs, with tasks from 0. Fields that a search varies have a column
            each, such as ``fit.lr``.

    Raises:
        UserError: If pandas is not installed, or there is no such kind.
    """
    makers: dict[str, Callable[[Study, Agenda], Iterator[Record]]]
    makers = {"runs": _runs, "trials": _trials, "tasks": _tasks, "matrix": _entries, "curves": _points}
    if kind not in makers:
        raise UserError(f"frame: {kind!r} should be one of {', '.join(makers)}")
    return _framed(makers[kind](study, agenda))


def stored(store: Store) -> pd.DataFrame:
    """Return a row for each finished run of a store, whichever study it belongs to, with its settings.

    Settings are those that differ from the defaults. Runs that only prepare others, such as the backbone of a
    method, are left out.

    Raises:
        UserError: If pandas is not installed.
    """
    found = (store.get(key) for key in store.finished())
    return _framed(_of_run(result) for result in found if result is not None and _is_whole(result))


def _is_whole(result: Result) -> bool:
    return result.spec.kind == "sequence" and result.spec.part is None


def _of_run(result: Result) -> Record:
    spec, record = result.spec, dict[str, Any]()
    if result.status == "done":
        final = final_run(result)
        record = {"val_acc": result.acc("val"), **_numbers(final, ())}
    settings = {
        **{f"method.{name}": value for name, value in spec.config.items()},
        **{f"fit.{name}": value for name, value in spec.fit.items()},
    }
    place = {"benchmark": spec.benchmark, "method": spec.method, "network": spec.network, "order": spec.order}
    return {**place, "seed": spec.seed, "status": result.status, "key": result.key, **record, **settings}


def _framed(records: Iterable[Record]) -> pd.DataFrame:
    try:
        import pandas as pd  # Imported here, because it need not be installed.
    except ModuleNotFoundError:
        raise UserError(NO_PANDAS) from None
    return pd.DataFrame.from_records(list(records))


def _place(row: CellRow) -> Record:
    return {"benchmark": row.cell.benchmark, "method": row.cell.label, "order": row.cell.order}


def _numbers(final: FinalRun, own: tuple[Metric, ...]) -> Record:
    names = [*(metric.name for metric in all_metrics(own)), *FACTS, *TIMES, "cpu_share", "peak_bytes"]
    return {name: final.value(name) for name in names}


def _runs(study: Study, agenda: Agenda) -> Iterator[Record]:
    """Yield a record for each wanted final run, finished or not."""
    for row in collect(study, agenda):
        finals = {final.seed: final for final in row.finals}
        for seed in row.seeds:
            final = finals.get(seed)
            status = "done" if final else DIVERGED if seed in row.diverged else MISSING
            record = {**_place(row), "seed": seed, "status": status, "key": final.key if final else None}
            if final:
                record |= _numbers(final, tuple(study.metrics))
            yield record | dict(row.best or {})


def _trials(study: Study, agenda: Agenda) -> Iterator[Record]:
    """Yield a record for each finished trial, in the order of proposal."""
    for state in agenda.states:
        cell, best = state.cell, state.best
        for trial in state.trials:
            if trial.result is None:
                continue
            yield {
                "benchmark": cell.benchmark,
                "method": cell.label,
                "order": cell.order,
                "trial": trial.n,
                "status": trial.result.status,
                "key": trial.result.key,
                "objective": trial.objective(cell),
                "val_acc": trial.acc("val"),
                "acc": trial.acc("test"),
                "seconds": float(trial.result.provenance.get("seconds", 0.0)),
                "best": trial is best,
                **_several(state, trial),
                **trial.params,
            }


def _several(state: CellState, trial: Trial) -> Record:
    """Return each objective of a trial, and whether it is on the Pareto front, if there are several."""
    names = [f"objective.{each.name}" for each in state.cell.objectives]
    if len(names) < 2:
        return {}
    return dict(zip(names, trial.values(state.cell), strict=True)) | {
        "front": any(trial is member for member in state.front)
    }


def _tasks(study: Study, agenda: Agenda) -> Iterator[Record]:
    """Yield a record for each task of each final run, with the method's own numbers after it."""
    for row in collect(study, agenda):
        for final in row.finals:
            for t in range(len(final.a)):
                learnt = [value for value in final.a[t, : t + 1] if value == value]
                own = final.diagnostics[t] if t < len(final.diagnostics) else {}
                yield {
                    **_place(row),
                    "seed": final.seed,
                    "task": t,
                    "acc": final.a[t, t],
                    "acc_so_far": sum(learnt) / len(learnt) if len(learnt) == t + 1 else None,
                    "acc_end": final.a[-1, t],
                    "fwt_vs_one": None if final.transfer_task is None else float(final.transfer_task[t]),
                    "ct": final.ct_task[t],
                    **{f"own.{name}": v for name, v in own.items() if isinstance(v, bool | int | float)},
                }


def _entries(study: Study, agenda: Agenda) -> Iterator[Record]:
    """Yield a record for each measured entry of the matrices of final runs."""
    for row in collect(study, agenda):
        for final in row.finals:
            for learnt, accuracies in enumerate(final.a.tolist()):
                for tested, acc in enumerate(accuracies):
                    if acc == acc:
                        place = {**_place(row), "seed": final.seed, "learnt": learnt, "tested": tested}
                        yield place | {"acc": acc}


def _points(study: Study, agenda: Agenda) -> Iterator[Record]:
    """Yield a record for each point of the training curves of final runs."""
    for row in collect(study, agenda):
        for final in row.finals:
            whole = agenda.store.whole(final.key)
            for report in whole.reports if whole is not None else ():
                for account, columns in report.curves.items():
                    for place in range(len(columns["epoch"])):
                        yield {
                            **_place(row),
                            "seed": final.seed,
                            "task": report.task,
                            "fit": account,
                            **{name: values[place] for name, values in columns.items()},
                        }


def summary_html(study: Study, agenda: Agenda) -> str:
    """Return the main table of each benchmark as HTML, for the output of a notebook's cell."""
    found = sections(study, collect(study, agenda))
    return "\n".join(_table(study, section) for section in found)


def _table(study: Study, section: Section) -> str:
    main = [metric.name for metric in section.metrics if metric.main]
    header = ["method", *main, "ps", "time (s)", "runs"]
    lines = []
    for group in section.groups:
        ps = group.stat("ps").mean
        cells = [
            *(_shown(group.stat(name)) for name in main),
            "" if ps is None else fraction(ps),
            "" if (took := group.stat("ct").mean) is None else seconds(took),
            f"{len(group.finals)} of {group.wanted}",
        ]
        lines.append([group.label, *cells])
    rows = "".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in line) + "</tr>" for line in lines
    )
    heads = "".join(f"<th>{html.escape(name)}</th>" for name in header)
    caption = html.escape(table.title(study, section))
    return f"<table><caption>{caption}</caption><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"


def _shown(stat: Stat) -> str:
    if stat.mean is None:
        return ""
    return fraction(stat.mean) + (f" ± {fraction(stat.std)}" if stat.std is not None else "")


def _meant(found: Sequence[Section], benchmark: str | None) -> Section:
    """Return the section of a benchmark, by its printed name or by any way to write it; None is the first."""
    if benchmark is None:
        return found[0]
    for section in found:
        if benchmark in (section.name, section.named, section.benchmark):
            return section
    with contextlib.suppress(UserError):
        written = str(registry.recipe(benchmark))
        for section in found:
            if section.benchmark == written:
                return section
    known = ", ".join(section.named or section.benchmark for section in found)
    raise UserError(f"figures: {benchmark!r} should be one of {known}")


def figures(study: Study, agenda: Agenda, benchmark: str | None = None) -> dict[str, Figure]:
    """Return the figures of a report by name, as figures of matplotlib whose axes can be changed.

    Args:
        study: The study.
        agenda: Its agenda.
        benchmark: The benchmark, as tables print it or as the study writes it; None takes the first one.

    Raises:
        UserError: If the study does not have the benchmark.
    """
    rows = collect(study, agenda)
    found = sections(study, rows)
    section = _meant(found, benchmark)
    styles = plots.styles_of(list(dict.fromkeys(row.cell.label for row in rows)))
    drawers: dict[str, Callable[[], str]] = {
        "tradeoff": lambda: plots.tradeoff(section, styles, ""),
        "accuracy": lambda: plots.curves(section, styles, ""),
        "tasks": lambda: plots.by_task(section, styles, ""),
        "capacity": lambda: plots.capacity(section, styles, ""),
        "matrices": lambda: plots.heat_maps(section, ""),
        "search": lambda: plots.progress(section, styles, ""),
        "sensitivity": lambda: plots.sensitivity(section, styles, ""),
    }
    drawn: dict[str, Figure] = {}
    for name, draw in drawers.items():
        with kept_figures() as made:
            draw()
        drawn |= dict.fromkeys([name], made[-1]) if made else {}
    return drawn

"""Messages that several commands print."""

from __future__ import annotations

import contextlib
import importlib.abc
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from rich.console import Console
from rich.text import Text

from raycl.study.agenda import Agenda
from raycl.text import (
    COLUMNS,
    counted,
    one_line,
    printable,
    wrapped,
)

LINKS = 4  # benchmarks whose comparison is named after a study
NAME = 28  # width of a cell's name in columns


def say(console: Console, text: str) -> None:
    """Print a text literally, above a live table if there is one, without markup or control characters."""
    lines = (printable(line) for line in text.split("\n"))
    console.print(Text("\n".join(lines)), soft_wrap=True)


class _Announcer(importlib.abc.MetaPathFinder):
    """Finder of no module, which prints a line when torch is about to be loaded."""

    def __init__(self, console: Console) -> None:
        self._console, self._told = console, False

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> None:
        if fullname == "torch" and not self._told:
            self._told = True
            say(self._console, "raycl: loading torch")


@contextlib.contextmanager
def announcing(console: Console) -> Iterator[None]:
    """Print a line if torch is loaded inside, which takes seconds, and on a busy machine a minute.

    It is printed on a terminal only: elsewhere nobody waits for it, and errors stay alone.
    """
    if not console.is_terminal:
        yield
        return
    announcer = _Announcer(console)
    sys.meta_path.insert(0, announcer)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            sys.meta_path.remove(announcer)


def shown(path: Path | str) -> str:
    """Return a path as a reader types it, relative to the current or the home folder if it is below it."""
    path = Path(path)
    if not path.is_absolute():
        return str(path) if str(path).startswith(".") else f"./{path}"
    for base, mark in ((Path.cwd(), "."), (Path.home(), "~")):
        if path != base and path.is_relative_to(base):
            return f"{mark}/{path.relative_to(base)}"
    return str(path)


def closing_text(
    store_root: Path | str,
    page: Path | str | None = None,
    compare: Mapping[str, str] | None = None,
    again: str = "",
) -> str:
    """Return the lines that follow a study: where results, report and comparison are, and what is next.

    Args:
        store_root: Folder of the store.
        page: The report.
        compare: By benchmark, the address of the page on which MLflow compares its methods.
        again: What the same command would do, as `again_text` says it.
    """
    results, report = f"results    {shown(store_root)}", f"report     {shown(page)}" if page else ""
    in_one = f"{results:<40}  {report.replace('report     ', 'report  ')}"
    lines = [in_one.rstrip()] if len(in_one) <= COLUMNS else [results, report]
    compare = compare or {}
    named = len(compare) > 1
    for name, link in [*compare.items()][:LINKS]:
        lines.append(f"compare    {f'{one_line(name)}  ' if named else ''}{link}   (raycl ui)")
    if len(compare) > LINKS:
        lines.append(f"           raycl ui lists the other {len(compare) - LINKS} benchmarks")
    lines += [f"again      {again}"] if again else []
    return "\n".join(line for line in lines if line)


def again_text(agenda: Agenda, fresh: bool = False) -> str:
    """Return what the command that has just ended would do if it were repeated.

    Args:
        agenda: The agenda, after the command.
        fresh: Whether the command had ``--fresh``.
    """
    if fresh:
        return "the same command computes all runs again; without --fresh it keeps them"
    failed = sum(state.missing for state in agenda.states if state.failed)
    blocked = any(state.cell.blocked and not state.complete for state in agenda.states)
    begin = f"the same command tries {counted(failed, 'missing run')} again" if failed else ""
    if blocked:
        begin = begin or "the same command computes nothing until the blocked cells have what they need"
        return f"{begin}; raycl plan shows what is blocked"
    if failed:
        return f"{begin}; raycl plan shows which"
    return "the same command computes nothing; raycl report shows the results again"


def interrupted_text(agenda: Agenda, cut_off: int, command: str) -> str:
    """Return what was done before Ctrl-C, and the command that resumes the study."""
    done, runs = sum(s.done for s in agenda.states), sum(s.total for s in agenda.states)
    text = f"stopped: {done} of {counted(runs, 'run')} {'is' if runs == 1 else 'are'} done"
    if cut_off:
        text += f", {cut_off} {'was' if cut_off == 1 else 'were'} cut off after "
        text += "its last finished task" if cut_off == 1 else "their last finished task"
    return "\n".join([*wrapped(f"{text}."), f"resume with:  {command}"])

"""Lines that several commands print."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.text import Text

from raycl.study.agenda import Agenda
from raycl.text import (
    COLUMNS,
    counted,
    printable,
    wrapped,
)

NAME = 28  # columns of a cell's name


def say(console: Console, text: str) -> None:
    """Print a text as it stands, above a live table too: no markup, no emoji, no control characters."""
    lines = (printable(line) for line in text.split("\n"))
    console.print(Text("\n".join(lines)), soft_wrap=True)


def shown(path: Path | str) -> str:
    """A path as a reader types it: from here, or from home, where that is shorter."""
    path = Path(path)
    if not path.is_absolute():
        return str(path) if str(path).startswith(".") else f"./{path}"
    for base, mark in ((Path.cwd(), "."), (Path.home(), "~")):
        if path != base and path.is_relative_to(base):
            return f"{mark}/{path.relative_to(base)}"
    return str(path)


def closing_text(store_root: Path | str, page: Path | str | None = None, compare: str = "") -> str:
    """At most four lines after a study: where results, report and comparison are, and what comes next."""
    results, report = f"results    {shown(store_root)}", f"report     {shown(page)}" if page else ""
    beside = f"{results:<40}  {report.replace('report     ', 'report  ')}"
    lines = [beside.rstrip()] if len(beside) <= COLUMNS else [results, report]
    if compare:
        lines.append(f"compare    {compare}   (raycl ui)")
    lines.append("again      the same command computes nothing; raycl plan says what is missing")
    return "\n".join(line for line in lines if line)


def interrupted_text(agenda: Agenda, cut_off: int, command: str) -> str:
    """What Ctrl-C left, and how to go on."""
    done, runs = sum(s.done for s in agenda.states), sum(s.total for s in agenda.states)
    text = f"stopped: {done} of {counted(runs, 'run')} {'is' if runs == 1 else 'are'} done"
    if cut_off:
        text += f", {cut_off} {'was' if cut_off == 1 else 'were'} cut off after "
        text += "its last finished task" if cut_off == 1 else "their last finished task"
    return "\n".join([*wrapped(f"{text}."), f"go on with:  {command}"])

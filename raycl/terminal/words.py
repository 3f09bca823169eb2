"""Messages that several commands print."""

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

NAME = 28  # width of a cell's name in columns


def say(console: Console, text: str) -> None:
    """Print a text literally, above a live table if there is one, without markup or control characters."""
    lines = (printable(line) for line in text.split("\n"))
    console.print(Text("\n".join(lines)), soft_wrap=True)


def shown(path: Path | str) -> str:
    """Return a path as a reader types it, relative to the current or the home folder if it is below it."""
    path = Path(path)
    if not path.is_absolute():
        return str(path) if str(path).startswith(".") else f"./{path}"
    for base, mark in ((Path.cwd(), "."), (Path.home(), "~")):
        if path != base and path.is_relative_to(base):
            return f"{mark}/{path.relative_to(base)}"
    return str(path)


def closing_text(store_root: Path | str, page: Path | str | None = None, compare: str = "") -> str:
    """Return the lines that follow a study: where results, report and comparison are, and what is next."""
    results, report = f"results    {shown(store_root)}", f"report     {shown(page)}" if page else ""
    in_one = f"{results:<40}  {report.replace('report     ', 'report  ')}"
    lines = [in_one.rstrip()] if len(in_one) <= COLUMNS else [results, report]
    if compare:
        lines.append(f"compare    {compare}   (raycl ui)")
    lines.append("again      the same command computes nothing; raycl plan shows what is missing")
    return "\n".join(line for line in lines if line)


def interrupted_text(agenda: Agenda, cut_off: int, command: str) -> str:
    """Return what was done before Ctrl-C, and the command that resumes the study."""
    done, runs = sum(s.done for s in agenda.states), sum(s.total for s in agenda.states)
    text = f"stopped: {done} of {counted(runs, 'run')} {'is' if runs == 1 else 'are'} done"
    if cut_off:
        text += f", {cut_off} {'was' if cut_off == 1 else 'were'} cut off after "
        text += "its last finished task" if cut_off == 1 else "their last finished task"
    return "\n".join([*wrapped(f"{text}."), f"resume with:  {command}"])

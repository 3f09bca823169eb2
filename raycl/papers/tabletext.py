"""The papers' tables as text: cells, captions and notes, and a layout of at most 80 columns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from raycl import texttable, units
from raycl.papers.cells import SUBSET, SUBSTITUTE, Entry, FilledTable, fill_table
from raycl.papers.judging import ENOUGH
from raycl.papers.tables import PaperTable
from raycl.results.collect import searched_on
from raycl.results.rows import Section
from raycl.study.cells import Kinds
from raycl.study.values import Study
from raycl.text import ABSENT, COLUMNS, clipped, counted, width_of, wrapped

WIDEST = 26  # Longer names of columns are shortened.
LEAST = 16  # Names of rows keep at least this width where that leaves room for a second column.

GAP = 3  # Spaces between columns.
BEYOND = "*"


class Texts(NamedTuple):
    """The texts of a cell; a text is empty where there is nothing to write.

    Attributes:
        ours: Our mean, or the status that says why there is none.
        std: Our standard deviation.
        paper: The printed number, or the word that says why it cannot be compared with ours.
        paper_std: The printed standard deviation.
        difference: Our mean minus the printed number.
        mark: `BEYOND` where the difference is more than its uncertainty.
    """

    ours: str
    std: str
    paper: str
    paper_std: str
    difference: str
    mark: str


class Deviation(NamedTuple):
    """A deviation of some methods from their publications.

    Attributes:
        number: The number by which the rows of these methods refer to the deviation.
        who: The labels of these methods in the first table that has them. Later tables may have several rows
            for one method, such as one for each moment or layer.
        text: The deviation in words.
        labels: The labels of these methods in all tables.
    """

    number: int
    who: tuple[str, ...]
    text: str
    labels: tuple[str, ...]

    @property
    def line(self) -> str:
        """The text after the first few names; all methods concerned show the number in their tables."""
        more = len(self.who) - 2
        named = ", ".join(self.who) if more < 2 else f"{', '.join(self.who[:2])} and {more} more"
        return f"{named}: {self.text}"


def tables_of(study: Study, sections: Sequence[Section]) -> list[FilledTable]:
    """Return the tables of a study, filled with numbers."""
    return [fill_table(table, study, sections) for table in study.tables if isinstance(table, PaperTable)]


def texts(entry: Entry) -> Texts:
    """Write the numbers of a cell."""
    unit, stat, printed = entry.unit, entry.ours, entry.printed
    sign = entry.signed
    mean = stat.mean
    given = units.decimals_of(printed.last_digit, unit) if printed else 0
    places = max(units.decimals(mean or 0.0, unit), given)
    shown = [entry.status, ""]
    if mean is not None:
        exact = stat.std == 0 and unit == "count"
        std = None if exact else stat.std
        shown = [
            units.format_number(mean, unit, places, sign),
            "" if std is None else units.format_number(std, unit, places),
        ]
    paper = [entry.word, ""]
    if printed is not None:
        paper = [
            units.format_number(printed.value, unit, given, sign),
            "" if printed.std is None else units.format_number(printed.std, unit, given),
        ]
    difference = entry.difference
    apart = "" if difference is None else units.format_number(difference, unit, places, sign=True)
    return Texts(shown[0], shown[1], paper[0], paper[1], apart, BEYOND if entry.beyond else "")


def whole_word(cells: Sequence[Texts]) -> str:
    """Return `SUBSET` or `SUBSTITUTE` if it replaces every printed number of these cells, else ""."""
    words = {cell.paper for cell in cells}
    return words.pop() if len(words) == 1 and words <= {SUBSET, SUBSTITUTE} else ""


def title(found: FilledTable) -> str:
    """Return the title of a table, with the unit if all numbers have the same unit."""
    used = list(dict.fromkeys(entry.unit for entry in found.all))
    return f"{found.table.title} ({used[0]})" if len(used) == 1 else found.table.title


def caption(study: Study, found: FilledTable) -> list[str]:
    """Return lines that explain the numbers of a table."""
    have = [entry for entry in found.all if entry.values]
    lines = []
    if have:
        low, high = min(len(e.values) for e in have), max(len(e.values) for e in have)
        noun = "order" if found.orders else "seed"
        number = counted(high, noun) if low == high else f"{low} to {high} {noun}s"
        spread = "one value each, no spread" if high == 1 else f"mean and standard deviation over {number}"
        lines.append(f"{spread}; {searched_on(study)}")
    compared = [entry for entry in found.all if entry.printed]
    of = f"Table {found.table.table} of {study.paper}"
    if compared:
        lines.append(
            f"paper: as printed ({of.replace('Table', 'Tables') if len(found.table.tables) > 1 else of})"
        )
        lines += _about_differences(found, [entry for entry in compared if entry.difference is not None])
        if any(entry.timed for entry in compared):
            lines.append("no differences of times, which were measured on other machines than the paper's")
    elif found.lost:
        lines.append(f"no printed number of {of} is known")
    return lines


def _about_differences(found: FilledTable, apart: Sequence[Entry]) -> list[str]:
    if not apart:
        return []
    text = "diff: ours - paper"
    if all(entry.half_width is None for entry in apart):
        return [f"{text}; the uncertainty of a single value is unknown, so that it gives no {BEYOND}"]
    text += (
        f"; {BEYOND} marks a difference larger than the half-width of its 95 % confidence interval "
        "(Student's t) and than the printed number's rounding"
    )
    printed = [entry.printed.std is not None for entry in apart if entry.printed]
    runs = counted(found.table.paper_seeds, "run")
    if all(printed):
        text += f"; the paper's deviations are assumed to be over {runs}"
    elif any(printed):
        text += f"; the paper's deviations are assumed to be over {runs}, or 0 where none is printed"
    else:
        text += "; the interval is of ours alone, because the paper prints no deviations here"
    few = any(len(entry.values) < ENOUGH for entry in apart)
    return [text + (f"; fewer than {ENOUGH} values give no {BEYOND}" if few else "")]


def notes(found: FilledTable) -> list[str]:
    """Return the notes of a table.

    They report choices among cells, gaps, incomplete data and substituted data; the table's own come last.
    """
    by_text: dict[str, list[tuple[str, str]]] = {}
    for place, entry in found.entries.items():
        if entry.reason:
            text = f"{entry.status}: {entry.reason}" if entry.status else entry.reason
            by_text.setdefault(text, []).append(place)
    lines = [f"{_where(found, places)}: {text}" for text, places in by_text.items()]
    for reason in dict.fromkeys(found.subsets.values()):
        labels = [label for label, text in found.subsets.items() if text == reason]
        lines.append(f"{', '.join(labels)}: subset: {reason}; cannot be compared with printed numbers")
    for text in dict.fromkeys(found.held.values()):
        labels = [label for label, held in found.held.items() if held == text]
        whole = len(labels) == len(found.table.columns)
        lines.append(text if whole else f"{', '.join(labels)}: {text}")
    substitutes = [entry for entry in found.all if entry.word == SUBSTITUTE]
    if substitutes:
        used = {entry.column: entry.benchmark for entry in substitutes if not entry.mean}
        named = [f"{label}: {text}" for label, text in used.items() if text != label]
        lines.append("substitute: other data than the paper's" + (f" ({', '.join(named)})" if named else ""))
    return [*lines, *found.table.notes]


def _where(found: FilledTable, places: Iterable[tuple[str, str]]) -> str:
    """Return the names of whole columns and whole rows, and the remaining cells one by one."""
    left = set(places)
    silent = {place for place, entry in found.entries.items() if not entry.values and not entry.reason}
    words = []
    own = [place for place, entry in found.entries.items() if not entry.mean]
    for axis, labels in ((1, found.columns), (0, found.rows)):
        for label in labels:
            line = {place for place in own if place[axis] == label} - silent
            if len(line) > 1 and line <= left:
                words.append(label)
                left -= line
    words += [f"{row} on {column}" for row, column in found.entries if (row, column) in left]
    return ", ".join(words)


def deviations(tables: Sequence[FilledTable], shown: Mapping[str, Kinds] | None = None) -> list[Deviation]:
    """Return the deviations of all methods in the tables, numbered in the order of their occurrence.

    Args:
        tables: The tables.
        shown: Methods that a report shows elsewhere, by name; their deviations follow those of the tables.
    """
    labels: dict[str, list[list[str]]] = {}  # Labels by text of the deviation, then by table.
    for found in tables:
        here: dict[str, list[str]] = {}
        for label, method in found.methods.items():
            for text in method.deviations:
                here.setdefault(text, []).append(label)
        for text, mine in here.items():
            labels.setdefault(text, []).append(mine)
    more: dict[str, list[str]] = {}
    for name, method in (shown or {}).items():
        for text in method.deviations:
            if text not in labels:
                more.setdefault(text, []).append(name)
    labels |= {text: [names] for text, names in more.items()}
    return [
        Deviation(
            n, tuple(first), text, tuple(dict.fromkeys([*first, *(each for more in rest for each in more)]))
        )
        for n, (text, (first, *rest)) in enumerate(labels.items(), start=1)
    ]


def marks(label: str, known: Sequence[Deviation]) -> str:
    """Return the numbers of the deviations of a row or column, such as ``1-3,7``, or ""."""
    runs: list[list[int]] = []
    for number in [deviation.number for deviation in known if label in deviation.labels]:
        if runs and runs[-1][-1] == number - 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ",".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


# Text


def deviation_lines(known: Sequence[Deviation]) -> list[str]:
    """Return the lines under all tables of a report that list the deviations."""
    if not known:
        return []
    lines = ["not as published:"]
    for deviation in known:
        lines += wrapped(f"[{deviation.number}] {deviation.line}", "    ")
    return lines


def lines(study: Study, found: FilledTable, known: Sequence[Deviation]) -> list[str]:
    """Return the title, the table in blocks of columns that fit, its caption and its notes."""
    cells = {place: texts(entry) for place, entry in found.entries.items()}
    numbered = {
        label: f" [{text}]" for label in (*found.rows, *found.columns) if (text := marks(label, known))
    }
    subheaders = any(cell.paper for cell in cells.values())
    shown = clipped(found.columns, WIDEST)
    columns = [
        _column(label + numbered.get(name, ""), [cells[row, name] for row in found.rows], subheaders)
        for label, name in zip(shown, found.columns, strict=True)
    ]
    tail = max(len(numbered.get(row, "")) for row in found.rows)
    widest = GAP + max(width_of(column[0]) for column in columns)
    room = max(LEAST, COLUMNS - 2 * widest - tail)  # Shortened names are better than a single column.
    short = clipped(found.rows, max(8, min(room, COLUMNS - widest - tail)))
    rows = [label + numbered.get(name, "") for label, name in zip(short, found.rows, strict=True)]
    head = ["" if found.table.transpose else "method", *([""] if subheaders else [])]
    out = wrapped(title(found))
    for n, block in enumerate(_blocks([*head, *rows], columns)):
        out += ([""] if n else []) + block
    pairs = [*zip(short, found.rows, strict=True), *zip(shown, found.columns, strict=True)]
    spelled = [f"{a} = {b}" for a, b in pairs if a != b]
    for line in [*caption(study, found), *notes(found), *spelled]:
        out += wrapped(line)
    return out


def _column(label: str, cells: Sequence[Texts], subheaders: bool) -> list[str]:
    """Return a column under its label, with all lines of equal width.

    Args:
        label: The label of the column.
        cells: The texts of its cells.
        subheaders: Whether to add a line of subheaders ("ours", "paper", "diff"). A word that replaces every
            printed number of the column is written there once.
    """
    head = whole_word(cells) or "ours"
    parts = [_aligned(head, [(cell.ours, cell.std) for cell in cells])]
    if head == "ours" and any(cell.paper for cell in cells):
        parts.append(_aligned("paper", [(cell.paper or ABSENT, cell.paper_std) for cell in cells]))
    if any(cell.difference for cell in cells):
        parts.append(_aligned("diff", [(cell.difference or ABSENT, cell.mark) for cell in cells], gap=0))
    body = texttable.grid(zip(*parts, strict=True), [texttable.Column()] * len(parts))[
        0 if subheaders else 1 :
    ]
    return texttable.grid([[text] for text in [label, *body]], [texttable.Column()])


def _aligned(header: str, cells: Sequence[tuple[str, str]], gap: int = 1) -> list[str]:
    """Align numbers to the right and their deviations next to them; a word takes the place of both."""
    marked = [(value, std if value == ABSENT or _has_digit(value) else None) for value, std in cells]
    return [header, *texttable.pairs(marked, gap)]


def _has_digit(text: str) -> bool:
    return any(letter.isdigit() for letter in text)


def _blocks(first: Sequence[str], columns: Sequence[Sequence[str]]) -> list[list[str]]:
    """Arrange columns side by side as long as they fit, and the remaining ones in blocks below."""
    names = max(map(width_of, first))
    blocks: list[list[Sequence[str]]] = [[]]
    width = names
    for column in columns:
        width += GAP + width_of(column[0])
        if width > COLUMNS and blocks[-1]:
            blocks.append([])
            width = names + GAP + width_of(column[0])
        blocks[-1].append(column)
    return [
        texttable.lines(zip(first, *block, strict=True), texttable.names_and_numbers(1 + len(block), GAP))
        for block in blocks
    ]

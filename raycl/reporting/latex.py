r"""All tables of a study as LaTeX for ``\input``; they need the packages booktabs and xcolor (grey text)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

from raycl.papers import tabletext
from raycl.papers.cells import FilledTable
from raycl.reporting import table
from raycl.reporting.view import methods_shown
from raycl.results.collect import collect, sections
from raycl.results.rows import Section
from raycl.study.agenda import Agenda
from raycl.study.values import Sheet, Study
from raycl.text import ABSENT, one_line

WIDE = 5  # At most this many columns of numbers are side by side; further ones get a table of their own.
HEAD = "% \\usepackage{booktabs}\n% \\usepackage{xcolor}"

_ESCAPED = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
    "`": r"\textasciigrave{}",  # LaTeX turns a ? or ! before it upside down.
    **{letter: f"{{{letter}}}" for letter in "[]*"},  # A preceding \\\\ would take these as its argument.
    **{letter: f"\\{letter}" for letter in "&%$#_{}"},
}


def latex_text(study: Study, agenda: Agenda) -> str:
    """Return the sheets, the paper's tables and the deviations of the methods from their publications.

    For a study without tables of a paper, return one table per benchmark instead.
    """
    rows = collect(study, agenda)
    found = sections(study, rows)
    papers = tabletext.tables_of(study, found)
    known = tabletext.deviations(papers, methods_shown(study, rows))
    parts = [_sheet(sheet) for sheet in study.written_sheets]
    parts += [_paper(study, paper, known) for paper in papers]
    parts += [_deviations(known)] if known else []
    if not papers:
        parts += [_section(study, section) for section in found]
    return "\n\n".join([HEAD, *parts]) + "\n"


def escaped(text: str) -> str:
    """Escape a string so that LaTeX prints it literally."""
    found = "".join(_ESCAPED.get(letter, letter) for letter in one_line(text))
    return found.replace("--", "-{}-")  # LaTeX would set two hyphens as one dash.


def _paper(study: Study, found: FilledTable, known: Sequence[tabletext.Deviation]) -> str:
    """Return a paper's table; below our number, each row has the printed one and the difference in grey."""
    corner = "" if found.table.transpose else "method"
    bodies = []
    for start in range(0, len(found.columns), WIDE):
        some = found.columns[start : start + WIDE]
        cells = {place: tabletext.texts(entry) for place, entry in found.entries.items() if place[1] in some}
        words = {column: tabletext.whole_word([cells[row, column] for row in found.rows]) for column in some}
        head = [[corner, *(escaped(column) + _mark(column, known) for column in some)]]
        if any(words.values()):
            head.append(["", *(_grey(words[column]) for column in some)])
        rows = []
        for row in found.rows:
            line = [cells[row, column] for column in some]
            rows.append([escaped(row) + _mark(row, known), *map(_ours, line)])
            below = ["" if words[column] else _theirs(cell) for column, cell in zip(some, line, strict=True)]
            rows += [["", *below]] if any(below) else []
        bodies.append(_tabular("l" * (1 + len(some)), head, rows))
    note = ["the paper's number and the difference are grey"] if any(e.printed for e in found.all) else []
    about = "; ".join([*note, *tabletext.caption(study, found)])
    caption = _title(study, found) + (f": {about}" if about else "")
    *early, last = bodies
    parts = [_float(caption if not n else "", body, ()) for n, body in enumerate(early)]
    return "\n\n".join([*parts, _float("" if early else caption, last, tabletext.notes(found))])


def _title(study: Study, found: FilledTable) -> str:
    """Return the title without a number, such as ``accuracy (fraction), as in Table 2 of spg``.

    The number moves to the end because LaTeX numbers tables itself.
    """
    number, colon, rest = tabletext.title(found).partition(": ")
    if not (colon and number.startswith("Table")):
        return tabletext.title(found)
    return f"{rest}, as in {number}" + (f" of {study.paper}" if study.paper else "")


def _ours(cell: tabletext.Texts) -> str:
    if not cell.std:
        return _number(cell.ours)
    return f"{_number(cell.ours)} {{\\scriptsize $\\pm$ {_number(cell.std)}}}"


def _theirs(cell: tabletext.Texts) -> str:
    """Return the printed number or the word that replaces it, and the difference.

    The difference is bold where it is more than its uncertainty.
    """
    if not cell.paper:
        return ""
    std = f" $\\pm$ {_number(cell.paper_std)}" if cell.paper_std else ""
    text = f"({_number(cell.paper)}{std})"
    if cell.difference:
        apart = _number(cell.difference)
        bold = f"\\textcolor{{black}}{{\\textbf{{\\boldmath {apart}}}{cell.mark}}}"
        text += f" {bold}" if cell.mark else f" {apart}"
    return _grey(text)


def _number(text: str) -> str:
    """Write a number in math mode, so that its sign is a minus and not a hyphen; words stay as they are."""
    return f"${text.replace(',', '{,}')}$" if any(letter.isdigit() for letter in text) else escaped(text)


def _grey(text: str) -> str:
    return f"{{\\scriptsize\\color{{gray}}{text}}}" if text else ""


def _mark(label: str, known: Sequence[tabletext.Deviation]) -> str:
    text = tabletext.marks(label, known)
    return f"\\textsuperscript{{{text}}}" if text else ""


def _deviations(known: Sequence[tabletext.Deviation]) -> str:
    """Return the explanations of the superscript numbers, which are printed below all tables."""
    lines = [f"\\textsuperscript{{{deviation.number}}} {escaped(deviation.line)}\\par" for deviation in known]
    return "\n".join(
        [
            "\\begin{flushleft}\\footnotesize",
            "Deviations of the methods from their publications:\\par",
            *lines,
            "\\end{flushleft}",
        ]
    )


def _section(study: Study, section: Section) -> str:
    """Return the table of a benchmark with the content of the text report."""
    caption = f"{table.title(study, section)}. {'; '.join(table.caption(section))}"
    blocks = [table.number_columns(section), table.own_columns(section)]
    bodies = [_columns(section, columns) for columns in blocks if columns]
    captions, notes = [caption, *[""] * (len(bodies) - 1)], [*[()] * (len(bodies) - 1), table.notes(section)]
    labels = [f"tab:{label_of(study.name)}-{label_of(section.name)}", *[""] * (len(bodies) - 1)]
    return "\n\n".join(map(_float, captions, bodies, notes, labels))


def label_of(name: str) -> str:
    """Return a name as a part of a label; a digest is added if letters are lost that tell names apart."""
    words = re.findall(r"[a-z0-9]+", name.lower())
    if re.fullmatch(r"[a-z0-9_ -]+", name):
        return "-".join(words)
    return "-".join([*words, hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:4]])


def _columns(section: Section, columns: Sequence[table.Column]) -> str:
    stars = [" *" if mark else "" for mark in table.marked(section)]
    rows = [
        [escaped(group.label + star), *(_pair(*column.cells[n]) for column in columns)]
        for n, (group, star) in enumerate(zip(section.groups, stars, strict=True))
    ]
    head = [["method", *(escaped(column.header) for column in columns)]]
    return _tabular("l" + "r" * len(columns), head, rows)


def _pair(value: str, std: str) -> str:
    first = escaped(value) if value == ABSENT or value[-1:].isalpha() else _number(value)
    return f"{first} {{\\scriptsize $\\pm$ {_number(std)}}}" if std else first


def _sheet(sheet: Sheet) -> str:
    rows = [[escaped(text) for text in row] for row in sheet.rows]
    body = _tabular("l" + "r" * (len(sheet.header) - 1), [[escaped(text) for text in sheet.header]], rows)
    return _float(sheet.title, body, sheet.notes)


def _tabular(kinds: str, head: Sequence[Sequence[str]], rows: Sequence[Sequence[str]]) -> str:
    def lines(some: Sequence[Sequence[str]]) -> list[str]:
        return [" & ".join(row) + " \\\\" for row in some]

    return "\n".join(
        [
            f"\\begin{{tabular}}{{{kinds}}}",
            "\\toprule",
            *lines(head),
            "\\midrule",
            *lines(rows),
            "\\bottomrule",
            "\\end{tabular}",
        ]
    )


def _float(caption: str, body: str, notes: Sequence[str], label: str = "") -> str:
    """Return a table with its caption above and its notes below.

    A table without a caption continues the previous table. A label is what ``\\ref`` takes.
    """
    below = [f"{escaped(note)}\\par" for note in notes]
    foot = ["\\begin{flushleft}\\footnotesize", *below, "\\end{flushleft}"] if below else []
    named = f"\\caption{{{escaped(caption)}}}" if caption else "\\addtocounter{table}{-1}\\caption{continued}"
    named += f"\\label{{{label}}}" if label else ""
    start = ["\\begin{table}[tbp]", "\\centering\\small\\setlength{\\tabcolsep}{3pt}", named]
    return "\n".join([*start, "\\par\\smallskip", body, *foot, "\\end{table}"])

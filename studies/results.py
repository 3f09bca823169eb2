"""The pages of docs/results: what the small forms of each paper's studies came to, from a store.

    python -m studies.results [--run] [--store DIR] [--out DIR] [PAPER ...]

With --run, missing runs are executed first; without it, the pages say what is missing. Each page is made of
the reports of the paper's studies, and their csv and figures are in a folder beside it. The only text that is
written by hand is the paragraph in studies/<paper>/results.md.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import io
import lzma
import re
import subprocess
import sys
import tarfile
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from raycl import userfiles
from raycl.papers.findings import SUBSTITUTE, Verdict
from raycl.papers.judging import GRAVEST, NO_VERDICT, NOT_RUN
from raycl.papers.verdicts import verdicts
from raycl.reporting import render
from raycl.reporting.markdown import Page, claims_table, escaped, markdown_page
from raycl.results.collect import collect
from raycl.runs.store import Store
from raycl.study.agenda import Agenda
from raycl.study.expand import cells_of
from raycl.study.file import read_study
from raycl.study.values import Search, Study
from raycl.wholefiles import publish

HERE = Path(__file__).parent
TITLES = {
    "spg": "SPG: Continual Learning with Soft-Masking of Parameter-Level Gradient Flow",
    "prm": "PRM: Partially Relaxed Masks for Lightweight Knowledge Transfer without Forgetting",
    "impresslearn": "ImpressLearn: Continual Learning via Combined Task Impressions",
    "pmask": "PMASK: Continual Learning with Hard Attention Parameter Masking",
    "ksm": "KSM: Fast Multiple Task Adaption via Kernel-wise Soft Mask Learning",
}
STUDIES = {
    "spg": ("table_01", "table_02", "table_06", "table_10", "table_12", "table_13", "table_14", "subsets"),
    "prm": ("table_01", "table_02", "table_03", "table_04", "table_05"),
    "impresslearn": (
        *("fig_02", "fig_03", "fig_04", "fig_05", "fig_06", "fig_07", "fig_08", "fig_09", "fig_10"),
        *("table_02", "table_03", "gn", "overlap", "mask_values", "drift", "scaling", "all_data"),
    ),
    "pmask": ("table_01", "table_02", "table_01_digits", "monitoring", "sensitivity"),
    "ksm": ("table_01", "table_02", "table_03", "table_04"),
}
"""The studies of each paper in the order of its page; their small forms are run and shown."""

PICTURES = {"pmask": ("fig_05",)}
"""Programs that draw a picture of one run, which they train themselves; they stand at the end of the page."""

RUNS = "runs.tar.xz"
PACKED = """The runs behind this page, without training curves, are in [{file}]({paper}/{file}). To make the
page or a report again, unpack them: `mkdir -p results && tar xf docs/results/{paper}/{file} -C results`."""
VERDICTS = "## Verdicts on the paper's claims"
INTRODUCTION = """`make results` runs the small form of each study of the five papers and writes these pages.
A small form has narrower networks, fewer epochs and trials, and mostly fewer seeds than the paper, and digits
or subsets where the paper's data may not be shipped. It shows that each table and figure comes out of its
runs, and in which direction it points. It does not reproduce the paper's numbers: that takes the full form of
the same study and the paper's data. [How to read a verdict](../papers.md)."""


def study_file(paper: str, name: str) -> Path:
    """Return the file of a study, relative to the repository, as commands name it."""
    return Path(HERE.name) / paper / f"{name}.py"


def run(paper: str, store: Path) -> None:
    """Execute the missing runs of a paper's small studies; a failed command ends the program."""
    for name in STUDIES[paper]:
        command = [*_command(study_file(paper, name)), "--store", str(store)]
        subprocess.run([sys.executable, "-m", *command], check=True, cwd=HERE.parent)


def page(paper: str, store: Store, out: Path) -> list[Verdict]:
    """Write the page of a paper and the csv files and figures of its studies; return its verdicts.

    If the store has no finished run of the paper, nothing is written, and there are no verdicts.
    """
    parts, figures, judged, written, done = [], {}, [], [], 0
    for name in STUDIES[paper]:
        file = study_file(paper, name)
        study = read_study(HERE.parent / file, small=True)
        with userfiles.importing_from(study.folder):
            agenda = Agenda(cells_of(study), store)
            made = markdown_page(study, agenda, " ".join(_command(file)), folder=paper, level=2, claims=False)
            rows = collect(study, agenda)
            judged += verdicts(study, rows)
            done += sum(row.done for row in rows)
        parts += [_with_description(made.text, file), _csv_links(study, paper)]
        figures |= made.figures
        written.append((study, agenda))
    if not done:
        return []
    for study, agenda in written:
        _write_csv(study, agenda, out / paper)
    _pack([agenda for _, agenda in written], store, out / paper / RUNS)
    chosen = closest(judged)
    head = [
        f"# {TITLES[paper]}",
        f"<!-- Made by `make results`. The paragraph below is in {HERE.name}/{paper}/results.md. -->",
        (HERE / paper / "results.md").read_text(encoding="utf-8").strip(),
        PACKED.format(paper=paper, file=RUNS),
        VERDICTS,
        claims_table(chosen, most_complete([v for v in judged if all(v is not one for one in chosen)])),
    ]
    parts += pictures(paper, out)
    whole = Page("\n\n".join([*head, *parts]).rstrip() + "\n", figures)
    publish(out / f"{paper}.md", whole.text)
    for name, svg in whole.figures.items():
        publish(out / name, svg)
    return chosen


def pictures(paper: str, out: Path) -> list[str]:
    """Draw the pictures of a paper into its folder, and return the parts of the page that show them."""
    parts = []
    for name in PICTURES.get(paper, ()):
        module = f"{HERE.name}.{paper}.{name}"
        file = out / paper / f"{name}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        importlib.import_module(module).draw(str(file))
        heading = f"## {escaped(f'{paper}_{name}')}\n\n```sh\npython -m {module} {name}.png\n```"
        parts.append(_with_description(heading, study_file(paper, name)))
        parts.append(f"![{escaped(name)}]({paper}/{file.name})")
    return parts


def index(out: Path) -> None:
    """Write the page that links to the papers' pages and counts the verdicts that stand on them.

    The pages are read, because each may be made from a store of its own.
    """
    found = {paper: said(out / f"{paper}.md") for paper in STUDIES}
    words = list(dict.fromkeys(word for there in found.values() for word in there))
    words.sort(key=lambda word: GRAVEST.index(word.removesuffix(" so far")), reverse=True)
    lines = ["| paper | claims | " + " | ".join(words) + " |", "| :-- |" + " --: |" * (1 + len(words))]
    for paper, there in found.items():
        if not there:
            lines.append(f"| {TITLES[paper]} | not run yet |{' |' * len(words)}")
            continue
        counts = Counter(there)
        numbers = [len(there), *(counts[word] for word in words)]
        lines.append(f"| [{TITLES[paper]}]({paper}.md) | {' | '.join(map(str, numbers))} |")
    text = "\n\n".join(["# Results", INTRODUCTION, "\n".join(lines)])
    publish(out / "README.md", text + "\n")


def said(page: Path) -> list[str]:
    """Return the verdicts in the table of claims of a paper's page; [] if there is no such page."""
    if not page.exists():
        return []
    table = page.read_text(encoding="utf-8").partition(VERDICTS)[2].partition("\n## ")[0]
    return re.findall(r"^\|[^|]*\| \*\*([^*]+)\*\*", table.replace(r"\|", ""), re.MULTILINE)


def closest(judged: Sequence[Verdict]) -> list[Verdict]:
    """Return one verdict for each claim, in the order of the claims: of the study closest to the paper.

    It is the study that compared most on the paper's own data, or on subsets of them; of equals, the one that
    has most of the claim, with substitutes.
    """
    return _best(judged, lambda verdict: (_on_own_data(verdict), *_told(verdict)))


def most_complete(judged: Sequence[Verdict]) -> list[Verdict]:
    """Return one verdict for each claim, in the order of the claims: of the study that has most of it.

    If no study has any of it, the one counts that says more than which benchmark it lacks.
    """
    return _best(judged, _told)


def _best(judged: Sequence[Verdict], rank: Callable[[Verdict], tuple[Any, ...]]) -> list[Verdict]:
    best: dict[str, Verdict] = {}
    for verdict in judged:
        known = best.get(verdict.claim.id)
        if known is None or rank(verdict) > rank(known):
            best[verdict.claim.id] = verdict
    return [best[name] for name in sorted(best)]


def _told(verdict: Verdict) -> tuple[int, bool]:
    return verdict.compared, any(finding.informative for finding in verdict.findings)


def _on_own_data(verdict: Verdict) -> int:
    """Return how many comparisons were judged, and on no substitute of the paper's data."""
    return sum(
        finding.compared
        for finding in verdict.findings
        if finding.word not in (NOT_RUN, NO_VERDICT) and SUBSTITUTE not in finding.other_data
    )


def _command(file: Path) -> list[str]:
    return ["raycl", "run", str(file), "--small"]


def _with_description(text: str, file: Path) -> str:
    """Put the first paragraph of a study's file under its heading."""
    heading, _, rest = text.partition("\n\n")
    about = ast.get_docstring(ast.parse((HERE.parent / file).read_text(encoding="utf-8"))) or ""
    described = " ".join(about.split("\n\n")[0].split())
    return "\n\n".join(part for part in (heading, escaped(described), rest) if part)


def _write_csv(study: Study, agenda: Agenda, folder: Path) -> None:
    publish(folder / f"{study.name}.csv", render(study, agenda, "csv"))
    if study.tables:
        publish(folder / f"{study.name}-tables.csv", render(study, agenda, "csv", tables=True))


def _csv_links(study: Study, paper: str) -> str:
    """Return the line with links to the files of `_write_csv`."""
    names = [study.name, *([f"{study.name}-tables"] if study.tables else [])]
    return "Numbers: " + ", ".join(f"[{escaped(name)}.csv]({paper}/{name}.csv)" for name in names) + "."


def _pack(agendas: Sequence[Agenda], store: Store, file: Path) -> None:
    """Write an archive of the runs and searches of studies; the same runs always give the same bytes.

    Training curves are left out. They are most of the bytes, and no page shows them.
    """
    keys = {trial.spec.key for agenda in agendas for state in agenda.states for trial in state.runs}
    searched = [state.cell for agenda in agendas for state in agenda.states]
    cells = {cell.key for cell in searched if isinstance(cell.search, Search)}
    with tempfile.TemporaryDirectory(prefix="raycl-pack-") as scratch:
        lean = Store(Path(scratch)).open()
        for key in sorted(keys):
            if (result := store.get(key)) is not None:  # which has no curves
                lean.put(result)
        found = {path.relative_to(lean.root): path for path in lean.root.glob("runs/??/*.json")}
        for path in store.root.glob("searches/??/*/*.json"):
            if path.parent.name in cells:
                found[path.relative_to(store.root)] = path
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as archive:
            for name, path in sorted(found.items()):
                entry = tarfile.TarInfo(name.as_posix())
                entry.size = path.stat().st_size
                with path.open("rb") as content:
                    archive.addfile(entry, content)
    publish(file, lzma.compress(packed.getvalue(), preset=9))


def main() -> None:
    """Write the pages of the papers named on the command line, or of all papers."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("papers", nargs="*", metavar="PAPER", help=f"one of {', '.join(STUDIES)}")
    parser.add_argument("--run", action="store_true", help="execute missing runs first")
    parser.add_argument("--store", type=Path, default=Path("results"))
    parser.add_argument("--out", type=Path, default=Path("docs/results"))
    arguments = parser.parse_args()
    if unknown := next((name for name in arguments.papers if name not in STUDIES), ""):
        parser.error(f"there is no paper {unknown!r} (known: {', '.join(STUDIES)})")
    for paper in arguments.papers or STUDIES:
        if arguments.run:
            run(paper, arguments.store.absolute())
        found = page(paper, Store(arguments.store.absolute()), arguments.out)
        print(arguments.out / f"{paper}.md" if found else f"{paper}: no run is in the store")
    index(arguments.out)


if __name__ == "__main__":
    main()

"""The output of `raycl benchmarks` and `raycl data`, in the width of the terminal."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from raycl import registry, texttable, userfiles
from raycl.benchmarks import Recipe, sources
from raycl.benchmarks.own import OwnData
from raycl.benchmarks.prepared import Progress, shown
from raycl.benchmarks.sheet import contact_sheet
from raycl.benchmarks.sources import Source
from raycl.errors import Obstacle, UserError
from raycl.filenames import file_name
from raycl.space import fields_of
from raycl.study.file import read_study
from raycl.tasks import Benchmark
from raycl.terminal.columns import paragraph, width
from raycl.terminal.owndata import array_lines, layout_text
from raycl.terminal.words import say
from raycl.text import cut
from raycl.texttable import Column

NAME = 18  # largest width of a name in a table
TENTHS = 10  # number of progress messages where no bar can be drawn
_OF_TASKS = [Column(right=True, width=4), Column(width=39), Column(right=True, width=7, gap=1)]
_OF_TASKS += [Column(right=True, width=8, gap=0)] * 3  # train, val, test
_OF_SOURCES = [Column(width=17), Column(width=8, gap=1), Column(gap=1)]


def benchmark_rows() -> list[tuple[str, str, str]]:
    """Return the name, the summary and the needs of every benchmark."""
    rows = []
    for name, kind in registry.recipes().items():
        recipe = _plain(kind)
        needs = recipe.needs() if recipe else ()
        note = " (subset)" if recipe and recipe.subset() else ""
        what = ", ".join(needs) if len(needs) < 3 else f"{len(needs)} data sets"
        rows.append((name + note, kind.summary, f"needs {what}" if what else ""))
    return rows


def _plain(kind: type[Recipe]) -> Recipe | None:
    """Return a benchmark with its default settings; None if some setting has no default."""
    try:
        return kind()
    except ValueError:
        return None


def benchmark_text(name: str) -> str:
    """Return a benchmark in detail: its settings, and its tasks if the data are here.

    Raises:
        UserError: If the name is unknown, a setting is wrong, or the data do not suffice.
    """
    if (kind := registry.recipes().get(name.strip())) is not None and issubclass(kind, OwnData):
        return layout_text(kind)
    recipe = registry.recipe(name)
    lines = _wrapped(f"{recipe}{' (subset)' if recipe.subset() else ''}: {recipe.summary}", 0)
    for field in fields_of(type(recipe)).values():
        lines += _wrapped(f"{field.name} = {getattr(recipe, field.name)!r} ({field.describe()})", 2)
    for text in recipe.deviations():
        lines += _wrapped(f"not as published: {text}", 2)
    absent = _absent(recipe)
    if absent:
        return "\n".join([*lines, *_wrapped(f"needs {absent}", 2)])
    return "\n".join([*lines, *_tasks(recipe, registry.load(recipe)), *array_lines(recipe)])


def _absent(recipe: Recipe) -> Obstacle | None:
    """Return the data that the recipe lacks, with the remedy, or None."""
    return next((lack for name in recipe.needs() if (lack := sources.missing(name))), None)


def _tasks(recipe: Recipe, benchmark: Benchmark) -> list[str]:
    shape = "x".join(map(str, benchmark.input_shape))
    alike = {True: ", similar", False: ", dissimilar", None: ""}[benchmark.similar]
    lines = [f"  input {shape}, {_numbered(len(benchmark.tasks), 'task')}{alike}"]
    named = {task.class_names for task in benchmark.tasks}
    if len(named) == 1 and benchmark.tasks[0].class_names:
        lines.append(_shortened(f"  classes of each task: {', '.join(benchmark.tasks[0].class_names)}"))
    lines.append(f"  {texttable.line(('task', 'name', 'classes', 'train', 'val', 'test'), _OF_TASKS)}")
    for task in benchmark.tasks:
        numbers = [task.classes, *map(len, (task.train, task.val, task.test))]
        row = [str(task.index + 1), cut(task.name, 39), *map(str, numbers)]
        lines.append(f"  {texttable.line(row, _OF_TASKS)}")
        if len(named) > 1 and task.class_names:
            lines.append(_shortened(f"        {', '.join(task.class_names)}"))
    wanted = recipe.counts()
    if wanted:
        verdict = "equal" if _agrees(benchmark, wanted) else f"here {_sizes(benchmark)}"
        whose = f"counts of {recipe.counted_by}" if recipe.counted_by else "expected counts"
        lines.append(f"  {whose} (train/val/test): {_slashed(wanted)}, {verdict}")
    return lines + (_wrapped(f"subset: {benchmark.subset}", 2) if benchmark.subset else [])


def benchmarks_table(wanted: Sequence[str]) -> str:
    """Return a table of benchmarks: tasks, classes, images, and whether these are the expected numbers.

    Raises:
        UserError: If a name is unknown or a setting is wrong.
    """
    rows = [("benchmark", "tasks", "classes", "train/val/test", "")]
    rows += [_row(registry.recipe(name)) for name in wanted]
    first = min(NAME, max(len(row[0]) for row in rows))
    columns = [Column(width=first), Column(width=5), Column(width=7), Column(width=18), Column()]
    table = [(name if len(name) <= first else name[: first - 3] + "...", *cells) for name, *cells in rows]
    return "\n".join(map(_shortened, texttable.lines(table, columns)))


def _row(recipe: Recipe) -> tuple[str, str, str, str, str]:
    lacks = [name for name in recipe.needs() if sources.missing(name)]
    if lacks:
        from_dir = "" if sources.source(lacks[0]).fetched else " --from DIR"
        return str(recipe), f"blocked: raycl data prepare {lacks[0]}{from_dir}", "", "", ""
    try:
        benchmark = registry.load(recipe)
    except UserError as error:
        return str(recipe), f"blocked: {str(error).splitlines()[0]}", "", "", ""
    wanted = recipe.counts()
    verdict = (
        "equal" if wanted and _agrees(benchmark, wanted) else f"expected {_slashed(wanted)}" if wanted else ""
    )
    if benchmark.subset:
        verdict = f"subset of {_slashed(wanted)}" if wanted else "subset"
    classes = _range(benchmark.classes)
    return str(recipe), str(len(benchmark.tasks)), classes, _sizes(benchmark), verdict


def _agrees(benchmark: Benchmark, wanted: tuple[int, int, int]) -> bool:
    return all((len(t.train), len(t.val), len(t.test)) == wanted for t in benchmark.tasks)


def _sizes(benchmark: Benchmark) -> str:
    """Return the number of images of a task in train, val and test, with ranges where tasks differ."""
    parts = zip(*((len(t.train), len(t.val), len(t.test)) for t in benchmark.tasks), strict=True)
    return _slashed([_range(part) for part in parts])


def _range(numbers: Sequence[int]) -> str:
    low, high = min(numbers), max(numbers)
    return str(low) if low == high else f"{low}-{high}"


def _slashed(parts: Sequence[Any]) -> str:
    return "/".join(map(str, parts))


def write_sheet(name: str, out: str | None) -> Path:
    """Write a benchmark's contact sheet, by default as a PNG file in the current folder.

    The file is called after the benchmark, or the user's own data, with the settings.

    Raises:
        UserError: If the data are not here, or the file cannot be written.
    """
    benchmark = registry.load(name)
    recipe, named = registry.recipe(name), benchmark.name
    if isinstance(recipe, OwnData):
        named = f"{recipe.name.removesuffix('.npz') or recipe.name}({', '.join(recipe.changed())})"
    plain = re.sub(r"[()'\"\s]+", "_", named).strip("_")
    file = Path(out or f"{file_name(plain)}.png")
    try:
        contact_sheet(benchmark).save(file)
    except (OSError, ValueError) as error:
        raise UserError(f"--out {file}: cannot write the contact sheet: {error}") from None
    return file


def sources_text(studies: Path = Path("studies")) -> str:
    """Return a description of every data source: its state, size and licence, and what uses it."""
    by_benchmark = {
        name: recipe.needs() for name, kind in registry.recipes().items() if (recipe := _plain(kind))
    }
    by_study, unread = _studies(studies)
    lines: list[str] = []
    for name, source in sources.sources().items():
        lines += _source(name, source, _users(name, by_benchmark), _users(name, by_study))
    if unread:
        lines += _wrapped(f"files without a study, or with errors: {', '.join(unread)}", 0)
    return "\n".join(lines)


def _users(name: str, needs: dict[str, tuple[str, ...]]) -> str:
    return ", ".join(user for user, needed in needs.items() if name in needed)


def _source(name: str, source: Source, of_benchmarks: str, of_studies: str) -> list[str]:
    state = source.folder.status()
    size = (
        f"{_size(source.folder.nbytes)} on disk" if state == "present" else f"{_size(source.size)} once here"
    )
    how = f"{_size(source.download)} to fetch" if source.download else "not fetched: --from DIR"
    if source.embedded:
        how = "made when first used"
    facts = {
        "licence": source.licence,
        "subset": source.folder.subset,
        "benchmarks": of_benchmarks,
        "studies": of_studies,
    }
    lines = [texttable.line((name, state, f"{size}, {how}"), _OF_SOURCES)]
    lines += _wrapped(f"{source.title}: {source.summary}", 2)
    return lines + [line for fact, text in facts.items() if text for line in _wrapped(f"{fact}: {text}", 2)]


def _studies(folder: Path) -> tuple[dict[str, tuple[str, ...]], list[str]]:
    """Return the sources that each study below `folder` needs, and the files that hold no study."""
    found: dict[str, tuple[str, ...]] = {}
    unread = []
    for file in sorted(folder.rglob("*.py")):
        try:
            study = read_study(file)
            with userfiles.importing_from(study.folder):
                recipes = [registry.recipe(text) for text in study.benchmarks]
        except (UserError, TypeError):  # a helper module, or a study with errors
            unread.append(str(file))
        else:
            found[file.stem] = tuple(name for recipe in recipes for name in recipe.needs())
    return found, unread


def prepare(name: str, given: Path | None, console: Console) -> str:
    """Prepare a data source, showing progress.

    Returns:
        Where the data are, how large they are, and what is missing if they are a subset.

    Raises:
        UserError: See `Source.prepare`.
    """
    source = sources.source(name)
    was_here = source.folder.begun
    with watched(console) as progress:
        path = source.prepare(given, progress)
    line = f"{name} is in {shown(path)}, {_size(source.folder.nbytes)}"
    line += "; it was there before" if was_here else ""
    line += " (delete that folder to read another)" if was_here and given else ""
    return "\n".join(
        [line, *_wrapped(f"subset: {source.folder.subset}", 0)] if source.folder.subset else [line]
    )


def verify(name: str, console: Console) -> list[str]:
    """Read a prepared source again, and return what is wrong with it, one line each."""
    with watched(console) as progress:
        return sources.verify(name, progress)


@contextlib.contextmanager
def watched(console: Console) -> Iterator[Progress]:
    """Show progress: a bar on a terminal, elsewhere a line at the start and after every tenth."""
    if not console.is_terminal:
        yield _in_lines(console)
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Bars(*columns, console=console, transient=True) as bars:
        rows: dict[str, Any] = {}

        def progress(what: str, done: int, of: int) -> None:
            if what not in rows:
                rows[what] = bars.add_task(what, total=of)
            bars.update(rows[what], completed=done, total=of)

        yield progress


def _in_lines(console: Console) -> Callable[[str, int, int], None]:
    reported: dict[str, int] = {}

    def progress(what: str, done: int, of: int) -> None:
        tenth = TENTHS * done // max(of, 1)
        if tenth != reported.get(what) and (done < of or what not in reported):
            reported[what] = tenth
            text = f"{what}: {done:,} of {of:,}" if done else what
            say(console, text)

    return progress


def _size(count: int) -> str:
    return f"{count / 1e6:,.0f} MB" if count < 1e9 else f"{count / 1e9:,.1f} GB"


def _numbered(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _shortened(line: str) -> str:
    """Return the line, cut off where the screen ends."""
    if len(line) <= (most := width()):
        return line
    return line[: most - 4].rpartition(" ")[0].rstrip(",") + " ..."


def _wrapped(text: str, indent: int) -> list[str]:
    """Return the lines of the text; all but the first are indented further."""
    return paragraph(text, indent)

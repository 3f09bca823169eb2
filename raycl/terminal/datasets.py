"""What `raycl benchmarks` and `raycl data` print, in 80 columns."""

from __future__ import annotations

import contextlib
import re
import textwrap
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from raycl import registry, texttable, userfiles
from raycl.benchmarks import Recipe, sources
from raycl.benchmarks.prepared import Progress, shown
from raycl.benchmarks.sheet import contact_sheet
from raycl.benchmarks.sources import Source
from raycl.errors import Obstacle, UserError
from raycl.filenames import file_name
from raycl.space import fields_of
from raycl.study.file import read_study
from raycl.tasks import Benchmark
from raycl.terminal.words import say
from raycl.text import cut
from raycl.texttable import Column

WIDTH = 80
NAME = 18  # columns of a name in a table, at most
TENTHS = 10  # of how much is done, where no bar can be drawn
_OF_TASKS = [Column(right=True, width=4), Column(width=39), Column(right=True, width=7, gap=1)]
_OF_TASKS += [Column(right=True, width=8, gap=0)] * 3  # train, val, test
_OF_SOURCES = [Column(width=17), Column(width=8, gap=1), Column(gap=1)]


def benchmark_rows() -> list[tuple[str, str, str]]:
    """Name, summary and what it needs, of every benchmark."""
    rows = []
    for name, kind in registry.recipes().items():
        recipe = _plain(kind)
        needs = recipe.needs() if recipe else ()
        note = " (subset)" if recipe and recipe.subset() else ""
        what = ", ".join(needs) if len(needs) < 3 else f"{len(needs)} data sets"
        rows.append((name + note, kind.summary, f"needs {what}" if what else ""))
    return rows


def _plain(kind: type[Recipe]) -> Recipe | None:
    """The benchmark with its own settings, unless it has none."""
    try:
        return kind()
    except ValueError:
        return None


def benchmark_text(name: str) -> str:
    """A benchmark in detail: its settings, and its tasks where the data are here.

    Raises:
        UserError: unknown name or bad setting, or data that do not make the benchmark.
    """
    recipe = registry.recipe(name)
    lines = _wrapped(f"{recipe}{' (subset)' if recipe.subset() else ''}: {recipe.summary}", 0)
    for field in fields_of(type(recipe)).values():
        lines += _wrapped(f"{field.name} = {getattr(recipe, field.name)!r} ({field.describe()})", 2)
    absent = _absent(recipe)
    if absent:
        return "\n".join([*lines, *_wrapped(f"needs {absent}", 2)])
    return "\n".join([*lines, *_tasks(recipe, registry.load(recipe))])


def _absent(recipe: Recipe) -> Obstacle | None:
    """What the recipe lacks and the remedy, or None."""
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
        lines.append(f"  the paper's counts (train/val/test): {_slashed(wanted)}, {verdict}")
    return lines + (_wrapped(f"subset: {benchmark.subset}", 2) if benchmark.subset else [])


def benchmarks_table(wanted: Sequence[str]) -> str:
    """A line for each benchmark: tasks, their classes and images, and whether that is what the paper has.

    Raises:
        UserError: unknown name or bad setting.
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
        "equal" if wanted and _agrees(benchmark, wanted) else f"paper {_slashed(wanted)}" if wanted else ""
    )
    if benchmark.subset:
        verdict = f"subset of {_slashed(wanted)}" if wanted else "subset"
    classes = _range(benchmark.classes)
    return str(recipe), str(len(benchmark.tasks)), classes, _sizes(benchmark), verdict


def _agrees(benchmark: Benchmark, wanted: tuple[int, int, int]) -> bool:
    return all((len(t.train), len(t.val), len(t.test)) == wanted for t in benchmark.tasks)


def _sizes(benchmark: Benchmark) -> str:
    """Images of a task in train, val and test; ranges where tasks differ."""
    parts = zip(*((len(t.train), len(t.val), len(t.test)) for t in benchmark.tasks), strict=True)
    return _slashed([_range(part) for part in parts])


def _range(numbers: Sequence[int]) -> str:
    low, high = min(numbers), max(numbers)
    return str(low) if low == high else f"{low}-{high}"


def _slashed(parts: Sequence[Any]) -> str:
    return "/".join(map(str, parts))


def write_sheet(name: str, out: str | None) -> Path:
    """Write a benchmark's contact sheet; by default a PNG in the current folder.

    Raises:
        UserError: the data are not here, or the file cannot be written.
    """
    benchmark = registry.load(name)
    plain = re.sub(r"[()'\"\s]+", "_", benchmark.name).strip("_")
    file = Path(out or f"{file_name(plain)}.png")
    try:
        contact_sheet(benchmark).save(file)
    except (OSError, ValueError) as error:
        raise UserError(f"--out {file}: cannot write the contact sheet: {error}") from None
    return file


def sources_text(studies: Path = Path("studies")) -> str:
    """Every data source: whether it is here, its size, licence and what uses it."""
    by_benchmark = {
        name: recipe.needs() for name, kind in registry.recipes().items() if (recipe := _plain(kind))
    }
    by_study, unread = _studies(studies)
    lines: list[str] = []
    for name, source in sources.sources().items():
        lines += _source(name, source, _users(name, by_benchmark), _users(name, by_study))
    if unread:
        lines += _wrapped(f"no studies, or broken: {', '.join(unread)}", 0)
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
    """The sources that each study below `folder` needs, and the files that are no studies."""
    found: dict[str, tuple[str, ...]] = {}
    unread = []
    for file in sorted(folder.rglob("*.py")):
        try:
            study = read_study(file)
            with userfiles.importing_from(study.folder):
                recipes = [registry.recipe(text) for text in study.benchmarks]
        except (UserError, TypeError):  # a helper module, or a study that is not right
            unread.append(str(file))
        else:
            found[file.stem] = tuple(name for recipe in recipes for name in recipe.needs())
    return found, unread


def prepare(name: str, given: Path | None, console: Console) -> str:
    """Prepare a data source under the user's eyes; where it is and how large, and what it lacks.

    Raises:
        UserError: see `Source.prepare`.
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
    """Read a prepared source again; what is wrong with it, a line each."""
    with watched(console) as progress:
        return sources.verify(name, progress)


@contextlib.contextmanager
def watched(console: Console) -> Iterator[Progress]:
    """Shows how far something has come: a bar on a terminal, else a line at the start and every tenth."""
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
    said: dict[str, int] = {}

    def progress(what: str, done: int, of: int) -> None:
        tenth = TENTHS * done // max(of, 1)
        if tenth != said.get(what) and (done < of or what not in said):
            said[what] = tenth
            text = f"{what}: {done:,} of {of:,}" if done else what
            say(console, text)

    return progress


def _size(count: int) -> str:
    return f"{count / 1e6:,.0f} MB" if count < 1e9 else f"{count / 1e9:,.1f} GB"


def _numbered(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _shortened(line: str) -> str:
    """The line, its end cut off where the screen ends."""
    if len(line) <= WIDTH:
        return line
    return line[: WIDTH - 4].rpartition(" ")[0].rstrip(",") + " ..."


def _wrapped(text: str, indent: int) -> list[str]:
    """Lines of the text; what follows the first is indented further."""
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=" " * indent,
        subsequent_indent=" " * (indent + 2),
        break_on_hyphens=False,
    )

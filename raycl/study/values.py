"""What a researcher writes: methods on benchmarks, searched how, with how many seeds. Plain values."""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias, runtime_checkable

from raycl.domains import is_number, plain, repeated, shown
from raycl.errors import UserError, nearest
from raycl.metrics import Metric
from raycl.oldnames import accept_keywords
from raycl.space import Choice, Float, Int
from raycl.specs import Evaluate, Numerics
from raycl.study import limits


@accept_keywords(width="concurrency", startup="startup_trials")
@dataclass(frozen=True, kw_only=True)
class Search:
    """TPE over a cell's domains.

    Attributes:
        trials: completed trials wanted; a diverged one is replaced, up to twice as many in all.
        concurrency: trials of one cell that may run at a time; 1 is the sequential TPE of the papers.
        seed: of the sampler.
        startup_trials: random trials before TPE begins; a search with no more trials than that is a random
            search.
    """

    trials: int = 20
    concurrency: int = 4
    seed: int = 1
    startup_trials: int = 10

    def __post_init__(self) -> None:
        for name in ("trials", "concurrency", "startup_trials"):
            object.__setattr__(
                self, name, limits.whole(getattr(self, name), f"search.{name}", 1, limits.RUNS)
            )
        object.__setattr__(self, "seed", limits.whole(self.seed, "search.seed", 0, 2**63 - 1))


class Grid:
    """All combinations of the values given: ``Grid({"method.lamb": [0.1, 1.0]})``."""

    def __init__(self, axes: Mapping[str, Sequence[Any]]) -> None:
        if not isinstance(axes, Mapping) or not axes:
            raise UserError(
                f"Grid: {shown(axes)} needs at least one axis: Grid({{'method.lamb': [0.1, 1.0]}})"
            )
        many = 1
        for key, values in axes.items():
            many *= _check_axis(key, values)
            if many > limits.RUNS:
                raise UserError(
                    f"Grid: more than {limits.RUNS} points, each a run: drop values, or write Search()"
                )
        self.axes = {key: tuple(map(plain, plain(values))) for key, values in axes.items()}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Grid) and other.axes == self.axes

    def __hash__(self) -> int:
        return hash(tuple(self.axes.items()))

    def __repr__(self) -> str:
        return f"Grid({self.axes!r})"

    def __len__(self) -> int:
        return math.prod(map(len, self.axes.values()))

    def point(self, n: int) -> dict[str, Any]:
        """Combination `n`, the last axis fastest."""
        values = []
        for options in reversed(self.axes.values()):
            n, position = divmod(n, len(options))
            values.append(options[position])
        return dict(zip(self.axes, reversed(values), strict=True))

    def points(self) -> list[dict[str, Any]]:
        """Every combination."""
        return [self.point(n) for n in range(len(self))]


def _check_axis(key: Any, values: Any) -> int:
    """How many values an axis of a Grid has.

    Raises:
        UserError: it has none, or is no list.
    """
    place = f"Grid: {key} = {shown(values)}" if isinstance(key, str) else f"Grid: the axis {shown(key)}"
    if isinstance(values, Float | Int | Choice):
        raise UserError(f"{place} is a domain, and a Grid takes lists; write Search() to draw from it")
    values = plain(values)
    if not isinstance(key, str) or not isinstance(values, Sequence) or isinstance(values, str | bytes):
        raise UserError(f"{place} should be a list of values, such as 'method.lamb': [0.1, 1.0]")
    try:
        many = len(values)
    except OverflowError:  # a range beyond what Python counts
        many = sys.maxsize
    if not many:
        raise UserError(f"{place} needs at least one value")
    return many


class Seeds(tuple[int, ...]):
    """Training seeds of the final runs; trials train with the first."""

    __slots__ = ()

    def __new__(cls, *seeds: int) -> Seeds:
        if not seeds:
            raise UserError("Seeds() needs at least one seed, such as Seeds(1, 2, 3)")
        if len(seeds) > limits.RUNS:
            raise UserError(f"Seeds: {len(seeds)} seeds are too many: at most {limits.RUNS}")
        found = [limits.whole(seed, "Seeds: a seed", 0, 2**63 - 1) for seed in seeds]
        if (twice := repeated(found)) is not None:
            raise UserError(f"Seeds: {twice} is given twice: seeds are distinct whole numbers from 0")
        return super().__new__(cls, found)

    def __repr__(self) -> str:
        return f"Seeds({', '.join(map(str, self))})"


@accept_keywords(silence="stall_minutes")
@dataclass(frozen=True, kw_only=True)
class Resources:
    """What one run may use; in no key.

    Attributes:
        cpus, gpus: processors; several runs may share a GPU, 0.25 each.
        memory: GiB of its process's own; one that takes more is ended and tried again (Linux). Ray counts it
            against a node's memory. None: as much as there is.
        stall_minutes: minutes without a batch trained or evaluated after which a run counts as hanging; it
            is ended and tried again.
    """

    cpus: float = 1
    gpus: float = 0
    memory: float | None = None
    stall_minutes: float = 60

    def __post_init__(self) -> None:
        above = {"memory": "above 0 GiB, or None", "stall_minutes": "above 0 minutes"}
        for name in ("cpus", "gpus", *above):
            wanted = above.get(name, "from 0")
            value = plain(getattr(self, name))
            if value is None and name == "memory":
                continue
            if not is_number(value) or value < 0 or (not value and name in above):
                raise UserError(f"Resources({name}={shown(value)}) must be a number {wanted}")
            object.__setattr__(self, name, value)
        if self.cpus + self.gpus == 0:
            raise UserError(
                f"Resources(cpus={self.cpus}, gpus={self.gpus}) needs something of at least one of them"
            )
        if self.gpus > 1 and self.gpus != int(self.gpus):
            raise UserError(f"Resources(gpus={self.gpus}) must be a share up to 1, or whole GPUs")


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """A table that takes no runs: arithmetic, beside what a paper prints.

    Attributes:
        rows: as many texts each as `header` has.
        notes: printed under it.
    """

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.header):
                raise UserError(f"Sheet({self.title!r}): {row!r} has not {len(self.header)} columns")


FinalRuns: TypeAlias = Seeds | Literal["best trial"]


@runtime_checkable
class Shown(Protocol):
    """What a report shows besides its tables of numbers: a view, or a table as a paper has it."""

    @property
    def title(self) -> str:
        """Of its figure and its table."""
        ...

    @property
    def belongs(self) -> Literal["views", "tables"]:
        """The field of `Study` where it is written."""
        ...

    def check(self, study: Study, place: str) -> None:
        """See that all that it names exists, before anything runs.

        Args:
            place: where the study stands, for the message.

        Raises:
            UserError: names the value, the place and the remedy.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class Study:
    """A study.

    Attributes:
        name: by default the file's stem, after its paper's key where it has one.
        methods: label -> keys. "method" names the class and defaults to the label; "method.x", "fit.x" and
            "net.x" take a value or a domain; "network", "preset", "search" and "benchmarks" stand in for
            the study's.
        benchmarks: texts such as ``"digits_writers(tasks=5)"``.
        network: text such as ``"mlp(hidden=64)"``.
        preset: of the catalogue, several joined by "+".
        fit: training settings for all methods.
        search: how each cell is searched, or None.
        final: seeds of the final runs, or "best trial".
        orders: how many orders of each benchmark's tasks.
        protocol: "val" searches on validation accuracy; "paper" on test accuracy, and says so everywhere.
        resources: pattern over "label/benchmark" -> `Resources`; the last that matches holds.
        evaluate: how much of the accuracy matrix is measured.
        paper: key of the paper whose claims the report holds against the results; "" for none.
        views: what the report shows besides its tables, such as `raycl.Boxes`.
        sheets: tables that take no runs, or functions that make them, which are called when one is shown; a
            study of nothing else needs no methods and no benchmarks.
        tables: the paper's own, our numbers beside the printed ones: `raycl.PaperTable`.
        metrics: of the study's own, beside raycl's in every report: `raycl.Metric`.
    """

    methods: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    benchmarks: Sequence[str] = ()
    network: str = "mlp"
    name: str = ""
    preset: str | None = None
    fit: Mapping[str, Any] = field(default_factory=dict)
    search: Search | Grid | None = field(default_factory=Search)
    final: FinalRuns = field(default_factory=lambda: Seeds(1, 2, 3))
    orders: int = 1
    protocol: Literal["val", "paper"] = "val"
    resources: Mapping[str, Resources] = field(default_factory=dict)
    numerics: Numerics = "strict"
    evaluate: Evaluate | None = None
    paper: str = ""
    views: Sequence[Shown] = ()
    sheets: Sequence[Sheet | Callable[[], Sheet]] = ()
    tables: Sequence[Shown] = ()
    metrics: Sequence[Metric] = ()
    folder: Path | None = field(default=None, repr=False, compare=False)
    file: str = field(default="study", repr=False, compare=False)

    def with_(self, **changes: Any) -> Study:
        """The same study with some fields changed, each as a whole.

        Raises:
            UserError: there is no such field.
        """
        known = [field.name for field in dataclasses.fields(self)]
        for name in changes:
            if name not in known:
                raise UserError(f"Study.with_: unknown field {name!r}{nearest(name, known)}")
        return dataclasses.replace(self, **changes)

    @property
    def written_sheets(self) -> list[Sheet]:
        """The sheets, made where they were not."""
        return [sheet if isinstance(sheet, Sheet) else sheet() for sheet in self.sheets]

"""The plain values that make up a study: `Study`, `Search`, `Grid`, `Seeds`, `Resources` and `Sheet`."""

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
    """Search with TPE (tree-structured Parzen estimator) over a cell's domains.

    Attributes:
        trials: Number of completed trials. Diverged trials are replaced, up to twice this number in total.
        concurrency: Number of trials of one cell that may run at the same time; 1 is sequential TPE, as in
            the papers.
        seed: Seed of the sampler.
        startup_trials: Number of random trials before TPE begins. A search with at most this many trials is
            a random search.
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
    """Grid search over all combinations of values, such as ``Grid({"method.lamb": [0.1, 1.0]})``."""

    def __init__(self, axes: Mapping[str, Sequence[Any]]) -> None:
        if not isinstance(axes, Mapping) or not axes:
            raise UserError(
                f"Grid: {shown(axes)} should have at least one axis: Grid({{'method.lamb': [0.1, 1.0]}})"
            )
        many = 1
        for key, values in axes.items():
            many *= _check_axis(key, values)
            if many > limits.RUNS:
                raise UserError(
                    f"Grid: more than {limits.RUNS} points, each of them a run; remove values or use Search()"
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
        """Return combination `n`, where the last axis varies fastest."""
        values = []
        for options in reversed(self.axes.values()):
            n, position = divmod(n, len(options))
            values.append(options[position])
        return dict(zip(self.axes, reversed(values), strict=True))

    def points(self) -> list[dict[str, Any]]:
        """Return all combinations."""
        return [self.point(n) for n in range(len(self))]


def _check_axis(key: Any, values: Any) -> int:
    """Return how many values an axis of a Grid has.

    Raises:
        UserError: If the axis has no values, or is not a list.
    """
    place = f"Grid: {key} = {shown(values)}" if isinstance(key, str) else f"Grid: the axis {shown(key)}"
    if isinstance(values, Float | Int | Choice):
        raise UserError(f"{place} is a domain, but a Grid takes lists; use Search() to draw from it")
    values = plain(values)
    if not isinstance(key, str) or not isinstance(values, Sequence) or isinstance(values, str | bytes):
        raise UserError(f"{place} should be a list of values, such as 'method.lamb': [0.1, 1.0]")
    try:
        many = len(values)
    except OverflowError:  # a range that is longer than len() can return
        many = sys.maxsize
    if not many:
        raise UserError(f"{place} should have at least one value")
    return many


class Seeds(tuple[int, ...]):
    """Training seeds of the final runs; all trials train with the first seed."""

    __slots__ = ()

    def __new__(cls, *seeds: int) -> Seeds:
        if not seeds:
            raise UserError("Seeds() should have at least one seed, such as Seeds(1, 2, 3)")
        if len(seeds) > limits.RUNS:
            raise UserError(f"Seeds: {len(seeds)} seeds are too many: at most {limits.RUNS}")
        found = [limits.whole(seed, "Seeds: a seed", 0, 2**63 - 1) for seed in seeds]
        if (twice := repeated(found)) is not None:
            raise UserError(f"Seeds: {twice} is given twice: seeds should be distinct integers of at least 0")
        return super().__new__(cls, found)

    def __getnewargs__(self) -> tuple[int, ...]:  # Without it, pickle would give the tuple as one seed.
        return tuple(self)

    def __repr__(self) -> str:
        return f"Seeds({', '.join(map(str, self))})"


@accept_keywords(silence="stall_minutes")
@dataclass(frozen=True, kw_only=True)
class Resources:
    """Resources that one run may use. They are not part of a run's key.

    Attributes:
        cpus, gpus: Number of processors. Several runs may share a GPU, for example with 0.25 each.
        memory: GiB of private memory of the run's process; None sets no limit. A run that takes more is
            ended and tried again (Linux only). Ray counts this number against a node's memory.
        stall_minutes: Minutes without a trained or evaluated batch after which a run counts as hanging and
            is ended and tried again.
        graphs: Whether to capture training steps as graphs on an accelerator, which repeats them faster than
            a program can ask for them. A step that cannot be captured is made as usual, and
            ``provenance["graphs"]`` of the result says why.
    """

    cpus: float = 1
    gpus: float = 0
    memory: float | None = None
    stall_minutes: float = 60
    graphs: bool = False

    def __post_init__(self) -> None:
        above = {"memory": "above 0 GiB, or None", "stall_minutes": "above 0"}
        for name in ("cpus", "gpus", *above):
            wanted = above.get(name, "of at least 0")
            value = plain(getattr(self, name))
            if value is None and name == "memory":
                continue
            if not is_number(value) or value < 0 or (not value and name in above):
                raise UserError(f"Resources({name}={shown(value)}) must be a number {wanted}")
            object.__setattr__(self, name, value)
        if not isinstance(self.graphs, bool):
            raise UserError(f"Resources(graphs={shown(self.graphs)}) must be True or False")
        if self.cpus + self.gpus == 0:
            raise UserError(f"Resources(cpus={self.cpus}, gpus={self.gpus}): request at least one CPU or GPU")
        if self.gpus > 1 and self.gpus != int(self.gpus):
            raise UserError(f"Resources(gpus={self.gpus}) must be a share of at most 1, or an integer")


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """A table that needs no runs, such as parameter counts next to those that a paper prints.

    Attributes:
        rows: Rows of strings, each as long as `header`.
        notes: Strings that are printed under the table.
    """

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.header):
                raise UserError(f"Sheet({self.title!r}): {row!r} should have {len(self.header)} columns")


FinalRuns: TypeAlias = Seeds | Literal["best trial"]


@runtime_checkable
class Shown(Protocol):
    """Item that a report shows besides its main tables: a view, or a table laid out as in a paper."""

    @property
    def title(self) -> str:
        """The title of its figure and its table."""
        ...

    @property
    def belongs(self) -> Literal["views", "tables"]:
        """The field of `Study` that it belongs to."""
        ...

    def check(self, study: Study, place: str) -> None:
        """Check that everything it names exists, before anything runs.

        Args:
            study: The study that it belongs to.
            place: Where the study is defined, for messages.

        Raises:
            UserError: If something does not exist; the message names the value, the place and the remedy.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class Study:
    """A study: methods on benchmarks, with a search and final runs for every pair.

    Attributes:
        methods: Maps a label to its keys. "method" names the class and defaults to the label; "method.x",
            "fit.x" and "net.x" take a value or a domain; "network", "preset", "search" and "benchmarks"
            replace the study's own.
        benchmarks: Strings such as ``"digits_writers(tasks=5)"``.
        network: String such as ``"mlp(hidden=64)"``.
        name: Name of the study; by default ``<paper>_<stem of the file>``, without a paper the stem.
        preset: Name of a preset in `raycl.training.presets`, or several joined by "+".
        fit: Training settings for all methods.
        search: How each cell is searched, or None.
        final: Seeds of the final runs, or "best trial".
        orders: Number of orders of each benchmark's tasks.
        protocol: "val" searches on validation accuracy; "paper" searches on test accuracy, and every
            report then states this.
        resources: Maps a pattern over "label/benchmark" to `Resources`; the last matching pattern holds.
        numerics: "strict" computes in full float32; "fast" allows faster products (TF32 on a GPU).
        evaluate: How much of the accuracy matrix is measured.
        paper: Key of the paper whose claims the report compares with the results; "" for none.
        views: Plots that the report shows besides its tables, such as `raycl.Boxes`.
        sheets: Tables that need no runs, or functions that make them and are called when one is shown. A
            study that has only sheets needs neither methods nor benchmarks.
        tables: Tables laid out as in the paper, our numbers next to the printed ones: `raycl.PaperTable`.
        metrics: Metrics that the study adds to raycl's in every report: `raycl.Metric`.
        track_trials: Whether MLflow gets every trial besides the cells and the final runs. With None it gets
            them unless the study has more than 20,000 runs.
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
    track_trials: bool | None = None
    folder: Path | None = field(default=None, repr=False, compare=False)
    file: str = field(default="study", repr=False, compare=False)

    def with_(self, **changes: Any) -> Study:
        """Return a copy of the study in which some fields are replaced.

        Raises:
            UserError: If there is no such field.
        """
        known = [field.name for field in dataclasses.fields(self)]
        for name in changes:
            if name not in known:
                raise UserError(f"Study.with_: unknown field {name!r}{nearest(name, known)}")
        return dataclasses.replace(self, **changes)

    @property
    def written_sheets(self) -> list[Sheet]:
        """The sheets; functions that make one have been called."""
        return [sheet if isinstance(sheet, Sheet) else sheet() for sheet in self.sheets]

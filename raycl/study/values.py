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
from raycl.study.objectives import PICKS, Objective, Pick, checked, named, parsed
from raycl.study.pruners import Halving, Median, Prune

SAMPLERS = ("tpe", "random", "qmc", "gp", "cmaes", "nsgaii")


@accept_keywords(width="concurrency", startup="startup_trials")
@dataclass(frozen=True, kw_only=True)
class Search:
    """Search over a cell's domains; by default with TPE (tree-structured Parzen estimator), as in the papers.

    Attributes:
        trials: Number of completed trials. Trials that diverge, or whose values no run accepts, are replaced,
            up to twice this number in total.
        concurrency: Number of trials of one cell that may run at the same time; 1 is sequential TPE, as in
            the papers.
        seed: Seed of the sampler.
        startup_trials: Number of random trials before the sampler begins. A search with at most this many
            trials is a random search. "random" and "qmc" do not use it.
        sampler: What proposes the trials: "tpe"; "random"; "qmc", the points of a scrambled Sobol sequence;
            "gp", a Gaussian process; "cmaes", CMA-ES, which draws fields that are a `Choice` at random;
            "nsgaii", the genetic algorithm NSGA-II with a population of `startup_trials`. Or a sampler of
            your own, such as ``"my_file:make_sampler"``: a function in ``my_file.py`` next to the study that
            is given a seed and returns a sampler of Optuna. It is called for every trial.
        multivariate: Whether TPE models the fields together instead of one by one.
        group: Whether multivariate TPE splits the fields into groups (see Optuna's `TPESampler`).
        prune: The rule by which trials end early, at the end of a task: `Halving` or `Median`. A pruned trial
            counts as one of `trials`, and can be neither the best one nor a final run. With None every trial
            learns all tasks.
        objectives: What the search looks for, by the names that reports use, with a "-" before those of which
            less is better. Accuracies such as "acc" or "-forgetting" are those of the split on which the
            study searches; times are "-ct", "-ct_cpu" and "-ct_wall", sizes "-bytes_total", "-params" and
            "-peak_bytes". With several, the result is a Pareto front, see `pick`.
        pick: The trials of a front whose settings the final runs have: "knee", the one that is closest to the
            best value of every objective, or "front", all of them.
    """

    trials: int = 20
    concurrency: int = 4
    seed: int = 1
    startup_trials: int = 10
    sampler: str = "tpe"
    multivariate: bool = False
    group: bool = False
    prune: Prune | None = None
    objectives: Sequence[str] = ("acc",)
    pick: Pick = "knee"

    def __post_init__(self) -> None:
        for name in ("trials", "concurrency", "startup_trials"):
            object.__setattr__(
                self, name, limits.whole(getattr(self, name), f"search.{name}", 1, limits.RUNS)
            )
        object.__setattr__(self, "seed", limits.whole(self.seed, "search.seed", 0, 2**63 - 1))
        object.__setattr__(self, "objectives", checked(self.objectives, "search.objectives"))
        if not (isinstance(self.pick, str) and self.pick in PICKS):
            raise UserError(f"search.pick = {shown(self.pick)} should be one of {PICKS}")
        self._check_sampler()
        self._check_several()
        if not (self.prune is None or isinstance(self.prune, Halving | Median)):
            raise UserError(
                f"search.prune = {shown(self.prune)} must be Halving(rungs=..., keep=...), "
                "Median(after=..., warmup=...) or None"
            )
        if isinstance(self.prune, Halving) and (
            why := self.prune.without_effect(self.trials, self.concurrency)
        ):
            raise UserError(f"search.prune = {self.prune!r} would prune nothing, because {why}")

    def _check_sampler(self) -> None:
        name = self.sampler
        if not (isinstance(name, str) and (name in SAMPLERS or self.own_sampler)):
            suggestion = nearest(name, SAMPLERS) if isinstance(name, str) else ""
            raise UserError(
                f"search.sampler = {shown(name)} is not a sampler{suggestion} (known: "
                f"{', '.join(SAMPLERS)}, or one of your own as 'my_file:make_sampler')"
            )
        for option in ("multivariate", "group"):
            value = plain(getattr(self, option))
            if not isinstance(value, bool):
                raise UserError(f"search.{option} = {shown(value)} must be True or False")
            if value and name != "tpe":
                raise UserError(f"search.{option} = True is for sampler = 'tpe', not {name!r}: remove it")
            object.__setattr__(self, option, value)
        if self.group and not self.multivariate:
            raise UserError("search.group = True needs search.multivariate = True")
        if name == "nsgaii" and self.startup_trials < 2:
            raise UserError(
                "search.startup_trials = 1 is the population of 'nsgaii', which should be at least 2"
            )

    def _check_several(self) -> None:
        """Refuse what goes with the mean accuracy alone, if the search has other or several objectives."""
        if self.pick != "knee" and len(self.objectives) < 2:
            raise UserError(
                f"search.pick = {self.pick!r} is for several objectives: remove it, or write "
                "objectives=('acc', '-bytes_total')"
            )
        if tuple(self.objectives) == ("acc",):
            return
        if self.prune is not None:
            raise UserError(
                f"search.prune compares trials by their accuracy alone, but objectives = "
                f"{tuple(self.objectives)}: remove prune, or search with objectives=('acc',)"
            )
        if self.sampler == "cmaes" and len(self.objectives) > 1:
            others = ", ".join(repr(name) for name in SAMPLERS if name != "cmaes")
            raise UserError(f"search.sampler = 'cmaes' has one objective: use another one ({others})")

    @property
    def own_sampler(self) -> bool:
        """Whether the sampler is a user's own."""
        module, _, name = self.sampler.rpartition(":")
        return bool(module) and name.isidentifier()

    @property
    def plain_tpe(self) -> bool:
        """Whether the sampler is the papers' TPE."""
        return self.sampler == "tpe" and not self.multivariate

    @property
    def starts_random(self) -> bool:
        """Whether the first `startup_trials` trials are random, and the sampler begins after them."""
        return self.sampler in ("tpe", "gp", "cmaes", "nsgaii")

    @property
    def aims(self) -> tuple[Objective, ...]:
        """The objectives."""
        return parsed(tuple(self.objectives))

    def known(self, n: int, lost: Sequence[bool]) -> int:
        """Return of how many of the first trials the outcomes are known when trial `n` is proposed.

        Args:
            n: The number of the trial.
            lost: For each trial before it, whether it has no value and is replaced. Those of trials whose
                outcome is not known are not used.
        """
        if isinstance(self.prune, Halving):
            return min(n, self.prune.generation(n, lost, self.trials, self.concurrency).start)
        return max(0, n - self.concurrency + 1)

    @property
    def how(self) -> str:
        """How trials are proposed, such as ``TPE after 10 random ones``."""
        if self.own_sampler:
            return f"proposed by {self.sampler}"
        name = {
            "tpe": "TPE",
            "random": "all of them random",
            "qmc": "points of a scrambled Sobol sequence",
            "gp": "a Gaussian process",
            "cmaes": "CMA-ES",
            "nsgaii": "NSGA-II",
        }[self.sampler]
        kind = "grouped " if self.group else "multivariate " if self.multivariate else ""
        after = f" after {self.startup_trials} random ones" if self.starts_random else ""
        return f"{kind}{name}{after}"

    @property
    def sought(self) -> str:
        """What the search looks for, such as ``objective -forgetting``; "" for the mean accuracy."""
        if tuple(self.objectives) == ("acc",):
            return ""
        if len(self.objectives) == 1:
            return f"objective {named(self.aims)}"
        chosen = "the knee is" if self.pick == "knee" else "all trials are"
        return f"objectives {named(self.aims)}, of whose Pareto front {chosen} chosen"


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
Keep: TypeAlias = Literal["none", "final", "trials"]
KEEP: tuple[Keep, ...] = ("none", "final", "trials")


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


@accept_keywords()
@dataclass(frozen=True, kw_only=True)
class Study:
    """A study: methods on benchmarks, with a search and final runs for every pair.

    Attributes:
        methods: Maps a label to its keys. "method" names the class and defaults to the label; "method.x",
            "fit.x" and "net.x" take a value or a domain; "network", "preset", "search" and "benchmarks"
            replace the study's own. A method is a name, such as ``"hat"`` or ``"my_file:Mine"``, or a class.
        benchmarks: Names such as ``"digits_writers(tasks=5)"``, or recipes and their classes.
        network: A name such as ``"mlp(hidden=64)"``, or a class.
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
        keep: Which trained methods the store keeps besides the results: "none", those of the "final" runs, or
            those of all "trials" and final runs. It changes no key and no result; `raycl.load` and `raycl
            export` train a run again if it kept nothing.
        track_trials: Whether MLflow gets every trial besides the cells and the final runs. With None it gets
            them unless the study has more than 20,000 runs.
        callbacks: Objects that see the values of each run that finishes: `raycl.Callback`. They are in no
            key, and no result depends on them.
    """

    methods: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    benchmarks: Sequence[Any] = ()
    network: Any = "mlp"
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
    keep: Keep = "none"
    track_trials: bool | None = None
    callbacks: Sequence[Any] = ()
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

"""What a researcher writes: methods on benchmarks, searched how, with how many seeds. Plain values."""

from __future__ import annotations

import dataclasses
import functools
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import torch

from raycl import benchmarks, digest, limits, names, netcheck, notes, planning, presets, userfiles
from raycl.benchmarks import Recipe, sources
from raycl.choosing import Naming, chosen
from raycl.configs import check_owner, check_verbs
from raycl.domains import is_number, plain, repeated, shown
from raycl.errors import SCREEN, NoStudy, UserError, closest, nearest, quoted, screen_line
from raycl.filenames import check_study_name
from raycl.method import Method
from raycl.metrics import Metric
from raycl.networks import Network
from raycl.sequence import Evaluate
from raycl.space import Choice, Domain, Field, Float, Int, coerce, coerced, field_of, fields_of, filled
from raycl.spec import CORE_VERSION, Numerics, RunSpec, key_of
from raycl.tasks import Benchmark
from raycl.training import Fit

if TYPE_CHECKING:
    from raycl.reporting.papertable import PaperTable
    from raycl.reporting.plots import Styles
    from raycl.reporting.rows import Section


@dataclass(frozen=True, kw_only=True)
class Search:
    """TPE over a cell's domains.

    Attributes:
        trials: completed trials wanted; a diverged one is replaced, up to twice as many in all.
        width: trials of one cell that may be in flight; 1 is the papers' sequential TPE.
        seed: of the sampler.
        startup: random trials before TPE begins. A search with no more trials than that is random search.
    """

    trials: int = 20
    width: int = 4
    seed: int = 1
    startup: int = 10

    def __post_init__(self) -> None:
        for name in ("trials", "width", "startup"):
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


@dataclass(frozen=True, kw_only=True)
class R:
    """What one run may use; in no key.

    Attributes:
        cpus, gpus: processors; several runs may share a GPU, 0.25 each.
        memory: GiB of its process's own; one that takes more is ended and tried again (Linux). Ray counts it
            against a node's memory. None: as much as there is.
        silence: minutes without a batch trained or evaluated, after which a run counts as hanging: it is
            ended and tried again.
    """

    cpus: float = 1
    gpus: float = 0
    memory: float | None = None
    silence: float = 60

    def __post_init__(self) -> None:
        above = {"memory": "above 0 GiB, or None", "silence": "above 0 minutes"}
        for name in ("cpus", "gpus", *above):
            wanted = above.get(name, "from 0")
            value = plain(getattr(self, name))
            if value is None and name == "memory":
                continue
            if not is_number(value) or value < 0 or (not value and name in above):
                raise UserError(f"R({name}={shown(value)}) must be a number {wanted}")
            object.__setattr__(self, name, value)
        if self.cpus + self.gpus == 0:
            raise UserError(f"R(cpus={self.cpus}, gpus={self.gpus}) needs something of at least one of them")
        if self.gpus > 1 and self.gpus != int(self.gpus):
            raise UserError(f"R(gpus={self.gpus}) must be a share up to 1, or whole GPUs")


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


Final: TypeAlias = Seeds | Literal["best trial"]


class View:
    """What a report shows besides its tables; `raycl.reporting.boxes` has one.

    Attributes:
        title: of its figure and its table.
        notes: printed under it.
        settings: dotted fields by which it sorts, so that a wrong name is told before anything runs.
    """

    title: str
    notes: Sequence[str]

    @property
    def settings(self) -> Sequence[str]:
        return ()

    @property
    def caption(self) -> str:
        """What its figure shows, without a full stop."""
        return ""

    def lines(self, section: Section) -> tuple[list[str], list[list[str]]]:
        """Header and rows of its table of a benchmark; no rows where it has nothing to show."""
        raise NotImplementedError(f"{type(self).__qualname__} does not define lines(section)")

    def figure(self, section: Section, name: str, styles: Styles | None = None) -> str:
        """SVG of a benchmark, its ids beginning with `name`, or ""; methods look as `styles` says."""
        return ""

    def points(self, section: Section) -> list[dict[str, Any]]:
        """The raw numbers behind it, a dictionary each."""
        return []


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
        resources: pattern over "label/benchmark" -> R; the last that matches holds.
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
    final: Final = field(default_factory=lambda: Seeds(1, 2, 3))
    orders: int = 1
    protocol: Literal["val", "paper"] = "val"
    resources: Mapping[str, R] = field(default_factory=dict)
    numerics: Numerics = "strict"
    evaluate: Evaluate | None = None
    paper: str = ""
    views: Sequence[View] = ()
    sheets: Sequence[Sheet | Callable[[], Sheet]] = ()
    tables: Sequence[PaperTable] = ()
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


def read_study(path: str | Path, overrides: Sequence[str] = (), desk: bool = False) -> Study:
    """The STUDY of a file, ``--set`` overrides applied; the files beside it are found by its own imports.

    Args:
        desk: its DESK instead, a form that one machine finishes.

    Raises:
        UserError: no such file, it does not run, or it defines no STUDY (no DESK).
    """
    file, place = Path(path), _place(path)
    try:
        found = file.is_file()
    except OSError as error:  # its name is too long
        raise UserError(f"{place}: {error.strerror}") from None
    if not found:
        what = "is a folder, not a study file" if file.is_dir() else "there is no such study file"
        raise UserError(f"{place}: {what}")
    if file.suffix != ".py":
        raise UserError(f"{place}: a study is a Python file that ends in .py")
    folder = file.absolute().parent
    userfiles.refresh()
    try:
        module = userfiles.load(folder, file.stem)
    except UserError as error:
        said = str(error)
        raise UserError(said if said.startswith(str(path)) else f"{place}: {said}") from None
    wanted = "DESK" if desk else "STUDY"
    study = getattr(module, wanted, None)
    if not isinstance(study, Study):
        has = f"defines no {wanted}" if study is None else f"{wanted} is {type(study).__name__}, not a Study"
        kind = NoStudy if study is None else UserError
        raise kind(f"{place}: {has}; write {wanted} = Study(...)")
    # Tables of several papers bear the same number, and their experiments must not be one.
    paper = study.paper if isinstance(study.paper, str) else ""
    named = not isinstance(study.name, str) or study.name  # what is no name is told when it is planned
    name = study.name if named else "_".join(filter(None, (paper, file.stem, "desk" * desk)))
    study = dataclasses.replace(study, name=name, folder=folder, file=place)
    from raycl.overrides import overridden  # it changes studies

    return overridden(study, overrides)


def _place(path: str | Path) -> str:
    """How messages name a study's file: as it was written, if that can be read on a screen."""
    text = str(path)
    return text if text.isprintable() and text == text.strip() and len(text) <= SCREEN else quoted(text)


@dataclass(frozen=True)
class Setting:
    """One dotted field of a cell: a value, or a domain that is searched."""

    field: Field
    value: Any  # used where nothing is searched
    domain: Domain | None = None
    explicit: bool = False  # the study asked for the domain
    source: str = "default"  # who gave the value: "preset NAME", "method", "network", "study fit", "label"
    instead: tuple[Any, str] | None = None  # what the study's fit displaced, and whose that was


@dataclass(frozen=True)
class Cell:
    """A method variant on a benchmark in one order: one search, and its final runs.

    Attributes:
        name: ``label/benchmark``, with the order where a study has several.
        settings: every dotted field, fixed or searched.
        code, home: as of a `RunSpec`.
        blocked: why it cannot be played now, and the remedy; "" if it can.
        notes: what is worth knowing before it runs, a line each; in no key.
    """

    label: str
    benchmark: str
    order: int
    method: type[Method]
    network: type[Network]
    settings: Mapping[str, Setting]
    search: Search | Grid | None
    final: Final
    protocol: Literal["val", "paper"]
    resources: R
    numerics: Numerics
    evaluate: Evaluate | None
    identity: Mapping[str, Any]
    versions: Mapping[str, int]
    code: Mapping[str, str] = field(default_factory=dict)
    home: Path | None = None
    orders: int = 1
    blocked: str = ""
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return f"{self.label}/{self.benchmark}" + (f"/order {self.order}" if self.orders > 1 else "")

    @property
    def title(self) -> str:
        """The name as tables print it, a space around each stroke that parts it."""
        return f"{self.label} / {self.benchmark}" + (f" / order {self.order}" if self.orders > 1 else "")

    @property
    def trial_seed(self) -> int:
        """The training seed of all trials."""
        return self.final[0] if isinstance(self.final, Seeds) else 1

    @functools.cached_property
    def space(self) -> dict[str, Domain]:
        """Searched fields with their domains, in a fixed order."""
        if not isinstance(self.search, Search):
            return {}
        return {key: s.domain for key, s in self.settings.items() if s.domain is not None}

    def typed(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Values of searched fields as they were before they were JSON: a tuple is a list there.

        Raises:
            UserError: one is of another type.
        """
        fields = {key: self.settings[key].field for key in params if key in self.settings}
        return {
            key: coerce(value, fields[key].type, f"{self.name}: {key}", fields[key])
            if key in fields
            else value
            for key, value in params.items()
        }

    def spec(self, params: Mapping[str, Any], seed: int) -> RunSpec:
        """The run with these values of searched fields."""
        values: dict[str, dict[str, Any]] = {"method": {}, "fit": {}, "net": {}}
        for key, setting in self.settings.items():
            value = params.get(key, setting.value)
            if value != setting.field.default:
                room, _, name = key.partition(".")
                values[room][name] = value
        config = filled(self.network.Config, values["net"], "net")
        return RunSpec(
            method=names.name_of(self.method),
            network=names.written(names.name_of(self.network), config),
            benchmark=self.benchmark,
            config=values["method"],
            fit=values["fit"],
            order=self.order,
            seed=seed,
            numerics=self.numerics,
            evaluate=self.evaluate,
            identity=self.identity,
            versions=self.versions,
            code=self.code,
            home=self.home,
        ).with_inputs()

    @functools.cached_property
    def key(self) -> str:
        """What proposals depend on: not the study's name, nor the label, nor how many trials are wanted."""
        search = self.search
        assert isinstance(search, Search)
        return key_of(
            {
                "spec": self.spec({}, self.trial_seed).keyed(),
                "space": {key: repr(domain) for key, domain in self.space.items()},
                "width": search.width,
                "seed": search.seed,
                "startup": search.startup,
                "protocol": self.protocol,
            }
        )


def cells_of(study: Study, only: str | None = None, check: bool = True) -> list[Cell]:
    """All cells of a study, checked.

    Args:
        only: a pattern over ``label/benchmark``.
        check: also see whether data are here and networks fit; loads the benchmarks.

    Raises:
        UserError: names the value, the place and the remedy.
    """
    with userfiles.beside(study.folder):
        return _cells_of(study, only, check)


def _cells_of(study: Study, only: str | None, check: bool) -> list[Cell]:
    place = study.file
    _check_study(study, place)
    recipes: dict[str, Recipe] = {}  # one of each, since a checksum of many files takes a while
    for text in [t for keys in study.methods.values() for t in keys.get("benchmarks", study.benchmarks)]:
        if text not in recipes:
            recipes[text] = names.recipe(text, f"{place}: benchmarks")
    for label, keys in study.methods.items():
        named = [recipes[text] for text in keys.get("benchmarks", study.benchmarks)]
        if twice := [recipe for n, recipe in enumerate(named) if recipe in named[:n]]:
            raise UserError(f"{place}: benchmarks: '{twice[0]}' is named twice for {label!r}; name it once")
    planned = [
        (label, text, recipes[text], order)
        for label, keys in study.methods.items()
        for text in keys.get("benchmarks", study.benchmarks)
        for order in range(study.orders)
    ]
    namings = [
        Naming(label, (str(recipe), text), order if study.orders > 1 else None)
        for label, text, recipe, order in planned
    ]
    wanted = _chosen(only, namings, place)
    benchmarks.check_names([recipe for n, (_, _, recipe, _) in enumerate(planned) if n in wanted], place)
    requests, lost = _requests(study, namings)
    found = [
        _cell(study, label, dict(study.methods[label]), recipe, order, check, requests[n])
        for n, (label, _, recipe, order) in enumerate(planned)
        if n in wanted
    ]
    told = [notes.unmatched(pattern, study.methods) for pattern in lost]
    told += [f"{notes.STUDY}{line}" for line in userfiles.left_by(study.folder)]
    if found and told:
        found[0] = dataclasses.replace(found[0], notes=(*told, *found[0].notes))
    return found


def _chosen(only: str | None, namings: Sequence[Naming], place: str) -> set[int]:
    """Indices of the cells that ``--only`` takes.

    Raises:
        UserError: a part of it means no cell.
    """
    if only is None:
        return set(range(len(namings)))
    found, lost = chosen(only, namings)
    if lost:
        known = list(dict.fromkeys(f"{naming.label}/{naming.benchmarks[-1]}" for naming in namings))
        if len(known) > 6:
            known = (closest(lost[0], known, 3) or known[:3]) + ["..."]
        there = f"; there are: {screen_line(', '.join(known), 3 * SCREEN)}" if known else ""
        raise UserError(f"{place}: --only {quoted(lost[0])} matches no cell{there}")
    return found


def _requests(study: Study, namings: Sequence[Naming]) -> tuple[list[R], list[str]]:
    """What each cell's runs may use: the last pattern that means it holds; and patterns that mean none."""
    requests, lost = [R()] * len(namings), []
    for pattern, request in study.resources.items():
        meant, _ = chosen(pattern, namings)
        if not meant:
            lost.append(pattern)
        for n in meant:
            requests[n] = request
    return requests, lost


def references_beside(study: Study, cells: Sequence[Cell]) -> list[Cell]:
    """Cells of the study's reference methods that a choice leaves out: transfer is measured from them too."""
    there = {cell.name for cell in cells}
    return [c for c in cells_of(study, check=False) if c.method.reference and c.name not in there]


def _check_study(study: Study, place: str) -> None:
    """Types of the fields of a study that no cell looks at."""
    _check_text(study.name, "name", place)
    if study.name:  # else it is "study"
        check_study_name(study.name, place)
    _check_sheets(study, place)
    if study.sheets and not study.methods and not study.benchmarks:
        return
    if not isinstance(study.methods, Mapping) or not study.methods:
        raise UserError(
            f'{place}: methods = {quoted(study.methods)} needs at least one label, such as {{"hat": {{}}}}'
        )
    if not isinstance(study.benchmarks, list | tuple) or not study.benchmarks:
        raise UserError(
            f"{place}: benchmarks = {quoted(study.benchmarks)} should be a list of at least one name"
        )
    for name, allowed in (("protocol", ("val", "paper")), ("numerics", ("strict", "fast")),
                          ("evaluate", (None, "learnt", "ends", "full"))):  # fmt: skip
        given = getattr(study, name)
        if not ((isinstance(given, str) or given is None) and given in allowed):
            raise UserError(f"{place}: {name} = {quoted(given)} is none of {allowed}")
    limits.whole(study.orders, f"{place}: orders", 1, limits.ORDERS)
    _check_kinds(study, place)
    planning.check_labels(study.methods, place)
    _check_size(study, place)
    _check_views(study, place)
    _check_metrics(study, place)
    _check_tables(study, place)
    _check_search(study.search, place)
    if not isinstance(study.final, Seeds) and not (
        isinstance(study.final, str) and study.final == "best trial"
    ):
        raise UserError(f"{place}: final = {quoted(study.final)} is neither Seeds(...) nor 'best trial'")
    for pattern, request in study.resources.items():
        if not isinstance(request, R) or not isinstance(pattern, str):
            raise UserError(
                f"{place}: resources[{quoted(pattern)}] = {quoted(request)} is not R(cpus=..., gpus=...)"
            )


def _check_size(study: Study, place: str) -> None:
    """A study has a number of cells that can be kept in mind."""
    lists = [keys.get("benchmarks", study.benchmarks) for keys in study.methods.values()]
    if (many := sum(map(len, lists)) * study.orders) > limits.CELLS:
        raise UserError(f"{place}: {many} cells are too many, at most {limits.CELLS}: split the study")


def _check_sheets(study: Study, place: str) -> None:
    sheets = study.sheets
    if not isinstance(sheets, list | tuple) or not all(isinstance(s, Sheet) or callable(s) for s in sheets):
        raise UserError(
            f"{place}: sheets = {quoted(sheets)} should be a list of sheets, such as [Sheet(...)]"
        )


def _check_kinds(study: Study, place: str) -> None:
    """Mappings are mappings and names are texts, before anything looks into them."""
    for name in ("fit", "resources"):
        if not isinstance(getattr(study, name), Mapping):
            raise UserError(f"{place}: {name} = {quoted(getattr(study, name))} should be a dictionary")
    for label, keys in study.methods.items():
        where = f"{place}: methods[{quoted(label)}]"
        if not (
            isinstance(label, str) and isinstance(keys, Mapping) and all(isinstance(k, str) for k in keys)
        ):
            raise UserError(f"{where} = {quoted(keys)} should be a dictionary of keys, such as {{}}")
        for name in ("method", "network", "preset"):
            _check_text(keys.get(name), name, where, optional=True)
        own = keys.get("benchmarks", ())
        if not isinstance(own, list | tuple) or ("benchmarks" in keys and not own):
            raise UserError(f"{where}: benchmarks = {quoted(own)} should be a list of at least one name")
        for text in own:
            _check_text(text, "benchmarks: an entry", where)
    for text in study.benchmarks:
        _check_text(text, "benchmarks: an entry", place)
    _check_text(study.network, "network", place)
    _check_text(study.preset, "preset", place, optional=True)
    _check_text(study.paper, "paper", place)


def _check_text(value: Any, name: str, place: str, optional: bool = False) -> None:
    if not (isinstance(value, str) or (optional and value is None)):
        raise UserError(f"{place}: {name} = {quoted(value)} should be a text in quotes")


def _check_views(study: Study, place: str) -> None:
    """What a report needs is checked before anything runs for hours."""
    from raycl.reporting.claims import papers  # here, because reports are made of studies

    if study.paper not in ("", *papers()):
        raise UserError(
            f"{place}: unknown paper {quoted(study.paper)}{nearest(study.paper, papers())} "
            f"(known: {', '.join(papers())})"
        )
    views = study.views
    if not isinstance(views, list | tuple) or not all(isinstance(view, View) for view in views):
        raise UserError(f"{place}: views = {quoted(views)} should be a list of views, such as [Boxes(...)]")
    methods = [names.method(str(keys.get("method", label)), f"{place}: methods[{quoted(label)}]")
               for label, keys in study.methods.items()]  # fmt: skip
    known = {f"method.{name}" for method in methods for name in fields_of(method.Config)}
    for view in views:
        for key in view.settings:
            if key.startswith("method.") and key not in known:
                raise UserError(
                    f"{place}: views: {quoted(view.title)} asks for {quoted(key)}{nearest(key, known)}, "
                    "a setting of none of the study's methods"
                )


def _check_metrics(study: Study, place: str) -> None:
    from raycl.reporting import ownmetrics  # here, because reports are made of studies

    ownmetrics.check(study, place)


def _check_tables(study: Study, place: str) -> None:
    from raycl.reporting import papertable  # here, because reports are made of studies

    tables = study.tables
    if not isinstance(tables, list | tuple) or not all(isinstance(t, papertable.PaperTable) for t in tables):
        raise UserError(
            f"{place}: tables = {quoted(tables)} should be a list of tables, such as [PaperTable(...)]"
        )
    for table in tables:
        papertable.check(table, study, place)


def _check_search(search: Any, place: str) -> None:
    if not (search is None or isinstance(search, Search | Grid)):
        raise UserError(f"{place}: search = {quoted(search)} is neither Search(...), Grid(...) nor None")


_SPECIAL = ("method", "network", "preset", "search", "benchmarks")


def _cell(
    study: Study, label: str, keys: dict[str, Any], recipe: Recipe, order: int, check: bool, resources: R
) -> Cell:
    place = f"{study.file}: methods[{label!r}]"
    special = {name: keys.pop(name) for name in _SPECIAL if name in keys}
    method = names.method(str(special.get("method", label)), place)
    text = special.get("network", study.network)
    where = f"{place}: network" if "network" in special else f"{study.file}: network"
    network = names.network(text, where)
    search = special.get("search", study.search)
    _check_search(search, place)
    preset, benchmark = special.get("preset", study.preset), names.name_of(type(recipe))
    settings = _settings(study, place, method, network, text, preset, keys, benchmark)
    if isinstance(search, Grid):
        search = _checked_grid(search, settings, place)
        planning.check_grid(search, settings, keys, place)
    if search is None:
        _refuse_domains(settings, place)
    if isinstance(search, Search) and not any(s.domain for s in settings.values()):
        search = None  # nothing to vary: one configuration
    cell = Cell(
        label=label,
        benchmark=str(recipe),
        order=order,
        method=method,
        network=network,
        settings=settings,
        search=search,
        final=study.final,
        protocol=study.protocol,
        resources=resources,
        numerics=study.numerics,
        evaluate=study.evaluate,
        identity=_identity(recipe),
        versions={
            "core": CORE_VERSION,
            "method": method.version,
            "network": network.version,
            "benchmark": recipe.version,
        },
        code=_code(method=method, network=network, benchmark=type(recipe)),
        home=study.folder,
        orders=study.orders,
    )
    _check_needs(cell, place)
    try:
        with userfiles.blamed(method):
            cell.spec({}, cell.trial_seed)
    except UserError as error:
        raise UserError(f"{place} on {recipe}: {error}") from None
    planning.check_proposals(cell, place)
    if not check:
        return cell
    blocked, more = _check_benchmark(cell, recipe, place)
    written = {*keys, *(f"fit.{name}" for name in study.fit)}
    return dataclasses.replace(cell, blocked=blocked, notes=(*notes.planned(cell, written), *more))


def _identity(recipe: Recipe) -> dict[str, str]:
    """What fixes the data beside the settings; a user's own recipe may say anything, or raise."""
    with userfiles.blamed(type(recipe)):
        facts = recipe.identity()
    if not isinstance(facts, Mapping) or not all(isinstance(text, str) for text in (*facts, *facts.values())):
        raise UserError(
            f"{userfiles.where(type(recipe))}: identity() gives {facts!r}; it should give a dictionary of "
            "texts, such as {'sha256': '...'}"
        )
    return dict(facts)


def _code(**kinds: type) -> dict[str, str]:
    """Digests of the code of a user's own classes, by part."""
    return {part: digest.digest_of(kind) for part, kind in kinds.items() if userfiles.is_own(kind)}


def _settings(
    study: Study,
    place: str,
    method: type[Method],
    network: type[Network],
    network_text: str,
    preset: str | None,
    keys: Mapping[str, Any],
    benchmark: str,
) -> dict[str, Setting]:
    """Every dotted field of a cell; what stands later overrides what stands earlier."""
    with userfiles.blamed(method):
        check_owner(method, Method)
        check_verbs(method, Method)
    with userfiles.blamed(network):
        check_owner(network, Network)
    kinds = {"method": method.Config, "net": network.Config, "fit": Fit.Config}
    settings = {
        f"{room}.{name}": Setting(f, f.default, f.domain)
        for room, kind in kinds.items()
        for name, f in fields_of(kind).items()
    }

    def put(
        values: Mapping[str, Any], where: str, source: str, explicit: bool = True, lenient: bool = False
    ) -> None:
        for key, value in values.items():
            room, dot, name = key.partition(".")
            if not dot or room not in kinds:
                known = [*settings, *_SPECIAL]
                raise UserError(
                    f"{where}: unknown key {key!r}{nearest(key, known)} "
                    "(keys are method, network, preset, search, benchmarks, and method.x, fit.x, net.x)"
                )
            if lenient and key not in settings:
                continue
            named = f"{where}: {_named(room, method, network)}"
            before = settings.get(key)
            found = _setting(field_of(kinds[room], name, named), value, f"{where}: {key}", explicit)
            found = dataclasses.replace(found, source=source, instead=_displaced(before, source))
            if found.domain is not None and not explicit and before is not None:
                found = dataclasses.replace(found, value=before.value, source=before.source)  # of no search
            settings[key] = found

    for part in presets.parts_of(preset, place):
        whose = f"preset {part}"
        put({f"fit.{k}": v for k, v in presets.PRESETS[part].fit.items()}, whose, whose, False)
        net = presets.PRESETS[part].net_on(benchmark, f"{place}: preset {part!r}")
        put({f"net.{k}": v for k, v in net.items()}, whose, whose, False, True)
    put({f"fit.{k}": v for k, v in method.fit.items()}, method.__name__, "method", False)
    for part in presets.parts_of(preset, place):
        own = f"{method.__name__}.presets[{part!r}]"
        put(method.presets.get(part, {}), own, f"preset {part}", False)
    given = names.parse(network_text, place).settings(network.Config, f"{place}: network")
    put({f"net.{k}": v for k, v in given.items()}, f"{place}: network", "network")
    put({f"fit.{k}": v for k, v in study.fit.items()}, study.file, "study fit")
    put(keys, place, "label")
    _check_values(settings, kinds, place)
    return settings


def _displaced(before: Setting | None, source: str) -> tuple[Any, str] | None:
    """What a method or a preset wanted, where the study's fit stands in its place."""
    if source != "study fit" or before is None or before.source == "default":
        return None
    return (before.value if before.domain is None else before.domain), before.source


def _named(room: str, method: type[Method], network: type[Network]) -> str:
    return {"method": names.name_of(method), "net": names.name_of(network), "fit": "fit"}[room]


def _setting(field: Field, value: Any, place: str, explicit: bool) -> Setting:
    if not isinstance(value, Float | Int | Choice):
        return Setting(field, coerce(value, field.type, place, field))
    return Setting(field, field.default, coerced(value, field.type, place, field), explicit)


def _check_values(settings: Mapping[str, Setting], kinds: Mapping[str, type], place: str) -> None:
    """Let each Config check its fixed values together."""
    for room, kind in kinds.items():
        values = {k.partition(".")[2]: s.value for k, s in settings.items() if k.startswith(f"{room}.")}
        with userfiles.blamed(kind):
            filled(kind, values, f"{place}: {room}")


def _checked_grid(grid: Grid, settings: Mapping[str, Setting], place: str) -> Grid:
    axes = {}
    for key, values in grid.axes.items():
        if key not in settings:
            raise UserError(f"{place}: Grid: unknown key {key!r}{nearest(key, settings)}")
        field = settings[key].field
        axes[key] = [coerce(value, field.type, f"{place}: Grid: {key}", field) for value in values]
        if (twice := repeated(axes[key])) is not None:
            raise UserError(f"{place}: Grid: {key} has {shown(twice)} twice: drop one")
    return Grid(axes)


def _refuse_domains(settings: Mapping[str, Setting], place: str) -> None:
    for key, setting in settings.items():
        if setting.domain is not None and setting.explicit:
            raise UserError(
                f"{place}: {key} = {setting.domain!r} is a domain, and nothing is searched; "
                "give it a value, or the study a Search"
            )


def _check_needs(cell: Cell, place: str) -> None:
    settings = {k.partition(".")[2]: s.value for k, s in cell.settings.items() if k.startswith("net.")}
    kind = cell.network.variant(filled(cell.network.Config, settings, place))
    missing = [need.__name__ for need in cell.method.needs if not issubclass(kind, need)]
    if missing:
        what = {"Heads": "a head of its own for each task", "Blocks": "blocks whose units can be gated"}
        lacks = ", ".join(what.get(name, name) for name in missing)
        raise UserError(
            f"{place}: {names.name_of(cell.method)} needs a network with {lacks}, which "
            f"{names.name_of(cell.network)} has not; try mlp or alexnet"
        )


def _check_benchmark(cell: Cell, recipe: Recipe, place: str) -> tuple[str, tuple[str, ...]]:
    """ "" if the cell can be played, else what is missing; and notes. What can never be played is refused."""
    if (tasks := getattr(recipe, "tasks", 0)) > limits.TASKS:
        raise UserError(f"{place} on {recipe}: tasks = {tasks} is too many: at most {limits.TASKS}")
    with userfiles.blamed(type(recipe)):
        absent = [line for name in recipe.needs() if (line := sources.missing(name))]
    if absent:
        return absent[0], ()
    try:
        with userfiles.blamed(type(recipe)):
            benchmark = benchmarks.load(recipe, cell.trial_seed, 0)
    except UserError as error:
        if recipe.subset():  # more of the data might do
            return str(error).removeprefix("benchmark "), ()
        raise UserError(f"{place.partition(': methods')[0]}: {error}") from None
    largest = _largest_network(cell, benchmark.input_shape, benchmark.classes, f"{place} on {recipe}")
    try:
        _check_method(cell, benchmark)
    except ValueError as error:
        raise UserError(f"{place} on {recipe}: {error}") from None
    if isinstance(cell.search, Search | Grid) and any(not len(task.val) for task in benchmark.tasks):
        raise UserError(
            f"{place} on {recipe}: there are no validation samples to search on; "
            "give the benchmark some, or write search=None"
        )
    return "", notes.measured(cell, benchmark, largest, place)


def _largest_network(
    cell: Cell, input_shape: tuple[int, int, int], classes: Sequence[int], place: str
) -> netcheck.Measured:
    """Build the cell's network with its settings, and with each end and option that a search may propose.

    Raises:
        UserError: one of them cannot be built, or is too large.
    """
    values = notes.values_of(cell, "net")
    tried: list[tuple[dict[str, Any], str]] = [({}, "")]
    for key, options in notes.varied_of(cell).items():
        room, _, name = key.partition(".")
        if room == "net":
            tried += [({name: option}, f" with {key} = {shown(option)}") for option in options]
    found = []
    for change, how in tried:
        config = filled(cell.network.Config, {**values, **change}, place)
        found.append(netcheck.measured(cell.network, config, input_shape, classes, place + how))
    return max(found, key=lambda network: network.parameters)


def _check_method(cell: Cell, benchmark: Benchmark) -> None:
    """See that the method is right on the network, and build a user's own, before anything runs.

    Raises:
        UserError: it would be wrong there, or cannot be built; names the layer, or the file and the line.
    """
    config = filled(cell.network.Config, notes.values_of(cell, "net"), cell.name)
    with torch.device("meta"), userfiles.blamed(cell.network):
        net = cell.network.variant(config)(benchmark.input_shape, benchmark.classes, config)
    with userfiles.blamed(cell.method):
        cell.method.check_network(net, len(benchmark.classes))
    spec = cell.spec({}, cell.trial_seed)
    if not userfiles.is_own(cell.method) or spec.masks or spec.runs:  # what these build on is not here yet
        return
    with torch.random.fork_rng(devices=[]), userfiles.blamed(cell.method):
        spec.make_method(benchmark)

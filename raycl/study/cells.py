"""The cell: one method variant on one benchmark in one order of tasks, with all of its settings."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from raycl import calls, registry, userfiles
from raycl.errors import Obstacle
from raycl.runs.inputs import require_nothing, with_inputs
from raycl.runs.pauses import Split
from raycl.space import Domain, Field, coerce, make_config
from raycl.specs import Evaluate, Numerics, RunSpec, key_of
from raycl.study.objectives import ACC, Objective
from raycl.study.values import FinalRuns, Grid, Keep, Resources, Search, Seeds

if TYPE_CHECKING:
    from raycl.method import Method
    from raycl.networks import Network


@dataclass(frozen=True)
class Setting:
    """One dotted field of a cell: a value, or a domain that is searched.

    Attributes:
        value: The value that is used where nothing is searched.
        explicit: Whether the study itself asked for the domain.
        source: What gave the value: "default", "preset NAME", "method", "network", "study fit" or "label".
        instead: The value that the study's `fit` replaced, and the source of that value.
    """

    field: Field
    value: Any
    domain: Domain | None = None
    explicit: bool = False
    source: str = "default"
    instead: tuple[Any, str] | None = None


@dataclass(frozen=True)
class Kinds:
    """What plans and reports say about the method and the network of a cell, without loading their classes.

    Attributes:
        method, network: Names under which the classes are found again.
        is_reference, deviations: As in the method's class.
        requires: Whether the method may require masks or other runs.
        roots: Modules of the method, on whose files its runs depend (`raycl.runs.fingerprint`).
        loaded: The two classes, if this process has them already.
    """

    method: str
    network: str
    is_reference: bool
    deviations: tuple[str, ...]
    requires: bool
    roots: frozenset[str]
    loaded: tuple[type[Method], type[Network]] | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True)
class Data:
    """What reports say about the data of a cell.

    Attributes:
        classes: Number of classes of each task; () if the data are not on this machine.
        similar, subset: As in `raycl.tasks.Benchmark`.
        deviations: As in the benchmark's recipe.
    """

    classes: tuple[int, ...] = ()
    similar: bool | None = None
    subset: str = ""
    deviations: tuple[str, ...] = ()


@dataclass(frozen=True)
class Cell:
    """One method variant on one benchmark in one order of tasks: a search, and the final runs.

    Attributes:
        name: ``label/benchmark``, with the order where a study has several.
        kinds: The method and the network by name; `method` and `network` are their classes.
        settings: Every dotted field, fixed or searched.
        code, home: As in `RunSpec`.
        keep: Which trained methods the study keeps; it is in no key.
        sampler_code: Digest of the code of a user's own sampler; "" for one of Optuna's.
        blocked: Why the cell cannot run on this machine, with the remedy; None if it can.
        notes: What is worth knowing before the cell runs, one line each. Notes are not part of any key.
        data: Facts about its data; None if they were not looked at.
        named: Name of the user's own data, if it says in this study which benchmark is meant; otherwise "".
    """

    label: str
    benchmark: str
    order: int
    kinds: Kinds
    settings: Mapping[str, Setting]
    search: Search | Grid | None
    final: FinalRuns
    protocol: Literal["val", "paper"]
    resources: Resources
    numerics: Numerics
    evaluate: Evaluate | None
    identity: Mapping[str, Any]
    versions: Mapping[str, int]
    code: Mapping[str, str] = field(default_factory=dict)
    home: Path | None = None
    sampler_code: str = ""
    orders: int = 1
    keep: Keep = "none"
    blocked: Obstacle | None = None
    notes: tuple[str, ...] = ()
    data: Data | None = None
    named: str = ""

    @functools.cached_property
    def method(self) -> type[Method]:
        """The class of the method, which loads torch."""
        if self.kinds.loaded is not None:
            return self.kinds.loaded[0]
        with userfiles.importing_from(self.home):
            return registry.method(self.kinds.method)

    @functools.cached_property
    def network(self) -> type[Network]:
        """The class of the network, which loads torch."""
        if self.kinds.loaded is not None:
            return self.kinds.loaded[1]
        with userfiles.importing_from(self.home):
            return registry.network(self.kinds.network)

    @property
    def shown(self) -> str:
        """The benchmark as tables print it: the name alone of the user's own data, if that says which."""
        return self.named or self.benchmark

    @property
    def name(self) -> str:
        return f"{self.label}/{self.shown}" + (f"/order {self.order}" if self.orders > 1 else "")

    @property
    def title(self) -> str:
        """The name as tables print it, with a space around each slash."""
        return f"{self.label} / {self.shown}" + (f" / order {self.order}" if self.orders > 1 else "")

    @property
    def trial_seed(self) -> int:
        """The training seed that all trials share."""
        return self.final[0] if isinstance(self.final, Seeds) else 1

    @functools.cached_property
    def space(self) -> dict[str, Domain]:
        """The searched fields with their domains, in a fixed order."""
        if not isinstance(self.search, Search):
            return {}
        return {key: s.domain for key, s in self.settings.items() if s.domain is not None}

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """What the search looks for; the accuracy if there is no search, or a grid."""
        return self.search.aims if isinstance(self.search, Search) else (ACC,)

    @property
    def split(self) -> Split:
        """The samples on which the search measures accuracies."""
        return "test" if self.protocol == "paper" else "val"

    def typed(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Return values of searched fields in their own types, after JSON has turned tuples into lists.

        Raises:
            UserError: If a value is of another type.
        """
        fields = {key: self.settings[key].field for key in params if key in self.settings}
        return {
            key: coerce(value, fields[key].type, f"{self.name}: {key}", fields[key])
            if key in fields
            else value
            for key, value in params.items()
        }

    def spec(self, params: Mapping[str, Any], seed: int, *, checked: bool = True) -> RunSpec:
        """Return the run with these values of the searched fields.

        Args:
            params: The values.
            seed: The training seed.
            checked: Whether to ask the classes about the values. Without it, the result stands for values
                that they refuse: it has a key, but cannot be executed.

        Raises:
            UserError: If the classes of the method or the network refuse the values.
        """
        values: dict[str, dict[str, Any]] = {"method": {}, "fit": {}, "net": {}}
        for key, (room, name, own, default) in self._placed.items():
            value = params.get(key, own)
            if value != default:
                values[room][name] = value
        given = any(key.startswith("net.") for key in params)
        run = RunSpec(
            method=self.kinds.method,
            network=self._network_text(values["net"], checked) if given or not checked else self._own_network,
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
        )
        return with_inputs(run) if self.kinds.requires and checked else require_nothing(run)

    @functools.cached_property
    def _placed(self) -> dict[str, tuple[str, str, Any, Any]]:
        """Room, name, value and default of each setting: a large study makes millions of specs of them."""
        return {
            key: (*key.split(".", 1), setting.value, setting.field.default)
            for key, setting in self.settings.items()
        }

    @functools.cached_property
    def _own_network(self) -> str:
        """The network of the runs of a cell that searches none of its settings."""
        own = {
            name: value
            for room, name, value, default in self._placed.values()
            if room == "net" and value != default
        }
        return self._network_text(own, checked=True)

    def _network_text(self, values: Mapping[str, Any], checked: bool) -> str:
        """Return the network with the settings that differ from their defaults, as it stands in keys.

        A user's own Config may change its values when it is made, so it is made here.
        """
        if "network" in self.code and checked:
            config = make_config(self.network.Config, values, "net")
            return calls.format_call(self.kinds.network, config)
        typed = {
            name: coerce(values[name], setting.field.type, f"net.{name}", setting.field)
            for key, setting in self.settings.items()
            if (name := key.removeprefix("net.")) != key and name in values
        }
        return calls.format_settings(self.kinds.network, typed)

    @functools.cached_property
    def drawing(self) -> str:
        """The digest from which the random numbers of a search are made.

        It names neither the method nor its fixed settings: methods with the same search space, on the same
        benchmark and order of tasks, start from the same random trials, so that they are compared in pairs.
        """
        assert isinstance(self.search, Search)
        keyed = self.spec({}, self.trial_seed).keyed()
        return key_of(
            {
                "data": {name: keyed.get(name) for name in ("benchmark", "identity", "order")},
                "space": {key: repr(domain) for key, domain in self.space.items()},
                "seed": self.search.seed,
            }
        )

    @functools.cached_property
    def key(self) -> str:
        """The digest of everything that proposals depend on.

        The study's name, the label and the number of trials are left out: changing one of them keeps the
        proposals of an earlier search.
        """
        search = self.search
        assert isinstance(search, Search)
        sampler = {
            "sampler": search.sampler if search.sampler != "tpe" else "",
            "sampler_code": self.sampler_code,
            "multivariate": search.multivariate,
            "group": search.group,
            "prune": repr(search.prune) if search.prune else "",
            "objectives": list(search.objectives) if search.objectives != ("acc",) else "",
        }
        return key_of(
            {name: value for name, value in sampler.items() if value}  # so that those of plain TPE stay
            | {
                "spec": self.spec({}, self.trial_seed).keyed(),
                "space": {key: repr(domain) for key, domain in self.space.items()},
                "width": search.concurrency,
                "seed": search.seed,
                "startup": search.startup_trials,
                "protocol": self.protocol,
                "drawing": 2,  # 2: `drawing` is the seed, no longer this key itself
            }
        )

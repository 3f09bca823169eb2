"""A cell: a method variant on a benchmark in one order, with every setting it runs with."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from raycl import calls
from raycl.errors import Obstacle
from raycl.method import Method
from raycl.networks import Network
from raycl.runs.build import with_inputs
from raycl.space import Domain, Field, coerce, make_config
from raycl.specs import Evaluate, Numerics, RunSpec, key_of
from raycl.study.values import FinalRuns, Grid, Resources, Search, Seeds


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
        blocked: why it cannot be played here, and the remedy; None if it can.
        notes: what is worth knowing before it runs, a line each; in no key.
    """

    label: str
    benchmark: str
    order: int
    method: type[Method]
    network: type[Network]
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
    orders: int = 1
    blocked: Obstacle | None = None
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
        config = make_config(self.network.Config, values["net"], "net")
        run = RunSpec(
            method=calls.name_of(self.method),
            network=calls.format_call(calls.name_of(self.network), config),
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
        return with_inputs(run)

    @functools.cached_property
    def key(self) -> str:
        """What proposals depend on: not the study's name, nor the label, nor how many trials are wanted."""
        search = self.search
        assert isinstance(search, Search)
        return key_of(
            {
                "spec": self.spec({}, self.trial_seed).keyed(),
                "space": {key: repr(domain) for key, domain in self.space.items()},
                "width": search.concurrency,
                "seed": search.seed,
                "startup": search.startup_trials,
                "protocol": self.protocol,
            }
        )

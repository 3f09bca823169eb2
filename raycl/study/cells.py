"""The cell: one method variant on one benchmark in one order of tasks, with all of its settings."""

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
class Cell:
    """One method variant on one benchmark in one order of tasks: a search, and the final runs.

    Attributes:
        name: ``label/benchmark``, with the order where a study has several.
        settings: Every dotted field, fixed or searched.
        code, home: As in `RunSpec`.
        blocked: Why the cell cannot run on this machine, with the remedy; None if it can.
        notes: What is worth knowing before the cell runs, one line each. Notes are not part of any key.
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
        """The name as tables print it, with a space around each slash."""
        return f"{self.label} / {self.benchmark}" + (f" / order {self.order}" if self.orders > 1 else "")

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

    def spec(self, params: Mapping[str, Any], seed: int) -> RunSpec:
        """Return the run with these values of the searched fields."""
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
        """The digest of everything that proposals depend on.

        The study's name, the label and the number of trials are left out: changing one of them keeps the
        proposals of an earlier search.
        """
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

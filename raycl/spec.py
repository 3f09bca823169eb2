"""All that one run depends on, as a value with a key.

The key is the SHA-256 of canonical JSON in which fields equal to their default are left out: a new neutral
field changes no key, and studies that mean the same run share it.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

import torch

from raycl import calls, registry, streams, userfiles
from raycl.method import Method, World
from raycl.methods._first import BACKBONE, FirstTask
from raycl.networks import Network, Start
from raycl.runs.sequence import Evaluate
from raycl.space import filled
from raycl.supermasks.bank import MaskSpec
from raycl.tasks import Benchmark
from raycl.training.fit import Fit

CORE_VERSION = 1  # raised when the loop, the streams or the evaluation behave differently


Numerics: TypeAlias = Literal["strict", "fast"]


@dataclass(frozen=True, kw_only=True)
class RunSpec:
    """One run.

    Attributes:
        method, network, benchmark: as a study writes them, settings in brackets that differ from defaults.
        config: fields of the method's Config that differ from defaults.
        fit: fields of `Fit.Config` that differ from defaults.
        order: which order of the benchmark's tasks.
        seed: of everything random in training.
        numerics: "strict", or "fast" with lower-precision products where they are safe.
        evaluate: how much of the accuracy matrix is measured, where it is not the default.
        identity: what else fixes the data, such as the checksum of a user's file.
        versions: of core, method, network and benchmark.
        code: digests of the code that classes of the user's own reach, by part: "method", "network",
            "benchmark" (`raycl.userfiles.digest`).
        inputs: hashes of what must be in the store before it can be played, by name: keys of the runs that it
            builds on; "basis" stands for the keys of all its basis masks.
        part: index of the one task that is learnt, where a sequence's tasks are learnt side by side.
        kind: "pretrain" also leaves the network that it trained.
        home: the folder beside whose files the user's own classes are found; in no key.
    """

    method: str
    network: str
    benchmark: str
    config: Mapping[str, Any] = field(default_factory=dict)
    fit: Mapping[str, Any] = field(default_factory=dict)
    order: int = 0
    seed: int = 1
    numerics: Numerics = "strict"
    evaluate: Evaluate | None = None
    identity: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, int] = field(default_factory=dict)
    code: Mapping[str, str] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)
    part: int | None = None
    kind: Literal["sequence", "pretrain"] = "sequence"
    home: Path | None = field(default=None, repr=False, compare=False)

    def to_json(self) -> dict[str, Any]:
        """Canonical: plain values, nothing that equals its default but what always names a run."""
        plain: dict[str, Any] = {
            "kind": self.kind,
            "method": self.method,
            "network": self.network,
            "benchmark": self.benchmark,
            "seed": self.seed,
            "versions": dict(self.versions),
        }
        optional = {"config": dict(self.config), "fit": dict(self.fit), "order": self.order,
                    "evaluate": self.evaluate, "identity": dict(self.identity),
                    "code": dict(self.code), "inputs": dict(self.inputs)}  # fmt: skip
        plain |= {name: value for name, value in optional.items() if value}
        if self.part is not None:
            plain["part"] = self.part
        if self.numerics != "strict":
            plain["numerics"] = self.numerics
        return plain

    @classmethod
    def from_json(cls, plain: Mapping[str, Any], home: Path | None = None) -> RunSpec:
        """The inverse of `to_json`."""
        return cls(**plain, home=home)

    @functools.cached_property
    def key(self) -> str:
        """64 hexadecimal digits."""
        return key_of(self.keyed())

    def keyed(self) -> dict[str, Any]:
        """What the key is made of."""
        return keyed(self.to_json())

    @functools.cached_property
    def masks(self) -> tuple[MaskSpec, ...]:
        """The basis masks that it needs, those that are drawn and not trained among them.

        Raises:
            UserError: it cannot have what it asks for.
        """
        kind = self.method_class
        with userfiles.beside(self.home), userfiles.blamed(kind):
            return kind.wants(self)

    @functools.cached_property
    def runs(self) -> Mapping[str, RunSpec]:
        """The runs that it builds on, by name.

        Raises:
            UserError: it cannot have what it asks for.
        """
        if self.kind == "pretrain":
            return {}
        kind = self.method_class
        with userfiles.beside(self.home), userfiles.blamed(kind):
            return {name: run.with_inputs() for name, run in kind.builds_on(self).items()}

    @functools.cached_property
    def parts(self) -> tuple[RunSpec, ...]:
        """Runs of a task each that make this one up, where its tasks can be learnt side by side."""
        alone = self.method_class.independent and self.part is None and self.kind == "sequence"
        if not (alone and BACKBONE in self.runs) or self.evaluate == "full":  # tasks not learnt yet are asked
            return ()
        return tuple(replace(self, part=task.index) for task in self.make_benchmark().tasks)

    def with_inputs(self) -> RunSpec:
        """The same run, its inputs named."""
        inputs = {name: run.key for name, run in self.runs.items()}
        if self.masks:
            inputs["basis"] = key_of([mask.key for mask in self.masks])
        return replace(self, inputs=inputs) if inputs else self

    @property
    def method_class(self) -> type[Method]:
        """The class of its method."""
        with userfiles.beside(self.home):
            return registry.method(self.method)

    @property
    def network_class(self) -> type[Network]:
        """The class of its network."""
        with userfiles.beside(self.home):
            return registry.network(self.network)

    def check_code(self) -> None:
        """See that the classes which are found here are those that the key stands for.

        Raises:
            UserError: a file of the user's has changed since the key was made.
        """
        texts = {"network": self.network, "benchmark": self.benchmark}
        if self.kind == "sequence":
            texts["method"] = self.method
        registry.check_code(self.code, self.home, texts)

    def make_benchmark(self) -> Benchmark:
        """The tasks, mapped from prepared data."""
        with userfiles.beside(self.home):
            return registry.load(self.benchmark, self.seed, self.order, self.identity)

    def make_fit(self, **runtime: Any) -> Fit:
        """The training loop; `runtime` is what a key does not hold: device, pulse."""
        config: Fit.Config = filled(Fit.Config, self.fit, "fit")
        return Fit(config, seed=self.seed, **runtime)

    def make_method(
        self,
        benchmark: Benchmark,
        device: torch.device | str = "cpu",
        inputs: Mapping[str, Any] | None = None,
    ) -> Method:
        """A fresh method, its state on `device`; `inputs` as `World.inputs`."""
        kind = FirstTask if self.kind == "pretrain" else self.method_class
        world = World(benchmark.input_shape, benchmark.classes, self.make_start(benchmark), inputs or {})
        with torch.device(device):
            streams.reseed(self.seed, "method")
            return kind(world, filled(kind.Config, self.config, self.method))

    def make_start(self, benchmark: Benchmark) -> Start:
        """What builds the network with this seed's initial weights."""
        kind = self.network_class
        settings = calls.parse(self.network, "network").settings(kind.Config, "network")
        config = filled(kind.Config, settings, self.network)
        return Start(kind, config, benchmark.input_shape, benchmark.classes, self.seed)


def keyed(plain: Mapping[str, Any]) -> dict[str, Any]:
    """What the key of a run that is written as JSON is made of: without the name of a user's own data."""
    if not plain.get("identity"):
        return dict(plain)
    return {**plain, "benchmark": registry.unnamed(str(plain.get("benchmark")))}


def key_of(plain: Any) -> str:
    """SHA-256 of canonical JSON: sorted keys, floats by repr, no NaN; tuples read as lists."""
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()

"""Specifications of runs and basis masks: everything that their results depend on, as values with a key.

A key is the SHA-256 of canonical JSON from which fields equal to their defaults are left out. Therefore a new
field with a neutral default does not change existing keys, and studies that describe the same run share its
result. `raycl.runs.build` makes the classes, data and training loop that a spec describes.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

from raycl.calls import nameless

# Increased when the loop, the random streams or the evaluation change behaviour.
# 2: dropout on a CPU has a stream of its own, and sums are taken in another order.
CORE_VERSION = 2

Numerics: TypeAlias = Literal["strict", "fast"]
Evaluate: TypeAlias = Literal["learnt", "ends", "full"]
BackboneInit: TypeAlias = Literal["signed_constant", "kaiming_normal"]
ScoreRank: TypeAlias = Literal["abs", "raw"]
DensityRule: TypeAlias = Literal["uniform", "er", "threshold"]
MaskValues: TypeAlias = Literal[
    "binary", "signed", "soft", "signed_soft", "weight_norm", "signed_weight_norm"
]


@dataclass(frozen=True, kw_only=True)
class RunSpec:
    """Specification of one run.

    Attributes:
        method: Name of the method, as a study writes it.
        network: Name of the network, with the settings that differ from their defaults in brackets.
        benchmark: Name of the benchmark, likewise.
        config: Fields of the method's Config that differ from their defaults.
        fit: Fields of `Fit.Config` that differ from their defaults.
        order: Index of the order of the benchmark's tasks.
        seed: Seed of everything that is random in training.
        numerics: "strict", or "fast" with lower-precision products where they are safe.
        evaluate: How much of the accuracy matrix is measured, if not the default.
        identity: What else determines the data, such as the checksum of a user's file.
        versions: Versions of the core, the method, the network and the benchmark.
        code: Digests of the user's code that the run depends on, by part: "method", "network", "benchmark"
            (`raycl.userfiles.digest`).
        inputs: Keys of the results that must be in the store before this run can be executed, by name. These
            are the keys of the required runs, and as "basis" a hash of the keys of all its basis masks.
        part: Index of the only task that this run learns, if the tasks of a sequence are learnt in parallel.
        kind: A "pretrain" run also stores the network that it trained.
        home: Folder in which the user's own classes are found; it is not part of the key.
        derived: Cached results of `raycl.runs.build`; they are not part of the key.
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
    derived: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def to_json(self) -> dict[str, Any]:
        """Return the canonical form: plain values, without optional fields that equal their defaults."""
        plain: dict[str, Any] = {
            "kind": self.kind,
            "method": self.method,
            "network": self.network,
            "benchmark": self.benchmark,
            "seed": self.seed,
            "versions": dict(self.versions),
        }
        optional = {
            "config": dict(self.config),
            "fit": dict(self.fit),
            "order": self.order,
            "evaluate": self.evaluate,
            "identity": dict(self.identity),
            "code": dict(self.code),
            "inputs": dict(self.inputs),
        }
        plain |= {name: value for name, value in optional.items() if value}
        if self.part is not None:
            plain["part"] = self.part
        if self.numerics != "strict":
            plain["numerics"] = self.numerics
        return plain

    @classmethod
    def from_json(cls, plain: Mapping[str, Any], home: Path | None = None) -> RunSpec:
        """Return the spec from which `to_json` made these values."""
        return cls(**plain, home=home)

    @functools.cached_property
    def key(self) -> str:
        """Key of the spec: 64 hexadecimal digits."""
        return key_of(self.keyed())

    def keyed(self) -> dict[str, Any]:
        """Return the values of which the key is the hash."""
        return keyed(self.to_json())


_OF_MASKS = {"fit", "identity", "versions", "code"}  # Fields of a `MaskSpec` that are dictionaries.


@dataclass(frozen=True, kw_only=True)
class MaskSpec:
    """Specification of one basis mask.

    Attributes:
        network: Name of the network, as a study writes it.
        benchmark: Name of the benchmark, as a study writes it.
        task: Index of the task of the benchmark on whose training images the scores are trained.
        density: Fraction of ones in each layer.
        density_rule: As in the Config of the `supsup` method.
        score_rank: As in the Config of the `supsup` method.
        mask_values: As in the Config of the `supsup` method.
        backbone_seed: Seed of the frozen weights.
        backbone_init: Initialisation of the frozen weights.
        score_seed: Seed of the initial scores.
        order_seed: Seed of the order of the data and of their augmentation.
        trained: False for a random mask, whose positions are drawn from `score_seed`.
        fit: Fields of `Fit.Config` that differ from their defaults; empty for a mask that is not trained.
        numerics: As in `RunSpec`.
        identity: As in `RunSpec`.
        versions: As in `RunSpec`.
        code: As in `RunSpec`.
        home: As in `RunSpec`.
    """

    network: str
    benchmark: str
    task: int
    density: float
    density_rule: DensityRule = "uniform"
    score_rank: ScoreRank = "abs"
    mask_values: MaskValues = "binary"
    backbone_seed: int = 1
    backbone_init: BackboneInit = "kaiming_normal"
    score_seed: int = 0
    order_seed: int = 0
    trained: bool = True
    fit: Mapping[str, Any] = field(default_factory=dict)
    numerics: Numerics = "strict"
    identity: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, int] = field(default_factory=dict)
    code: Mapping[str, str] = field(default_factory=dict)
    home: Path | None = field(default=None, repr=False, compare=False)

    def to_json(self) -> dict[str, Any]:
        """Return plain values, without fields that equal their defaults."""
        plain: dict[str, Any] = {"kind": "mask"}
        for name, entry in type(self).__dataclass_fields__.items():
            value = getattr(self, name)
            if name in _OF_MASKS:
                value = dict(value)
            if name != "home" and value != entry.default and value != {}:
                plain[name] = value
        return plain

    @classmethod
    def from_json(cls, plain: Mapping[str, Any], home: Path | None = None) -> MaskSpec:
        """Return the spec from which `to_json` made these values."""
        return cls(**{name: value for name, value in plain.items() if name != "kind"}, home=home)

    @functools.cached_property
    def key(self) -> str:
        """Key of the spec: 64 hexadecimal digits."""
        return key_of(self.to_json())


def keyed(plain: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of which a run's key is the hash, without the name of a user's own data.

    Args:
        plain: The run's spec in canonical form.
    """
    if not plain.get("identity"):
        return dict(plain)
    return {**plain, "benchmark": nameless(str(plain.get("benchmark")))}


def key_of(plain: Any) -> str:
    """Return the SHA-256 of canonical JSON: sorted keys, floats by repr, no NaN, tuples as lists."""
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()

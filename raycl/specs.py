"""What a run and a basis mask depend on, as values with a key. Nothing is made of them here.

A key is the SHA-256 of canonical JSON in which fields equal to their default are left out: a new neutral
field changes no key, and studies that mean the same run share it. `raycl.runs.build` makes the classes,
data and training loop that a spec means.
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

CORE_VERSION = 1  # raised when the loop, the streams or the evaluation behave differently

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
        derived: what `raycl.runs.build` has worked out of this value, so that it is done once; in no key.
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
        """Canonical: plain values, nothing that equals its default but what always names a run."""
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
        """The inverse of `to_json`."""
        return cls(**plain, home=home)

    @functools.cached_property
    def key(self) -> str:
        """64 hexadecimal digits."""
        return key_of(self.keyed())

    def keyed(self) -> dict[str, Any]:
        """What the key is made of."""
        return keyed(self.to_json())


@dataclass(frozen=True, kw_only=True)
class MaskSpec:
    """All that one basis mask depends on.

    Attributes:
        network, benchmark: as a study writes them.
        task: index within the benchmark; its training images are what the scores are trained on.
        density: share of ones in each layer.
        density_rule, score_rank, mask_values: as fields of the `supsup` method.
        backbone_seed, backbone_init: of the frozen weights.
        score_seed, order_seed: of the initial scores, and of the order of the data and its augmentation.
        trained: False for random positions, which are drawn from `score_seed`.
        fit: fields of `Fit.Config` that differ from their defaults; empty for a mask that is not trained.
        numerics, identity, versions, code, home: as of a `RunSpec`.
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
        """Plain values; what equals its default is left out."""
        plain: dict[str, Any] = {"kind": "mask"}
        for name, entry in type(self).__dataclass_fields__.items():
            value = getattr(self, name)
            value = dict(value) if isinstance(value, Mapping) else value
            if name != "home" and value != entry.default and value != {}:
                plain[name] = value
        return plain

    @classmethod
    def from_json(cls, plain: Mapping[str, Any], home: Path | None = None) -> MaskSpec:
        """The inverse of `to_json`."""
        return cls(**{name: value for name, value in plain.items() if name != "kind"}, home=home)

    @functools.cached_property
    def key(self) -> str:
        """64 hexadecimal digits."""
        return key_of(self.to_json())


def keyed(plain: Mapping[str, Any]) -> dict[str, Any]:
    """What the key of a run that is written as JSON is made of: without the name of a user's own data."""
    if not plain.get("identity"):
        return dict(plain)
    return {**plain, "benchmark": nameless(str(plain.get("benchmark")))}


def key_of(plain: Any) -> str:
    """SHA-256 of canonical JSON: sorted keys, floats by repr, no NaN; tuples read as lists."""
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()

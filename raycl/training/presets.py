"""The training protocols of the papers as named sets of settings.

A preset changes settings of the training loop (`fit`) and of the network (`net`, or `on` by benchmark); a
setting of the network is a value or the domain that a search varies. What a preset changes in a method is
defined in the method's own file. Presets are joined by "+" and applied from left to right: ``"spg+desk"`` is
SPG's protocol, shortened so that a desktop computer finishes in minutes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from raycl.errors import UserError, nearest
from raycl.space import Float, make_config
from raycl.training.settings import Config


@dataclass(frozen=True)
class Preset:
    """Training settings and network settings of a paper.

    Attributes:
        fit: Settings of the training loop.
        net: Settings of the network, on every benchmark.
        on: Settings of the network by benchmark. If any are given, the preset is refused on other benchmarks.
    """

    fit: Mapping[str, Any] = field(default_factory=dict)
    net: Mapping[str, Any] = field(default_factory=dict)
    on: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def net_on(self, benchmark: str, place: str) -> Mapping[str, Any]:
        """Return the settings of the network on a benchmark.

        Raises:
            UserError: The preset does not cover that benchmark.
        """
        if self.on and benchmark not in self.on:
            known = ", ".join(self.on)
            raise UserError(f"{place} is for other benchmarks than {benchmark!r} (it covers: {known})")
        return {**self.net, **self.on.get(benchmark, {})}


def _dropout(drop1: float, drop2: float) -> dict[str, float]:
    return {"drop1": drop1, "drop2": drop2}


def _cosine(optimiser: str, lr: float, batch: int, epochs: int, weight_decay: float = 0.0) -> dict[str, Any]:
    return {
        "optimiser": optimiser,
        "lr": lr,
        "schedule": "cosine",
        "stop": "never",
        "batch": batch,
        "epochs": epochs,
        "weight_decay": weight_decay,
        "keep": "last",
    }


def _constant(optimiser: str, lr: float, batch: int, epochs: int) -> dict[str, Any]:
    return _cosine(optimiser, lr, batch, epochs) | {"schedule": "constant"}


_NESTEROV = {
    "optimiser": "sgd",
    "momentum": 0.9,
    "nesterov": True,
    "batch": 32,
    "stop": "never",
    "schedule": "steps",
    "factor": 10.0,
    "keep": "last",
}

PRESETS: Mapping[str, Preset] = {
    "spg": Preset(
        {"optimiser": "sgd", "lr": 0.25, "schedule": "plateau", "factor": 3.0, "patience": 5,
         "threshold": 1e-4, "lr_floor": 1e-3, "stop": "floor_then_patience", "batch": 64, "epochs": 500},
    ),
    "prm": Preset(
        {"optimiser": "sgd", "lr": 0.025, "schedule": "plateau", "factor": 3.0, "patience": 5,
         "lr_floor": 1e-3, "stop": "below_floor", "batch": 64, "epochs": 200},
        {"drop1": Float(0.0, 0.5), "drop2": Float(0.0, 0.8)},
    ),
    "pmask": Preset(
        {"optimiser": "sgd", "lr": 0.05, "schedule": "plateau", "factor": 3.0, "patience": 5,
         "lr_floor": 1e-4, "stop": "below_floor", "batch": 64, "epochs": 200},
        {"drop1": 0.2, "drop2": 0.5, "init": "xavier"},
    ),
    "impresslearn_basis_mnist": Preset(_constant("rmsprop", 1e-4, 128, 1)),
    "impresslearn_basis_cifar": Preset(_cosine("adam", 1e-3, 128, 250, 1e-4)),
    "impresslearn_basis_imagenet": Preset(_cosine("adam", 2.5e-3, 400, 50)),
    "impresslearn_alpha_mnist": Preset(_constant("rmsprop", 0.002, 128, 5)),
    "impresslearn_alpha_cifar": Preset(_cosine("adam", 0.02, 64, 150, 0.1)),
    "impresslearn_alpha_imagenet": Preset(_cosine("adam", 0.0025, 96, 75, 0.1)),
    "ksm_initial": Preset(
        _NESTEROV | {"lr": 1e-2, "weight_decay": 4e-5, "milestones": (50, 80), "epochs": 100}
    ),
    "ksm_mask_paper": Preset(
        {"optimiser": "adam", "lr": 1e-4, "schedule": "steps", "factor": 10.0, "milestones": (15,),
         "stop": "never", "batch": 32, "epochs": 30, "keep": "last"},
    ),
    "ksm_mask_code": Preset(_cosine("adam", 2e-4, 32, 30) | {"schedule": "cosine_iter"}),
    "ksm_packnet": Preset(  # weight decay acts only on the weights of the current task
        _NESTEROV | {"lr": 1e-2, "weight_decay": 4e-5, "milestones": (50, 80), "epochs": 100}
    ),
    "ksm_cpg": Preset(
        _NESTEROV | {"lr": 1e-2, "weight_decay": 4e-5, "milestones": (50, 80), "epochs": 100}
    ),
    "ksm_finetune": Preset(  # Piggyback's protocol for finetuning a whole network
        _NESTEROV | {"nesterov": False, "lr": 1e-3, "milestones": (15,), "epochs": 30}
    ),
    "spg_dropout": Preset(  # the rounded results of the authors' searches, as published in SPG's code
        on={
            "cifar100_10": _dropout(0.3135, 0.4093), "cifar100_20": _dropout(0.4956, 0.4850),
            "tiny_10": _dropout(0.1249, 0.4344), "tiny_20": _dropout(0.3875, 0.4423),
            "imagenet32_100": _dropout(0.2085, 0.3602),
            "fceleba_10": _dropout(0.3257, 0.4147), "fceleba_20": _dropout(0.1984, 0.2694),
            "femnist_10": _dropout(0.4922, 0.4847), "femnist_20": _dropout(0.2975, 0.3887),
        }
    ),
    "desk": Preset({"epochs": 10, "patience": 2, "batch": 64}),
    "ksm_desk": Preset({"epochs": 30, "milestones": (15, 24)}),  # the 100 epochs of KSM, shortened
    "prm_desk": Preset(  # for a tenth of the images, on which lr = 0.025 would need 200 epochs
        {"lr": 0.1, "epochs": 60, "patience": 3}),
}  # fmt: skip  # each preset reads as a table of constants


def parts_of(name: str | None, place: str) -> list[str]:
    """Split the name of a combined preset, such as ``"spg+desk"``, into the names of its presets.

    Args:
        name: The combined name, or None for no preset.
        place: Where the preset was requested, for the message.

    Raises:
        UserError: One of the presets does not exist.
    """
    parts = [part.strip() for part in name.split("+")] if name else []
    for part in parts:
        if part not in PRESETS:
            known = ", ".join(PRESETS)
            raise UserError(f"{place}: unknown preset {part!r}{nearest(part, PRESETS)} (known: {known})")
    return parts


def fit_of(
    preset: str, epochs: int = 0, place: str = "method.initial", **changes: Any
) -> dict[str, Any]:  # fmt: skip
    """Return the fields of the training loop's Config that presets change from their defaults.

    Args:
        preset: Names of presets, joined by "+".
        epochs: The number of epochs to set instead of that of the presets, if above 0.
        place: Where the preset was requested, for the message.
        changes: Further fields to set instead of those of the presets; 0 and "" leave a field as it is.

    Raises:
        UserError: One of the presets does not exist.
    """
    values: dict[str, Any] = {}
    for part in parts_of(preset, place):
        values |= PRESETS[part].fit
    values |= {name: value for name, value in {"epochs": epochs, **changes}.items() if value}
    config = make_config(Config, values, f"{place}: preset {preset!r}")
    default = Config()
    return {name: value for name in values if (value := getattr(config, name)) != getattr(default, name)}

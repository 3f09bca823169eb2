"""The settings of a cell's runs that are not searched: each effective value, and the source that fixed it.

All reports of a study read settings through this module, so that none of them shows an overridden value.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from raycl.study.cells import Cell
from raycl.study.values import Grid, Study
from raycl.text import one_line, wrapped

NETWORK = "network"  # The name of the network is listed like a setting.
BY_THE_STUDY = (NETWORK, "study fit", "label")  # Sources whose values are written in the study itself.
SHOWN = 3  # A line names this many labels one by one.


@dataclass(frozen=True)
class Fixed:
    """A setting that no search varies.

    Attributes:
        key: The dotted name, such as ``fit.lr``; "network" for the name of the network.
        value: The effective value.
        source: The source of the value: "preset NAME", "method", "network", "study fit" or "label".
    """

    key: str
    value: Any
    source: str

    @property
    def explicit(self) -> bool:
        """Whether the value is written in the study, and not in a preset that it names or in the method."""
        return self.source in BY_THE_STUDY

    def __str__(self) -> str:
        """Return the setting with the `repr` of its value, such as ``fit.lr=0.1``."""
        return f"{self.key}={self.value!r}"


def searched(cell: Cell) -> set[str]:
    """Return the dotted fields that the cell's search varies."""
    return set(cell.search.axes) if isinstance(cell.search, Grid) else set(cell.space)


def fixed(cell: Cell) -> list[Fixed]:
    """Return the settings that the study fixed and all others that are not at their defaults, by key."""
    varied = searched(cell)
    found = [Fixed(NETWORK, cell.kinds.network, NETWORK)]
    for key, setting in cell.settings.items():
        # The domain is not in use: the setting could be searched, but the cell's search does not vary it.
        idle = setting.domain is not None and setting.explicit
        source = "default" if idle else setting.source
        if key not in varied and (source in BY_THE_STUDY or setting.value != setting.field.default):
            found.append(Fixed(key, setting.value, source))
    return sorted(found, key=lambda each: each.key)


def canonical(settings: Iterable[Fixed]) -> str:
    """Return settings as one string, such as ``fit.lr=0.1; method.smax=400.0; network='mlp'``."""
    return "; ".join(map(str, settings))


def ran_with(cell: Cell, params: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the settings of a run of the cell, without defaults that the study does not mention.

    Args:
        cell: The cell.
        params: The values of the searched fields, or None if the search does not have any yet.
    """
    found = {each.key: each.value for each in fixed(cell) if each.key != NETWORK}
    if params is not None:
        found |= {key: params.get(key, cell.settings[key].value) for key in searched(cell)} | dict(params)
    return dict(sorted(found.items()))


def whose(cell: Cell, source: str) -> str:
    """Return the name of a source for readers: a method by its name, "study fit" as "the study"."""
    return {"method": cell.kinds.method, "study fit": "the study"}.get(source, source)


def some(labels: Sequence[str]) -> str:
    """Return the first labels, such as ``hat, spg and 7 more``."""
    few = [one_line(label) for label in labels[: SHOWN if len(labels) > SHOWN + 1 else len(labels)]]
    rest = len(labels) - len(few)
    return ", ".join(few) + (f" and {rest} more" if rest else "")


def but_not(text: str, other: Sequence[str], of: Sequence[str], word: str = "not for") -> str:
    """Return a text that holds for all labels `of` except `other`; "" if it does not hold for any."""
    if not other:
        return text
    return f"{text} ({word} {some(other)})" if len(other) < len(of) else ""


def network_text(study: Study, cells: Sequence[Cell]) -> str:
    """Return the study's network, and the labels that use another; "" if all labels have their own."""
    labels = list(dict.fromkeys(cell.label for cell in cells))
    changed = {
        cell.label
        for cell in cells
        for key, setting in cell.settings.items()
        if key.startswith("net.") and setting.source == "label"
    }
    own = [x for x in labels if x in changed or NETWORK in study.methods.get(x, {})]
    return but_not(study.network, own, labels, "changed for")


def preset_text(study: Study, cells: Sequence[Cell]) -> str:
    """Return the study's preset, and the labels that use another; "" if all labels have their own."""
    return unless_own(study.preset or "none", "preset", study, cells)


def unless_own(text: str, key: str, study: Study, cells: Sequence[Cell]) -> str:
    """Return a text about a setting of the study, and the labels for which it does not hold.

    It does not hold for labels that set `key` themselves.
    """
    labels = list(dict.fromkeys(cell.label for cell in cells))
    return but_not(text, [label for label in labels if key in study.methods.get(label, {})], labels)


def fit_texts(study: Study, cells: Sequence[Cell], instead: bool = False) -> list[str]:
    """Return what the study's `fit` fixes and for which labels, such as ``fit.lr=0.1 (not for hat)``.

    Args:
        study: The study.
        cells: The cells of the study.
        instead: Whether to add the values that it replaces.
    """
    labels = list(dict.fromkeys(cell.label for cell in cells))
    found = []
    for name in study.fit:
        key = f"fit.{name}"
        here = [cell for cell in cells if _fixes(cell, key)]
        if not here:
            continue
        setting = here[0].settings[key]
        holds = {cell.label for cell in here}
        notes = [f"not for {some(other)}"] if (other := [x for x in labels if x not in holds]) else []
        if instead and (displaced := _displaced(here, key)):
            notes.insert(0, f"instead of {', '.join(displaced)}")
        text = str(Fixed(key, setting.value, setting.source))
        found.append(f"{text} ({'; '.join(notes)})" if notes else text)
    return found


def _fixes(cell: Cell, key: str) -> bool:
    """Return whether the study's `fit` fixes that field of the cell, and nothing overrides or searches it."""
    setting = cell.settings[key]
    return setting.source == "study fit" and setting.domain is None and key not in searched(cell)


def _displaced(cells: Sequence[Cell], key: str) -> list[str]:
    """Return the values of presets and methods that the study replaces, such as ``0.25 of preset spg``."""
    wanted = [(cell, cell.settings[key].instead) for cell in cells]
    return list(
        dict.fromkeys(
            f"{old[0]!r} of {whose(cell, old[1])}"
            for cell, old in wanted
            if old and old[0] != cell.settings[key].value
        )
    )


def plan_lines(study: Study, cells: Sequence[Cell]) -> list[str]:
    """Return what the study fixes for all labels, then a line for each label that fixes something itself.

    Lines have at most 80 columns.
    """
    preset = preset_text(study, cells) if study.preset else ""
    shared = [*([f"preset {preset}"] if preset else []), *fit_texts(study, cells, instead=True)]
    lines = wrapped(f"fixed by the study: {'; '.join(shared)}") if shared else []
    own: dict[str, list[str]] = {}
    for cell in cells:
        if cell.label in own:  # A label fixes the same settings on every benchmark.
            continue
        keys = study.methods.get(cell.label, {})
        texts = [f"{name} {keys[name] or 'none'}" for name in (NETWORK, "preset") if name in keys]
        texts += [str(each) for each in fixed(cell) if each.source == "label"]
        own[cell.label] = texts
    for label, texts in own.items():
        lines += wrapped(f"fixed by {one_line(label)}: {'; '.join(texts)}") if texts else []
    return lines

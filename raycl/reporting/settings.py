"""What a cell's runs run with besides what is searched: each effective value, and who fixed it.

All views of a study take it from here, so that none of them shows a value that something else overrode.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from raycl import calls
from raycl.study.cells import Cell
from raycl.study.values import Grid, Study
from raycl.text import one_line, wrapped

NETWORK = "network"  # stands among the settings: most fields of a network are at their defaults
BY_THE_STUDY = (NETWORK, "study fit", "label")  # sources that a study writes value by value
SHOWN = 3  # labels that a line names one by one


@dataclass(frozen=True)
class Fixed:
    """A setting that no search varies.

    Attributes:
        key: dotted, such as ``fit.lr``; "network" for the network's name.
        value: the effective one.
        source: who gave it: "preset NAME", "method", "network", "study fit" or "label".
    """

    key: str
    value: Any
    source: str

    @property
    def explicit(self) -> bool:
        """Whether the study wrote it, and not a preset that it names or the method itself."""
        return self.source in BY_THE_STUDY

    def __str__(self) -> str:
        """``fit.lr=0.1``, so that Python reads the value back."""
        return f"{self.key}={self.value!r}"


def searched(cell: Cell) -> set[str]:
    """Dotted fields that the cell's search varies."""
    return set(cell.search.axes) if isinstance(cell.search, Grid) else set(cell.space)


def fixed(cell: Cell) -> list[Fixed]:
    """What the study fixed, and all else that is not at its default, by key."""
    varied = searched(cell)
    found = [Fixed(NETWORK, calls.name_of(cell.network), NETWORK)]
    for key, setting in cell.settings.items():
        idle = setting.domain is not None and setting.explicit  # it was to be searched, and is not
        source = "default" if idle else setting.source
        if key not in varied and (source in BY_THE_STUDY or setting.value != setting.field.default):
            found.append(Fixed(key, setting.value, source))
    return sorted(found, key=lambda each: each.key)


def canonical(settings: Iterable[Fixed]) -> str:
    """``fit.lr=0.1; method.smax=400.0; network='mlp'``."""
    return "; ".join(map(str, settings))


def ran_with(cell: Cell, params: Mapping[str, Any] | None) -> dict[str, Any]:
    """Everything that a run of the cell ran with, but for what is at its default and nobody asked for.

    Args:
        params: values of the searched fields; None where the search has none yet.
    """
    found = {each.key: each.value for each in fixed(cell) if each.key != NETWORK}
    if params is not None:
        found |= {key: params.get(key, cell.settings[key].value) for key in searched(cell)} | dict(params)
    return dict(sorted(found.items()))


def whose(cell: Cell, source: str) -> str:
    """The source as a reader knows it: a method by its name."""
    return {"method": calls.name_of(cell.method), "study fit": "the study"}.get(source, source)


def some(labels: Sequence[str]) -> str:
    """``hat, spg and 7 more``."""
    few = [one_line(label) for label in labels[: SHOWN if len(labels) > SHOWN + 1 else len(labels)]]
    rest = len(labels) - len(few)
    return ", ".join(few) + (f" and {rest} more" if rest else "")


def but_not(text: str, other: Sequence[str], of: Sequence[str]) -> str:
    """`text`, which holds for all labels but `other`; "" where it holds for none."""
    if not other:
        return text
    return f"{text} (not for {some(other)})" if len(other) < len(of) else ""


def network_text(study: Study, cells: Sequence[Cell]) -> str:
    """The study's network and for which labels it does not hold; "" where all have their own."""
    labels = list(dict.fromkeys(cell.label for cell in cells))
    changed = {
        cell.label
        for cell in cells
        for key, setting in cell.settings.items()
        if key.startswith("net.") and setting.source == "label"
    }
    own = [x for x in labels if x in changed or NETWORK in study.methods.get(x, {})]
    return but_not(study.network, own, labels)


def preset_text(study: Study, cells: Sequence[Cell]) -> str:
    """The study's preset and for which labels it does not hold; "" where all have their own."""
    return unless_own(study.preset or "none", "preset", study, cells)


def unless_own(text: str, key: str, study: Study, cells: Sequence[Cell]) -> str:
    """What the study says, and for which labels it does not hold because they have that key of their own."""
    labels = list(dict.fromkeys(cell.label for cell in cells))
    return but_not(text, [label for label in labels if key in study.methods.get(label, {})], labels)


def fit_texts(study: Study, cells: Sequence[Cell], instead: bool = False) -> list[str]:
    """``fit.lr=0.1 (not for hat)``: what the study's `fit` fixes, of each where it holds.

    Args:
        instead: also say what it stands in place of.
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
    """Whether the study's fit fixes that field of the cell, and nothing overrides or searches it."""
    setting = cell.settings[key]
    return setting.source == "study fit" and setting.domain is None and key not in searched(cell)


def _displaced(cells: Sequence[Cell], key: str) -> list[str]:
    """``0.25 of preset spg``: what presets and methods wanted where the study's fit has its way."""
    wanted = [(cell, cell.settings[key].instead) for cell in cells]
    return list(
        dict.fromkeys(
            f"{old[0]!r} of {whose(cell, old[1])}"
            for cell, old in wanted
            if old and old[0] != cell.settings[key].value
        )
    )


def plan_lines(study: Study, cells: Sequence[Cell]) -> list[str]:
    """What the study fixes for all, then a line for each label that fixes something itself; 80 columns."""
    preset = preset_text(study, cells) if study.preset else ""
    shared = [*([f"preset {preset}"] if preset else []), *fit_texts(study, cells, instead=True)]
    lines = wrapped(f"fixed by the study: {'; '.join(shared)}") if shared else []
    own: dict[str, list[str]] = {}
    for cell in cells:
        if cell.label in own:  # elsewhere it fixes the same
            continue
        keys = study.methods.get(cell.label, {})
        texts = [f"{name} {keys[name] or 'none'}" for name in (NETWORK, "preset") if name in keys]
        texts += [str(each) for each in fixed(cell) if each.source == "label"]
        own[cell.label] = texts
    for label, texts in own.items():
        lines += wrapped(f"fixed by {one_line(label)}: {'; '.join(texts)}") if texts else []
    return lines

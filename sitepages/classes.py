"""Pages about methods, benchmarks and networks, each made of the class that it describes."""

from __future__ import annotations

import dataclasses
import inspect
import sys
import typing
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from raycl import registry
from raycl.benchmarks import Recipe, sources
from raycl.benchmarks.settings import Range
from raycl.configs import hints_of
from raycl.docstrings import base_with_equations, equations_of, without_equations
from raycl.domains import Choice, Float, Int
from raycl.method import Method, deviations_of
from raycl.reporting.markdown import escaped
from raycl.space import Field, fields_of, type_name
from raycl.training import presets
from raycl.training.settings import Config
from sitepages.sources import comments_of, statements_of, without_attributes

HOME = Path(__file__).parent.parent
MADE = "<!-- Made of the class by sitepages/classes.py. -->"

PROPERTIES = {
    "keeps_logits": "The logits of finished tasks never change.",
    "independent": "Tasks after the first are learnt in parallel, because each depends on the first alone.",
    "joint": "Everything is learnt at the last task; earlier rows of the accuracy matrix are undefined.",
    "is_reference": "Forward transfer of other methods is measured from the accuracies of this method.",
    "mixed_batches": "A batch may contain samples of several tasks.",
    "capturable": "Training steps can be captured as graphs (`Resources(graphs=True)`).",
}
"""The flags of a method, and what each means for someone who uses it."""

NEEDS = {"Heads": "a head for each task", "Blocks": "a chain of blocks whose units can be gated"}


def method_page(name: str) -> str:
    """Return the page of a method of raycl."""
    kind = registry.method(name)
    doc = inspect.cleandoc(sys.modules[kind.__module__].__doc__ or "")
    title, _, rest = doc.partition("\n")
    parts = [
        f"# {name}",
        MADE,
        prose(title),
        prose(rest),
        prose(without_equations(kind.__doc__)),
        f'In a study: `methods={{"{name}": {{}}}}`.',
        *_equations(kind),
        "## Hyperparameters",
        _method_fields(kind),
        *_settings("## Training settings", kind.fit_defaults, "fit.", "The method replaces these defaults:"),
        *_preset_overrides(kind),
        "## Networks and properties",
        bullets(_properties(kind)),
        *_functions(kind),
        "## Differences from the publication",
        _numbered(deviations_of(kind)) or "No difference is known.",
        "## Source",
        source_of(kind),
    ]
    return page(parts)


def benchmark_page(name: str) -> str:
    """Return the page of a benchmark of raycl."""
    kind = registry.recipes()[name]
    recipe = _default(kind)
    needs = recipe.needs() if recipe else ()
    counts = recipe.counts() if recipe else None
    alike = {True: "The tasks resemble one another.", False: "The tasks are dissimilar."}
    facts = [alike[kind.similar]] if kind.similar is not None else []
    facts += [f"Data: {_data(needs)}." if needs else "The benchmark needs no published data."]
    if kind.windows:
        facts += ["`first` and `tasks` cut a part out of one fixed sequence of tasks."]
    if counts:
        stated = f", as stated in {escaped(kind.counted_by)}" if kind.counted_by else ""
        facts += [f"Images of each task, with default settings: {_counts(counts)}{stated}."]
    example = name if recipe else f"{name}({next(iter(fields_of(kind)))}=...)"
    deviations = recipe.deviations() if recipe else ()
    parts = [
        f"# {name}",
        MADE,
        prose(f"{kind.summary[:1].upper()}{kind.summary[1:]}."),
        prose(without_attributes(kind.__doc__ or "")),
        f'In a study: `benchmarks=["{example}"]`.',
        "## Settings",
        _recipe_fields(kind),
        "## Data and tasks",
        bullets(facts),
        "## Differences from the publications",
        _numbered(deviations) or "No difference is known.",
        "## Source",
        source_of(kind),
    ]
    return page(parts)


def network_page(name: str) -> str:
    """Return the page of a network of raycl."""
    kind = registry.network(name)
    doc = inspect.cleandoc(sys.modules[kind.__module__].__doc__ or "")
    has = [text for part, text in NEEDS.items() if part in {base.__name__ for base in kind.__mro__}]
    parts = [
        f"# {name}",
        MADE,
        prose(doc),
        prose(inspect.cleandoc(kind.__doc__ or "")),
        f'In a study: `network="{name}"`.',
        "## Settings",
        _fields_table(kind.Config, "net.") or "The network has no settings.",
        "## Properties",
        bullets([f"The network has {text}." for text in has] or ["All tasks share one head."]),
        "## Source",
        source_of(kind),
    ]
    return page(parts)


def presets_page() -> str:
    """Return the page of the training settings and the presets."""
    parts = [
        "# Training settings and presets",
        MADE,
        "These settings of the training loop can be written in a study as `fit={...}` for all methods, and "
        'as `"fit.lr"` and so on for one method.',
        prose(inspect.cleandoc(Config.__doc__ or "")),
        _fields_table(Config, "fit."),
        "## Presets",
        prose(inspect.cleandoc(presets.__doc__ or "").partition("\n\n")[2]),
    ]
    for name, preset in presets.PRESETS.items():
        parts += [f"### {name}", *_preset(preset)]
    return page(parts)


def index_page(title: str, intro: str, header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a page that lists other pages."""
    return page([f"# {title}", MADE, intro, table(header, rows)])


def pages() -> dict[str, str]:
    """Return the text of every page made of classes, by its path below the folder of the documentation."""
    found: dict[str, str] = {}
    methods = {name: method_page(name) for name in registry.method_names()}
    benchmarks = {name: benchmark_page(name) for name in registry.recipes()}
    networks = {name: network_page(name) for name in registry.network_names()}
    for folder, made in (("methods", methods), ("benchmarks", benchmarks), ("networks", networks)):
        found |= {f"{folder}/{name}.md": text for name, text in made.items()}
    found["methods/index.md"] = index_page(
        "Methods",
        "Each method is a class in a file of its own. `raycl methods NAME` prints the same facts.",
        ["name", "method", "needs"],
        [(_link(n), _title(registry.method(n)), _needs(registry.method(n))) for n in methods],
    )
    found["benchmarks/index.md"] = index_page(
        "Benchmarks",
        "A benchmark is a sequence of tasks. `raycl benchmarks NAME` prints the same facts, and the tasks if "
        "the data are present.",
        ["name", "tasks", "data"],
        [(_link(n), escaped(kind.summary), _needed(kind)) for n, kind in registry.recipes().items()],
    )
    found["networks/index.md"] = index_page(
        "Networks",
        'A study names its network as `network="mlp(hidden=64)"`.',
        ["name", "network"],
        [(_link(n), _first_line(registry.network(n).__doc__)) for n in networks],
    )
    found["reference/training.md"] = presets_page()
    return found


# ---- parts of pages


def _method_fields(kind: type[Method]) -> str:
    return _fields_table(kind.Config, "method.") or "The method has no hyperparameters of its own."


def _fields_table(config: type, prefix: str) -> str:
    fields, comments = fields_of(config), comments_of(config)
    rows = [
        [
            f"`{prefix}{field.name}`",
            code(type_name(field.type)),
            code(_value(field.default)),
            code(str(field.domain)) if field.domain is not None else "not searched",
            prose(comments.get(field.name, "")),
        ]
        for field in fields.values()
    ]
    return table(["setting", "type", "default", "searched in", "meaning"], rows) if rows else ""


def _recipe_fields(kind: type[Recipe]) -> str:
    comments = comments_of(kind)  # type: ignore[arg-type]
    ranges = _ranges(kind)
    rows = [
        [
            f"`{field.name}`",
            code(type_name(field.type)),
            code(_value(field.default)),
            code(ranges[field.name]) if field.name in ranges else "",
            prose(comments.get(field.name, "")),
        ]
        for field in _fields(kind)
    ]
    header = ["setting", "type", "default", "allowed", "meaning"]
    return table(header, rows) if rows else "The benchmark has no settings."


def _fields(kind: type) -> Iterable[Field]:
    return fields_of(kind).values()


def _ranges(kind: type) -> dict[str, str]:
    """Return the allowed values of each setting whose type is annotated with a range."""
    found = {}
    for base in reversed(kind.__mro__):
        for name, hint in (hints_of(base) if dataclasses.is_dataclass(base) else {}).items():
            for extra in typing.get_args(hint):
                if isinstance(extra, Range):
                    found[name] = f"{extra.low:.10g}..{extra.high:.10g}"
    return found


def _settings(title: str, values: Any, prefix: str, intro: str) -> list[str]:
    if not values:
        return []
    rows = [[code(f"{prefix}{name}"), code(_value(value))] for name, value in values.items()]
    return [title, intro, table(["setting", "value"], rows)]


def _preset_overrides(kind: type[Method]) -> list[str]:
    rows = [
        [code(preset), code(key), _setting(value)]
        for preset, changes in kind.preset_overrides.items()
        for key, value in changes.items()
    ]
    if not rows:
        return []
    intro = "A preset of a paper changes these settings of the method:"
    return ["## Presets", intro, table(["preset", "setting", "value"], rows)]


def _preset(preset: presets.Preset) -> list[str]:
    parts = [*_values("fit.", preset.fit), *_values("net.", preset.net)]
    text = [f"Settings: {', '.join(parts)}."] if parts else []
    lines = [
        f"{code(benchmark)}: {', '.join(_values('net.', values)) or 'no settings of the network'}"
        for benchmark, values in preset.on.items()
    ]
    if lines:
        text += ["The preset is for these benchmarks:", bullets(lines)]
    return text


def _values(prefix: str, values: Any) -> list[str]:
    return [f"{code(prefix + name)} = {_setting(value)}" for name, value in values.items()]


def _properties(kind: type[Method]) -> list[str]:
    lines = [f"The network needs {_needs(kind)}." if kind.needs else "The method works on any network."]
    lines += [text for flag, text in PROPERTIES.items() if getattr(kind, flag)]
    lines += [
        f"An optimiser with {_FEATURES[feature]} breaks the method, because it {escaped(text)}."
        for feature, text in kind.broken_by.items()
    ]
    lines += [f"`fit.{name}` has no effect: {escaped(why)}." for name, why in kind.ignores.items()]
    return [*lines, f"The version of the method is {kind.version}."]


_FEATURES = {"adaptive": "adaptive steps", "momentum": "momentum", "decay": "weight decay"}


def _equations(kind: type[Method]) -> list[str]:
    """Return the equations of a method and of its base, and the lines of its file that compute one."""
    own = equations_of(kind)
    parts = [_text_block(own)] if own else []
    if base := base_with_equations(kind):
        lead = "Where these say nothing else, the" if own else "The"
        parts += [f"{lead} equations of {_link(_file(base))} hold:", _text_block(equations_of(base))]
    rows = [[code(found.code), escaped(found.comment)] for found in statements_of(kind)]  # type: ignore[arg-type]
    if rows:
        parts += [
            "Comments in the code name the equations of these lines:",
            table(["code", "equation"], rows),
        ]
    return ["## Equations", *parts] if parts else []


def _functions(kind: type[Method]) -> list[str]:
    """Return the functions that make the method differ from finetuning, with what their docstrings say."""
    mine = kind.__mro__[: kind.__mro__.index(Method)]
    rows = []
    for name in dict.fromkeys(name for base in mine for name in vars(base)):
        owner = next(base for base in mine if name in vars(base))
        function = inspect.unwrap(getattr(vars(owner)[name], "__func__", vars(owner)[name]))
        if name.startswith("_") or not inspect.isfunction(function):
            continue
        hook = inspect.getattr_static(Method, name, None)
        doc = function.__doc__ or getattr(getattr(hook, "__func__", hook), "__doc__", None)
        if not doc:
            continue
        where = "" if owner is kind else code(_file(owner))
        rows.append([code(name), "hook" if hook else "", _first_line(doc), where])
    if not rows:
        return []
    intro = "These functions make the method differ from finetuning. Hooks are called by the training loop."
    return ["## Functions", intro, table(["function", "", "purpose", "inherited from"], rows)]


def source_of(kind: type) -> str:
    """Return the place of a class's file, and its text, folded."""
    module = sys.modules[kind.__module__]
    file = Path(inspect.getsourcefile(kind) or "").relative_to(HOME).as_posix()
    text = inspect.getsource(module).strip("\n")
    folded = "\n".join(f"    {line}".rstrip() for line in f"```python\n{text}\n```".splitlines())
    return f'The class is `{kind.__qualname__}` in `{file}`.\n\n??? note "Source code"\n\n{folded}'


# ---- words


def _needs(kind: type[Method]) -> str:
    return " and ".join(NEEDS.get(need.__name__, need.__name__) for need in kind.needs) or "any network"


def _title(kind: type) -> str:
    doc = inspect.cleandoc(sys.modules[kind.__module__].__doc__ or "").partition("\n")[0]
    return escaped(doc.partition(":")[0].rstrip("."))


def _needed(kind: type[Recipe]) -> str:
    recipe = _default(kind)
    return _data(recipe.needs()) if recipe and recipe.needs() else "none" if recipe else "your own"


def _data(names: Sequence[str]) -> str:
    known = sources.sources()
    return ", ".join(f"{escaped(known[name].title)} ({code(name)})" for name in names)


def _default(kind: type[Recipe]) -> Recipe | None:
    """Return a benchmark with default settings; None if a setting must be given, such as a path."""
    try:
        return kind()
    except ValueError:
        return None


def _counts(counts: tuple[int, int, int]) -> str:
    train, val, test = (f"{count:,}" for count in counts)
    return f"{train} for training, {val} for validation, {test} for testing"


def _value(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else repr(value)


def _setting(value: Any) -> str:
    searched = isinstance(value, Float | Int | Choice)
    return f"searched in {code(str(value))}" if searched else code(_value(value))


def _first_line(text: str | None) -> str:
    return prose(inspect.cleandoc(text or "").partition("\n\n")[0]).replace("\n", " ")


def _file(kind: type) -> str:
    """Return the name of a class's file, which is the method's name."""
    return kind.__module__.rpartition(".")[2]


def _link(name: str) -> str:
    return f"[{code(name)}]({name}.md)"


# ---- Markdown


def page(parts: Iterable[str]) -> str:
    """Return parts of a page with empty lines between them."""
    return "\n\n".join(part for part in parts if part) + "\n"


def prose(text: str) -> str:
    """Return the text of a docstring as Markdown: code in backquotes stays code, and all else is escaped."""
    paragraphs = []
    for paragraph in text.strip().split("\n\n"):
        spans = " ".join(paragraph.split()).replace("``", "`").split("`")
        paragraphs.append("".join(code(s) if n % 2 else _escaped(s) for n, s in enumerate(spans)))
    return "\n\n".join(paragraphs)


def _escaped(text: str) -> str:
    """Return a part of a line, with its spaces, as it is printed."""
    first, last = (" " if text[at:].startswith(" ") else "" for at in (0, -1))
    return f"{first}{escaped(text)}{last}" if text.strip() else text


def code(text: str) -> str:
    """Return a text as code in a table or a paragraph."""
    return f"`{text}`" if text else ""


def _text_block(text: str) -> str:
    """Return a text that is shown as it is, line by line."""
    return f"```text\n{text}\n```"


def bullets(lines: Iterable[str]) -> str:
    """Return a list."""
    return "\n".join(f"- {line}" for line in lines)


def _numbered(lines: Sequence[str]) -> str:
    return "\n".join(f"{n}. {prose(line)}" for n, line in enumerate(lines, 1))


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table of cells that are Markdown already."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)

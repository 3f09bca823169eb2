"""What `raycl methods`, `networks`, `presets`, `metrics` and `benchmarks` print."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from raycl import userfiles
from raycl.errors import UserError, nearest

# Imports are inside functions, because `raycl --help` loads this module and must not wait for torch and rich.


def methods(arguments: Any) -> int:
    """Print all methods, or one in detail; return the exit code."""
    from raycl import registry

    with userfiles.importing_from(Path.cwd()):  # "mine:Mine" is a class of a file in the current folder
        if arguments.name:
            return _show_method(arguments.name)
        kinds = {name: registry.method(name) for name in registry.method_names()}
    _print_list({name: (_summary(k).partition(":")[0], _needs(k)) for name, k in kinds.items()})
    return 0


def _show_method(name: str) -> int:
    from raycl import registry
    from raycl.method import deviations_of
    from raycl.terminal.columns import paragraph

    kind = registry.method(name)
    facts = {
        "version": kind.version,
        "earlier logits never change": "yes" if kind.keeps_logits else "no",
        "tasks are learnt in parallel": "yes, after the first" if kind.independent else "no",
        "needs": _needs(kind).removeprefix("needs ") or "any network",
        **{f"fit.{setting}": value for setting, value in kind.fit_defaults.items()},
    }
    lines = paragraph(f"{name}: {_summary(kind)}")
    lines += [line for fact, value in facts.items() for line in paragraph(f"{fact}: {value}", 2)]
    lines += _fields("method", kind.Config)
    lines += paragraph("fit.*: the settings of training, which raycl presets lists", 2)
    lines += paragraph("net.*: the settings of the network, which raycl networks NAME lists", 2)
    lines += _equation_lines(kind)
    if deviations := deviations_of(kind):
        lines += ["  not as published:", *(line for text in deviations for line in paragraph(text, 4))]
    print("\n".join(lines))
    return 0


def networks(arguments: Any) -> int:
    """Print all networks, or one in detail; return the exit code."""
    from raycl import registry
    from raycl.terminal.columns import paragraph

    with userfiles.importing_from(Path.cwd()):
        if not arguments.name:
            kinds = {name: registry.network(name) for name in registry.network_names()}
            _print_list({name: (_summary(kind), _has(kind)) for name, kind in kinds.items()})
            return 0
        kind = registry.network(arguments.name)
    lines = paragraph(f"{arguments.name}: {_summary(kind)}")
    lines += [f"  version: {kind.version}", f"  {_has(kind) or 'has one head that all tasks share'}"]
    lines += _fields("net", kind.Config) or ["  it has no settings"]
    print("\n".join(lines))
    return 0


def presets(arguments: Any) -> int:
    """Print all presets, or one with all settings of training; return the exit code."""
    from raycl.terminal.columns import paragraph
    from raycl.training.presets import PRESETS, parts_of
    from raycl.training.settings import Config

    if not arguments.name:
        for name, found in PRESETS.items():
            print("\n".join(paragraph(f"{name}: {_preset(found)}")))
        text = "raycl presets NAME lists every setting; presets are joined with +, as in spg+desk."
        print("\n".join(["", *paragraph(text, further=0)]))
        return 0
    fit: dict[str, Any] = {}
    net: dict[str, Any] = {}
    on: dict[str, Mapping[str, Any]] = {}
    for part in parts_of(arguments.name, "presets"):
        found = PRESETS[part]
        fit, net, on = {**fit, **found.fit}, {**net, **found.net}, {**on, **found.on}
    lines = [f"{arguments.name}:", *_fields("fit", Config, fit)]
    lines += [line for name, value in net.items() for line in paragraph(f"net.{name} = {value}", 2)]
    for benchmark, values in on.items():
        lines += paragraph(f"on {benchmark}: {_values('net.', values)}", 2)
    print("\n".join(lines))
    return 0


def metrics(arguments: Any) -> int:
    """Print all metrics, or one in detail; return the exit code."""
    from raycl.metrics import METRICS
    from raycl.terminal.columns import named_texts, paragraph

    known = {metric.name: metric for metric in METRICS}
    if not arguments.name:
        print("\n".join(named_texts([(name, metric.definition) for name, metric in known.items()])))
        text = "A[t, i] is the accuracy on task i after learning task t, and T the number of tasks."
        print("\n".join(["", *paragraph(text, further=0)]))
        return 0
    if arguments.name not in known:
        near = nearest(arguments.name, known)
        raise UserError(f"unknown metric {arguments.name!r}{near} (raycl metrics lists them)")
    metric = known[arguments.name]
    facts = {
        "computed from": ", ".join(metric.inputs),
        "unit": metric.unit,
        "in the main table": "yes" if metric.main else "no, in More numbers",
        "in MLflow": {"curve": "after each task", "end": "at the end", "": "no"}[metric.tracked],
    }
    lines = paragraph(f"{metric.name}: {metric.definition}")
    print("\n".join([*lines, *(f"  {fact}: {text}" for fact, text in facts.items())]))
    return 0


def _equation_lines(kind: type) -> list[str]:
    """Return the equations of a method as its docstring states them, and the place of those of its base."""
    from raycl.docstrings import base_with_equations, equations_of
    from raycl.text import printable

    lines = [printable(f"    {line}".rstrip()) for line in equations_of(kind).splitlines()]
    if base := base_with_equations(kind):
        name = base.__module__.rpartition(".")[2]
        otherwise = " otherwise" if lines else ""
        lines += [*[""][: len(lines)], f"    The equations of {name} hold{otherwise} (raycl methods {name})."]
    return ["  equations:", *lines] if lines else []


def benchmarks(arguments: Any) -> int:
    """Print all benchmarks, or some in detail; return the exit code."""
    with userfiles.importing_from(Path.cwd()):
        return _show_benchmarks(arguments)


def _show_benchmarks(arguments: Any) -> int:
    from raycl.terminal import datasets

    if arguments.out and len(arguments.names) != 1:
        raise UserError(f"--out {arguments.out}: name exactly one benchmark to write a picture of")
    if not arguments.names:
        if arguments.show:
            raise UserError("raycl benchmarks --show: name a benchmark, as in raycl benchmarks NAME --show")
        _print_list({name: (text, needs) for name, text, needs in datasets.benchmark_rows()})
    elif len(arguments.names) == 1:
        print(datasets.benchmark_text(arguments.names[0]))
    else:
        print(datasets.benchmarks_table(arguments.names))
    for name in arguments.names if arguments.show or arguments.out else ():
        print(datasets.write_sheet(name, arguments.out))
    return 0


def _print_list(rows: Mapping[str, tuple[str, str]]) -> None:
    """Print names with a text, and a note behind it."""
    from raycl.terminal.columns import named_texts

    texts = [(name, f"{text}; {note}" if note else text) for name, (text, note) in rows.items()]
    print("\n".join(named_texts(texts)))


def _fields(prefix: str, config: Any, given: Mapping[str, Any] | None = None) -> list[str]:
    """Return a line for each setting of a Config; `given` holds values that replace its defaults."""
    from raycl.space import fields_of
    from raycl.terminal.columns import paragraph

    lines, given = [], given or {}
    for field in fields_of(config).values():
        value = f"= {given[field.name]} " if field.name in given else ""
        text = field.describe()
        lines += paragraph(f"{prefix}.{field.name}{f' {value}({text})' if value else f': {text}'}", 2)
    return lines


def _preset(found: Any) -> str:
    parts = [_values("", found.fit), _values("net.", found.net)]
    parts += [f"settings of the network on {', '.join(found.on)}"] if found.on else []
    return ", ".join(filter(None, parts))


def _values(prefix: str, values: Mapping[str, Any]) -> str:
    return ", ".join(f"{prefix}{name}={value}" for name, value in values.items())


def _summary(kind: type) -> str:
    text = (sys.modules[kind.__module__].__doc__ or kind.__doc__ or "").strip()
    return text.splitlines()[0].rstrip(".") if text else ""


def _needs(kind: Any) -> str:
    called = {"Heads": "a head per task", "Blocks": "blocks"}
    needs = ", ".join(called.get(need.__name__, need.__name__) for need in kind.needs)
    return f"needs {needs}" if needs else ""


def _has(kind: type) -> str:
    called = {"Heads": "a head per task", "Blocks": "blocks"}
    bases = {base.__name__ for base in kind.__mro__}
    has = ", ".join(text for name, text in called.items() if name in bases)
    return f"has {has}" if has else ""

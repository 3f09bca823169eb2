"""What `raycl completion SHELL` prints: a script with which a shell completes the words of `raycl`."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable

from raycl.errors import UserError

SHELLS = ("bash", "zsh")
FOLDERS = ("folder", "store", "source")  # arguments that name a folder, by their name in the parser
FILES = ("study", "studies", "out", "runtime_env")  # and those that name a file


def completion_script(parser: argparse.ArgumentParser, shell: str) -> str:
    """Return the script for a shell, which contains the names that are known now.

    Args:
        parser: The parser of all commands, to which the kinds of its arguments are added.
        shell: One of `SHELLS`.

    Raises:
        UserError: If shtab, which writes such scripts, is not installed.
    """
    try:
        import shtab
    except ImportError:
        raise UserError(
            "raycl completion needs shtab, which is not installed: pip install 'shtab>=1.13'"
        ) from None
    listed = _listed()
    for command, made in _commands(parser).items():
        for action in made._actions:
            if action.dest in ("name", "names") and command in listed:
                action.complete = {shell: f"_raycl_{command}"}  # type: ignore[attr-defined]
            elif action.dest in FOLDERS:
                action.complete = shtab.DIRECTORY  # type: ignore[attr-defined]
            elif action.dest in FILES:
                action.complete = shtab.FILE  # type: ignore[attr-defined]
    preamble = "\n".join(_function(shell, command, names()) for command, names in listed.items())
    script: str = shtab.complete(parser, shell, preamble=preamble)
    # shtab lets zsh complete the first of several names only
    return script.replace('"(*)::', '"*:') if shell == "zsh" else script


def _commands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    found: dict[str, argparse.ArgumentParser] = {}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            found |= action.choices
    return found


def _listed() -> dict[str, Callable[[], Iterable[str]]]:
    """Return the names that an argument of a command can have, by command."""
    from raycl import registry
    from raycl.benchmarks import sources
    from raycl.metrics import METRICS
    from raycl.training.presets import PRESETS

    return {
        "methods": registry.method_names,
        "networks": registry.network_names,
        "presets": lambda: PRESETS,
        "metrics": lambda: [metric.name for metric in METRICS],
        "benchmarks": lambda: sorted(registry.recipes()),
        "data": sources.sources,
    }


def _function(shell: str, command: str, names: Iterable[str]) -> str:
    """Return a function of the shell that offers the names, as an argument of the command."""
    words = " ".join(names)
    offer = f'compgen -W "{words}" -- "$1"' if shell == "bash" else f"compadd -- {words}"
    return f"_raycl_{command}() {{\n  {offer}\n}}"

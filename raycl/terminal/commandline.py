"""Command lines that repeat a command, and those of submitted jobs."""

from __future__ import annotations

import shlex
from typing import Any

STORE = "results"  # the folder of results, unless --store names another


def again(arguments: Any, everything: bool = False) -> str:
    """Return the command line that repeats a run of a study.

    Args:
        arguments: The parsed arguments of a command that works on a study.
        everything: Whether to leave out --only.
    """
    command, study, address = "run", arguments.study, getattr(arguments, "address", None)
    typed = _as_submitted(arguments)
    if typed:
        command, (study, address, *_) = "submit", typed
    words = ["raycl", command, study, *_small(arguments)]
    if arguments.only and not everything:
        words += ["--only", arguments.only]
    if address:
        words += ["--address", address]
    words += _changes(arguments)
    words += ["--local"] if getattr(arguments, "local", False) else []
    words += ["--store", arguments.store] if arguments.store != STORE else []
    words += ["--runtime-env", *typed[2:]] if typed[2:] else []
    return shlex.join(words)


def of_the_job(arguments: Any) -> list[str]:
    """Return the words of `raycl run`, after the study, in the job that `raycl submit` starts."""
    words = _small(arguments)
    if arguments.only:
        words += ["--only", arguments.only]
    words += ["--fresh"] if arguments.fresh else []
    words += [*_changes(arguments), "--address", "auto", "--store", arguments.store]
    return [*words, "--submitted", *_as_submitted(arguments)]


def _as_submitted(arguments: Any) -> list[str]:
    """Return the study, the address and the file of --runtime-env, if any, as typed for `raycl submit`.

    For other commands, and runs that are not part of a job, the list is empty.
    """
    if hasattr(arguments, "runtime_env"):
        return [arguments.study, arguments.address, *filter(None, [arguments.runtime_env])]
    return list(getattr(arguments, "submitted", None) or [])


def _small(arguments: Any) -> list[str]:
    return ["--small"] if arguments.small else []


def _changes(arguments: Any) -> list[str]:
    """Return the options that change fields of the study."""
    words = [word for text in arguments.set for word in ("--set", text)]
    keep = getattr(arguments, "keep", None)
    return [*words, "--keep", keep] if keep else words

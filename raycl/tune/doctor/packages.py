"""The doctor's check of installed packages: whether all are there, new enough, and fit together."""

from __future__ import annotations

import contextlib
import importlib.metadata

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from raycl.tune.doctor.report import DoctorReport
from raycl.tune.fitness.facts import Facts
from raycl.tune.fitness.judging import Fault


def look_at_packages(report: DoctorReport, facts: Facts) -> None:
    """Add the installed packages to the report, and what is wrong with them."""
    report.rows.append(("raycl", f"{facts.raycl}, source {facts.fingerprint}"))
    report.rows.append(("Python", f"{facts.python}, {facts.executable}"))
    report.rows.append(
        ("packages", ", ".join(f"{name} {version}" for name, version in facts.packages.items()))
    )
    report.findings += [Fault("miss", "", *problem) for problem in [*bounds(facts), *torch_problems(facts)]]


def bounds(facts: Facts) -> list[tuple[str, str]]:
    """Return the packages that are missing or have an unsuitable version, each with the remedy."""
    try:
        about = importlib.metadata.metadata("raycl")
        wanted = [Requirement(text) for text in importlib.metadata.requires("raycl") or ()]
    except importlib.metadata.PackageNotFoundError:
        return []  # raycl runs from a folder, and its requirements are not recorded there
    problems = []
    python = SpecifierSet((about.get_all("Requires-Python") or [""])[0])
    if not python.contains(facts.python, prereleases=True):
        problems.append(
            (f"Python {facts.python} does not satisfy {python}", "make an environment with another Python")
        )
    for need in wanted:
        if need.marker and not need.marker.evaluate({"extra": "tune"}):
            continue
        try:
            version = importlib.metadata.version(need.name)
        except importlib.metadata.PackageNotFoundError:
            command = f"pip install '{str(need).partition(';')[0].strip()}'"
            problems.append((f"{need.name} is not installed", command))
            continue
        if not need.specifier.contains(version, prereleases=True):
            problems.append(
                (
                    f"{need.name} {version} does not satisfy {need.specifier}",
                    f"pip install '{need.name}{need.specifier}'",
                )
            )
    return problems


def torch_problems(facts: Facts) -> list[tuple[str, str]]:
    """Return what is wrong with torch and torchvision together, by their requirements and by importing."""
    both = "pip install --force-reinstall torch torchvision, in one command"
    if facts.torch_error:
        return [(f"torch cannot be imported ({facts.torch_error})", both)]
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        version = facts.packages.get("torch", "").partition("+")[0]
        for need in map(Requirement, importlib.metadata.requires("torchvision") or ()):
            if need.name == "torch" and not need.specifier.contains(version, prereleases=True):
                pair = f"torchvision {facts.packages['torchvision']} needs torch {need.specifier}"
                return [(f"{pair}, but torch is {version}", both)]
    try:
        import torchvision  # noqa: F401 - checks whether it can be imported
    except ModuleNotFoundError as error:
        return [] if error.name == "torchvision" else [(f"torchvision cannot be imported ({error})", both)]
    except Exception as error:
        return [(f"torchvision cannot be imported ({str(error).splitlines()[0]})", both)]
    return []

"""The doctor's report on this machine: everything that a study needs where it is started."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from pathlib import Path

import torch

from raycl import devices
from raycl.benchmarks.prepared import shown
from raycl.datafolder import data_root
from raycl.tune.doctor.packages import look_at_packages
from raycl.tune.doctor.report import DoctorReport, size_text
from raycl.tune.doctor.tracker import look_at_mlflow
from raycl.tune.fitness.address_check import auth_mode, open_to_others, token_place, token_problem
from raycl.tune.fitness.facts import Facts, here
from raycl.tune.fitness.judging import Fault
from raycl.wholefiles import publish

LITTLE_BYTES = 1e9  # free bytes in a store below which a note is made


def this_machine(store: Path) -> DoctorReport:
    """Check everything that a study needs on this machine, without starting Ray or anything else.

    Args:
        store: Folder of results, which need not exist.
    """
    facts = here()
    report = DoctorReport(f"this machine ({facts.host})")
    look_at_packages(report, facts)
    look_at_hardware(report, facts)
    look_at_store(report, store)
    look_at_data(report, facts)
    look_at_mlflow(report, store.absolute(), facts)
    look_at_token(report)
    return report


def look_at_hardware(report: DoctorReport, facts: Facts) -> None:
    """Add the GPUs, cores and memory to the report."""
    gpus, threads = "none that torch sees", ""
    if not facts.torch_error:
        threads = f", torch threads: {torch.get_num_threads()} here, in a run as many as its CPUs"
        gpus = devices.described() or gpus
    report.rows.append(("GPUs", gpus))
    report.rows.append(("cores", f"{facts.cores}{threads}"))
    report.rows.append(("memory", f"{size_text(facts.memory)}, {size_text(facts.memory_free)} of it free"))


def look_at_store(report: DoctorReport, store: Path) -> None:
    """Check whether results can be published in the store, which means to write, sync and rename files."""
    remedy, place = "name another with --store DIR", store.absolute()
    if not place.is_dir():
        above = next(folder for folder in place.parents if folder.exists())
        text = f"{shown(place)}: made by the first run"
        if place.exists() or not _can_hold_a_folder(above):
            blocking = place if place.exists() else above
            text = f"{shown(place)}: cannot be made"
            report.findings.append(Fault("miss", f"store {place}", f"cannot be made in {blocking}", remedy))
        report.rows.append(("store", text))
        return
    trial = place / f".raycl-doctor-{os.getpid()}"
    try:
        publish(trial, "first")
        publish(trial, "second")  # replaces the first, as a recomputed result does
        assert trial.read_text(encoding="utf-8") == "second"
    except OSError as error:
        reason = f"cannot be written ({error.strerror or error})"
        report.rows.append(("store", f"{shown(place)}: {reason}"))
        report.findings.append(Fault("miss", f"store {place}", reason, remedy))
        return
    finally:
        with contextlib.suppress(OSError):
            trial.unlink(missing_ok=True)
    free = shutil.disk_usage(place).free
    report.rows.append(("store", f"{shown(place)}: can be written, {size_text(free)} free"))
    if free < LITTLE_BYTES:
        report.findings.append(Fault("note", f"store {place}", f"{size_text(free)} left", "make room"))


def _can_hold_a_folder(place: Path) -> bool:
    """Try to make a folder there, because permissions alone do not tell on every file system."""
    try:
        Path(tempfile.mkdtemp(prefix=".raycl-doctor-", dir=place)).rmdir()
    except OSError:
        return False
    return True


def look_at_data(report: DoctorReport, facts: Facts) -> None:
    """Add the data folder and the prepared data sets to the report."""
    root = data_root()
    named = " (RAYCL_DATA)" if os.environ.get("RAYCL_DATA") else ""
    whole = [name for name, about in facts.data.items() if about["whole"]]
    sets = ", ".join(whole) or "nothing is prepared yet"
    report.rows.append(("data", f"{shown(root)}{named}: {sets}; {size_text(facts.disk_free)} free"))
    for name in sorted(set(facts.data) - set(whole)):
        remedy = f"delete {root / name}, then raycl data prepare {name}"
        report.findings.append(Fault("miss", f"data set {name}", "files are missing or cut off", remedy))
    if not facts.data_writable:
        remedy = "to prepare more data, set RAYCL_DATA to a folder that can be written"
        report.findings.append(Fault("note", f"data folder {root}", "cannot be written", remedy))


def look_at_token(report: DoctorReport) -> None:
    """Check the token with which Ray clusters authenticate."""
    mode, (called, file) = auth_mode(), token_place()
    problem = token_problem()
    strict = mode == "token" or bool(os.environ.get("RAY_AUTH_TOKEN_PATH"))
    state = problem or f"token from {called}"
    report.rows.append(
        ("Ray token", f"RAY_AUTH_MODE={mode}; {state}" if mode else f"RAY_AUTH_MODE is not set; {state}")
    )
    if problem and strict and mode != "disabled":
        remedy = "make one with `ray get-auth-token --generate`, or copy the cluster's"
        report.findings.append(Fault("miss", "", problem, remedy))
    if mode not in ("", "token", "disabled"):
        text = f"RAY_AUTH_MODE={mode} is neither token nor disabled, so Ray treats it as disabled"
        report.findings.append(Fault("miss", "", text, "set RAY_AUTH_MODE=token"))
    if mode == "disabled":
        text = "RAY_AUTH_MODE=disabled: anyone who reaches the ports of a cluster can run programs on it"
        report.findings.append(Fault("note", "", text, "set RAY_AUTH_MODE=token"))
    elif file is not None and not problem and open_to_others(file):
        text = "can be read by other users of this machine"
        report.findings.append(
            Fault("miss" if strict else "note", f"token file {file}", text, f"chmod 600 {file}")
        )

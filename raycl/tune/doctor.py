"""Is this machine, is this cluster fit to play studies? What `raycl doctor` prints, in 80 columns."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import shutil
import sqlite3
import tempfile
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from raycl import texttable
from raycl.benchmarks import data_root
from raycl.benchmarks.prepared import shown
from raycl.errors import redacted
from raycl.runs.publish import publish
from raycl.runs.store import Store
from raycl.texttable import Column
from raycl.tune.database import database_file
from raycl.tune.fitness.facts import Facts, here
from raycl.tune.fitness.joining import auth_mode, open_to_others, token_place, token_problem
from raycl.tune.fitness.judging import CLOCK_SECONDS, Fault
from raycl.tune.fitness.nodes import Node

WIDTH = 80
SECONDS = 10  # for a database to answer
LITTLE_BYTES = 1e9  # of room in a store that are worth a word
_OF_NODES = [
    Column(width=20),
    *(Column(right=True, width=width, gap=0) for width in (5, 5, 10, 7)),  # CPUs, GPUs, memory, disk
    Column(width=14),
    Column(width=12),
]


@dataclass
class Report:
    """What was found in one place.

    Attributes:
        rows: label and text.
        table: lines that stand as they are.
    """

    title: str
    rows: list[tuple[str, str]] = field(default_factory=list)
    table: list[str] = field(default_factory=list)
    findings: list[Fault] = field(default_factory=list)

    @property
    def misses(self) -> list[Fault]:
        return [thing for thing in self.findings if thing.level == "miss"]

    def __str__(self) -> str:
        lines = [self.title, *(f"  {line}" for line in self.table)]
        lines += [line for label, text in self.rows for line in _wrapped(f"  {label:<11}", text)]
        lines += [
            line for thing in self.findings if thing.level == "note" for line in _wrapped("note  ", thing)
        ]
        lines += [line for thing in self.misses for line in _wrapped("MISS  ", thing)]
        return "\n".join(lines)


def examine(address: str | None, store: Path) -> Iterator[Report]:
    """This machine, and the cluster at an address.

    Args:
        store: the folder of results.

    Raises:
        UserError: the cluster cannot be joined.
    """
    mine = this_machine(store)
    yield mine
    if address:
        usable = not any(thing.place.startswith("store ") for thing in mine.misses)
        yield whole_cluster(address, store if usable else None)


def verdict(reports: Sequence[Report]) -> str:
    """The last line."""
    misses = sum(len(report.misses) for report in reports)
    if not misses:
        return "fit: nothing is missing"
    return f"not fit: {misses} thing{'' if misses == 1 else 's'} missing"


def _wrapped(label: str, text: object) -> list[str]:
    return textwrap.wrap(
        str(text), WIDTH, initial_indent=label, subsequent_indent=" " * len(label), break_on_hyphens=False
    )


# This machine.


def this_machine(store: Path) -> Report:
    """Everything that a study needs of the machine it is started on; starts nothing, and no Ray.

    Args:
        store: the folder of results, which need not exist.
    """
    facts = here()
    report = Report(f"this machine ({facts.host})")
    _installed(report, facts)
    _hardware(report, facts)
    _store(report, store)
    _data(report, facts)
    _mlflow(report, store.absolute(), facts)
    _token(report)
    return report


def _installed(report: Report, facts: Facts) -> None:
    report.rows.append(("raycl", f"{facts.raycl}, source {facts.fingerprint}"))
    report.rows.append(("Python", f"{facts.python}, {facts.executable}"))
    report.rows.append(
        ("packages", ", ".join(f"{name} {version}" for name, version in facts.packages.items()))
    )
    report.findings += [Fault("miss", "", *problem) for problem in [*_bounds(facts), *_torch_problems(facts)]]


def _bounds(facts: Facts) -> list[tuple[str, str]]:
    """What is not installed, or older than raycl can use; with the remedy."""
    from packaging.requirements import Requirement
    from packaging.specifiers import SpecifierSet

    try:
        about = importlib.metadata.metadata("raycl")
        wanted = [Requirement(text) for text in importlib.metadata.requires("raycl") or ()]
    except importlib.metadata.PackageNotFoundError:
        return []  # run from a folder: what it needs is not written down there
    problems = []
    python = SpecifierSet((about.get_all("Requires-Python") or [""])[0])
    if not python.contains(facts.python, prereleases=True):
        problems.append((f"Python {facts.python} is not {python}", "make an environment with another Python"))
    for need in wanted:
        if need.marker and not need.marker.evaluate({"extra": "tune"}):
            continue
        try:
            version = importlib.metadata.version(need.name)
        except importlib.metadata.PackageNotFoundError:
            problems.append((f"{need.name} is not installed", "pip install 'raycl[tune]'"))
            continue
        if not need.specifier.contains(version, prereleases=True):
            problems.append(
                (
                    f"{need.name} {version} is not {need.specifier}",
                    f"pip install '{need.name}{need.specifier}'",
                )
            )
    return problems


def _torch_problems(facts: Facts) -> list[tuple[str, str]]:
    """Whether torch and torchvision are a pair, by what torchvision asks for and by trying."""
    from packaging.requirements import Requirement

    both = "pip install --force-reinstall torch torchvision, in one command"
    if facts.torch_error:
        return [(f"torch cannot be imported ({facts.torch_error})", both)]
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        version = facts.packages.get("torch", "").partition("+")[0]
        for need in map(Requirement, importlib.metadata.requires("torchvision") or ()):
            if need.name == "torch" and not need.specifier.contains(version, prereleases=True):
                pair = f"torchvision {facts.packages['torchvision']} goes with torch {need.specifier}"
                return [(f"{pair}, and torch is {version}", both)]
    try:
        import torchvision  # noqa: F401
    except ModuleNotFoundError as error:
        return [] if error.name == "torchvision" else [(f"torchvision cannot be imported ({error})", both)]
    except Exception as error:
        return [(f"torchvision cannot be imported ({str(error).splitlines()[0]})", both)]
    return []


def _hardware(report: Report, facts: Facts) -> None:
    gpus = "none that torch sees"
    threads = ""
    if not facts.torch_error:
        import torch

        threads = f", torch threads: {torch.get_num_threads()} here, in a run as many as its CPUs"
        if torch.cuda.is_available():
            names = [torch.cuda.get_device_name(n) for n in range(torch.cuda.device_count())]
            gpus = ", ".join(f"{n} {name}" for n, name in enumerate(names)) + f"; CUDA {torch.version.cuda}"
    report.rows.append(("GPUs", gpus))
    report.rows.append(("cores", f"{facts.cores}{threads}"))
    report.rows.append(("memory", f"{_size(facts.memory)}, {_size(facts.memory_free)} of it free"))


def _store(report: Report, store: Path) -> None:
    """Whether results can be published there: written, synced, renamed."""
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
        publish(trial, "second")  # over the first, as a result that is computed again
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
    report.rows.append(("store", f"{shown(place)}: can be written, {_size(free)} free"))
    if free < LITTLE_BYTES:
        report.findings.append(Fault("note", f"store {place}", f"{_size(free)} left", "make room"))


def _can_hold_a_folder(place: Path) -> bool:
    """By trying: permissions do not tell of every file system."""
    try:
        Path(tempfile.mkdtemp(prefix=".raycl-doctor-", dir=place)).rmdir()
    except OSError:
        return False
    return True


def _data(report: Report, facts: Facts) -> None:
    root = data_root()
    named = " (RAYCL_DATA)" if os.environ.get("RAYCL_DATA") else ""
    whole = [name for name, about in facts.data.items() if about["whole"]]
    sets = ", ".join(whole) or "nothing is prepared yet"
    report.rows.append(("data", f"{shown(root)}{named}: {sets}; {_size(facts.disk_free)} free"))
    for name in sorted(set(facts.data) - set(whole)):
        remedy = f"delete {root / name}, then raycl data prepare {name}"
        report.findings.append(Fault("miss", f"data set {name}", "files are missing or cut off", remedy))
    if not facts.data_writable:
        remedy = "set RAYCL_DATA to a folder that can be written, to prepare more"
        report.findings.append(Fault("note", f"data folder {root}", "cannot be written", remedy))


# MLflow.


def _mlflow(report: Report, store: Path, facts: Facts) -> None:
    """Whether the tracking server or database answers; makes none."""
    if "mlflow" not in facts.packages:
        return
    from raycl.tune import tracking  # sets how long MLflow waits

    uri = tracking.tracking_uri(store)
    called = redacted(uri)
    try:
        scheme = urlsplit(uri).scheme.partition("+")[0]
        if scheme == "sqlite":
            said = _ask_sqlite(uri)
        elif scheme in ("postgresql", "mysql", "mssql"):
            said = _ask_database(uri)
        else:
            said = _ask_server(uri)
    except Exception as error:  # each library has its own
        reason = redacted(" ".join(str(error).split())[:200]) or type(error).__name__
        report.rows.append(("MLflow", f"{called}: does not answer"))
        report.findings.append(
            Fault("miss", f"MLflow at {called}", f"does not answer ({reason})", _cure(reason))
        )
        return
    report.rows.append(("MLflow", f"{called}: {said}"))


def _cure(reason: str) -> str:
    if "401" in reason or "not authenticated" in reason.lower():
        return "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
    if "password authentication failed" in reason or "Access denied" in reason:
        return "put the right password into MLFLOW_TRACKING_URI"
    if "403" in reason or "host header" in reason.lower():
        return "let its --allowed-hosts name the host and port of MLFLOW_TRACKING_URI"
    return "start it, or unset MLFLOW_TRACKING_URI to keep the database beside the store"


def _ask_sqlite(uri: str) -> str:
    file = database_file(uri)
    if file is None:
        return "answers"  # a database in memory
    if not file.exists():
        return "made by the first run"
    with contextlib.closing(
        sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True, timeout=SECONDS)
    ) as known:
        count = known.execute("SELECT count(*) FROM experiments").fetchone()[0]
    return _answers(count)


def _ask_database(uri: str) -> str:
    import sqlalchemy

    limit = {} if uri.startswith("mssql") else {"connect_timeout": SECONDS}
    engine = sqlalchemy.create_engine(uri, connect_args=limit)
    try:
        with engine.connect() as known:
            if not sqlalchemy.inspect(known).has_table("experiments"):
                return "answers, and is empty: the first run makes its tables"
            count = known.execute(sqlalchemy.text("SELECT count(*) FROM experiments")).scalar_one()
            return _answers(count)
    finally:
        engine.dispose()


def _answers(count: int) -> str:
    return f"answers, {count} experiment{'' if count == 1 else 's'}"


def _ask_server(uri: str) -> str:
    from mlflow.tracking import MlflowClient

    MlflowClient(tracking_uri=uri).search_experiments(max_results=1)
    return "answers"


# Tokens.


def _token(report: Report) -> None:
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
        text = f"RAY_AUTH_MODE={mode} is neither token nor disabled, and Ray takes it for disabled"
        report.findings.append(Fault("miss", "", text, "set RAY_AUTH_MODE=token"))
    if mode == "disabled":
        text = "RAY_AUTH_MODE=disabled: who reaches the ports of a cluster can run programs on it"
        report.findings.append(Fault("note", "", text, "set RAY_AUTH_MODE=token"))
    elif file is not None and not problem and open_to_others(file):
        text = "can be read by other users of this machine"
        report.findings.append(
            Fault("miss" if strict else "note", f"token file {file}", text, f"chmod 600 {file}")
        )


# A cluster.


def whole_cluster(address: str, store: Path | None) -> Report:
    """Join a cluster and ask all of its nodes.

    Args:
        store: the folder of results, which nodes must share; None leaves it out.

    Raises:
        UserError: the cluster cannot be joined.
    """
    from raycl.tune.fitness import facts, judging, nodes
    from raycl.tune.launch import cluster

    place = store.absolute() if store is not None else None
    made = [folder for folder in (place, *place.parents) if not folder.exists()] if place else []
    with cluster(address, None):
        try:
            root = Store(store).open().root if store is not None else None
            known, mine, grows = nodes.ask(root), facts.here(), judging.elastic()
        finally:
            with contextlib.suppress(OSError):  # no trace of a visit
                for folder in made:
                    folder.rmdir()
    report = Report(_counted(address, known), table=_table(known))
    asked = [node for node in known if node.facts is not None]
    if store is not None and asked:
        seen = sum(not node.store for node in asked)
        text = f"{shown(store.absolute())}: written and read by {_of(seen, len(asked))}"
        report.rows.append(("store", text))
    if asked:
        _shared_data(report, mine, asked)
        apart = max(abs(node.clock) for node in asked)
        near = "" if apart > CLOCK_SECONDS else ", which is near enough"
        report.rows.append(("clocks", f"within {max(apart, 0.1):.1f} s of this machine's{near}"))
    report.findings = [thing for node in known for thing in judging.judge(node, mine, store)]
    report.findings += judging.judge_cluster(known, grows)
    return report


def _counted(address: str, known: Sequence[Node]) -> str:
    plays = sum(node.plays for node in known)
    of = f"{len(known)} node{'' if len(known) == 1 else 's'}"
    return f"cluster at {address}: {of}, {plays} to play on"


def _table(known: Sequence[Node]) -> list[str]:
    rows = [("node", "CPUs", "GPUs", "free: RAM", "disk", "raycl", "torch")]
    for node in known:
        name = node.name.removeprefix("node ")
        lent = (f"{node.cpus:g}", f"{node.gpus:g}")
        if not node.plays:
            rows.append((name, *lent, "", "", "plays nothing", ""))
        elif node.facts is None:
            rows.append((name, *lent, "", "", "no answer", ""))
        else:
            f = node.facts
            version = f"{f.raycl} {f.fingerprint}" if f.raycl else "none"
            torch = f.packages.get("torch", "none") if not f.torch_error else "broken"
            rows.append((name, *lent, _size(f.memory_free), _size(f.disk_free), version, torch))
    shown = [
        (_cut(name, 20), *numbers, _cut(raycl, 14), _cut(torch, 12)) for name, *numbers, raycl, torch in rows
    ]
    return texttable.lines(shown, _OF_NODES)


def _shared_data(report: Report, mine: Facts, asked: Sequence[Node]) -> None:
    """How many nodes have what this machine has."""
    for name, about in mine.data.items():
        having = sum(
            node.facts is not None
            and node.facts.data.get(name, {}).get("mark") == about["mark"]
            and node.facts.data[name]["whole"]
            for node in asked
        )
        copied = "" if having == len(asked) else "; a run that needs it copies it to the others"
        text = f"{name}, {_size(about['bytes'])}: on {_of(having, len(asked))}{copied}"
        report.rows.append(("data", text))


def _of(count: int, whole: int) -> str:
    return "every node" if count == whole else f"{count} of {whole} nodes"


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 2]}.."


def _size(count: float) -> str:
    if count < 1e8:
        return f"{count / 1e6:,.1f} MB"
    if count < 1e12:
        return f"{count / 1e9:,.1f} GB" if count < 1e10 else f"{count / 1e9:,.0f} GB"
    return f"{count / 1e12:,.1f} TB"

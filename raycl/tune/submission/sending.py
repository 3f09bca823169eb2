"""Jobs that run a study on a cluster: what is sent, and which of them is running already."""

from __future__ import annotations

import hashlib
import re
import shlex
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import raycl
from raycl import userfiles
from raycl.errors import UserError, quoted, screen_line, typed_path
from raycl.tune.submission import entry
from raycl.userfiles import SHIPPED

if TYPE_CHECKING:
    from ray.job_submission import JobDetails

    from raycl.tune.submission.dashboard import Client

ENTRY = "raycl_job.py"  # name of `entry` in the working directory of a job
STOP_SECONDS = 30  # that a stopped job has to end by itself; Ray's own limit of 3 s cuts it off
_TRIES = 5  # attempts to give a job a new number, while others submit too


@dataclass(frozen=True)
class Request:
    """A study to run as a job.

    Attributes:
        study: Name of the study.
        file: File of the study on this machine.
        store: Folder of results on the cluster.
        options: Words of `raycl run` that follow the file.
        command: The command that submits the same study again.
        environment: Ray's runtime environment, without the working directory.
    """

    study: str
    file: Path
    store: str
    options: Sequence[str]
    command: str
    environment: Mapping[str, Any]


def cluster_folder(store: str | None) -> str:
    """Return the folder of ``--store``, as the nodes of a cluster see it.

    Raises:
        UserError: If it is missing, or not an absolute path.
    """
    remedy = "name a folder that all nodes of the cluster share, such as --store /store/results"
    if store is None:
        raise UserError(f"raycl submit needs --store; {remedy}")
    if not store.startswith("/") or "\0" in store:
        raise UserError(f"--store {quoted(store)} is not an absolute path; {remedy}")
    return str(PurePosixPath(store))


def environment_of(file: str | None) -> dict[str, Any]:
    """Return the runtime environment that a YAML or JSON file describes; an empty one without a file.

    Raises:
        UserError: If the file cannot be read, or sets what raycl sets.
    """
    if file is None:
        return {}
    import yaml  # a package that Ray requires

    place = f"--runtime-env {typed_path(file)}"
    try:
        found = yaml.safe_load(Path(file).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = screen_line(getattr(error, "strerror", None) or str(error))
        raise UserError(f"{place} cannot be read ({reason}); name a YAML or JSON file") from None
    if not isinstance(found, dict) or not all(isinstance(name, str) for name in found):
        raise UserError(f"{place} is not a mapping; write fields of Ray's runtime environment, such as pip:")
    if "working_dir" in found:
        raise UserError(f"{place} sets working_dir, in which raycl sends the study's files; leave it out")
    if not isinstance(found.get("env_vars", {}), dict):
        raise UserError(f"{place}: env_vars = {quoted(found['env_vars'])} should be a mapping")
    return found


def submit(request: Request, client: Client, say: Callable[[str], None]) -> str:
    """Submit a study as a job, or find the job of the same study and store that is running already.

    Args:
        request: The study.
        client: Client of the cluster.
        say: Function that receives messages, one line each.

    Returns:
        Ray's submission id of the job.

    Raises:
        UserError: If Ray refuses the job.
    """
    with tempfile.TemporaryDirectory(prefix="raycl-submit-") as folder:
        place = Path(folder) / "files"
        place.mkdir()
        _fill(place, request.file)
        sent = {"raycl_study": request.study, "raycl_store": request.store, "raycl_files": _digest(place)}
        sent["raycl_command"] = request.command
        reason = ""
        for _ in range(_TRIES):
            jobs = [job for job in client.list_jobs() if job.submission_id]
            if (job := _running(jobs, sent)) is not None:
                _tell_running(job, sent, say)
                return str(job.submission_id)
            name = _new_id(request.study, jobs)
            try:
                # Ray refuses an id that is taken, so that of two that submit at once only one succeeds.
                made: str = client.submit_job(
                    entrypoint=_entrypoint(request),
                    submission_id=name,
                    runtime_env=_environment(request, place),
                    metadata=dict(sent),
                )
            except (RuntimeError, ValueError, TypeError, OSError) as error:
                reason = str(error)
                if "already exists" in reason:
                    continue
                break
            say(f"job {made} runs {request.study} on the cluster; Ctrl-C stops following it, and not the job")
            return made
    raise UserError(f"Ray refuses the job ({screen_line(_last_line(reason))}); nothing was submitted")


def _fill(place: Path, file: Path) -> None:
    """Put what a job needs into its working directory.

    The study's files are in a folder of their own, because Ray puts the working directory onto the import
    path, where a file ``optuna.py`` of the study would be imported instead of the package.
    """
    userfiles.pack(file.absolute().parent, place / SHIPPED)
    shutil.copy(entry.__file__, place / ENTRY)


def _digest(place: Path) -> str:
    """Return a digest of the files that are sent."""
    found = hashlib.sha256()
    for file in sorted(path for path in place.rglob("*") if path.is_file()):
        found.update(file.relative_to(place).as_posix().encode() + b"\0" + file.read_bytes())
    return found.hexdigest()[:16]


def _entrypoint(request: Request) -> str:
    """Return the shell command of the job; `exec` lets a signal to the shell reach the program."""
    source = entry.digest(Path(raycl.__file__).parent)
    words = [ENTRY, raycl.__version__, source, "run", f"{SHIPPED}/{request.file.name}", *request.options]
    return f"exec python {shlex.join(words)}"


def _environment(request: Request, place: Path) -> dict[str, Any]:
    found = dict(request.environment)
    variables = {"RAY_JOB_STOP_WAIT_TIME_S": str(STOP_SECONDS)} | (found.get("env_vars") or {})
    return found | {"working_dir": str(place), "env_vars": variables}


def _running(jobs: Sequence[JobDetails], sent: Mapping[str, str]) -> JobDetails | None:
    """Return the job of the same study and store that has not ended, or None."""
    for job in jobs:
        about = job.metadata or {}
        same = all(about.get(name) == sent[name] for name in ("raycl_study", "raycl_store"))
        if same and not job.status.is_terminal():
            return job
    return None


def _tell_running(job: JobDetails, sent: Mapping[str, str], say: Callable[[str], None]) -> None:
    about = job.metadata or {}
    say(
        f"job {job.submission_id} runs {sent['raycl_study']} with store {sent['raycl_store']} already; no "
        "second job is started, and this one is followed"
    )
    if about.get("raycl_files") != sent["raycl_files"]:
        say(f"note: the study's files have changed since; {_to_use_them(job)}")
    elif about.get("raycl_command") != sent["raycl_command"]:
        say(f"note: it was submitted as {about.get('raycl_command')}; {_to_use_them(job)}")


def _to_use_them(job: JobDetails) -> str:
    return f"to use the new ones, stop it with `ray job stop {job.submission_id}` and submit again"


def _new_id(study: str, jobs: Sequence[JobDetails]) -> str:
    """Return an id such as ``quickstart-2`` that no job of the cluster has."""
    stem = re.sub(r"[^A-Za-z0-9_.]+", "-", study).strip("-.") or "study"
    found = [re.fullmatch(rf"{re.escape(stem)}-(\d{{1,9}})", str(job.submission_id)) for job in jobs]
    return f"{stem}-{max([int(match[1]) for match in found if match], default=0) + 1}"


def _last_line(text: str) -> str:
    """Return the last line of a text that may be a traceback."""
    lines = [line.strip() for line in text.splitlines() if line.strip(" .")]
    return lines[-1] if lines else "it gives no reason"

"""The store: results of runs on disk, by key, written atomically by the driver and read by all others."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from raycl.archives import Artefact
from raycl.errors import TRACEBACK, UserError
from raycl.plainfiles import Unfit, lines_of, open_regular, read_plain
from raycl.runs.patience import T, patiently, reason_of
from raycl.runs.records import (
    LOST,
    RUN_1,
    Pruned,
    check_run,
    checked_params,
    checked_pruned,
    proposal_record,
    pruned_record,
    run_record,
)
from raycl.runs.result import Result
from raycl.runs.summaries import State, Summaries, state_of
from raycl.specs import RunSpec
from raycl.wholefiles import publish

MODELS = "models"  # Subfolder of the trained methods that studies keep.
PAUSED = "paused"  # Subfolder of the results of runs that have paused.
FAILURES = "failures"  # Subfolder of the results of failed runs.
SHORT = 12  # Digits of a key by which messages and the files of tracebacks name a run.


def model_path(root: Path, key: str) -> Path:
    """Return the path of the file that holds the trained method of a run (`raycl.runs.kept`)."""
    return root / MODELS / key[:2] / f"{key}.pt"


def trace_path(root: Path, key: str) -> Path:
    """Return the path of the text file that holds the traceback of a run that failed."""
    return root / FAILURES / f"{key[:SHORT]}.txt"


def _whole(root: Path, warn: Callable[[str], None], wait: bool, key: str) -> Result | None:
    """Return the result of a finished run of a store, read from its file; or None."""
    return Store(root, warn, wait=wait).whole(key)


class Store:
    """A folder of results that all nodes can reach.

    A study resumes from its store alone: after a ``kill -9``, running the same command again is enough. Every
    file is checked when it is read. A file that fails the check is moved to ``damaged/`` with a message.

    Args:
        root: The folder.
        warn: Receives each message as one line.
        wait: Whether to wait while the folder is unavailable, as the driver of a study does. Otherwise, files
            that cannot be read are left out.

    Attributes:
        left_out: Files that were moved away or could not be read, in the order in which they were found.
        unsealed: Keys of runs that were read from files of the first format, which have no digest.
    """

    def __init__(
        self, root: Path | str, warn: Callable[[str], None] = lambda _: None, *, wait: bool = True
    ) -> None:
        self.root = Path(root).resolve()
        self._root = str(self.root)
        self.left_out: list[Path] = []
        self.unsealed: set[str] = set()
        self._warn = warn
        self._wait = wait
        self._known: dict[str, Result] = {}
        # A result that reads its reports again must not keep this store, with its open files, alive.
        self._summaries = Summaries(self.root, partial(_whole, self.root, warn, wait))
        self._seen = set[tuple[Artefact, str]]()  # Artefacts that were found and are not checked again.
        self._unread: set[int | None] = set()  # Reasons of unreadable files that were already reported.

    def open(self) -> Store:
        """Create the store if needed, and check that it can be written.

        Raises:
            UserError: If it cannot be written.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=self.root, prefix=".write-test-"):
                pass
        except (OSError, ValueError) as error:  # Python raises ValueError for a path with a null byte.
            raise UserError(
                f"store {_shown(self.root)} cannot be written ({reason_of(error)}); name another with "
                "--store DIR"
            ) from None
        self._check_rooms()
        self._summaries.writes = True
        return self

    def look(self) -> Store:
        """Check that the store can be read, if it exists.

        Raises:
            UserError: If it exists and cannot be read.
        """
        try:
            with os.scandir(self.root) as found:
                next(found, None)
        except FileNotFoundError:
            pass
        except (OSError, ValueError) as error:
            raise UserError(
                f"store {_shown(self.root)} cannot be read ({reason_of(error)}); name another with "
                "--store DIR"
            ) from None
        self._check_rooms()
        return self

    def _check_rooms(self) -> None:
        """Check that the subfolders are folders, since results would otherwise seem to be missing.

        Raises:
            UserError: If a file, a pipe or a broken link has the name of a subfolder.
        """
        for name in (
            "runs",
            "searches",
            *(kind.folder for kind in Artefact),
            MODELS,
            PAUSED,
            "checkpoints",
            FAILURES,
        ):
            place = self.root / name
            if os.path.lexists(place) and not place.is_dir():
                raise UserError(f"store {_shown(self.root)}: {name} is not a folder; move it away")

    def get(self, key: str, spec: RunSpec | None = None) -> Result | None:
        """Return the result of a finished run, or None; a file that is not a valid result is moved away.

        Args:
            key: Key of the run.
            spec: The run, if the caller has it; the result then refers to it and needs no copy in memory.
        """
        known = self._known.get(key) or self._compact(key, spec)
        if known is None:
            return None
        if spec is not None and known.spec is not spec:
            known = replace(known, spec=spec)
        self._known[key] = known
        return known

    def _compact(self, key: str, spec: RunSpec | None) -> Result | None:
        """Return the result of a finished run in compact form, from a summary or else from its file."""
        name = self._name(key)
        state = _state_at(name)
        found = self._summaries.find(state, spec) if state and spec else None
        if found is not None:
            return found
        result = self._read(Path(name), key, ("done", *LOST))
        if result is None:
            return None
        packed = result.packed()
        if state is not None and key not in self.unsealed and self._summaries.lacks(key):
            return self._summaries.add(state, packed)
        return packed

    def paused(self, key: str) -> Result | None:
        """Return the result of a run that has paused and is not finished, or None."""
        return self._read(self._paused_path(key), key, ("paused",))

    def whole(self, key: str) -> Result | None:
        """Return the result of a finished run with the curves of its reports, read from its file; or None."""
        return self._read(self._path(key), key, ("done", *LOST))

    def put(self, result: Result) -> Result:
        """Write the result of a run, and return what was written.

        A failure is written to ``failures/`` and the result of a pause to ``paused/``; neither finishes the
        run. A result that `get` would refuse, because the method reported impossible values, is written as a
        failure that says what is wrong with it.
        """
        failure, trace = self._failure_path(result.key), trace_path(self.root, result.key)
        content, result = _serialised(result)
        if result.status == "failed":
            self._publish(failure, content)
            if TRACEBACK in result.message:
                self._publish(trace, _trace_text(result))
            return result
        if result.status == "paused":
            self._publish(self._paused_path(result.key), content)
            return result
        state = state_of(self._publish(self._path(result.key), content))
        self._known[result.key] = self._summaries.add(state, result.packed())
        with contextlib.suppress(OSError):
            failure.unlink(missing_ok=True)
            trace.unlink(missing_ok=True)
            self._paused_path(result.key).unlink(missing_ok=True)
        self.forget_checkpoint(result.key)
        return result

    def forget(self, key: str) -> None:
        """Remove all that the store has of a run, so that it is executed again."""
        self._known.pop(key, None)
        self._patiently(lambda: _remove(self._path(key)))
        self._patiently(lambda: _remove(self._paused_path(key)))
        self.forget_model(key)
        self.forget_checkpoint(key)

    def forget_checkpoint(self, key: str) -> None:
        """Remove the checkpoint of a run, which then starts from the beginning if it is executed again."""
        shutil.rmtree(self.checkpoints / key, ignore_errors=True)

    def refuse(self, key: str, why: str) -> None:
        """Move away a run's result that its cell cannot have."""
        self._known.pop(key, None)
        self._set_aside(self._path(key), why)

    def state_of(self, key: str) -> list[tuple[int, int]]:
        """Return size and time of the files of a run's result and of its failure, as far as there are any."""
        found = []
        for path in (self._path(key), self._failure_path(key)):
            with contextlib.suppress(OSError):
                status = path.stat()
                found.append((status.st_size, status.st_mtime_ns))
        return found

    def failure(self, key: str) -> Result | None:
        """Return the failed result of the last attempt at a run, or None."""
        return self._read(self._failure_path(key), key, ("failed",))

    def finished(self) -> Iterator[str]:
        """Yield the keys of all finished runs."""
        for path in sorted(self.root.glob("runs/??/*.json")):
            yield path.stem

    def unfinished(self) -> Iterator[tuple[str, str]]:
        """Yield the key and the status of each run that has paused or failed and is not finished."""
        for folder, pattern, status in ((PAUSED, "??/*.json", "paused"), (FAILURES, "*.json", "failed")):
            for path in sorted((self.root / folder).glob(pattern)):
                if not self._path(path.stem).is_file():
                    yield path.stem, status

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints of unfinished runs, with one subfolder per key."""
        return self.root / "checkpoints"

    def has(self, kind: Artefact, key: str) -> bool:
        """Return whether the store has an artefact; a truncated file does not count and is moved away.

        If the truncated artefact belongs to a run, the run is forgotten too, as by `drop`.
        """
        if (kind, key) in self._seen:
            return True
        there = self._has_archive(kind.path(self.root, key))
        if there and not kind.of_run:  # A run counts as finished only as long as its artefact exists.
            self._seen.add((kind, key))
        if there is None and kind.of_run:
            self.forget(key)
        return bool(there)

    def drop(self, kind: Artefact, key: str, why: str) -> None:
        """Move away an unusable artefact, and forget the run that made it, so that both are made again."""
        self._seen.discard((kind, key))
        if kind.of_run:
            self.forget(key)
        self._set_aside(kind.path(self.root, key), why)

    def forget_artefact(self, kind: Artefact, key: str) -> None:
        """Remove an artefact, so that it is made again."""
        self._seen.discard((kind, key))
        self._patiently(lambda: _remove(kind.path(self.root, key)))

    def has_model(self, key: str) -> bool:
        """Return whether the trained method of a run was kept; a truncated file is moved away."""
        return bool(self._has_archive(model_path(self.root, key)))

    def forget_model(self, key: str) -> None:
        """Remove the trained method of a run, and keep its result."""
        self._patiently(lambda: _remove(model_path(self.root, key)))

    def proposal(self, cell: str, n: int) -> dict[str, Any] | None:
        """Return the proposed values of trial `n` of a search, or None."""
        name = self._proposal_name(cell, n)
        state = _state_at(name)
        if state and (found := self._summaries.find_proposal(state, cell, n)) is not None:
            return found
        params = self._checked(Path(name), lambda path: checked_params(read_plain(path), cell, n))
        if state and params is not None and self._summaries.lacks_proposal(cell, n):
            self._summaries.add_proposal(state, cell, n, params)
        return params

    def drop_proposal(self, cell: str, n: int, why: str) -> None:
        """Move away a proposal that does not fit its cell, so that the trial is proposed again."""
        self._set_aside(Path(self._proposal_name(cell, n)), why)

    def propose(self, cell: str, n: int, params: dict[str, Any], about: dict[str, Any]) -> None:
        """Write the proposed values of trial `n` of a search before it runs."""
        record = proposal_record(cell, n, params, about)
        status = self._publish(Path(self._proposal_name(cell, n)), lines_of(record))
        self._summaries.add_proposal(state_of(status), cell, n, record["params"])

    def pruned(self, cell: str, n: int) -> Pruned | None:
        """Return the record that trial `n` of a search was pruned, or None if it was not."""
        path = self._pruned_path(cell, n)
        return self._checked(path, lambda path: checked_pruned(read_plain(path), cell, n))

    def prune(self, cell: str, n: int, pruned: Pruned) -> None:
        """Write beside its proposal that trial `n` of a search was pruned."""
        content = lines_of(pruned_record(cell, n, pruned))
        self._publish(self._pruned_path(cell, n), content)

    def forget_pruned(self, cell: str, n: int) -> None:
        """Remove the record that a trial of a search was pruned."""
        self._patiently(lambda: _remove(self._pruned_path(cell, n)))

    def _publish(self, path: Path, content: str) -> os.stat_result:
        """Write a file, and return its status.

        Raises:
            UserError: If the file cannot be written for a reason that does not pass by itself.
        """
        try:
            return self._patiently(lambda: publish(path, content))
        except OSError as error:
            raise UserError(
                f"store {_shown(self.root)}: {_shown(path)} cannot be written ({reason_of(error)}); fix it "
                "and run the same command again; finished runs are kept"
            ) from None

    def _patiently(self, act: Callable[[], T], to: Literal["written", "read"] = "written") -> T:
        return patiently(act, self.root, self._warn, to=to, wait=None if self._wait else 0.0)

    def _proposal_name(self, cell: str, n: int) -> str:
        return f"{self._root}/searches/{cell[:2]}/{cell}/{n:04d}.json"

    def _pruned_path(self, cell: str, n: int) -> Path:
        return self.root / "searches" / cell[:2] / cell / f"{n:04d}-pruned.json"

    def _paused_path(self, key: str) -> Path:
        return self.root / PAUSED / key[:2] / f"{key}.json"

    def _failure_path(self, key: str) -> Path:
        return self.root / FAILURES / f"{key}.json"

    def _path(self, key: str) -> Path:
        return Path(self._name(key))

    def _name(self, key: str) -> str:
        """Return the path of a result as a string, which is made in a tenth of the time of a `Path`."""
        return f"{self._root}/runs/{key[:2]}/{key}.json"

    def _read(self, path: Path, key: str, statuses: tuple[str, ...]) -> Result | None:
        def checked(path: Path) -> Result:
            plain = read_plain(path)
            check_run(plain, key)
            if plain["status"] not in statuses:
                raise Unfit(f"status = {plain['status']!a}, expected {' or '.join(statuses)}")
            if plain["format"] == RUN_1:
                self.unsealed.add(key)
            return Result.from_json(plain)

        return self._checked(path, checked)

    def _has_archive(self, path: Path) -> bool | None:
        """Return whether an archive is there, or None if a truncated one was moved away.

        Only the directory at the end of the archive is checked, which costs little time.
        """

        def check(path: Path) -> bool:
            with open_regular(path) as file:
                if not zipfile.is_zipfile(file):
                    raise Unfit("truncated")
            return True

        before = len(self.left_out)
        if self._checked(path, check):
            return True
        return None if len(self.left_out) > before else False

    def _checked(self, path: Path, load: Callable[[Path], T]) -> T | None:
        """Return the result of `load`, or None; an invalid file is moved away, an unreadable one is left."""
        try:
            return self._patiently(lambda: load(path), "read") if self._wait else load(path)
        except FileNotFoundError:
            return None
        except UserError:  # The store was unavailable for too long.
            raise
        except OSError as error:
            self._leave_out(path, error)
            return None
        except Unfit as error:
            why = str(error)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            why = f"{type(error).__name__}: {str(error)[:100]}"
        self._set_aside(path, why)
        return None

    def _leave_out(self, path: Path, error: OSError) -> None:
        """Leave out a file that cannot be read, with one message per reason."""
        self.left_out.append(path)
        if error.errno not in self._unread:
            self._unread.add(error.errno)
            self._warn(
                f"{_shown(path)} cannot be read ({reason_of(error)}); it is left out, and so are others that "
                "cannot be read for that reason"
            )

    def _set_aside(self, path: Path, why: str) -> None:
        damaged = self.root / "damaged"
        if not os.path.lexists(path):
            return
        self.left_out.append(path)
        line = f"{_shown(path)} is not a result of raycl ({_line(why)})"
        try:
            damaged.mkdir(exist_ok=True)
            shutil.move(path, _free(damaged, path))  # Unlike a rename, this also works between disks.
        except FileNotFoundError:  # Another driver has already moved it.
            return
        except OSError as error:
            self._warn(
                f"{line}; it is left out, and cannot be moved to {_shown(damaged)}/ ({reason_of(error)})"
            )
            return
        self._warn(f"{line}; moved to {_shown(damaged)}/, will be computed again")


def _serialised(result: Result) -> tuple[str, Result]:
    """Return the text of a result's file with the result, or those of a failure if the result is invalid."""
    plain = result.to_json()
    try:
        return lines_of(run_record(plain)), result
    except (ValueError, TypeError, RecursionError) as error:
        why = f"{type(error).__name__}: " * (not isinstance(error, Unfit)) + str(error)
    message = f"{result.message.strip()}\n" * bool(result.message.strip())
    provenance = {name: value for name, value in result.provenance.items() if type(value) in (str, int)}
    failed = Result(
        result.spec, "failed", (), f"{message}its result is not one that a run can have: {why}", provenance
    )
    return lines_of(run_record(failed.to_json())), failed


def _trace_text(result: Result) -> str:
    """Return the content of the text file of a failure: which run it was, and its traceback."""
    spec = result.spec
    what = f"{spec.method} on {spec.benchmark}, network {spec.network}, seed {spec.seed}"
    text = f"{what}\nrun {spec.key}\n\n{result.message.strip()}\n"
    return text.encode("utf-8", "backslashreplace").decode()


def _remove(path: Path) -> None:
    """Remove a file, or whatever else has its path."""
    try:
        path.unlink(missing_ok=True)
    except NotADirectoryError:
        pass
    except (IsADirectoryError, PermissionError):
        if not path.is_dir():
            raise
        shutil.rmtree(path, ignore_errors=True)


def _free(folder: Path, path: Path) -> Path:
    """Return a free path in `folder` for a file that is moved there, with the file's own name if possible."""
    names = [path.name, f"{path.parent.name[:16]}-{path.name}"]
    names += [f"{path.stem}-{n}{path.suffix}" for n in range(1, 10_000)]
    return next((folder / name for name in names if not os.path.lexists(folder / name)), folder / names[-1])


def _state_at(name: str) -> State | None:
    """Return the state of a file, or None if it cannot be found or looked at."""
    with contextlib.suppress(
        OSError
    ):  # What reads the file raises what does not pass, and waits for the rest.
        return state_of(os.stat(name))
    return None


def _shown(path: Path) -> str:
    """Return a path without characters that would break a line."""
    return _line(str(path))


def _line(text: str) -> str:
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)

"""Results by key on disk: the truth. Written by the driver, atomically; read by everything else."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

from raycl.archives import Artefact
from raycl.errors import UserError
from raycl.plainfiles import Unfit, open_regular, read_plain
from raycl.runs.patience import T, patiently, reason_of
from raycl.runs.records import RUN_1, check_run, checked_params, proposal_record, run_record
from raycl.runs.result import Result
from raycl.wholefiles import publish


class Store:
    """A folder that all nodes see. ``kill -9`` and the same command again is the whole resume story.

    Nothing in it is believed that cannot be checked: what fails is set aside in ``damaged/``, and said in a
    line.

    Args:
        warn: takes what is to be said, a line each.
        wait: whether to wait while the folder is out of reach, as the driver of a study does. Who only reads
            goes on without what cannot be read.

    Attributes:
        left_out: files that were set aside or could not be read, in the order in which they were found.
        unsealed: keys of runs that were read from files of the first format, which have no digest.
    """

    def __init__(
        self, root: Path | str, warn: Callable[[str], None] = lambda _: None, *, wait: bool = True
    ) -> None:
        self.root = Path(root).resolve()
        self.left_out: list[Path] = []
        self.unsealed: set[str] = set()
        self._warn = warn
        self._wait = wait
        self._known: dict[str, Result] = {}
        self._seen = set[tuple[Artefact, str]]()  # found, and not looked for again
        self._unread: set[int | None] = set()  # reasons that were said

    def open(self) -> Store:
        """Make sure that it can be written.

        Raises:
            UserError: it cannot.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=self.root, prefix=".write-test-"):
                pass
        except (OSError, ValueError) as error:  # a name that no file system takes
            raise UserError(
                f"store {_shown(self.root)} cannot be written ({reason_of(error)}); name another with "
                "--store DIR"
            ) from None
        self._check_rooms()
        return self

    def look(self) -> Store:
        """Make sure that it can be read, if it is there at all.

        Raises:
            UserError: it cannot.
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
        """See that nothing else stands where results are looked for: they would seem to be missing.

        Raises:
            UserError: a file, a pipe or a link to nothing does.
        """
        for name in ("runs", "searches", *(kind.folder for kind in Artefact), "checkpoints", "failures"):
            place = self.root / name
            if os.path.lexists(place) and not place.is_dir():
                raise UserError(f"store {_shown(self.root)}: {name} is no folder; move it away")

    def get(self, key: str) -> Result | None:
        """The finished run, or None. A file that is no result is set aside, and said."""
        if key not in self._known:
            result = self._read(self._path(key), key, ("done", "diverged"))
            if result is None:
                return None
            self._known[key] = result
        return self._known[key]

    def put(self, result: Result) -> Result:
        """Publish a finished run, or note a failure beside it; gives back what was published.

        A result that `get` would not take, for a method says what no run can come to, is published as a
        failure that says what is wrong with it.
        """
        beside = self.root / "failures" / f"{result.key}.json"
        content, result = _written(result)
        if result.status == "failed":
            self._publish(beside, content)
            return result
        self._publish(self._path(result.key), content)
        self._known[result.key] = result
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)
        shutil.rmtree(self.checkpoints / result.key, ignore_errors=True)
        return result

    def forget(self, key: str) -> None:
        """Remove a run and what it left, to compute it again."""
        self._known.pop(key, None)
        self._patiently(lambda: _remove(self._path(key)))
        shutil.rmtree(self.checkpoints / key, ignore_errors=True)

    def refuse(self, key: str, why: str) -> None:
        """Set a run aside that its cell cannot have come to."""
        self._known.pop(key, None)
        self._set_aside(self._path(key), why)

    def failure(self, key: str) -> Result | None:
        """What the last attempt at a run failed of, or None."""
        return self._read(self.root / "failures" / f"{key}.json", key, ("failed",))

    def finished(self) -> Iterator[str]:
        """Keys of all finished runs."""
        for path in sorted(self.root.glob("runs/??/*.json")):
            yield path.stem

    @property
    def checkpoints(self) -> Path:
        """Where unfinished runs stand, one folder by key."""
        return self.root / "checkpoints"

    def has(self, kind: Artefact, key: str) -> bool:
        """Whether an artefact is there and no torn file; what is torn is set aside, and said.

        If it is of a run, the run is forgotten then, as by `drop`.
        """
        if (kind, key) in self._seen:
            return True
        there = self._has_archive(kind.path(self.root, key))
        if there and not kind.of_run:  # a run is finished only as long as what it left is there
            self._seen.add((kind, key))
        if there is None and kind.of_run:
            self.forget(key)
        return bool(there)

    def drop(self, kind: Artefact, key: str, why: str) -> None:
        """Set an artefact aside that cannot be used, and forget its run if it is of one, to make it again."""
        self._seen.discard((kind, key))
        if kind.of_run:
            self.forget(key)
        self._set_aside(kind.path(self.root, key), why)

    def forget_artefact(self, kind: Artefact, key: str) -> None:
        """Remove an artefact, to make it again."""
        self._seen.discard((kind, key))
        self._patiently(lambda: _remove(kind.path(self.root, key)))

    def proposal(self, cell: str, n: int) -> dict[str, Any] | None:
        """Trial `n` of a search as it was proposed, or None."""
        path = self._proposal_path(cell, n)
        return self._checked(path, lambda path: checked_params(read_plain(path), cell, n))

    def drop_proposal(self, cell: str, n: int, why: str) -> None:
        """Set a proposal aside that is none of its cell, to have it proposed again."""
        self._set_aside(self._proposal_path(cell, n), why)

    def propose(self, cell: str, n: int, params: dict[str, Any], about: dict[str, Any]) -> None:
        """Write down trial `n` of a search before it runs."""
        content = json.dumps(proposal_record(cell, n, params, about), indent=1)
        self._publish(self._proposal_path(cell, n), content)

    def _publish(self, path: Path, content: str) -> None:
        """Raises: UserError where something is in the way that does not pass by itself."""
        try:
            self._patiently(lambda: publish(path, content))
        except OSError as error:
            raise UserError(
                f"store {_shown(self.root)}: {_shown(path)} cannot be written ({reason_of(error)}); mend it, "
                "then give the same command again: what is finished stays"
            ) from None

    def _patiently(self, act: Callable[[], T], to: Literal["written", "read"] = "written") -> T:
        return patiently(act, self.root, self._warn, to=to, wait=None if self._wait else 0.0)

    def _proposal_path(self, cell: str, n: int) -> Path:
        return self.root / "searches" / cell[:2] / cell / f"{n:04d}.json"

    def _path(self, key: str) -> Path:
        return self.root / "runs" / key[:2] / f"{key}.json"

    def _read(self, path: Path, key: str, statuses: tuple[str, ...]) -> Result | None:
        def checked(path: Path) -> Result:
            plain = read_plain(path)
            check_run(plain, key)
            if plain["status"] not in statuses:
                raise Unfit(f"status = {plain['status']!a}, where {' or '.join(statuses)} is wanted")
            if plain["format"] == RUN_1:
                self.unsealed.add(key)
            return Result.from_json(plain)

        return self._checked(path, checked)

    def _has_archive(self, path: Path) -> bool | None:
        """Whether an archive is there, by its outline alone; None if what was there was set aside."""

        def outline(path: Path) -> bool:
            with open_regular(path) as file:
                if not zipfile.is_zipfile(file):
                    raise Unfit("truncated")
            return True

        before = len(self.left_out)
        if self._checked(path, outline):
            return True
        return None if len(self.left_out) > before else False

    def _checked(self, path: Path, load: Callable[[Path], T]) -> T | None:
        """What a file holds, or None; what does not pass is set aside, what cannot be read is left."""
        try:
            return self._patiently(lambda: load(path), "read") if self._wait else load(path)
        except FileNotFoundError:
            return None
        except UserError:  # out of reach for too long
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
        """Go on without a file that cannot be read; of a reason it is said once."""
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
            shutil.move(path, _free(damaged, path))  # also where the folder is on another disk
        except FileNotFoundError:  # another driver has done it
            return
        except OSError as error:
            self._warn(
                f"{line}; it is left out, and cannot be moved to {_shown(damaged)}/ ({reason_of(error)})"
            )
            return
        self._warn(f"{line}; moved to {_shown(damaged)}/, will be computed again")


def _written(result: Result) -> tuple[str, Result]:
    """A result as the text of its file, or as the failure that it is in truth."""
    plain = result.to_json()
    try:
        return json.dumps(run_record(plain), indent=1), result
    except (ValueError, TypeError, RecursionError) as error:
        why = f"{type(error).__name__}: " * (not isinstance(error, Unfit)) + str(error)
    said = f"{result.message.strip()}\n" * bool(result.message.strip())
    provenance = {name: value for name, value in result.provenance.items() if type(value) in (str, int)}
    failed = Result(
        result.spec, "failed", (), f"{said}its result is none that a run can come to: {why}", provenance
    )
    return json.dumps(run_record(failed.to_json()), indent=1), failed


def _remove(path: Path) -> None:
    """Remove a file, or whatever else stands in its place."""
    try:
        path.unlink(missing_ok=True)
    except NotADirectoryError:
        pass
    except (IsADirectoryError, PermissionError):
        if not path.is_dir():
            raise
        shutil.rmtree(path, ignore_errors=True)


def _free(folder: Path, path: Path) -> Path:
    """Where to a file is moved: under its own name, unless another that was moved bears it."""
    names = [path.name, f"{path.parent.name[:16]}-{path.name}"]
    names += [f"{path.stem}-{n}{path.suffix}" for n in range(1, 10_000)]
    return next((folder / name for name in names if not os.path.lexists(folder / name)), folder / names[-1])


def _shown(path: Path) -> str:
    """A path within a line, whatever stands in it."""
    return _line(str(path))


def _line(text: str) -> str:
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)

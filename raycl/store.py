"""Results by key on disk: the truth. Written by the driver, atomically; read by everything else."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar

from raycl import metrics
from raycl.errors import UserError
from raycl.sequence import Report
from raycl.spec import RunSpec, key_of

FORMAT = "raycl-run/1"
PATIENCE = 3600.0  # seconds that a store may be out of reach before a driver gives up
_PASSING = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE,
            errno.ENOTCONN, errno.ETIMEDOUT, errno.EBUSY, errno.ENODEV, errno.EHOSTDOWN}  # fmt: skip
T = TypeVar("T")
Status: TypeAlias = Literal["done", "diverged", "failed"]


@dataclass(frozen=True)
class Result:
    """What a run came to.

    Attributes:
        status: "done"; "diverged" (an outcome of its hyperparameters); "failed" (a fault: tried again).
        reports: one per task learnt.
        message: why it diverged, or the traceback of a failure.
        provenance: versions, commit, device, threads, numerics, seconds.
    """

    spec: RunSpec
    status: Status
    reports: tuple[Report, ...] = ()
    message: str = ""
    provenance: dict[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        return self.spec.key

    def matrix(self, split: Literal["val", "test"] = "test") -> metrics.Matrix:
        """[T, T] accuracies, rows = tasks learnt."""
        return metrics.matrix([getattr(report, split) for report in self.reports])

    def acc(self, split: Literal["val", "test"] = "test") -> float | None:
        """Mean accuracy after the last task, of the one task of a part; None unless the run is done."""
        if self.spec.part is not None and self.status == "done":
            return getattr(self.reports[0], split).get(self.spec.part)  # type: ignore[no-any-return]
        return metrics.acc(self.matrix(split)) if self.status == "done" else None

    @property
    def ct(self) -> float:
        """Seconds to learn all tasks: fits and the method's own phases, without test evaluation."""
        return sum(sum(report.seconds.values()) for report in self.reports)

    def to_json(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "key": self.key,
            "spec": self.spec.to_json(),
            "status": self.status,
            "message": self.message,
            "reports": [report.to_json() for report in self.reports],
            "provenance": self.provenance,
        }

    @classmethod
    def from_json(cls, plain: dict[str, Any]) -> Result:
        reports = tuple(Report.from_json(report) for report in plain["reports"])
        spec = RunSpec.from_json(plain["spec"])
        return cls(spec, plain["status"], reports, plain["message"], plain["provenance"])


@dataclass(frozen=True)
class Trained:
    """What a mask job came to; the masks themselves are in the store."""

    status: str  # "done", "diverged" or "failed"
    message: str = ""
    seconds: float = 0.0


class Store:
    """A folder that all nodes see. ``kill -9`` and the same command again is the whole resume story."""

    def __init__(self, root: Path | str, warn: Callable[[str], None] = lambda _: None) -> None:
        self.root = Path(root).resolve()
        self._warn = warn
        self._known: dict[str, Result] = {}
        self._masks: set[str] = set()

    def open(self) -> Store:
        """Make sure that it can be written.

        Raises:
            UserError: it cannot.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=self.root, prefix=".write-test-"):
                pass
        except OSError as error:
            raise UserError(
                f"store {self.root} cannot be written ({error.strerror}); name another with --store DIR"
            ) from None
        return self

    def get(self, key: str) -> Result | None:
        """The finished run, or None. A file that is no result is set aside, and said."""
        if key not in self._known:
            result = self._read(self._path(key), key)
            if result is None:
                return None
            self._known[key] = result
        return self._known[key]

    def put(self, result: Result) -> None:
        """Publish a finished run, or note a failure beside it."""
        beside = self.root / "failures" / f"{result.key}.json"
        if result.status == "failed":
            self._publish(beside, json.dumps(result.to_json(), indent=1))
            return
        self._publish(self._path(result.key), json.dumps(result.to_json(), indent=1, allow_nan=False))
        self._known[result.key] = result
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)
        shutil.rmtree(self.checkpoints / result.key, ignore_errors=True)

    def forget(self, key: str) -> None:
        """Remove a run and what it left, to compute it again."""
        self._known.pop(key, None)
        patiently(lambda: self._path(key).unlink(missing_ok=True), self.root, self._warn)
        shutil.rmtree(self.checkpoints / key, ignore_errors=True)

    def failure(self, key: str) -> Result | None:
        """What the last attempt at a run failed of, or None."""
        path = self.root / "failures" / f"{key}.json"
        return self._read(path, key) if path.exists() else None

    def finished(self) -> Iterator[str]:
        """Keys of all finished runs."""
        for path in sorted(self.root.glob("runs/??/*.json")):
            yield path.stem

    @property
    def checkpoints(self) -> Path:
        """Where unfinished runs stand, one folder by key."""
        return self.root / "checkpoints"

    @property
    def masks(self) -> Path:
        """Where basis masks are, by key."""
        return self.root / "masks"

    def has_mask(self, key: str) -> bool:
        """Whether a mask is there and no torn file; what is torn is set aside, and said."""
        if key in self._masks:
            return True
        path = mask_path(self.masks, key)
        if not path.exists():
            return False
        if not zipfile.is_zipfile(path):
            self.drop_mask(key, "truncated")
            return False
        self._masks.add(key)
        return True

    def drop_mask(self, key: str, why: str) -> None:
        """Set a mask aside that cannot be used, to have it trained again."""
        self._masks.discard(key)
        path = mask_path(self.masks, key)
        if path.exists():
            self._set_aside(path, why)

    def forget_mask(self, key: str) -> None:
        """Remove a mask, to train it again."""
        self._masks.discard(key)
        mask_path(self.masks, key).unlink(missing_ok=True)

    @property
    def backbones(self) -> Path:
        """Where networks trained on a first task are, by the key of their run."""
        return self.root / "backbones"

    def has_backbone(self, key: str) -> bool:
        """Whether a backbone is there and no torn file; what is torn is set aside, and said."""
        path = backbone_path(self.root, key)
        if path.exists() and not zipfile.is_zipfile(path):
            self.drop_backbone(key, "truncated")
        return path.exists()

    def drop_backbone(self, key: str, why: str) -> None:
        """Set a backbone aside that cannot be used, and forget its run, to have it trained again."""
        self.forget(key)
        path = backbone_path(self.root, key)
        if path.exists():
            self._set_aside(path, why)

    def proposal(self, cell: str, n: int) -> dict[str, Any] | None:
        """Trial `n` of a search as it was proposed, or None."""
        path = self._proposal_path(cell, n)
        try:
            params = json.loads(patiently(path.read_text, self.root, self._warn, to="read"))["params"]
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, KeyError) as error:
            self._set_aside(path, str(error))
            return None
        assert isinstance(params, dict)
        return params

    def propose(self, cell: str, n: int, params: dict[str, Any], about: dict[str, Any]) -> None:
        """Write down trial `n` of a search before it runs."""
        content = json.dumps({"n": n, "params": params, "cell": about}, indent=1)
        self._publish(self._proposal_path(cell, n), content)

    def _publish(self, path: Path, content: str) -> None:
        patiently(lambda: publish(path, content), self.root, self._warn)

    def _proposal_path(self, cell: str, n: int) -> Path:
        return self.root / "searches" / cell[:2] / cell / f"{n:04d}.json"

    def _path(self, key: str) -> Path:
        return self.root / "runs" / key[:2] / f"{key}.json"

    def _read(self, path: Path, key: str) -> Result | None:
        try:
            plain = json.loads(patiently(path.read_text, self.root, self._warn, to="read"))
            if plain.get("format") == FORMAT and key_of(plain["spec"]) == key:
                return Result.from_json(plain)
            why = "another format or another run"
        except FileNotFoundError:
            return None
        except json.JSONDecodeError as error:
            why = f"truncated or damaged at byte {error.pos}"
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            why = f"{type(error).__name__}: {error}"
        self._set_aside(path, why)
        return None

    def _set_aside(self, path: Path, why: str) -> None:
        damaged = self.root / "damaged"
        with contextlib.suppress(OSError):
            damaged.mkdir(exist_ok=True)
            os.replace(path, damaged / path.name)
            self._warn(
                f"{path} is not a result of raycl ({why}); moved to {damaged}/, will be computed again"
            )


def mask_path(folder: Path, key: str) -> Path:
    """The file of a mask in a folder of masks."""
    return folder / key[:2] / f"{key}.npz"


def backbone_path(root: Path, key: str) -> Path:
    """The file of a backbone in a store."""
    return root / "backbones" / key[:2] / f"{key}.npz"


def patiently(
    act: Callable[[], T],
    where: Path,
    warn: Callable[[str], None] = lambda _: None,
    *,
    to: Literal["written", "read"] = "written",
    wait: float | None = None,
) -> T:
    """Do something with a file, and wait while its disk is full, read-only or out of reach.

    Args:
        warn: told once when waiting begins, and once when it ends.
        wait: seconds at most; `PATIENCE` by default.

    Raises:
        UserError: it took longer.
        OSError: of a kind that does not pass by itself.
    """
    wait = PATIENCE if wait is None else wait
    began, pause = time.monotonic(), 0.5
    said = False
    while True:
        try:
            done = act()
        except OSError as error:
            if error.errno not in _PASSING:
                raise
            reason = error.strerror
            if time.monotonic() - began + pause > wait:
                raise UserError(
                    f"store {where} has been out of reach for {wait:.0f} s ({reason}); mend it, then give "
                    "the same command again: what is finished stays"
                ) from None
            if not said:
                warn(f"store {where} cannot be {to} ({reason}); waiting until it can, nothing is lost")
                said = True
            time.sleep(pause)
            pause = min(2 * pause, 10.0)
            continue
        if said:
            warn(f"store {where} can be {to} again after {time.monotonic() - began:.0f} s")
        return done


def publish(path: Path, content: str | bytes) -> None:
    """Write a file whole or not at all: temporary file, fsync, rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise

"""What a driver needs of a store's finished runs and proposals, in few files that the next start reads.

To read a result, check it and bring it into the compact form of `Result.packed` takes 1.6 ms of CPU, and to
read its line in a summary a tenth of that. A million small files also have to be found on the disk, one after
the other. A driver therefore appends a line for each result and each proposal that it writes, and for each
that it has read from its own file.

A line is used only if it belongs to the file as it is now: with the size, the times and the inode that the
file had when it was written or read. Any tool that writes to a file, replaces it or copies it changes one of
these. Lines of other versions of raycl, whose checks may differ, are in files of other names. Whoever deletes
``summaries/`` loses some minutes.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import os
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from raycl import metrics, plainfiles, specs
from raycl.errors import UserError
from raycl.runs import lines, records, reports, result
from raycl.runs.lines import Line, Lines
from raycl.runs.records import LOST
from raycl.runs.result import (
    Accuracies,
    CompactReports,
    PackedReports,
    Result,
    SharedProvenance,
    unpacked,
    without_curves,
)
from raycl.specs import RunSpec

FOLDER = "summaries"
RESULT_WORTH = 400_000  # Bytes of lines that are read in the time in which one result is read and checked.
PROPOSAL_WORTH = 60_000  # The same for a proposal.
_UNREADABLE = (OSError, ValueError, TypeError, LookupError, RecursionError, zlib.error)
State: TypeAlias = tuple[int, int, int, int]


def state_of(status: os.stat_result) -> State:
    """Return what changes whenever a file is written to or replaced."""
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def _form() -> str:
    """Return eight digits that change with the source of what a line contains, and of the checks."""
    found = zlib.crc32(Path(__file__).read_bytes())
    for module in (lines, metrics, plainfiles, specs, records, reports, result):
        found = zlib.crc32(Path(str(module.__file__)).read_bytes(), found)
    return f"{found:08x}"


FORM = _form()


class LinedReports(CompactReports):
    """Reports of a run that stay in their line, from which each use reads them.

    Args:
        many: As in `CompactReports`.
        accs: As in `CompactReports`.
        key: Key of the run.
        line: The line, whose entry is not kept.
        again: Returns the result of a run from its own file, in case the line cannot be read any more.
    """

    __slots__ = ("_again", "_checksum", "_file", "_key", "_place")

    def __init__(
        self, many: int, accs: Accuracies, key: str, line: Line, again: Callable[[str], Result | None]
    ) -> None:
        super().__init__(many, accs)
        self._key, self._file, self._place, self._again = key, line.file, line.place, again
        self._checksum = line.checksum

    def __reduce__(self) -> tuple[type[PackedReports], tuple[Any, ...]]:
        """Return what a copy is made of, which other processes can read too."""
        return PackedReports, (tuple(self), self.accs)

    def _plain(self) -> Any:
        with contextlib.suppress(*_UNREADABLE):
            line = self._file.line(self._key, self._place)
            if line.checksum == self._checksum:
                return unpacked(_packed_in(line.entry))
        result = self._again(self._key)
        if result is None or (len(result.reports), result.accs()) != (len(self), self.accs):
            raise UserError(
                f"the result of run {self._key[:12]} was removed from the store, or was changed there, while "
                "it was in use; run the same command again"
            )
        return without_curves(result.reports)


class Summaries:
    """Compact forms of the results of a store, and its proposals.

    Args:
        root: The store.
        again: Returns the result of a run from its own file.

    Attributes:
        writes: Whether lines are written, as the driver of a study does.
    """

    def __init__(self, root: Path, again: Callable[[str], Result | None]) -> None:
        self.writes, self._again = False, again
        self._results = Lines(root / FOLDER, "", FORM, RESULT_WORTH)
        self._proposals = Lines(root / FOLDER, "searches-", FORM, PROPOSAL_WORTH)

    def find(self, state: State, spec: RunSpec) -> Result | None:
        """Return the result of a run in compact form; None if it must be read from its own file.

        It is found once, because the store remembers it.

        Args:
            state: State of the result's file.
            spec: The run, to which the result will refer.
        """
        line = self._results.find(spec.key, writes=self.writes)
        if line is None:
            return None
        self._results.drop(spec.key)
        try:
            known, status, message, many, _, accs, provenance = line.entry
            if tuple(known) != state or status not in ("done", *LOST):
                return None
            reports = LinedReports(many, (accs[0], accs[1]), spec.key, line, self._again)
            return Result(spec, status, reports, message, SharedProvenance(provenance))
        except (ValueError, TypeError, AttributeError, LookupError):
            return None

    def lacks(self, key: str) -> bool:
        """Return whether no line of a run is left to use; False if its file of lines was not read."""
        return self._results.lacks(key)

    def add(self, state: State, result: Result) -> Result:
        """Append the line of a result, and return the result with reports that stay there.

        Args:
            state: State of the result's file when its content was that of the result.
            result: The result in compact form. It is returned as it is if no line is written.
        """
        if not self.writes:
            return result
        reports = result.reports
        assert isinstance(reports, PackedReports)
        many, packed = len(reports), base64.b64encode(reports.packed).decode()
        about = [result.status, result.message, many, packed, reports.accs, dict(result.provenance)]
        if (line := self._results.add(result.key, [state, *about])) is None:
            return result
        lined = LinedReports(many, reports.accs, result.key, line, self._again)
        return dataclasses.replace(result, reports=lined)

    def find_proposal(self, state: State, cell: str, n: int) -> dict[str, Any] | None:
        """Return the values of trial `n` of a search; None if they must be read from their own file."""
        name = _proposal_name(cell, n)
        line = self._proposals.find(name, writes=self.writes)
        if line is None:
            return None
        try:
            known, params = line.entry
            if tuple(known) == state:
                return dict(params)
        except (ValueError, TypeError):
            pass
        self._proposals.drop(name)
        return None

    def lacks_proposal(self, cell: str, n: int) -> bool:
        """Return whether no line of a trial is left to use; False if its file of lines was not read."""
        return self._proposals.lacks(_proposal_name(cell, n))

    def add_proposal(self, state: State, cell: str, n: int, params: Mapping[str, Any]) -> None:
        """Append the line of a proposal."""
        if self.writes:
            name = _proposal_name(cell, n)
            self._proposals.add(name, [state, params])
            self._proposals.note(name)  # cells with the same search ask for it once each

    def tidy(self, has_result: Callable[[str], bool], has_search: Callable[[str], bool]) -> None:
        """Remove the lines of what the store does not have, superseded ones, and those of other versions.

        Args:
            has_result: Returns whether the store has the result of the run with this key.
            has_search: Returns whether it has proposals of the cell with this key.
        """
        self._results.tidy(has_result)
        self._proposals.tidy(lambda name: has_search(name.partition("/")[0]))


def _packed_in(entry: list[Any]) -> bytes:
    """Return the packed reports in the entry of a result's line."""
    return base64.b64decode(entry[4])


def _proposal_name(cell: str, n: int) -> str:
    return f"{cell}/{n}"

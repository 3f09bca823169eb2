"""This module defines what a data source is, and finds, unpacks and downloads files for all sources.

A source is a module of this package that defines SOURCES. It reads published files into arrays and does not
know about tasks.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import importlib
import io
import os
import pickle
import shutil
import tempfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from raycl.benchmarks.files import checked
from raycl.benchmarks.prepared import (
    Arrays,
    Contents,
    Folder,
    Progress,
    data_root,
    no_progress,
    printable,
    shown,
)
from raycl.errors import UserError


@dataclass(frozen=True)
class SourceFiles:
    """The places from which a source's `read` function takes its files.

    Attributes:
        given: The folder that the user named with --from, or None if the files may be downloaded.
        downloads: A folder for downloaded files, which remains if the process is killed.
        progress: A callback that receives the progress.
        name: The name of the source, for messages.
    """

    given: Path | None
    downloads: Path
    progress: Progress = no_progress
    name: str = ""

    @property
    def place(self) -> str:
        """A description of where the files come from, for messages."""
        return str(self.given) if self.given else "the download"

    def fetch(self, title: str, call: Callable[[Path], Any]) -> None:
        """Let a library download files into `downloads`.

        The library compares its own checksums and skips files that are complete.

        Args:
            title: The name of the data set, for messages.
            call: A function that downloads into the folder that it is given.

        Raises:
            UserError: The download failed.
        """
        self.downloads.mkdir(parents=True, exist_ok=True)
        try:
            with contextlib.redirect_stdout(io.StringIO()):  # the library prints every mirror that it tries
                call(self.downloads)
        except (OSError, RuntimeError) as error:
            raise UserError(
                f"{title} cannot be downloaded ({_reason(error)}); on a machine without a network, run "
                f"raycl data prepare {self.name} --from DIR"
            ) from None

    def find(self, *names: str, below: Sequence[str] = ("",)) -> list[Path] | None:
        """Return the files called `names`, gzipped or not, from the first folder that contains all of them.

        Args:
            names: The names without the suffix .gz.
            below: The folders to search, relative to the given folder or to `downloads`.

        Raises:
            UserError: One of the files is a broken link, a pipe, or something else that is not a regular
                file.
        """
        root = self.given or self.downloads
        for folder in (root / name for name in below):
            found = [next(filter(_exists, (folder / n, folder / f"{n}.gz")), None) for n in names]
            files = [file for file in found if file is not None]
            if len(files) == len(names):
                return files
        return None


def _exists(path: Path) -> bool:
    return os.path.lexists(path) and bool(checked(path))


@dataclass(frozen=True)
class Source:
    """A data set and how to get it.

    Attributes:
        name: The name in `raycl data prepare NAME`.
        title: The usual name of the data set.
        licence: The licence and terms of use, in one line.
        summary: The line that `raycl data list` prints.
        size: The approximate number of bytes on disk when prepared.
        read: A function that returns the arrays; images are uint8 [n, channels, height, width], labels int64.
        download: The number of bytes that `raycl data prepare NAME` downloads; 0 if it downloads nothing.
        holds: What a folder given with --from must contain.
        origin: The public place and the terms under which a user gets files that raycl does not download.
        embedded: Whether the source comes with an installed package and is prepared when it is first used.
        shares: A name that is shared by sources which read the same download; the download is then not
            deleted.
    """

    name: str
    title: str
    licence: str
    summary: str
    size: int
    read: Callable[[SourceFiles], Contents] = field(repr=False)
    download: int = 0
    holds: str = ""
    origin: str = ""
    embedded: bool = False
    shares: str = ""

    @property
    def folder(self) -> Folder:
        """The folder of the source, prepared or not."""
        remedy = f"write it again with: raycl data prepare {self.name}{'' if self.fetched else ' --from DIR'}"
        return Folder(data_root() / self.name, self.title, remedy)

    @property
    def fetched(self) -> bool:
        """Whether the source can be prepared without a folder given by the user."""
        return self.embedded or self.download > 0

    @property
    def downloads(self) -> Path:
        """The folder of the source's downloads."""
        return data_root() / "downloads" / (self.shares or self.name)

    def prepare(self, given: Path | None = None, progress: Progress = no_progress) -> Path:
        """Write the source into the data folder, from `given` or else from the network.

        A source that is already prepared is left as it is.

        Raises:
            UserError: There is no network, nothing usable in `given` or no free space, or the terms forbid
                downloading the data.
        """
        if self.embedded and given is not None:
            raise UserError(f"{self.title} comes with an installed package: run the command without --from")
        if given is not None and not given.is_dir():
            raise UserError(f"--from {given}: the folder does not exist")
        folder = self.folder
        if given is None and not self.fetched and folder.problems():
            raise UserError(f"{self.title} is not downloaded by raycl\n{self.how()}")
        reading = SourceFiles(given, self.downloads, progress, self.name)
        room = 2 * self.download if given is None else 0
        try:
            folder.fill(lambda: self.read(reading), room, self.licence, progress)
        except UserError as error:
            raise UserError("\n".join(map(printable, str(error).split("\n")))) from None
        except (OSError, AssertionError):
            raise
        except Exception as error:  # zip, tar, their decoders and many parsers raise errors of any type
            raise UserError(
                f"{self.title}: a file in {printable(reading.place)} is damaged or does not belong to the "
                f"data set ({type(error).__name__}: {library_message(error)}): fetch it again"
            ) from error
        if not self.shares:
            shutil.rmtree(self.downloads, ignore_errors=True)
        return folder.path

    def how(self) -> str:
        """Return indented lines that say how to get the data."""
        command = f"raycl data prepare {self.name}"
        from_dir = f"{command} --from DIR"
        lines = []
        if self.download:
            lines.append(f"{command.ljust(len(from_dir))} downloads {self.download / 1e6:,.0f} MB")
        lines.append(f"{from_dir} reads a folder that contains {self.holds}")
        if self.origin:
            lines.append(f"get it from {self.origin}")
        return "\n".join(f"       {line}" for line in lines)


def _reason(error: BaseException) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[-1][:100]


def library_message(error: BaseException) -> str:
    """Return a library's message about a file on one line, without NumPy's advice to trust a pickle."""
    if "allow_pickle" in str(error):
        return "it contains Python objects"
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return printable(lines[0])[:100].rstrip(":")


def not_there(title: str, reading: SourceFiles, expected: str) -> UserError:
    """Return an error saying that the folder or download does not contain the expected files."""
    return UserError(f"{reading.place} does not contain {title}: expected {expected}")


@contextlib.contextmanager
def opened(file: Path) -> Iterator[IO[bytes]]:
    """Yield the bytes of a file, gzipped or not.

    Raises:
        UserError: The file is truncated, is not a valid gzip file, or is not a regular file.
    """
    checked(file)
    try:
        data = gzip.open(file) if file.suffix == ".gz" else open(file, "rb")  # noqa: SIM115 - closed below
    except OSError as error:
        raise UserError(f"{shown(file)} cannot be read: {error.strerror or error}") from None
    with data:
        try:
            yield data  # type: ignore[misc]
        # No other errors are caught, because those of the caller's block are raised here too.
        except (gzip.BadGzipFile, EOFError, zlib.error):
            raise UserError(f"{file} is damaged: fetch it again") from None


def unpack(file: Path, target: Path) -> None:
    """Copy a file, unpacking it if it is gzipped."""
    with opened(file) as data, open(target, "wb") as out:
        shutil.copyfileobj(data, out)


class _Plain(pickle.Unpickler):
    """An unpickler of arrays, lists and strings, which rejects pickles that would call anything else."""

    allowed = ("_reconstruct", "ndarray", "dtype", "scalar", "_frombuffer")

    def find_class(self, module: str, name: str) -> Any:
        numpy = module.partition(".")[0] == "numpy" and name in self.allowed
        if not (numpy or (module, name) == ("_codecs", "encode")):
            raise pickle.UnpicklingError(f"it would call {module}.{name}")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def unpickled(data: IO[bytes], file: Path) -> dict[str, Any]:
    """Return the dictionary in a pickle of plain arrays, lists and strings.

    Args:
        data: The pickle.
        file: The path of the pickle, for messages.

    Raises:
        UserError: The pickle is damaged, contains something else, or would execute code.
    """
    try:
        found = _Plain(data, encoding="latin1").load()
    except Exception as error:  # a damaged pickle may raise anything
        raise UserError(
            f"{file} is not a file of the data set ({library_message(error)}): fetch it again"
        ) from None
    if not isinstance(found, dict):
        raise UserError(f"{file} does not contain a dictionary: fetch it again")
    return found


def two_files(
    reading: SourceFiles,
    kind: Any,
    files: Mapping[str, str],
    counts: tuple[int, int],
    parse: Callable[[Path, str, Path], Arrays],
) -> Contents:
    """Return ten classes of digits from one file for train and one for test.

    Args:
        reading: The places of the files.
        kind: The torchvision class, whose `split_list` contains (address, name, MD5) by part.
        files: The names of the files by part.
        counts: The numbers of images in the published parts.
        parse: A function of (folder of unpacked files, part, original file for messages) that returns arrays
            by name.

    Raises:
        UserError: A file is missing or does not belong to the data set.
    """
    title = kind.__name__
    found_files = reading.find(*files.values(), below=("", title.lower(), title))
    if found_files is None:
        raise not_there(title, reading, " and ".join(files.values()))
    found: Arrays = {}
    whole = True
    reading.downloads.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=reading.downloads) as name:
        for file, (part, plain) in zip(found_files, files.items(), strict=True):
            unpack(file, Path(name) / plain)
            with open(Path(name) / plain, "rb") as data:
                md5 = hashlib.file_digest(data, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
            whole = whole and md5 == kind.split_list[part][2]
            found |= parse(Path(name), part, file)
    train, test = (len(found[f"{part}_labels"]) for part in files)
    numbers = f"{train:,} of {counts[0]:,} training and {test:,} of {counts[1]:,} test images"
    subset = "" if whole else f"{numbers}, not the published {title}"
    return Contents(found, subset, {"class_names": [str(digit) for digit in range(10)]})


def digest(values: NDArray[Any]) -> str:
    """Return the SHA-256 of an array's bytes."""
    return hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()


def relative(path: Path) -> str:
    """Return a path for messages."""
    return shown(path)


def __getattr__(name: str) -> Any:
    if name == "decoded":  # as version 0.1 named it
        return importlib.import_module("raycl.benchmarks.sources._decoding").decoded
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

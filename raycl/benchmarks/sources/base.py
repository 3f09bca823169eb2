"""What a data source is, and what the files of this folder share: finding, unpacking, downloading.

A source is one file of this folder that defines SOURCES. It knows how published files are read into arrays,
and nothing of tasks.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
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
    """What a source's `read` is given.

    Attributes:
        given: the folder that the user named with --from, or None: fetch what may be fetched.
        downloads: a folder for what is fetched; it outlives a process that is killed.
        progress: tells whoever watches.
        name: the source's, for messages.
    """

    given: Path | None
    downloads: Path
    progress: Progress = no_progress
    name: str = ""

    @property
    def place(self) -> str:
        """Where the files come from, for messages."""
        return str(self.given) if self.given else "the download"

    def fetch(self, title: str, call: Callable[[Path], Any]) -> None:
        """Let a library download into `downloads`; it checks its own checksums and skips what is whole.

        Raises:
            UserError: it could not.
        """
        self.downloads.mkdir(parents=True, exist_ok=True)
        try:
            with contextlib.redirect_stdout(io.StringIO()):  # it reports every mirror it tries
                call(self.downloads)
        except (OSError, RuntimeError) as error:
            raise UserError(
                f"{title} cannot be downloaded from here ({_reason(error)}); on a machine without a network: "
                f"raycl data prepare {self.name} --from DIR"
            ) from None

    def find(self, *names: str, below: Sequence[str] = ("",)) -> list[Path] | None:
        """All of `names`, each gzipped or not, in the first of the folders `below` that holds them all.

        Raises:
            UserError: one is a link that leads nowhere, a pipe, or something else that is no file.
        """
        root = self.given or self.downloads
        for folder in (root / name for name in below):
            found = [next(filter(_there, (folder / n, folder / f"{n}.gz")), None) for n in names]
            files = [file for file in found if file is not None]
            if len(files) == len(names):
                return files
        return None


def _there(path: Path) -> bool:
    return os.path.lexists(path) and bool(checked(path))


@dataclass(frozen=True)
class Source:
    """A data set and how to get it.

    Attributes:
        name: as in `raycl data prepare NAME`.
        title: as people call it.
        licence: and terms of use, in a line.
        summary: one line for `raycl data list`.
        size: bytes on disk once prepared, about.
        download: bytes that `raycl data prepare NAME` fetches; 0 where it fetches nothing.
        holds: what a folder given with --from must hold.
        origin: the public place from which a user fetches what raycl does not, and under which terms.
        embedded: it comes with an installed package and prepares itself when first used.
        shares: sources that read the same download share this name; the download is then kept.
        read: to the arrays; images are uint8 [n, channels, height, width], labels int64.
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
        """Where it is kept, prepared or not."""
        remedy = f"write it again with: raycl data prepare {self.name}{'' if self.fetched else ' --from DIR'}"
        return Folder(data_root() / self.name, self.title, remedy)

    @property
    def fetched(self) -> bool:
        """Whether it can be prepared without a folder of the user's."""
        return self.embedded or self.download > 0

    @property
    def downloads(self) -> Path:
        """Where its downloads are put."""
        return data_root() / "downloads" / (self.shares or self.name)

    def prepare(self, given: Path | None = None, progress: Progress = no_progress) -> Path:
        """Put it into the data folder, from `given` or else from the network; does nothing if it is here.

        Raises:
            UserError: no network, nothing usable in `given`, no room, or terms that forbid fetching it.
        """
        if self.embedded and given is not None:
            raise UserError(f"{self.title} comes with an installed package: prepare it without --from")
        if given is not None and not given.is_dir():
            raise UserError(f"--from {given}: there is no such folder")
        folder = self.folder
        if given is None and not self.fetched and folder.problems():
            raise UserError(f"{self.title} is not fetched by raycl\n{self.how()}")
        reading = SourceFiles(given, self.downloads, progress, self.name)
        room = 2 * self.download if given is None else 0
        try:
            folder.fill(lambda: self.read(reading), room, self.licence, progress)
        except UserError as error:
            raise UserError("\n".join(map(printable, str(error).split("\n")))) from None
        except (OSError, AssertionError):
            raise
        except Exception as error:  # zip, tar, their decoders and many a parser raise what they like
            raise UserError(
                f"{self.title}: a file in {printable(reading.place)} is damaged or none of the data set's "
                f"({type(error).__name__}: {library_message(error)}): fetch it again"
            ) from error
        if not self.shares:
            shutil.rmtree(self.downloads, ignore_errors=True)
        return folder.path

    def how(self) -> str:
        """How to get it, indented lines."""
        command = f"raycl data prepare {self.name}"
        from_dir = f"{command} --from DIR"
        lines = []
        if self.download:
            lines.append(f"{command.ljust(len(from_dir))} downloads {self.download / 1e6:,.0f} MB")
        lines.append(f"{from_dir} reads a folder that holds {self.holds}")
        if self.origin:
            lines.append(f"get it from {self.origin}")
        return "\n".join(f"       {line}" for line in lines)


def _reason(error: BaseException) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[-1][:100]


def library_message(error: BaseException) -> str:
    """What a library says of a file, on one line; numpy's advice to trust a pickle is not passed on."""
    if "allow_pickle" in str(error):
        return "it holds Python objects"
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return printable(lines[0])[:100].rstrip(":")


def not_there(title: str, reading: SourceFiles, wanted: str) -> UserError:
    """The folder does not hold what it should."""
    return UserError(f"{reading.place} does not hold {title}: {wanted} is wanted")


@contextlib.contextmanager
def opened(file: Path) -> Iterator[IO[bytes]]:
    """The bytes of a file, gzipped or not.

    Raises:
        UserError: it is truncated, no gzip file, or no file at all.
    """
    checked(file)
    try:
        data = gzip.open(file) if file.suffix == ".gz" else open(file, "rb")  # noqa: SIM115 - closed below
    except OSError as error:
        raise UserError(f"{shown(file)} cannot be read: {error.strerror or error}") from None
    with data:
        try:
            yield data  # type: ignore[misc]
        except (gzip.BadGzipFile, EOFError, zlib.error):  # and no other: whoever reads may be writing too
            raise UserError(f"{file} is damaged: fetch it again") from None


def unpack(file: Path, target: Path) -> None:
    """Copy a file, unpacked if it is gzipped."""
    with opened(file) as data, open(target, "wb") as out:
        shutil.copyfileobj(data, out)


class _Plain(pickle.Unpickler):
    """A pickle of arrays, lists and texts; one that would call anything else is refused."""

    allowed = ("_reconstruct", "ndarray", "dtype", "scalar", "_frombuffer")

    def find_class(self, module: str, name: str) -> Any:
        numpy = module.partition(".")[0] == "numpy" and name in self.allowed
        if not (numpy or (module, name) == ("_codecs", "encode")):
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def unpickled(data: IO[bytes], file: Path) -> dict[str, Any]:
    """The dictionary that a pickle of plain arrays, lists and texts holds; `file` is for messages.

    Raises:
        UserError: it is damaged, holds something else, or asks for code to be run.
    """
    try:
        found = _Plain(data, encoding="latin1").load()
    except Exception as error:  # a damaged pickle may raise anything
        raise UserError(
            f"{file} is no file of the data set ({library_message(error)}): fetch it again"
        ) from None
    if not isinstance(found, dict):
        raise UserError(f"{file} holds no dictionary: fetch it again")
    return found


def two_files(
    reading: SourceFiles,
    kind: Any,
    files: Mapping[str, str],
    counts: tuple[int, int],
    parse: Callable[[Path, str, Path], Arrays],
) -> Contents:
    """Ten digits in one file for train and one for test, of a torchvision data set that lists their MD5s.

    Args:
        kind: the torchvision class; its `split_list` knows (address, name, MD5) by part.
        files: names by part.
        counts: images that the published parts have.
        parse: (folder of unpacked files, part, file as given for messages) to arrays by name.

    Raises:
        UserError: a file is missing or is none of the data set's.
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
    """SHA-256 of an array's bytes."""
    return hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()


def relative(path: Path) -> str:
    """A path for messages."""
    return shown(path)

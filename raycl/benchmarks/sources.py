"""Data sources: what there is, whether it is here, and how it gets here."""

from __future__ import annotations

import contextlib
import functools
import gzip
import hashlib
import io
import shutil
import tempfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raycl.benchmarks.prepared import Arrays, Contents, Folder, Status, data_root, shown
from raycl.errors import UserError, nearest


@dataclass(frozen=True)
class Source:
    """A data set and how to get it.

    Attributes:
        name: as in `raycl data prepare NAME`.
        title: as people call it.
        summary: one line for `raycl data list`.
        size: bytes on disk once prepared.
        download: bytes to fetch; 0 if it comes with an installed package and prepares itself when first used.
        holds: what a folder given with --from must hold.
        read: from a folder, or None to fetch it, to the arrays; images uint8 [n, channels, height, width],
            labels int64.
    """

    name: str
    title: str
    licence: str
    summary: str
    size: int
    download: int
    holds: str
    read: Callable[[Path | None], Contents]

    @property
    def embedded(self) -> bool:
        """Whether it needs no preparation by the user."""
        return self.download == 0

    @property
    def folder(self) -> Folder:
        """Where it is kept, prepared or not."""
        remedy = f"write it again with: raycl data prepare {self.name}"
        return Folder(data_root() / self.name, self.title, remedy)

    def prepare(self, from_dir: Path | None = None) -> Path:
        """Put it into the data folder, from `from_dir` or else from the network; does nothing if it is here.

        Raises:
            UserError: no network, nothing usable in `from_dir`, no room.
        """
        if self.embedded and from_dir is not None:
            raise UserError(f"{self.title} comes with an installed package: prepare it without --from")
        folder = self.folder
        folder.fill(lambda: self.read(from_dir), self.size, self.licence)
        return folder.path


@functools.cache
def sources() -> dict[str, Source]:
    """All data sources by name."""
    return {source.name: source for source in (DIGITS, MNIST)}


def source(name: str) -> Source:
    """The data source called `name`.

    Raises:
        UserError: there is none; names the nearest one.
    """
    if name not in sources():
        known = ", ".join(sources())
        raise UserError(f"unknown data set {name!r}{nearest(name, sources())} (known: {known})")
    return sources()[name]


def status(name: str) -> Status:
    """Whether it is here; an embedded one is "absent" until it is first used, and that is no problem."""
    return source(name).folder.status()


def missing(name: str) -> str:
    """What is missing and the remedy, a line that reads on after "needs"; "" if the source can be used."""
    wanted = source(name)
    if not wanted.folder.begun:
        return "" if wanted.embedded else f"{wanted.title}, which is not here -> raycl data prepare {name}"
    problems = wanted.folder.problems()
    return f"{problems[0]}; {wanted.folder.remedy}" if problems else ""


def prepare(name: str, from_dir: Path | None = None) -> Path:
    """Prepare the source `name`, see `Source.prepare`; returns its folder."""
    return source(name).prepare(from_dir)


def arrays(name: str, benchmark: str = "") -> Arrays:
    """The arrays of the source, mapped copy-on-write.

    Args:
        benchmark: who wants them, for the message.

    Raises:
        UserError: it is not prepared, or its files are damaged; says what to do.
    """
    wanted = source(name)
    if not wanted.folder.begun:
        if not wanted.embedded:
            raise UserError(_absent(wanted, benchmark))
        wanted.prepare()
    return wanted.folder.open()


def subset(name: str) -> str:
    """Why the prepared data are not the published set, or ""."""
    return source(name).folder.subset


def verify(name: str) -> list[str]:
    """Read every file again and compare checksums; what is wrong, a line each."""
    return source(name).folder.problems(deep=True)


def _absent(wanted: Source, benchmark: str) -> str:
    who = f"benchmark {benchmark} needs {wanted.title}, which" if benchmark else wanted.title
    command = f"raycl data prepare {wanted.name}"
    from_dir = f"{command} --from DIR"
    return (
        f"{who} is not in data folder {shown(data_root())}\n"
        f"       {command.ljust(len(from_dir))} downloads {wanted.download / 1e6:.0f} MB\n"
        f"       {from_dir} reads a folder that holds {wanted.holds}"
    )


def _read_digits(_: Path | None) -> Contents:
    from sklearn.datasets import load_digits

    found = load_digits()
    small = np.rint(found.images * (255 / 16)).astype(np.uint8)[:, None]  # [1797, 1, 8, 8], 0..16 -> 0..255
    tripled = small.repeat(3, axis=2).repeat(3, axis=3)
    return Contents(
        {
            "images_8": small,
            "images_28": np.pad(tripled, ((0, 0), (0, 0), (2, 2), (2, 2))),
            "images_32": small.repeat(4, axis=2).repeat(4, axis=3),
            "labels": found.target.astype(np.int64),
        }
    )


_MNIST_FILES = {  # array -> idx file, SHA-256 of the published array's bytes
    "train_images": (
        "train-images-idx3-ubyte",
        "741c988805d008ac6e4c904b69001ba184c24b2c540a4ef403f4c71b676cf757",
    ),
    "train_labels": (
        "train-labels-idx1-ubyte",
        "e474323ac02fc156161b0bbb1f8c9cfeb327a74bcd9f9680a8385269a24f566c",
    ),
    "test_images": (
        "t10k-images-idx3-ubyte",
        "6d87418db22cc8025d05968bec9bd5c3932904b23485740db143a061a2c9d161",
    ),
    "test_labels": (
        "t10k-labels-idx1-ubyte",
        "2fd8de6bdb8d11780b4b96dc57847bcfe6953f7c32aa48bfcd8237c3b7847243",
    ),
}


def _read_mnist(from_dir: Path | None) -> Contents:
    with tempfile.TemporaryDirectory(prefix="raycl-mnist-") as name:
        root = Path(name)
        if from_dir is None:
            _download_mnist(root)
        else:
            _unpack_mnist(from_dir, root / "MNIST" / "raw")
        found = _parse_mnist(root, f"{from_dir}" if from_dir else "the download")
    published = {array: sha256 for array, (_, sha256) in _MNIST_FILES.items()}
    if {array: _digest(values) for array, values in found.items()} == published:
        return Contents(found)
    counts = f"{len(found['train_labels'])} training and {len(found['test_labels'])} test images"
    return Contents(found, f"{counts} that are not the published MNIST")


def _download_mnist(root: Path) -> None:
    from torchvision.datasets import MNIST as Dataset

    try:
        with contextlib.redirect_stdout(io.StringIO()):  # it reports every mirror it tries
            Dataset(str(root), download=True)
    except (OSError, RuntimeError):
        raise UserError(
            "MNIST cannot be downloaded from here; on a machine without a network: "
            "raycl data prepare mnist --from DIR"
        ) from None


def _unpack_mnist(from_dir: Path, raw: Path) -> None:
    """Copy the four idx files, gzipped or not, into torchvision's layout."""
    names = [name for name, _ in _MNIST_FILES.values()]
    raw.mkdir(parents=True)
    for folder in (from_dir, from_dir / "raw", from_dir / "MNIST" / "raw"):
        found = [next((f for f in (folder / n, folder / f"{n}.gz") if f.is_file()), None) for n in names]
        files = [file for file in found if file is not None]
        if len(files) == len(names):
            for name, file in zip(names, files, strict=True):
                _unpack(file, raw / name)
            return
    raise UserError(f"{from_dir} does not hold MNIST: {names[0]}(.gz) and its three companions are wanted")


def _unpack(file: Path, target: Path) -> None:
    packed = file.suffix == ".gz"
    try:
        with gzip.open(file) if packed else open(file, "rb") as data, open(target, "wb") as out:
            shutil.copyfileobj(data, out)
    except (gzip.BadGzipFile, EOFError, zlib.error):
        raise UserError(f"{file} is damaged: fetch it again") from None
    except OSError as error:
        raise UserError(f"{file} cannot be unpacked: {error.strerror or error}") from None


def _parse_mnist(root: Path, place: str) -> Arrays:
    from torchvision.datasets import MNIST as Dataset

    found: Arrays = {}
    try:
        for part in ("train", "test"):
            data = Dataset(str(root), train=part == "train", download=False)
            found[f"{part}_images"] = data.data.numpy()[:, None]  # [n, 1, 28, 28]
            found[f"{part}_labels"] = data.targets.numpy().astype(np.int64)
    except (ValueError, RuntimeError, AssertionError, LookupError):
        raise UserError(f"{place}: the MNIST files cannot be read: fetch them again") from None
    for part in ("train", "test"):
        images, labels = found[f"{part}_images"], found[f"{part}_labels"]
        if images.shape != (len(labels), 1, 28, 28) or not len(labels) or labels.max() > 9:
            raise UserError(f"{place}: the {part} images and labels are not MNIST's")
    return found


def _digest(values: NDArray[Any]) -> str:
    return hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()


DIGITS = Source(
    name="digits",
    title="scikit-learn's digits",
    licence="BSD 3-clause (scikit-learn); UCI ML repository, Alpaydin and Kaynak 1998, CC BY 4.0",
    summary="1,797 handwritten digits of 8 x 8 pixels; comes with scikit-learn",
    size=3_500_000,
    download=0,
    holds="",
    read=_read_digits,
)
MNIST = Source(
    name="mnist",
    title="MNIST",
    licence="CC BY-SA 3.0 (LeCun, Cortes, Burges; from NIST SD 19)",
    summary="60,000 + 10,000 handwritten digits of 28 x 28 pixels",
    size=56_000_000,
    download=11_400_000,
    holds="train-images-idx3-ubyte(.gz)",
    read=_read_mnist,
)

"""A user's own files of every kind that cannot be read: one line, nothing hangs, nothing is run."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from raycl import registry
from raycl.benchmarks import data_root, npzfile
from raycl.errors import UserError
from raycl.registry import load

pytestmark = pytest.mark.usefixtures("empty")

X = np.random.default_rng(0).integers(0, 256, (40, 8, 8), dtype=np.uint8)
Y = np.tile(np.arange(4), 10)


def four(**changes: np.ndarray) -> dict[str, np.ndarray]:
    return {"x_train": X, "y_train": Y, "x_test": X[:8], "y_test": Y[:8]} | changes


def saved(path: Path, **changes: np.ndarray) -> None:
    np.savez_compressed(path, **four(**changes))


def flags(path: Path, local: int, central: int, change: Callable[[int], int]) -> None:
    """Change a byte of every member's two headers."""
    raw = bytearray(path.read_bytes())
    for mark, offset in ((b"PK\x03\x04", local), (b"PK\x01\x02", central)):
        at = raw.find(mark)
        while at >= 0:
            raw[at + offset] = change(raw[at + offset])
            at = raw.find(mark, at + 1)
    path.write_bytes(raw)


def npy(path: Path) -> None:
    with open(path, "wb") as file:
        np.save(file, X)


def pointer(path: Path) -> None:
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12345\n")


def page(path: Path) -> None:
    path.write_text("\n<!DOCTYPE html><html>Virus scan warning</html>")


def truncated(path: Path) -> None:
    saved(path)
    path.write_bytes(path.read_bytes()[:-2000])


def deflate(path: Path) -> None:
    blocks = np.zeros((40, 64, 64), np.uint8)
    blocks[:, ::7] = 3
    saved(path, x_train=blocks)
    raw = bytearray(path.read_bytes())
    at = raw.find(b"x_train.npy") + 11
    raw[at + 30 : at + 60] = bytes(b ^ 0xFF for b in raw[at + 30 : at + 60])
    path.write_bytes(raw)


def flipped(path: Path) -> None:
    np.savez(path, **four())
    raw = bytearray(path.read_bytes())
    raw[raw.find(X.tobytes()[:16]) + 100] ^= 1
    path.write_bytes(raw)


def encrypted(path: Path) -> None:
    saved(path)
    flags(path, 6, 8, lambda v: v | 1)


def zstd(path: Path) -> None:
    saved(path)
    flags(path, 8, 10, lambda v: 93)


def twice(path: Path) -> None:
    saved(path)
    with warnings.catch_warnings(), zipfile.ZipFile(path, "a") as archive:
        warnings.simplefilter("ignore")
        archive.writestr("x_train.npy", b"x")


def member(path: Path, content: bytes) -> None:
    """An archive whose x_train is that."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in four().items():
            with archive.open(f"{name}.npy", "w") as file:
                if name == "x_train":
                    file.write(content)
                else:
                    np.lib.format.write_array(file, array)


def header(text: str, version: bytes = b"\x01\x00") -> bytes:
    size = len(text).to_bytes(2 if version == b"\x01\x00" else 4, "little")
    return b"\x93NUMPY" + version + size + text.encode()


def huge(path: Path) -> None:
    shape = (10**15, 8, 8)
    member(path, header(f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}\n") + bytes(64))


def code(path: Path) -> None:
    member(path, header("{'descr': __import__('os'), 'fortran_order': False, 'shape': (4,), }\n"))


def long_header(path: Path) -> None:
    text = "{'descr': '|u1', 'fortran_order': False, 'shape': (4,), }" + " " * 50_000 + "\n"
    member(path, header(text, b"\x02\x00") + bytes(4))


def no_header(path: Path) -> None:
    member(path, b"no header")


def records(path: Path) -> None:
    member(path, header("{'descr': [('é', '<i4')], 'fortran_order': False, 'shape': (4,), }\n", b"\x03\x00"))


def objects(path: Path) -> None:
    ragged = np.empty(40, object)
    ragged[:] = [np.zeros((n, n), np.uint8) for n in range(40)]
    np.savez(path, allow_pickle=True, **four(x_train=ragged))


def pickled(path: Path) -> None:
    import pickle

    path.write_bytes(pickle.dumps(four()))


def unlisted(path: Path) -> None:
    np.savez(path, **{f"größe {n}\n": X for n in range(12)})


def fifo(path: Path) -> None:
    os.mkfifo(path)


def bound(path: Path) -> None:
    here = os.getcwd()
    os.chdir(path.parent)  # the address of a socket must be short
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(path.name)
    os.chdir(here)


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def broken_link(path: Path) -> None:
    path.symlink_to("../.git/annex/objects/ab/cd")


def circle(path: Path) -> None:
    path.symlink_to(path.name)


KINDS = {
    npy: "contains one array (.npy): save all four with np.savez",
    pointer: "is a Git LFS pointer and not the file: fetch it with git lfs pull",
    page: "is a web page and not the file: fetch it again",
    truncated: "mine.npz is damaged (File is not a zip file): fetch it again, or save it again with",
    deflate: "mine.npz: x_train is damaged (Error -3 while decompressing",
    flipped: "mine.npz: x_train is damaged (Bad CRC-32 for file 'x_train.npy')",
    encrypted: "x_train is encrypted: save it again with np.savez_compressed, without a password",
    zstd: "x_train is compressed by an unsupported method (93)",
    twice: "it contains 2 arrays called x_train",
    huge: "x_train is damaged (its header says 1e+15 x 8 x 8, which does not match its size)",
    code: "x_train is damaged",
    long_header: "x_train is damaged (its header is damaged)",
    no_header: "x_train is damaged",
    records: "x_train is in .npy format 3.0, which is for records: save plain numbers",
    objects: "x_train contains Python objects: save numbers, and images of equal shape",
    pickled: "is a pickle: save plain arrays with np.savez",
    unlisted: "it does not contain an array x_train (it contains: größe 0\\n, ",
    fifo: "mine.npz is a pipe and not a file",
    bound: "mine.npz is a socket and not a file",
    device: "mine.npz is a device and not a file",
    broken_link: "mine.npz is a link to ../.git/annex/objects/ab/cd, which does not exist: fetch it",
    circle: "Too many levels of symbolic links",
    Path.mkdir: "mine.npz is a folder and not a file",
    Path.touch: "mine.npz is empty",
    lambda path: path.write_bytes(
        bytes(9000)
    ): "begins with zeros, so it was not written or fetched completely",
    lambda path: path.write_text("x,y\n1,2\n"): "is not an .npz file: save it again with np.savez_compressed",
    lambda path: saved(path, x_train=X.astype(complex)): "x_train contains complex numbers: save numbers",
    lambda path: saved(path, y_train=np.array(["ant"] * 40)): "y_train contains strings: save numbers",
    lambda path: saved(path, x_train=np.zeros((0, 8, 8), np.uint8)): "x_train has shape (0, 8, 8); expected",
}


@pytest.mark.parametrize("make", KINDS, ids=lambda make: make.__name__)
def test_an_npz_that_cannot_be_read_is_one_line(make: Callable[[Path], object], tmp_path: Path) -> None:
    make(tmp_path / "mine.npz")
    with pytest.raises(UserError) as error:
        load(f"npz(path={str(tmp_path / 'mine.npz')!r}, tasks=2)")
    line = str(error.value)
    assert KINDS[make] in line and line.startswith("benchmark npz: ")
    assert line.isprintable() and len(line) < 400
    assert "pickle=" not in line and "allow_pickle" not in line and "safely" not in line
    assert not list(data_root().rglob("manifest.json"))


@pytest.mark.parametrize("kind", [">i8", "<i2", "|u1"])
def test_any_order_of_bytes_and_axes_is_read(tmp_path: Path, kind: str) -> None:
    plain, odd = tmp_path / "plain.npz", tmp_path / "odd.npz"
    saved(plain)
    np.savez(odd, **four(x_train=np.asfortranarray(X), y_train=Y.astype(kind), more=np.array([{}])))
    one, two = (load(f"npz(path={str(path)!r}, tasks=2)").tasks[1].train for path in (plain, odd))
    assert (one.take(slice(None)) == two.take(slice(None))).all() and (one.y == two.y).all()


def test_floats_of_either_order_of_bytes_are_read(tmp_path: Path) -> None:
    saved(tmp_path / "plain.npz")
    saved(tmp_path / "floats.npz", x_train=(X / 255).astype(">f4"), x_test=(X[:8] / 255).astype("<f2"))
    one, two = (load(f"npz(path={str(tmp_path / n)!r}, tasks=2)") for n in ("plain.npz", "floats.npz"))
    assert (one.tasks[0].train.take(slice(None)) == two.tasks[0].train.take(slice(None))).all()


def test_what_does_not_fit_into_memory_is_not_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved(tmp_path / "bomb.npz", x_train=np.zeros((40, 500, 500), np.uint8))
    assert (tmp_path / "bomb.npz").stat().st_size < 10**5
    monkeypatch.setattr(npzfile, "_room", lambda: 10**6)
    with pytest.raises(
        UserError, match=r"bomb.npz unpacks to 0.01 GB, but this machine has 0.001 GB of memory"
    ):
        load(f"npz(path={str(tmp_path / 'bomb.npz')!r}, tasks=2)")


@pytest.fixture
def own(tmp_path: Path) -> Path:
    for kind in ("ant", "bee"):
        (tmp_path / "mine" / kind).mkdir(parents=True)
        for number in range(6):
            pixels = np.full((16, 16, 3), 20 * number + len(kind), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "mine" / kind / f"{number}.png")
    return tmp_path / "mine"


def complaint(own: Path) -> str:
    with pytest.raises(UserError) as error:
        load(f"folder(path={str(own)!r}, tasks=1, size=16)")
    line = str(error.value)
    assert line.startswith("benchmark folder: ") and line.isprintable() and len(line) < 400
    return line


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (fifo, "x.png is a pipe and not a file"),
        (bound, "x.png is a socket and not a file"),
        (device, "x.png is a device and not a file"),
        (broken_link, "x.png is a link to ../.git/annex/objects/ab/cd, which does not exist"),
        (circle, "x.png: Too many levels of symbolic links"),
        (Path.touch, "x.png cannot be read (it is empty)"),
        (pointer, "x.png cannot be read (not an image)"),
        (lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(99)), "x.png cannot be read ("),
        (lambda path: path.write_bytes(b"GIF89a" + bytes(3)), "x.png cannot be read ("),
    ],
)
def test_pictures_that_cannot_be_read_are_named(
    own: Path, make: Callable[[Path], object], message: str
) -> None:
    make(own / "bee" / "x.png")
    assert message in complaint(own)


def test_every_cut_of_a_picture_is_one_line_or_a_picture(own: Path) -> None:
    for suffix in ("png", "jpg", "tif", "bmp", "webp", "ppm"):
        file = own / "bee" / f"x.{suffix}"
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(file)
        whole = file.read_bytes()
        for size in range(1, len(whole), max(1, len(whole) // 9)):
            file.write_bytes(whole[:size])
            try:
                load(f"folder(path={str(own)!r}, tasks=1, size=16)")
            except UserError:
                assert f"x.{suffix} cannot be read (" in complaint(own)
        file.unlink()


def test_links_to_folders_are_followed_and_circles_are_told(own: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    Image.new("RGB", (16, 16)).save(tmp_path / "elsewhere" / "1.png")
    (own / "cat").symlink_to(tmp_path / "elsewhere")
    (own / "bee" / "more").symlink_to(tmp_path / "elsewhere")
    (own / "bee" / "y.png").mkdir()  # a folder, whatever it is called
    (own / "bee" / "notes.txt").symlink_to("/nowhere")
    Image.new("RGB", (16, 16)).save(own / "bee" / "y.png" / "2.png")
    for number in range(2, 6):
        Image.new("RGB", (16, 16)).save(tmp_path / "elsewhere" / f"{number}.png")
    (task,) = load(f"folder(path={str(own)!r}, tasks=1, size=16, val=0, test=0.4)").tasks
    assert task.class_names == ("ant", "bee", "cat")
    assert np.bincount(np.concatenate([task.train.y, task.test.y])).tolist() == [6, 6 + 5 + 1, 5]
    (own / "bee" / "up").symlink_to(own)
    assert "up/bee/up" not in (line := complaint(own)) and "is a link to a folder that contains it" in line
    (own / "bee" / "up").unlink()
    (own / "dog").symlink_to("/nowhere/dog")
    assert "mine/dog is a link to /nowhere/dog, which does not exist" in complaint(own)
    (own / "dog").unlink()
    (own / "loop").symlink_to("loop")
    assert "Too many levels of symbolic links" in complaint(own)


def test_names_that_are_no_utf8_are_hashed_and_printed(own: Path) -> None:
    folder = os.fsdecode(os.fsencode(own) + b"/caf\xe9")
    os.mkdir(folder)
    for number in range(6):
        Image.new("RGB", (16, 16), (number, 9, 9)).save(f"{folder}/{number}.png")
    os.rename(f"{folder}/0.png", os.fsdecode(os.fsencode(folder) + b"/\xff\n.png"))
    benchmark = load(f"folder(path={str(own)!r}, tasks=1, size=16)")
    assert benchmark.tasks[0].class_names == ("ant", "bee", "caf\\xe9")
    assert benchmark.tasks[0].class_names[2].encode("ascii")
    with open(os.fsdecode(os.fsencode(folder) + b"/\xff\n.png"), "wb"):
        pass
    assert r"caf\xe9/\xff\n.png cannot be read (it is empty)" in complaint(own)


def test_pictures_that_are_too_large_or_strips_are_named(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50_000)
    Image.new("1", (400, 300)).save(own / "bee" / "x.png")
    assert "x.png cannot be read (it has more than 100,000 pixels): make it smaller" in complaint(own)
    Image.new("1", (300, 200)).save(own / "bee" / "x.png")  # of which Pillow warns
    load(f"folder(path={str(own)!r}, tasks=1, size=16)")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10**8)
    Image.new("1", (60_000, 1)).save(own / "bee" / "x.png")
    with pytest.raises(UserError, match=r"x.png is 60000 x 1 pixels, which is too long and narrow: crop it"):
        load(f"folder(path={str(own)!r}, tasks=1, size=64)")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_is_locked_up_is_named(own: Path) -> None:
    (own / "bee" / "0.png").chmod(0)
    assert "0.png: Permission denied" in complaint(own)
    (own / "bee" / "0.png").chmod(0o644)
    (own / "bee").chmod(0)
    assert "mine/bee: Permission denied" in complaint(own)
    (own / "bee").chmod(0o755)


LOCKED = """
import os, sys
import raycl.benchmarks.npz, raycl.benchmarks.folder
from raycl import registry
registry.recipes()
os.setgroups([]); os.setgid(65534); os.setuid(65534)
from raycl.errors import UserError
for text in sys.argv[1:]:
    try:
        registry.recipe(text).identity()
    except UserError as error:
        print(error)
"""


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that everybody may enter, which pytest's own are not."""
    with tempfile.TemporaryDirectory(prefix="raycl-test-") as name:
        os.chmod(name, 0o755)
        yield Path(name)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_what_is_locked_up_for_somebody_else_is_named(own: Path, public: Path) -> None:
    saved(public / "mine.npz")
    own = Path(shutil.copytree(own, public / "mine"))
    (public / "mine.npz").chmod(0)
    (own / "bee" / "0.png").chmod(0)
    texts = [f"npz(path='{public}/mine.npz')", f"folder(path='{own}')"]
    done = subprocess.run([sys.executable, "-c", LOCKED, *texts], capture_output=True, text=True, timeout=60)
    (own / "bee").chmod(0o700)
    more = subprocess.run(
        [sys.executable, "-c", LOCKED, texts[1]], capture_output=True, text=True, timeout=60
    )
    lines = (done.stdout + more.stdout).splitlines()
    assert [line.rsplit("/", 1)[1] for line in lines] == [
        "mine.npz: Permission denied; make it readable (chmod +r)",
        "0.png: Permission denied; make it readable (chmod +r)",
        "bee: Permission denied",
    ], done.stderr + more.stderr


def test_many_files_are_listed_in_one_pass(tmp_path: Path) -> None:
    picture = tmp_path / "one.png"
    Image.new("RGB", (8, 8)).save(picture)
    for kind in ("ant", "bee"):
        (tmp_path / "many" / kind).mkdir(parents=True)
        for number in range(1000):
            os.link(picture, tmp_path / "many" / kind / f"{number:04}.png")
    assert len(load(f"folder(path='{tmp_path}/many', tasks=1, size=8)").tasks[0].test) == 400
    registry.recipe(f"folder(path='{tmp_path}/many')").identity()

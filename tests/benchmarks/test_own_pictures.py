"""What becomes of a user's own pictures: depths, transparency, orientation, layouts, and what is told."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from raycl import registry
from raycl.benchmarks.sources._decoding import decoded
from raycl.errors import UserError
from raycl.registry import load
from raycl.tasks import Benchmark


@pytest.fixture(autouse=True)
def data_elsewhere(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYCL_DATA", str(tmp_path_factory.mktemp("data")))


RAMP = np.tile(np.arange(256, dtype=np.uint16) * 257, (16, 1))


def read(file: Path, own: bool = True) -> np.ndarray:
    return decoded(file, file.name, own=own)


@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize(
    ("name", "pixels"),
    [
        ("grey16.png", RAMP),
        ("grey16.tif", RAMP),
        ("big_endian.tif", RAMP.astype(">u2")),
        ("float.tif", (RAMP / 65535).astype(np.float32)),
        ("grey8.png", (RAMP // 257).astype(np.uint8)),
    ],
)
def test_levels_of_any_depth_are_kept(tmp_path: Path, name: str, pixels: np.ndarray, own: bool) -> None:
    Image.fromarray(pixels).save(tmp_path / name)
    assert (read(tmp_path / name, own) == np.arange(256)).all()


def test_levels_of_sixteen_bits_are_rounded_and_not_cut(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 65536, (20, 20), dtype=np.uint16)
    Image.fromarray(values).save(tmp_path / "x.png")
    assert (read(tmp_path / "x.png")[0] == np.rint(values / 257)).all()


def test_sixteen_bits_of_a_pgm_and_twelve_of_a_tiff(tmp_path: Path) -> None:
    (tmp_path / "x.pgm").write_bytes(b"P5 256 16 65535\n" + RAMP.astype(">u2").tobytes())
    assert (read(tmp_path / "x.pgm") == np.arange(256)).all()
    (tmp_path / "y.pgm").write_bytes(b"P5 4 1 1023\n" + np.array([0, 341, 682, 1023], ">u2").tobytes())
    assert read(tmp_path / "y.pgm")[0].tolist() == [[0, 85, 170, 255]]


def test_a_tiff_in_which_zero_is_white(tmp_path: Path) -> None:
    info = TiffImagePlugin.ImageFileDirectory_v2()
    info[262] = 0
    image = Image.fromarray(RAMP)
    image.save(tmp_path / "x.tif", tiffinfo=info)
    with Image.open(tmp_path / "x.tif") as again:
        zero_is_white = again.tag_v2[262] == 0
    wanted = 255 - np.arange(256) if zero_is_white else np.arange(256)
    assert (read(tmp_path / "x.tif") == wanted).all()


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (RAMP.astype(np.int32), "x.tif: it contains 32-bit or signed integers, which have no fixed white"),
        (
            np.full((4, 4), 1.5, np.float32),
            r"x.tif: it contains floats in \[1.5, 1.5\]: scale them to \[0, 1\]",
        ),
        (np.full((4, 4), -0.1, np.float32), r"x.tif: it contains floats in \[-0.1, -0.1\]"),
        (np.full((4, 4), np.nan, np.float32), r"x.tif: it contains floats in \[nan, nan\]"),
    ],
)
def test_levels_whose_white_nobody_knows_are_refused(
    tmp_path: Path, pixels: np.ndarray, message: str
) -> None:
    Image.fromarray(pixels).save(tmp_path / "x.tif")
    for own in (True, False):
        with pytest.raises(UserError, match=message):
            read(tmp_path / "x.tif", own)


def test_one_bit_palettes_and_inks_are_colours(tmp_path: Path) -> None:
    Image.fromarray(np.eye(8, dtype=bool)).save(tmp_path / "bit.png")
    assert (read(tmp_path / "bit.png") == np.eye(8) * 255).all()
    colours = Image.new("RGB", (8, 8), (200, 100, 50))
    colours.quantize(4).save(tmp_path / "palette.png")
    assert np.abs(read(tmp_path / "palette.png")[:, 0, 0].astype(int) - (200, 100, 50)).max() <= 4
    colours.convert("CMYK").save(tmp_path / "inks.tif")
    assert np.abs(read(tmp_path / "inks.tif")[:, 0, 0].astype(int) - (200, 100, 50)).max() <= 2


def half_clear(mode: str, file: Path) -> None:
    """A dark square whose left half is transparent, though dark beneath."""
    alpha = Image.new("L", (8, 8), 255)
    alpha.paste(0, (0, 0, 4, 8))
    image = Image.new("RGB", (8, 8), (30, 30, 30))
    if mode == "P":
        flat = Image.new("P", (8, 8), 1)
        flat.putpalette([30, 30, 30] * 2)
        flat.paste(0, (0, 0, 4, 8))
        flat.save(file, transparency=0)
    elif mode == "RGB":
        image.paste((1, 2, 3), (0, 0, 4, 8))
        image.save(file, transparency=(1, 2, 3))
    else:
        image = image.convert("L" if mode == "LA" else "RGB")
        image.putalpha(alpha)
        image.save(file)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "RGB"])
def test_what_is_transparent_is_white(tmp_path: Path, mode: str) -> None:
    half_clear(mode, tmp_path / "x.png")
    found = read(tmp_path / "x.png")
    assert (found[:, :, :4] == 255).all() and (found[:, :, 4:] == 30).all()
    assert (read(tmp_path / "x.png", own=False) < 255).all()  # published sets are read as ever


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "tif"])
def test_pictures_are_turned_as_their_exif_says(tmp_path: Path, orientation: int, suffix: str) -> None:
    upright = np.zeros((16, 24), np.uint8)
    upright[:8, :8] = 255  # light at the top left
    back = {1: np.array, 2: np.fliplr, 3: lambda a: np.rot90(a, 2), 4: np.flipud, 5: np.transpose,
            6: np.rot90, 7: lambda a: np.rot90(a, 2).T, 8: lambda a: np.rot90(a, -1)}  # fmt: skip
    stored = np.ascontiguousarray(back[orientation](upright))  # type: ignore[operator]
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(stored).save(tmp_path / f"x.{suffix}", exif=exif)
    found = read(tmp_path / f"x.{suffix}")
    assert found.shape == (3, 16, 24)
    assert np.abs(found[0].astype(int) - upright).max() < 30


def test_sixteen_bits_are_turned_too(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(RAMP).save(tmp_path / "x.png", exif=exif)
    assert read(tmp_path / "x.png").shape == (3, 256, 16)


@pytest.mark.parametrize("suffix", ["png", "tif", "webp"])
def test_files_of_several_pictures_are_refused(tmp_path: Path, suffix: str) -> None:
    frames = [Image.new("RGB", (8, 8), (shade, 0, 0)) for shade in (0, 90, 180)]
    frames[0].save(tmp_path / f"x.{suffix}", save_all=True, append_images=frames[1:])
    with pytest.raises(UserError, match=rf"x.{suffix}: it contains 3 pictures: save the one to be used"):
        read(tmp_path / f"x.{suffix}")


def pictures(root: Path, *kinds: str, count: int = 5, start: int = 0) -> None:
    for kind in kinds or ("ant", "bee"):
        (root / kind).mkdir(parents=True)
        for number in range(start, start + count):
            seed = [number, *kind.encode()]
            pixels = np.random.default_rng(seed).integers(0, 256, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / kind / f"{number}.png")


def own(root: Path, **settings: Any) -> Benchmark:
    more = "".join(f", {name}={value!r}" for name, value in ({"tasks": 1, "size": 16} | settings).items())
    return load(f"folder(path={str(root)!r}{more})")


@pytest.mark.parametrize("parts", [("train", "val", "test"), ("Training", "VALID", "Testing")])
def test_a_val_folder_is_the_validation(tmp_path: Path, parts: tuple[str, str, str]) -> None:
    for place, (part, count) in enumerate(zip(parts, (6, 2, 3), strict=True)):
        pictures(tmp_path / part, count=count, start=100 * place)
    (task,) = own(tmp_path).tasks
    assert task.class_names == ("ant", "bee")
    assert [len(split) for split in (task.train, task.val, task.test)] == [12, 4, 6]
    first = read(tmp_path / parts[1] / "ant" / "100.png")
    val: Any = task.val
    assert (val.images[val.rows[0]] == first).all()
    assert own(tmp_path).notes == ()


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        (
            "train val",
            "contains train/ and val/ but no test/: rename val/ to test/ if its pictures are the test",
        ),
        ("Train Validation", "contains Train/ and Validation/ but no test/"),
        ("train test TEST", "contains both TEST/ and test/: keep one of them for test"),
        ("train training test", "contains both train/ and training/: keep one of them for train"),
        ("train", "contains only train/: expected train/<class>/* and test/<class>/*"),
        ("test val", "contains only test/, val/: expected"),
    ],
)
def test_folders_that_are_no_classes_are_not_taken_for_some(
    tmp_path: Path, folders: str, message: str
) -> None:
    for folder in folders.split():
        pictures(tmp_path / folder)
    with pytest.raises(UserError) as error:
        own(tmp_path)
    assert message in str(error.value)


def test_classes_may_be_called_train_where_others_are_too(tmp_path: Path) -> None:
    pictures(tmp_path, "bus", "car", "train")
    assert own(tmp_path).tasks[0].class_names == ("bus", "car", "train")


def test_parts_inside_the_classes_are_not_mixed(tmp_path: Path) -> None:
    for kind in ("ant", "bee"):
        pictures(tmp_path / kind, "train", "test")
    with pytest.raises(
        UserError, match="ant contains folders of training and of test pictures, which would be"
    ):
        own(tmp_path)


def test_parts_hold_the_same_classes(tmp_path: Path) -> None:
    for part in ("train", "val", "test"):
        pictures(tmp_path / part)
    shutil.rmtree(tmp_path / "val" / "bee")
    with pytest.raises(UserError, match="class bee is in only one of train/ and val/"):
        own(tmp_path)


def test_test_pictures_that_are_training_pictures_are_told(tmp_path: Path) -> None:
    pictures(tmp_path / "train")
    pictures(tmp_path / "test", start=3)
    assert own(tmp_path).notes == ("4 of 10 test images are also training images (same pixels)",)
    pictures(tmp_path / "flat")
    for number in range(3):
        shutil.copyfile(tmp_path / "flat" / "ant" / "4.png", tmp_path / "flat" / "ant" / f"{number}.png")
    found = own(tmp_path / "flat", test=0.4, data_seed=1)
    split: Any = found.tasks[0]
    rows = [{part.images[row].tobytes() for row in part.rows} for part in (split.train, split.val)]
    count = sum(split.test.images[row].tobytes() in set.union(*rows) for row in split.test.rows)
    assert count and found.notes[0].startswith(f"{count} of 4 test image")


def test_what_is_left_out_is_told(tmp_path: Path) -> None:
    for part in ("train", "test"):
        pictures(tmp_path / part, "Ant", "ant", start=10 * len(part))
    (tmp_path / "masks").mkdir()
    (tmp_path / "train" / "loose.png").write_bytes(b"x")
    for name in ("a.gif", "b.GIF", "c.npy"):
        (tmp_path / "train" / "ant" / name).write_bytes(b"x")
    assert own(tmp_path).notes == (
        "2 .gif files are ignored: supported suffixes are .jpg .jpeg .png .ppm .bmp .pgm .tif .tiff .webp",
        "1 .npy file is ignored: supported suffixes are .jpg .jpeg .png .ppm .bmp .pgm .tif .tiff .webp",
        "1 image file is ignored, because not in a folder of a class",
        "folders next to train/ and test/ are ignored: masks",
        "classes Ant and ant differ only in upper and lower case",
    )


def test_the_version_says_that_pictures_are_read_otherwise() -> None:
    assert registry.recipe("folder(path='x')").version == 2  # 1 cut 16 bits off and saw no EXIF

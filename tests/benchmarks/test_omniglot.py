"""Omniglot: drawings from the published zips, and tasks in which nobody draws for two splits."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from raycl.benchmarks import sources
from raycl.benchmarks.base import splits_hash
from raycl.errors import UserError
from raycl.registry import load, recipe
from raycl.tasks import ArraySplit
from tests.benchmarks.test_emnist import assert_disjoint, sizes


def drawing(seed: int, side: int = 105) -> bytes:
    """A PNG as the data set has them: one bit a pixel, black ink on white paper."""
    ink = np.random.default_rng(seed).random((side, side)) < 0.05
    file = io.BytesIO()
    Image.fromarray(~ink).save(file, "PNG")
    return file.getvalue()


def write_omniglot(file: Path, characters: Mapping[str, int], drawers: int = 20) -> None:
    """A zip of so many characters of each alphabet."""
    file.parent.mkdir(parents=True, exist_ok=True)
    seed = 0
    with zipfile.ZipFile(file, "w") as archive:
        for alphabet, count in characters.items():
            for character in range(1, count + 1):
                for drawer in range(1, drawers + 1):
                    seed += 1
                    place = f"{file.stem}/{alphabet}/character{character:02}/{character:04}_{drawer:02}.png"
                    archive.writestr(place, drawing(seed))


@pytest.fixture(scope="module")
def prepared_small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder for the two small zips."""
    return tmp_path_factory.mktemp("omniglot")


@pytest.fixture
def small(real_data: Path, prepared_small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The two small zips, prepared."""
    monkeypatch.setenv("RAYCL_DATA", str(prepared_small))
    sources.prepare("omniglot", real_data)


@pytest.mark.usefixtures("small")
def test_the_small_zips() -> None:
    arrays, facts = sources.arrays("omniglot"), sources.facts("omniglot")
    assert sources.subset("omniglot") == (
        "242 of 1,623 characters, 8 of 50 alphabets of Omniglot "
        "(images_background_small1 + images_background_small2)"
    )
    # 136 + 156 characters of 20 drawings, of which Greek's 24 and Latin's 26 are in both files.
    assert facts["duplicates_left_out"] == (24 + 26) * 20
    assert arrays["images"].shape == (242 * 20, 1, 105, 105)
    assert set(np.unique(arrays["images"])) == {0, 255}
    assert 5 < arrays["images"].mean() < 60  # ink is bright, and rare
    assert arrays["images_28"].mean() == pytest.approx(arrays["images"].mean(), rel=0.02)
    assert facts["alphabet_names"][2] == "Greek"  # type: ignore[index]
    greek = arrays["alphabets"] == 2
    assert len(np.unique(arrays["characters"][greek])) == 24
    assert np.bincount(arrays["drawers"]).tolist() == [242] * 20
    assert len({image.tobytes() for image in arrays["images"]}) == 242 * 20


@pytest.mark.usefixtures("small")
def test_ten_tasks_of_the_small_zips() -> None:
    benchmark = load("omniglot_10")
    assert sizes(benchmark) == [recipe("omniglot_10").counts()] * 10 == [(70, 15, 15)] * 10
    assert [task.name for task in benchmark.tasks][::4] == [
        "Balinese 1 to 5",
        "Korean 1 to 5",
        "Balinese 6 to 10",
    ]
    assert benchmark.tasks[2].class_names[0] == "Greek character01"
    assert_disjoint(benchmark)
    drawers, alphabets = sources.arrays("omniglot")["drawers"], sources.arrays("omniglot")["alphabets"]
    for task in benchmark.tasks:
        splits = [s for s in (task.train, task.val, task.test) if isinstance(s, ArraySplit)]
        people = [set(drawers[split.rows].tolist()) for split in splits]
        assert [len(p) for p in people] == [14, 3, 3] and len(set.union(*people)) == 20
        assert len({int(a) for split in splits for a in alphabets[split.rows]}) == 1
        assert all(np.bincount(split.y).tolist() == [len(split) // 5] * 5 for split in splits)


@pytest.mark.usefixtures("small")
def test_which_image_is_where_never_changes() -> None:
    assert splits_hash(load("omniglot_10")) == "c80a4fc19c2fa519"
    assert splits_hash(load("omniglot_10", seed=1)) == "c80a4fc19c2fa519"
    assert splits_hash(load("omniglot_10(data_seed=1)")) == "cf8eb76d5cf18f2d"


def test_the_first_ten_alphabets_in_order_of_their_names(tmp_path: Path, empty: Path) -> None:
    evaluation = dict.fromkeys(("Zulu", "Mu", "Nu"), 6)
    background = dict.fromkeys(("Alpha", "Beta", "Gamma", "Delta", "Eta", "Iota", "Kappa", "Xi"), 5)
    write_omniglot(tmp_path / "omniglot-py" / "images_background.zip", background)
    write_omniglot(tmp_path / "omniglot-py" / "images_evaluation.zip", evaluation)
    sources.prepare("omniglot", tmp_path)
    assert sources.subset("omniglot") == (
        "58 of 1,623 characters, 11 of 50 alphabets of Omniglot (images_background + images_evaluation)"
    )
    wanted = sorted([*background, *evaluation])[:10]
    benchmark = load("omniglot_10")
    assert [task.name for task in benchmark.tasks] == [f"{name} 1 to 5" for name in wanted]
    first = sources.arrays("omniglot")["images"][0, 0]
    with Image.open(io.BytesIO(drawing(1))) as image:
        assert np.array_equal(first == 0, np.asarray(image))


def test_what_is_damaged_or_lacking_is_said_in_one_line(tmp_path: Path, empty: Path) -> None:
    with pytest.raises(UserError, match="does not contain Omniglot: expected at least one of images"):
        sources.prepare("omniglot", tmp_path)
    file = tmp_path / "images_background.zip"
    file.write_bytes(b"no zip")
    with pytest.raises(UserError, match=r"^[^\n]*images_background.zip is damaged [^\n]*fetch it again$"):
        sources.prepare("omniglot", tmp_path)
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("images_background/readme.txt", "")
    with pytest.raises(UserError, match="does not contain drawings such as"):
        sources.prepare("omniglot", tmp_path)
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("images_background/Greek/character01/0001_01.png", drawing(0, side=64))
    with pytest.raises(UserError, match="does not have 105 x 105 pixels"):
        sources.prepare("omniglot", tmp_path)
    write_omniglot(file, {"Greek": 9, "Latin": 5})
    sources.prepare("omniglot", tmp_path)
    with pytest.raises(
        UserError, match=r"characters for only 2 tasks: prepare it again from images_background\.zip"
    ):
        load("omniglot_10")

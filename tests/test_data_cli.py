"""`raycl benchmarks` and `raycl data`, as a user types them; and studies whose data are absent or damaged."""

from __future__ import annotations

import gzip
import io
import os
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from raycl import registry
from raycl.benchmarks import data_root, sources
from raycl.cli import main
from raycl.terminal import datasets

Run = Callable[..., tuple[int, str, str]]

STUDY = """
from raycl import *
STUDY = Study(methods={"finetune": {}}, benchmarks=%r, network="mlp(hidden=8)", fit={"epochs": 1},
              search=None, final=Seeds(1))
"""

OWN = """
from dataclasses import dataclass
import numpy as np
from raycl.benchmarks import Recipe, split_by_class

@dataclass(frozen=True, kw_only=True)
class Own(Recipe):
    val: float = 0.1
    odd: bool = False

    def counts(self):
        return (18, 2, 20) if self.val == 0.1 and not self.odd else None

    def build(self, seed):
        x, y = np.full((40, 4, 4), 9, np.uint8), np.arange(40) % 4
        keep = slice(0, 37 if self.odd else 40)
        return split_by_class("own", x[keep], y[keep], x, y, tasks=2, val=self.val)
"""


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Type a command in a folder of its own with an empty data folder; gives code, output, errors."""
    monkeypatch.setenv("RAYCL_DATA", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "own_recipe_file.py").write_text(OWN)

    def typed(*words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main(["--verbose", *words])  # warnings stay errors
        said = capsys.readouterr()
        if words[0] == "benchmarks" or words[1] == "list":  # the others name paths, however long
            assert all(len(line) <= 80 for line in said.out.splitlines()), said.out
        return code, said.out, said.err

    return typed


def idx_files(folder: Path) -> Path:
    """200 + 100 random images in the format of MNIST."""
    draw = np.random.default_rng(0)
    folder.mkdir(parents=True)
    for part, count in (("train", 200), ("t10k", 100)):
        images = draw.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        labels = (np.arange(count) % 10).astype(np.uint8)
        for name, values in (("images-idx3", images), ("labels-idx1", labels)):
            header = struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape)
            (folder / f"{part}-{name}-ubyte.gz").write_bytes(gzip.compress(header + values.tobytes(), 1))
    return folder


def damage() -> Path:
    """Flip a byte of the digits' images; the file."""
    (file,) = sources.prepare("digits").glob("images_8-*.npy")
    good = file.read_bytes()
    file.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    return file


def test_a_benchmark_in_detail(run: Run) -> None:
    code, out, _ = run("benchmarks", "digits_split(size=28)")
    lines = out.splitlines()
    assert code == 0
    assert lines[0] == "digits_split(size=28): digits, two per task (5 tasks)"
    assert "  size = 28 (one of 8, 28, 32, default 8)" in lines
    assert "  input 1x28x28, 5 tasks, dissimilar" in lines
    assert f"     3  classes 4 5{'':35}2     218      72      73" in lines
    assert lines[lines.index(f"     3  classes 4 5{'':35}2     218      72      73") + 1] == "        4, 5"
    assert "paper" not in out and "subset" not in out


def test_expected_counts_stand_beside_ours(run: Run) -> None:
    assert "  expected counts (train/val/test): 18/2/20, equal" in run("benchmarks", "own_recipe_file:Own")[1]
    _, out, _ = run("benchmarks", "own_recipe_file:Own", "own_recipe_file:Own(odd=True)", "digits_mixed")
    assert out.splitlines() == [
        "benchmark           tasks  classes  train/val/test",
        "own_recipe_file...  2      2        18/2/20             equal",
        "own_recipe_file...  2      2        16-18/1-2/20",
        "digits_mixed        10     2-10     212-218/71-72/71-73",
    ]


def test_who_states_the_expected_counts_is_said(run: Run) -> None:
    (Path.cwd() / "stated_file.py").write_text(
        OWN.replace("    odd: bool = False\n", '    odd: bool = False\n    counted_by = "PRM\'s Table 1"\n')
    )
    out = run("benchmarks", "stated_file:Own")[1]
    assert "  counts of PRM's Table 1 (train/val/test): 18/2/20, equal" in out and "expected" not in out


def test_the_available_text_of_spg_states_no_counts() -> None:
    by = {name: kind.counted_by for name, kind in registry.recipes().items() if kind.counted_by}
    assert {name for name, said in by.items() if said == "SPG's code"} == {
        *("cifar100_20", "tiny_10", "tiny_20", "imagenet32_100", "fceleba_20", "femnist_10", "femnist_20")
    }
    assert {name for name, said in by.items() if said == "PRM's Table 1"} == {
        *("cifar100_10", "emnist_10", "fceleba_10", "femnist_10_prm"),
        *(f"prm_{number}" for number in range(1, 7)),
    }
    assert len(by) == 7 + 10


def test_tasks_that_are_not_the_papers_are_called_so(run: Run) -> None:
    for mode, shown in (("iid", "a random sample of all people's images"), ("identity", "a group of people")):
        out = " ".join(run("benchmarks", f"fceleba_10(federated_mode='{mode}')")[1].split())
        assert f"not as published: each task shows {shown} (federated_mode={mode})" in out
        assert "both papers write one person per task" in out
    assert "not as published: each task shows a random" in run("benchmarks", "prm_6")[1]  # a part of it
    assert "not as published" not in run("benchmarks", "prm_1")[1]


def test_a_part_of_a_data_set_is_called_one_everywhere(run: Run, tmp_path: Path) -> None:
    given = idx_files(tmp_path / "given")
    note = "200 of 60,000 training and 100 of 10,000 test images, not the published MNIST"
    code, out, err = run("data", "prepare", "mnist", "--from", str(given))
    assert code == 0
    assert out.startswith(f"mnist is in {data_root() / 'mnist'}, 0 MB\nsubset: 200 of 60,000 training")
    assert err.splitlines() == ["train_images", "train_labels", "test_images", "test_labels"]
    code, out, err = run("data", "prepare", "mnist", "--from", str(given))
    assert code == 0 and "; it was there before" in out
    out = run("benchmarks", "mnist_split")[1]
    assert out.startswith("mnist_split (subset): ") and f"subset: {note}" in " ".join(out.split())
    listed = run("benchmarks")[1]
    assert "\nmnist_split (subset) " in listed and "\ndigits_split " in listed
    assert run("benchmarks", "mnist_split", "digits_split")[1].splitlines()[1].endswith("  subset")
    listed = " ".join(run("data", "list")[1].split())
    assert "mnist present 0 MB on disk, 11 MB to fetch" in listed and f"subset: {note}" in listed


def test_absent_data_are_said_with_the_remedy(run: Run) -> None:
    code, out, _ = run("benchmarks", "mnist_split")
    assert code == 0 and "  needs MNIST, which is not prepared -> raycl data prepare mnist" in out
    out = run("benchmarks", "mnist_split", "digits_split")[1]
    assert "mnist_split   blocked: raycl data prepare mnist\n" in out
    code, _, err = run("benchmarks", "mnist_split", "--show")
    assert code == 2 and "raycl data prepare mnist --from DIR" in err


def test_a_contact_sheet_is_written(run: Run, tmp_path: Path) -> None:
    code, out, _ = run("benchmarks", "digits_writers(tasks=3)", "--show")
    assert code == 0 and out.splitlines()[-1] == "digits_writers_tasks=3.png"
    with Image.open(tmp_path / "digits_writers_tasks=3.png") as sheet:
        assert sheet.width > 10 * 64 and sheet.height > 3 * 64
    image = np.zeros((8, 6, 6), dtype=np.uint8)
    labels = np.arange(8) % 4
    np.savez(tmp_path / "mine.npz", x_train=image, y_train=labels, x_test=image, y_test=labels)
    for settings, file in (("", "mine_tasks=2.png"), (", name='my digits'", "my_digits_tasks=2.png")):
        text = f"npz(path='mine.npz', tasks=2{settings})"
        assert run("benchmarks", text, "--show")[1].splitlines()[-1] == file and (tmp_path / file).exists()
    assert run("benchmarks", "digits_split", "--out", "here.png")[1].splitlines()[-1] == "here.png"
    assert (tmp_path / "here.png").exists()
    for words, message in (
        (
            ["digits_split", "--out", "no/where.png"],
            "raycl: --out no/where.png: cannot write the contact sheet",
        ),
        (["digits_split", "--out", "here.what"], "raycl: --out here.what: cannot write the contact sheet"),
        (
            ["digits_split", "digits_mixed", "--out", "x.png"],
            "raycl: --out x.png: name exactly one benchmark",
        ),
        (["--show"], "raycl: raycl benchmarks --show: name a benchmark"),
    ):
        code, _, err = run("benchmarks", *words)
        assert code == 2 and err.startswith(message) and len(err.splitlines()) == 1


def test_the_list_says_who_uses_what(run: Run, tmp_path: Path) -> None:
    studies = tmp_path / "studies" / "of_mine"
    studies.mkdir(parents=True)
    (studies / "desk_of_mine.py").write_text(STUDY % ["mnist_split", "digits_split"])
    (studies / "broken_of_mine.py").write_text("STUDY = 1 / 0")
    (studies / "helper_of_mine.py").write_text("X = 1")
    code, out, _ = run("data", "list")
    assert code == 0
    paragraphs = {text.split()[0]: " ".join(text.split()) for text in out.replace("\n  ", " ").splitlines()}
    assert "absent" in paragraphs["mnist"] and "56 MB once here, 11 MB to fetch" in paragraphs["mnist"]
    assert "benchmarks: mnist_split, permuted_mnist, rotated_mnist" in paragraphs["mnist"]
    assert paragraphs["mnist"].endswith("studies: desk_of_mine")
    assert paragraphs["digits"].endswith("studies: desk_of_mine")
    assert "made when first used" in paragraphs["digits"]
    assert "studies" not in paragraphs["fashion_mnist"]
    last = out[out.index("files without a study, or with errors: ") :].split()
    assert [Path(word).stem for word in last[7:]] == ["broken_of_mine", "helper_of_mine"]


def test_what_is_half_here_is_called_partial(run: Run) -> None:
    damage().unlink()
    assert "\ndigits            partial  " in run("data", "list")[1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["prepare", "minst"], "unknown data set 'minst'; did you mean 'mnist'?"),
        (["verify", "minst"], "unknown data set 'minst'; did you mean 'mnist'?"),
        (["prepare"], "raycl data prepare: name a data set"),
        (["prepare", "mnist", "--from", "no/where"], "--from no/where: the folder does not exist"),
        (["prepare", "mnist", "--from", "."], "does not contain MNIST: expected train-images-idx3-ubyte"),
    ],
)
def test_mistakes_are_one_line(run: Run, words: list[str], message: str) -> None:
    code, out, err = run("data", *words)
    assert code == 2 and out == ""
    assert len(err.splitlines()) == 1 and err.startswith("raycl: ") and message in err


def test_what_may_not_be_fetched_is_said_with_what_to_place_where(run: Run) -> None:
    held = [source for source in sources.sources().values() if not source.fetched]
    for source in held:
        code, _, err = run("data", "prepare", source.name)
        assert code == 2
        assert err == f"raycl: {source.title} is not downloaded by raycl\n{source.how()}\n"
        assert f"--from DIR reads a folder that contains {source.holds}" in err
        assert source.origin in err and source.origin


def test_every_source_says_what_a_user_must_know() -> None:
    for source in sources.sources().values():
        assert source.licence and source.summary and source.size > 0, source.name
        assert source.embedded or source.holds, source.name


def test_verify_names_the_file(run: Run) -> None:
    file = damage()
    code, out, _ = run("data", "verify", "digits")
    assert code == 1
    assert out.startswith("digits: damaged\n") and file.name in out.replace("\n", "").replace("  ", "")
    code, out, _ = run("data", "verify")
    assert code == 1 and "mnist: not prepared" in out
    sources.prepare("digits")
    assert run("data", "verify")[0] == 0


def test_progress_is_a_bar_on_a_terminal_and_lines_elsewhere() -> None:
    for terminal in (True, False):
        out = io.StringIO()
        console = Console(file=out, force_terminal=terminal, width=80, color_system=None)
        with datasets.watched(console) as progress:
            for done in range(0, 1001):
                progress("train_images", done, 1000)
        if terminal:
            assert "1000/1000" in out.getvalue() and "\x1b[" in out.getvalue()
        else:
            tenths = [f"train_images: {done:,} of 1,000" for done in range(100, 1000, 100)]
            assert out.getvalue().splitlines() == ["train_images", *tenths]


def test_damaged_data_refuse_a_study_of_nothing_else(run: Run, tmp_path: Path) -> None:
    file = damage()
    (tmp_path / "study_of_one.py").write_text(STUDY % ["digits_split"])
    code, out, err = run("run", "study_of_one.py", "--local")
    assert code == 2 and out == ""
    assert len(err.splitlines()) == 1
    assert file.name in err and err.endswith("; write it again with: raycl data prepare digits\n")


def test_absent_and_damaged_data_stop_only_the_cells_that_need_them(run: Run, tmp_path: Path) -> None:
    benchmarks = ["own_recipe_file:Own", "mnist_split", "digits_split"]
    (tmp_path / "study_of_three.py").write_text(STUDY % benchmarks)
    damage()
    code, _, err = run("run", "study_of_three.py", "--local")
    assert code == 1
    said = err.splitlines()
    assert len(said) == 2
    assert "mnist_split: blocked: MNIST, which is not prepared -> raycl data prepare mnist" in said[0]
    assert "digits_split: blocked: " in said[1] and "raycl data prepare digits" in said[1]
    assert len(list((tmp_path / "results" / "runs").glob("??/*.json"))) == 1
    sources.prepare("digits")
    code, _, err = run("run", "study_of_three.py", "--local")
    assert code == 1 and len(err.splitlines()) == 1
    assert len(list((tmp_path / "results" / "runs").glob("??/*.json"))) == 2
    sources.prepare("mnist", idx_files(tmp_path / "given"))
    assert run("run", "study_of_three.py", "--local")[0] == 0


def test_a_study_goes_on_beside_a_source_that_is_absent(run: Run, tmp_path: Path) -> None:
    (tmp_path / "study_of_two.py").write_text(STUDY % ["digits_split", "cifar10_5"])
    code, out, err = run("run", "study_of_two.py", "--local")
    assert code == 1 and "digits_split" in out
    assert err.splitlines() == [
        "raycl: finetune / cifar10_5: blocked: CIFAR-10, which is not prepared -> raycl data prepare cifar10"
    ]
    code, out, _ = run("plan", "study_of_two.py")
    assert code == 0 and "1 done" in out and "1 blocked" in out


def test_real_data_are_whole_in_the_table(run: Run, real_data: Path) -> None:
    assert run("data", "prepare", "mnist", "--from", os.fspath(real_data))[1].endswith("mnist, 55 MB\n")
    out = run("benchmarks", "permuted_mnist", "mnist_split(val=0.0)")[1]
    assert "10     10       54000/6000/10000" in out and "subset" not in out


def test_a_part_that_has_too_little_blocks_its_cells_alone(run: Run, tmp_path: Path, real_data: Path) -> None:
    sources.prepare("emnist_mnist", real_data)  # its test part alone is there
    (tmp_path / "study_of_parts.py").write_text(STUDY % ["split(source='emnist_mnist')", "digits_split"])
    code, _, err = run("run", "study_of_parts.py", "--local")
    assert code == 1
    (said,) = err.splitlines()
    assert "blocked: split(source='emnist_mnist'): the prepared EMNIST mnist has no training images" in said
    assert len(list((tmp_path / "results" / "runs").glob("??/*.json"))) == 1

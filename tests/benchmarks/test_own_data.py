"""A user's own data are known by their checksum and shown by a name, wherever they lie."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from raycl import Search, Seeds, Study, registry
from raycl.benchmarks import data_root
from raycl.calls import nameless
from raycl.errors import UserError
from raycl.method import Method
from raycl.registry import load
from raycl.runs.checkpoints import CheckpointFormat
from raycl.runs.inputs import make_benchmark
from raycl.specs import RunSpec
from raycl.study.cells import Cell
from raycl.study.expand import cells_of

pytestmark = pytest.mark.usefixtures("empty")


def arrays(seed: int = 0, classes: int = 4) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    made = {}
    for part, count in (("train", 20), ("test", 5)):
        made[f"x_{part}"] = rng.integers(0, 256, (classes * count, 6, 6), dtype=np.uint8)
        made[f"y_{part}"] = np.tile(np.arange(classes), count)
    return made


def pictures(root: Path, seed: int = 0) -> None:
    rng = np.random.default_rng(seed)
    for kind in ("ant", "bee", "cat", "dog"):
        (root / kind).mkdir(parents=True)
        for number in range(8):
            pixels = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / kind / f"{number}.png")


@pytest.fixture(params=["npz", "folder"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def mine(kind: str, tmp_path: Path) -> Path:
    """Data of a user's own, in a folder of their own."""
    return made(kind, tmp_path / "project" / ("mine.npz" if kind == "npz" else "mine"))


def made(kind: str, place: Path, seed: int = 0) -> Path:
    place.parent.mkdir(parents=True, exist_ok=True)
    if kind == "npz":
        np.savez(place, **arrays(seed))
    else:
        pictures(place, seed)
    return place


def text(kind: str, path: Path, **settings: object) -> str:
    more = "".join(f", {name}={value!r}" for name, value in settings.items())
    return f"{kind}(path={str(path)!r}, tasks=2{more})"


def cell_of(*benchmarks: str, search: Search | None = None) -> Cell:
    study = Study(methods={"finetune": {}}, benchmarks=benchmarks, search=search, final=Seeds(1),
                  network="mlp(hidden=8)")  # fmt: skip
    return cells_of(study)[0]


def spec_of(*benchmarks: str) -> RunSpec:
    return cell_of(*benchmarks).spec({}, 1)


def test_no_path_stands_in_a_run_or_its_tasks(kind: str, mine: Path, tmp_path: Path) -> None:
    cell = cell_of(text(kind, mine))
    spec = cell.spec({}, 1)
    assert spec.benchmark == cell.benchmark == f"{kind}(name={mine.name!r}, tasks=2)"
    assert list(spec.identity) == ["sha256"]
    benchmark = make_benchmark(spec)
    written = [json.dumps(spec.to_json()), cell.name, benchmark.name, repr(benchmark.recipe)]
    written += [(file.read_bytes()).decode("latin1") for file in data_root().rglob("*.json")]
    assert not [words for words in written if str(tmp_path) in words or "project" in words]


def test_moved_renamed_and_cloned_data_find_their_results(kind: str, mine: Path, tmp_path: Path) -> None:
    first = cell_of(text(kind, mine), search=Search(trials=2))
    key, proposals = first.spec({}, 1).key, first.key
    clone = tmp_path / "colleague" / "other.data"
    clone.parent.mkdir()
    (shutil.copyfile if kind == "npz" else shutil.copytree)(mine, clone)
    shutil.rmtree(mine.parent)
    again = cell_of(text(kind, clone), search=Search(trials=2))
    assert again.benchmark == f"{kind}(name='other.data', tasks=2)"
    assert (again.spec({}, 1).key, again.key) == (key, proposals)
    named = cell_of(text(kind, clone, name="mine"))
    assert named.benchmark == f"{kind}(name='mine', tasks=2)"
    assert named.spec({}, 1).key == key
    assert RunSpec.from_json(named.spec({}, 1).to_json()).key == key


def test_other_content_and_other_settings_are_other_runs(kind: str, mine: Path) -> None:
    key = spec_of(text(kind, mine)).key
    assert spec_of(text(kind, mine, val=0.2)).key != key
    shutil.rmtree(mine.parent)
    made(kind, mine, seed=1)
    assert spec_of(text(kind, mine)).key != key


def test_a_write_that_sets_size_and_time_back_is_seen(kind: str, mine: Path) -> None:
    file = mine if kind == "npz" else mine / "bee" / "3.png"
    before, facts = registry.recipe(text(kind, mine)).identity(), file.stat()
    with open(file, "r+b") as raw:  # the same place on the disk
        raw.seek(facts.st_size // 2)
        raw.write(bytes([raw.read(1)[0] ^ 1]))
    os.utime(file, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert file.stat().st_mtime_ns == facts.st_mtime_ns and file.stat().st_size == facts.st_size
    assert registry.recipe(text(kind, mine)).identity() != before


def test_hidden_files_times_and_the_path_decide_nothing(tmp_path: Path) -> None:
    mine = made("folder", tmp_path / "mine")
    before = registry.recipe(text("folder", mine)).identity()
    (mine / ".DS_Store").write_bytes(b"x")
    (mine / "ant" / ".0.png").write_bytes(b"x")
    (mine / "ant" / ".thumbs").mkdir()
    shutil.copyfile(mine / "bee" / "0.png", mine / "ant" / ".thumbs" / "0.png")
    os.utime(mine / "ant" / "0.png", ns=(1, 1))
    assert registry.recipe(text("folder", mine)).identity() == before
    (mine / "ant" / "0.png").rename(mine / "ant" / "9.png")
    assert registry.recipe(text("folder", mine)).identity() != before


def test_a_worker_needs_no_path(kind: str, mine: Path) -> None:
    spec = spec_of(text(kind, mine))
    wanted = make_benchmark(spec)
    packed = pickle.dumps(wanted.tasks[1])
    shutil.rmtree(mine.parent)
    found = make_benchmark(RunSpec.from_json(json.loads(json.dumps(spec.to_json()))))
    assert found.name == wanted.name
    for task in (found.tasks[1], pickle.loads(packed)):
        assert torch.equal(task.test.take(slice(None)), wanted.tasks[1].test.take(slice(None)))
    form = CheckpointFormat(
        found, Method
    )  # what a checkpoint says of a task is found in the run's own benchmark
    assert form.from_bytes(form.to_bytes(found.tasks[1]), "cpu") is found.tasks[1]


def test_where_nothing_is_prepared_a_line_says_what_is(
    kind: str, mine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = spec_of(text(kind, mine))
    monkeypatch.setenv("RAYCL_DATA", str(tmp_path / "another machine"))
    with pytest.raises(UserError) as error:
        make_benchmark(spec)
    line = str(error.value)
    assert mine.name in line and spec.identity["sha256"][:16] in line and "run raycl plan here" in line
    assert "\n" not in line
    with pytest.raises(UserError, match="path is missing: name your data, as in"):
        load(spec.benchmark)


def test_the_identity_of_a_run_is_compared_with_what_is_here(mine: Path, kind: str) -> None:
    with pytest.raises(UserError, match=r"the data here \(sha256: .*\) differ .* of this run \(the pub"):
        load(registry.recipe(text(kind, mine)), identity={})
    with pytest.raises(
        UserError, match=r"the data here \(the published data\) differ from those of this run"
    ):
        load("digits_split", identity={"subset": "a few digits"})


def test_two_contents_of_one_name_are_not_shown_side_by_side(kind: str, mine: Path, tmp_path: Path) -> None:
    other = made(kind, tmp_path / "second" / mine.name, seed=1)
    same = text(kind, mine, val=0.2)
    with pytest.raises(
        UserError, match=r"different data with the same name 'mine.*': give one of them another"
    ):
        cell_of(text(kind, mine), text(kind, other))
    cell_of(text(kind, mine), same)
    cell_of(text(kind, mine), text(kind, other, name="other"))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a\nb", "line break"),
        ("it's", "it contains '"),
        ('"', 'it contains "'),
        ("x" * 81, "it has 81 letters, and at most 80"),
        (" ", "it is empty"),
        ("a/b", "it contains /"),
        ("\udce9", "a byte that is not UTF-8"),
    ],
)
def test_names_that_break_a_table_are_refused(name: str, message: str, kind: str, mine: Path) -> None:
    with pytest.raises(UserError) as error:
        registry.recipe(text(kind, mine, name=name))
    assert message in str(error.value) and "cannot be used in tables" in str(error.value)
    assert str(error.value).isprintable()


def test_file_names_that_break_a_table_ask_for_another(tmp_path: Path) -> None:
    for name in (b"it's.npz", b"caf\xe9.npz", b"a\nb.npz"):
        file = made("npz", tmp_path / os.fsdecode(name))
        with pytest.raises(UserError, match="set name=") as error:
            registry.recipe(text("npz", file))
        assert str(error.value).isprintable()
        assert load(text("npz", file, name="mine")).name == "npz(name='mine', tasks=2)"
    assert str(registry.recipe(text("npz", tmp_path / "é 日本.npz"))) == "npz(name='é 日本.npz', tasks=2)"


@pytest.mark.parametrize(
    ("setting", "message"),
    [("", "path is missing"), ("path='a\\0b'", "contains a zero byte"), ("path='~nobody-here/x'", "home dir"),
     ("path='/'", "set name=")],
)  # fmt: skip
def test_paths_that_mean_nothing(kind: str, setting: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        registry.recipe(f"{kind}({setting})").identity()


def test_data_that_change_while_they_are_read_are_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = made("npz", tmp_path / "mine.npz")
    recipe = registry.recipe(text("npz", file))
    recipe.identity()
    made("npz", file, seed=1)
    with pytest.raises(UserError, match="changed while it was read: try again"):
        load(recipe)
    assert not list(data_root().rglob("manifest.json"))
    load(text("npz", file))


def test_other_nodes_are_given_what_was_prepared(kind: str, mine: Path) -> None:
    from raycl.tune.launch import _prepared
    from raycl.tune.staging import _files

    cell = cell_of(text(kind, mine))
    shutil.rmtree(mine.parent)
    (folder,) = _prepared(cell)
    files = [file.name for file in _files(data_root() / folder)]
    assert len(files) > 3 and files[-1] == "manifest.json" and "stamps.json" not in files
    (folder,) = registry.recipe(cell.benchmark).located(cell.identity).prepared()
    assert folder.startswith(f"{kind}/{cell.identity['sha256']}")
    assert (data_root() / folder / "manifest.json").exists()
    assert registry.recipe("digits_split").prepared() == ("digits",)
    assert registry.recipe("digits_split").located({}) == registry.recipe("digits_split")


def test_the_text_of_built_in_benchmarks_is_what_their_keys_hold() -> None:
    for recipe in map(registry.recipe, ("digits_split(size=28)", "digits_permuted(tasks=20)")):
        assert nameless(str(recipe)) == str(recipe)
    plain = RunSpec(method="finetune", network="mlp", benchmark="digits_split")
    assert plain.keyed() == plain.to_json()


def test_data_whose_name_says_which_are_shown_by_it_alone(kind: str, mine: Path) -> None:
    def cells(*texts: str, only: str | None = None) -> list[Cell]:
        wanted = Study(methods={"finetune": {}}, benchmarks=list(texts), search=None, final=Seeds(1))
        return cells_of(wanted, only)

    one = text(kind, mine, name="mine")
    assert [cell.name for cell in cells(one, "digits_split")] == ["finetune/mine", "finetune/digits_split"]
    (chosen,) = cells(one, "digits_split", only="finetune/mine")
    (same,) = cells(one, "digits_split", only=f"finetune/{chosen.benchmark}")
    assert chosen.title == "finetune / mine" and same == chosen
    assert chosen.benchmark == f"{kind}(name='mine', tasks=2)"
    other = one.replace("tasks=2", "tasks=1")
    both = [f"finetune/{kind}(name='mine', tasks={n})" for n in (2, 1)]
    assert [cell.name for cell in cells(one, other)] == both
    # A selection changes no name.
    assert [cell.name for cell in cells(one, other, only=both[0])] == both[:1]
    # Nor is anything shown as one of raycl's own benchmarks, or as something that looks the same.
    for taken in ("digits_split", "digits_split (subset)", "cifar100_10"):
        (cell,) = cells(text(kind, mine, name=taken))
        assert cell.name == f"finetune/{kind}(name={taken!r}, tasks=2)"
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    alike = cells(text(kind, mine, name=composed), text(kind, mine, name=decomposed))
    assert all(cell.name.startswith(f"finetune/{kind}(") for cell in alike)

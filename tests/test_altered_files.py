"""Whatever happens to a file of a store: it is read as it was, or set aside with one line."""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import socket
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from raycl import Search, Seeds, Study
from raycl.api import report, run_study
from raycl.archives import Artefact, DamagedArtefact
from raycl.networks._backbone import Pretrained, adopt, state_of
from raycl.plainfiles import sealed
from raycl.runs import artefacts
from raycl.runs.records import RUN_1
from raycl.runs.result import Result
from raycl.runs.store import Store
from raycl.specs import MaskSpec, RunSpec
from raycl.study.expand import cells_of
from raycl.supermasks import bank
from raycl.wholefiles import publish
from tests.helpers import toys

SEED = 20161
Alter = Callable[[Path], None]
ODD: list[Any] = [
    None,
    True,
    -1,
    0,
    2,
    7.5,
    1.5e300,
    10**400,
    "",
    "x",
    "1",
    [],
    [1],
    {},
    {"a": 1},
    {"0": 2.0},
]


def tiny() -> Study:
    return Study(
        name="altered",
        methods={"hat": {}, "plain": {"method": "finetune", "search": None}},
        benchmarks=["digits_split"],
        network="mlp(hidden=8, drop1=0.0, drop2=0.0)",
        fit={"epochs": 1, "lr": 0.1},
        search=Search(trials=2, concurrency=1, startup_trials=2),
        final=Seeds(1),
    )


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("altered") / "store"
    assert run_study(tiny(), root, local=True).code == 0
    return root


def broken_bytes(raw: bytes, rng: random.Random) -> Iterator[tuple[str, bytes]]:
    """Ways in which disks, editors and strangers change the bytes of a file."""
    text = raw.decode("latin-1")
    fixed = {
        "empty": b"", "half": raw[: len(raw) // 2], "all but one": raw[:-1], "twice": raw + raw,
        "mark": b"\xef\xbb\xbf" + raw, "utf-16": text.encode("utf-16"), "no text": b"\xff\xfe\x80" * 50,
        "zeros": bytes(len(raw)), "tail": raw + b"{}", "null": b"null", "number": b"1", "list": b"[1]",
        "text": b'"x"', "object": b"{}", "brackets": b"[" * 200_000, "objects": b'{"a":' * 200_000,
        "digits": b"1" * 1_000_000, "nan": b"NaN", "constant": b'{"params": NaN}',
        "params": b'{"params":[1]}',
        "twice named": b'{"status": "done", ' + raw.lstrip()[1:], "archive": b"PK\x03\x04" + raw,
    }  # fmt: skip
    yield from fixed.items()
    for n in range(12):
        place, bit = rng.randrange(len(raw)), 1 << rng.randrange(8)
        yield f"bit {n}", raw[:place] + bytes([raw[place] ^ bit]) + raw[place + 1 :]
    for n in range(6):
        place = rng.randrange(len(raw))
        yield f"lost byte {n}", raw[:place] + raw[place + 1 :]


def stood_in(path: Path) -> dict[str, Alter]:
    """What may stand where a file should be."""

    def listening(path: Path) -> None:
        before = os.getcwd()
        os.chdir(path.parent)  # names of sockets are short
        try:
            with contextlib.closing(socket.socket(socket.AF_UNIX)) as made:
                made.bind(path.name[-40:])
            os.rename(path.name[-40:], path.name)
        finally:
            os.chdir(before)

    def large(path: Path) -> None:
        with open(path, "wb") as file:
            file.truncate(2**40)

    return {
        "folder": lambda path: path.mkdir(),
        "pipe": lambda path: os.mkfifo(path),
        "device": lambda path: path.symlink_to("/dev/zero"),
        "circle": lambda path: path.symlink_to(path.name),
        "socket": listening,
        "large": large,
    }


def places(plain: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths of all values within plain content."""
    if above:
        yield above
    parts = plain.items() if isinstance(plain, dict) else enumerate(plain) if isinstance(plain, list) else ()
    for name, part in parts:
        yield from places(part, (*above, name))


def changed(plain: Any, place: tuple[Any, ...], value: Any) -> Any:
    """The content with another value at a place, `...` for none at all."""
    copy = json.loads(json.dumps(plain))
    *above, last = place
    within = copy
    for name in above:
        within = within[name]
    if value is ...:
        del within[last]
    else:
        within[last] = value
    return copy


def values(plain: dict[str, Any], rng: random.Random, count: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Content with one value changed, removed or added."""
    every = list(places(plain))
    for _ in range(count):
        place, value = rng.choice(every), rng.choice([..., *ODD])
        yield f"{place} = {value!r:.30}", changed(plain, place, value)


def alterations(path: Path, raw: bytes, rng: random.Random) -> Iterator[tuple[str, Alter]]:
    for name, content in broken_bytes(raw, rng):
        yield name, lambda path, content=content: path.write_bytes(content)
    for name, act in stood_in(path).items():
        yield name, act


def cleared(path: Path) -> Path:
    with contextlib.suppress(FileNotFoundError):
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
    return path


def kinds(root: Path) -> dict[str, tuple[Path, Callable[[Store], Any]]]:
    """A file of each kind, and how it is read."""
    store = Store(root)
    (cell, other) = cells_of(tiny())
    spec = other.spec({}, 1)
    store.put(Result(spec, "failed", (), "Traceback: boom", {"seconds": 1.0, "started": 2.0}))
    failure = root / "failures" / f"{spec.key}.json"
    return {
        "run": (root / "runs" / spec.key[:2] / f"{spec.key}.json", lambda store: store.get(spec.key)),
        "failure": (failure, lambda store: store.failure(spec.key)),
        "proposal": (root / "searches" / cell.key[:2] / cell.key / "0001.json",
                     lambda store: store.proposal(cell.key, 1)),
    }  # fmt: skip


@pytest.mark.parametrize("kind", ["run", "failure", "proposal"])
def test_altered_bytes_are_the_same_value_or_one_line(kind: str, played: Path) -> None:
    path, read = kinds(played)[kind]
    raw, rng, tried = path.read_bytes(), random.Random(SEED), 0
    whole = read(Store(played))
    assert whole is not None
    plain = json.loads(raw)
    every = [*alterations(path, raw, rng)]
    every += [(name, lambda path, c=content: path.write_text(json.dumps(c)))
              for name, content in values(plain, rng, 120)]  # fmt: skip
    for name, alter in every:
        lines: list[str] = []
        alter(cleared(path))
        store = Store(played, lines.append)
        found = read(store)
        if found is None:
            assert len(lines) == 1 and "\n" not in lines[0] and str(path) in lines[0], (name, lines)
            assert len(lines[0]) < 700 and "damaged/" in lines[0], (name, lines)
            assert not os.path.lexists(path) and store.left_out == [path], name
        else:
            assert found == whole and not lines, f"{name}: another value, in silence"
        tried += 1
        cleared(path).write_bytes(raw)
    assert tried >= 60
    assert read(Store(played)) == whole


@pytest.mark.parametrize("first", [False, True])
def test_what_is_sealed_anew_or_has_no_digest_is_still_what_a_run_can_come_to(
    played: Path, first: bool
) -> None:
    """A forger can make a digest, and the first format has none: no reader of the result may fail."""
    path, read = kinds(played)["run"]
    raw, rng = path.read_bytes(), random.Random(SEED + 1)
    plain = {name: value for name, value in json.loads(raw).items() if name != "digest"}
    if first:
        plain["format"] = RUN_1
    refused = 0
    for name, content in values(plain, rng, 400):
        try:
            written = content if first else sealed(content)
        except (ValueError, OverflowError):
            continue
        lines: list[str] = []
        path.write_text(json.dumps(written))
        found = read(Store(played, lines.append))
        if found is None:
            assert len(lines) == 1 and "\n" not in lines[0], (name, lines)
            refused += 1
        else:
            assert isinstance(found, Result) and not lines
            assert found.acc() is None or 0.0 <= (found.acc() or 0.0) <= 1.0, name
            assert found.ct >= 0.0 and found.matrix("val").shape == found.matrix().shape
            assert json.loads(json.dumps(found.to_json()))["spec"] == plain["spec"]
    cleared(path).write_bytes(raw)
    assert refused > 200, "most changes are of what is checked"


@pytest.mark.parametrize("form", ["raycl-run/1", "raycl-run/2"])
def test_reports_that_are_missing_or_out_of_order_are_refused(played: Path, form: str) -> None:
    path, _ = kinds(played)["run"]
    raw = path.read_bytes()
    plain = {name: value for name, value in json.loads(raw).items() if name != "digest"} | {"format": form}
    (_, cell) = cells_of(tiny())
    one, two, three, four, five = plain["reports"]
    wrong = [[], [one], [one, two, three, four], [two, three, four, five], [one, one, two, three, four],
             [five, four, three, two, one], [one, two, three, four, five, five]]  # fmt: skip
    for reports in wrong:
        content = plain | {"reports": reports}
        path.write_text(
            json.dumps(content if form == RUN_1 else content | {"digest": json.loads(raw)["digest"]})
        )
        lines: list[str] = []
        from raycl.study.agenda import Agenda

        (state,) = Agenda([cell], Store(played, lines.append)).states
        assert not state.results and len(lines) == 1, (len(reports), lines)
        cleared(path).write_bytes(raw)


def test_a_file_of_the_first_format_is_read_as_before(played: Path) -> None:
    path, read = kinds(played)["run"]
    raw, whole = path.read_bytes(), read(Store(played))
    plain = json.loads(raw)
    del plain["digest"]
    path.write_text(json.dumps(plain | {"format": RUN_1}, indent=1))
    assert read(Store(played)) == whole
    path.write_bytes(raw)


def csv_without_times(root: Path) -> str:
    return report(tiny(), root, "csv", times=False)


def test_a_proposal_of_another_cell_number_or_domain_is_proposed_again(
    played: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, _ = kinds(played)["proposal"]
    raw, table = path.read_bytes(), csv_without_times(played)
    plain = {name: value for name, value in json.loads(raw).items() if name != "digest"}
    lamb, smax = plain["params"]["method.lamb"], plain["params"]["method.smax"]
    for content in (
        plain | {"key": "0" * 64},
        plain | {"n": 0},
        plain | {"params": {"method.lamb": lamb}},
        plain | {"params": {"method.lamb": lamb, "method.smax": smax, "fit.lr": 0.1}},
        plain | {"params": {"method.lamb": lamb, "method.smax": 1e9}},
        plain | {"params": {"method.lamb": "x", "method.smax": smax}},
        plain | {"params": {"method.lamb": [lamb], "method.smax": smax}},
        plain | {"params": {"method.lamb": None, "method.smax": smax}},
    ):
        path.write_text(json.dumps(sealed(content)))
        capsys.readouterr()
        again = run_study(tiny(), played, local=True)
        said = capsys.readouterr()
        assert again.code == 0 and (said.out + said.err).count("is not a result of raycl") == 1, content
        assert path.read_bytes() == raw and csv_without_times(played) == table


def test_a_failure_is_no_finished_run_wherever_it_lies(played: Path) -> None:
    files = kinds(played)
    run, failure = files["run"][0], files["failure"][0]
    raw = run.read_bytes()
    for source, target, read in ((failure, run, files["run"][1]), (run, failure, files["failure"][1])):
        before, lines = target.read_bytes(), list[str]()
        target.write_bytes(source.read_bytes())
        assert read(Store(played, lines.append)) is None and len(lines) == 1
        target.write_bytes(before)
    run.write_bytes(raw)


# Archives.


def mask_file(root: Path) -> tuple[Path, Callable[[], Any]]:
    on = toys.benchmark()
    sizes = bank.backbone_of(toys.method("finetune", on).net, 0, "kaiming_normal").sizes
    spec = MaskSpec(network="mlp", benchmark="toy", task=0, density=0.1, mask_values="signed")
    drawn = bank.random_mask(sizes, 0.1, 1)
    ones = [int(np.unpackbits(bits).sum()) for bits in drawn.bits]
    mask = bank.BasisMask(drawn.bits, tuple(np.ones(n, np.int8) for n in ones), (), {"density": 0.1})
    path = Artefact.MASK.path(root, spec.key)
    publish(path, artefacts.mask_to_bytes(mask, spec))
    return path, lambda: same(artefacts.mask_from_file(path, spec, sizes))


def backbone_file(root: Path) -> tuple[Path, Callable[[], Any]]:
    net = toys.method("finetune", toys.benchmark()).net
    found = Pretrained(state_of(net), 1.5, 3, 40)
    path = Artefact.BACKBONE.path(root, "ab" * 32)
    publish(path, artefacts.backbone_to_bytes(found, "ab" * 32))

    def read() -> Any:
        again = artefacts.backbone_from_file(path, "ab" * 32)
        adopt(net, again.tensors)
        return same(again)

    return path, read


def same(found: Any) -> Any:
    """What can be compared of a mask or a backbone."""
    if isinstance(found, Pretrained):
        return found.seconds, found.epochs, found.updates, {k: t.tolist() for k, t in found.tensors.items()}
    return dict(found.about), [
        [a.tolist() for a in part] for part in (found.bits, found.values, found.statistics)
    ]


def rewritten(raw: bytes, compression: int = zipfile.ZIP_STORED, **members: bytes | None) -> bytes:
    """An archive with other members."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(raw)) as old, zipfile.ZipFile(out, "w", compression) as new:
        for name in old.namelist():
            content = members.pop(name.removesuffix(".npy"), old.read(name))
            if content is not None:
                new.writestr(name, content)
        for name, content in members.items():
            new.writestr(f"{name}.npy", content or b"")
    return out.getvalue()


def npy(array: Any) -> bytes:
    out = io.BytesIO()
    np.save(out, array, allow_pickle=True)
    return out.getvalue()


def archives(raw: bytes, rng: random.Random) -> Iterator[tuple[str, bytes]]:
    """Whole archives with something else in them."""
    with np.load(io.BytesIO(raw)) as found:
        arrays = {name: found[name] for name in found.files}
    head = json.loads(arrays.pop("head").tobytes())

    def headed(content: Any) -> bytes:
        return npy(np.frombuffer(json.dumps(content).encode(), np.uint8))

    for name, content in values(head, rng, 40):
        yield f"head: {name}", rewritten(raw, head=headed(content))
    for name, array in arrays.items():
        yield f"{name} flipped", rewritten(raw, **{name: npy(array[::-1] if array.ndim else array + 1)})
        yield f"{name} float64", rewritten(raw, **{name: npy(array.astype(np.float64))})
        yield f"{name} pickled", rewritten(raw, **{name: npy(array.astype(object))})
        yield f"{name} shorter", rewritten(raw, **{name: npy(array.reshape(-1)[:-1])})
        yield f"{name} gone", rewritten(raw, **{name: None})
        huge = npy(array).replace(str(array.shape).encode(), b"(999999999999,)", 1)
        yield f"{name} huge", rewritten(raw, **{name: huge})
        yield f"{name} no array", rewritten(raw, **{name: b"no array"})
    yield "another member", rewritten(raw, more=npy(np.zeros(3)))
    yield "compressed", rewritten(raw, zipfile.ZIP_DEFLATED)
    yield "bomb", rewritten(raw, zipfile.ZIP_DEFLATED, bomb=bytes(50_000_000))
    yield "head of brackets", rewritten(raw, head=npy(np.frombuffer(b"[" * 200_000, np.uint8)))
    yield "no head", rewritten(raw, head=None)


@pytest.mark.parametrize("make", [mask_file, backbone_file])
def test_altered_archives_are_the_same_or_damaged(
    make: Callable[[Path], tuple[Path, Callable[[], Any]]], tmp_path: Path
) -> None:
    path, read = make(tmp_path)
    raw, whole, rng, tried, said = path.read_bytes(), read(), random.Random(SEED + 2), 0, ""
    every = [*alterations(path, raw, rng)]
    every += [(n, lambda path, c=c: path.write_bytes(c)) for n, c in archives(raw, rng)]
    for name, alter in every:
        alter(cleared(path))
        try:
            found = read()
        except DamagedArtefact as error:
            said, found = str(error), None
        one_line = found is None and "\n" not in said and len(said) < 600
        assert found == whole or one_line, f"{name}: another value, in silence, or {said}"
        tried += 1
        cleared(path).write_bytes(raw)
    assert tried >= 60


def test_archives_of_the_first_format_are_read_as_before(tmp_path: Path) -> None:
    for make in (mask_file, backbone_file):
        path, read = make(tmp_path)
        whole, raw = read(), path.read_bytes()
        with np.load(io.BytesIO(raw)) as found:
            head = json.loads(found["head"].tobytes())
        old = {name: value for name, value in head.items() if name not in ("arrays", "digest")} | {
            "format": 1
        }
        path.write_bytes(rewritten(raw, head=npy(np.frombuffer(json.dumps(old).encode(), np.uint8))))
        assert read() == whole


@pytest.mark.parametrize("name", ["folder", "pipe", "device", "circle", "socket"])
def test_what_stands_in_the_place_of_an_archive_is_set_aside_and_not_waited_for(
    name: str, tmp_path: Path
) -> None:
    for kind in Artefact:
        lines: list[str] = []
        store = Store(tmp_path, lines.append)
        path = kind.path(store.root, "cd" * 32)
        path.parent.mkdir(parents=True)
        stood_in(path)[name](path)
        assert not store.has(kind, "cd" * 32)
        assert len(lines) == 1 and not os.path.lexists(path)


# Reports.


def test_reports_of_a_store_with_altered_files_lack_those_runs_and_say_so(
    played: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, _ = kinds(played)["run"]
    raw, rng, table = path.read_bytes(), random.Random(SEED + 3), csv_without_times(played)
    path.unlink()
    without = csv_without_times(played)
    path.write_bytes(raw)
    assert table != without
    for name, alter in rng.sample([*alterations(path, raw, rng)], 12):
        alter(cleared(path))
        capsys.readouterr()
        found = csv_without_times(played)
        lines = capsys.readouterr().err.strip().splitlines()
        assert (found == table and not lines) or (found == without and len(lines) == 1), (name, lines)
        cleared(path).write_bytes(raw)


def test_the_name_of_a_spec_in_a_store_is_not_imported(played: Path, tmp_path: Path) -> None:
    mark = tmp_path / "imported"
    (tmp_path / "sly.py").write_text(f"open({str(mark)!r}, 'w')\n")
    spec = RunSpec(method="sly:Mine", network="mlp", benchmark="sly:Mine", seed=1, versions={"core": 1})
    store = Store(tmp_path)
    path = tmp_path / "runs" / spec.key[:2] / f"{spec.key}.json"
    plain = json.loads(next(played.glob("runs/??/*.json")).read_bytes())
    del plain["digest"]
    publish(path, json.dumps(sealed(plain | {"spec": spec.to_json(), "key": spec.key})))
    assert store.get(spec.key) is not None and not mark.exists()

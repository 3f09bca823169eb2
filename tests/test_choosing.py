"""`--only` and `resources` take every name that a study or a table writes; patterns still work."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from raycl import Resources, Search, Seeds, Study
from raycl.errors import UserError
from raycl.patterns import Naming, chosen, labels_chosen
from raycl.study.expand import cells_of

LABELS = (
    "hat",
    "hat-400",
    "a,b",
    "a",
    "a*",
    "ab",
    "h[1]",
    "h1",
    "x?",
    "o'brien",
    'say "b"',
    "a/b",
    "(",
    "a(b",
    "naïve",
    "名前",
    "k=v",
    " spaced  out ",
    "{}",
    "a -> b",
    "[",
    "*",
    "..",
    ",",
)
BENCHMARKS = (
    "digits_split",
    "digits_writers(tasks=3, channels=3)",
    "digits_split(size=28)",
    "npz(path='C:/x, y/z[1]*.npz', name=\"it's\")",
)


def named(orders: int = 1) -> list[Naming]:
    return [
        Naming(label, (text,), order if orders > 1 else None)
        for label in LABELS
        for text in BENCHMARKS
        for order in range(orders)
    ]


def name_of(cell: Naming) -> str:
    return f"{cell.label}/{cell.benchmarks[0]}" + (f"/order {cell.order}" if cell.order is not None else "")


@pytest.mark.parametrize("orders", [1, 2])
def test_a_whole_name_means_that_cell_and_no_other(orders: int) -> None:
    cells = named(orders)
    for n, cell in enumerate(cells):
        assert chosen(name_of(cell), cells) == ({n}, []), name_of(cell)


def test_the_name_that_the_table_prints_means_that_cell() -> None:
    cells = named(2)
    for n, cell in enumerate(cells):
        if "/" not in cell.label:
            printed = f"{cell.label:<18} / {cell.benchmarks[0]} / order {cell.order}"
            assert chosen(printed, cells) == ({n}, []), printed


def test_a_label_means_its_cells_alone() -> None:
    for label in LABELS:
        assert labels_chosen(label, LABELS) == [label]
    cells = named()
    for label in LABELS:
        assert {cells[n].label for n in chosen(label, cells)[0]} == {label}
        if label not in ("*", "a"):
            assert {cells[n].label for n in chosen(f"{label}/*", cells)[0]} == {label}, label
    assert {cells[n].label for n in chosen("*/*", cells)[0]} == {"*"}  # a label before a pattern


def test_names_are_joined_by_commas() -> None:
    cells = named()
    for first, second in ((1, 9), (2, 60), (13, 5), (95, 3)):
        pattern = f"{name_of(cells[first])}, {name_of(cells[second])}"
        assert chosen(pattern, cells) == ({first, second}, []), pattern
    assert labels_chosen("a,b,hat", LABELS) == ["hat", "a,b"]
    assert labels_chosen("hat,a,h1", LABELS) == ["hat", "a", "h1"]


@pytest.mark.parametrize(
    ("pattern", "wanted"),
    [
        ("ha?", ["hat"]),
        ("hat*", ["hat", "hat-400"]),
        ("hat*,ewc", ["hat", "hat-400", "ewc"]),
        ("[eo]*", ["ewc", "one"]),
        ("[!h]*", ["ewc", "one"]),
        ("hat , one", ["hat", "one"]),
        ("*", ["hat", "hat-400", "ewc", "one"]),
        ("one,", ["one"]),
    ],
)
def test_patterns(pattern: str, wanted: list[str]) -> None:
    assert labels_chosen(pattern, ["hat", "hat-400", "ewc", "one"]) == wanted


@pytest.mark.parametrize(
    ("pattern", "lost"),
    [
        ("zat", ["zat"]),
        ("hat,zat", ["zat"]),
        ("hat/x(a=1, b=2),hat/digits_split", ["hat/x(a=1, b=2)"]),
        ("", [""]),
        (",,", [",,"]),
        ("a" * 100_000, ["a" * 100_000]),
    ],
)
def test_what_means_nothing_is_told(pattern: str, lost: list[str]) -> None:
    assert chosen(pattern, [Naming("hat", ("digits_split",)), Naming("ewc", ("digits_split",))])[1] == lost


def test_many_commas_take_no_time() -> None:
    assert len(chosen("zat," * 500, named())[1]) == 500
    assert chosen("zat," * 20_000, named())[1] == ["zat," * 20_000]


def study(**changes: Any) -> Study:
    base: dict[str, Any] = {
        "methods": {"a,b": {"method": "finetune"}, "a": {"method": "ewc"}, "one": {}},
        "benchmarks": ["digits_split", "digits_writers(tasks=3,channels=3)"],
        "network": "mlp(hidden=8)",
        "search": None,
        "final": Seeds(1),
        "file": "mine.py",
    }
    return Study(**(base | changes))


def names(only: str, **changes: Any) -> list[str]:
    return [cell.name for cell in cells_of(study(**changes), only, check=False)]


def test_only_of_a_study() -> None:
    every = [cell.name for cell in cells_of(study(orders=2), check=False)]
    assert len(every) == 12
    for name in every:
        assert names(name, orders=2) == [name]
    assert names("one/digits_writers(tasks=3,channels=3)") == ["one/digits_writers(tasks=3, channels=3)"]
    assert names("a,b/*") == ["a,b/digits_split", "a,b/digits_writers(tasks=3, channels=3)"]
    assert names("*/digits_split/order 1", orders=2) == [
        f"{label}/digits_split/order 1" for label in ("a,b", "a", "one")
    ]
    assert len(names("one/digits_split", orders=3)) == 3


def test_only_takes_a_name_as_a_narrow_table_clips_it() -> None:
    assert names("one / digits_wri..els=3)") == ["one/digits_writers(tasks=3, channels=3)"]


def test_only_that_means_nothing_names_the_nearest() -> None:
    with pytest.raises(UserError, match=r"^mine.py: --only 'two' matches no cell \(known: a,b/digits") as e:
        names("one,two")
    assert "\n" not in str(e.value)
    many = {f"hat-{n}": {"method": "hat"} for n in range(100)}
    with pytest.raises(UserError, match=r"'hat-100/x' matches no cell \(known: hat-") as caught:
        names("hat-100/x", methods=many)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("resources", "cpus"),
    [
        ({"*": Resources(cpus=2)}, [2, 2, 2]),
        ({"a,b/*": Resources(cpus=2)}, [2, 1, 1]),
        ({"a/*": Resources(cpus=2), "one/digits_split": Resources(cpus=3)}, [1, 2, 3]),
        ({"a/*,one": Resources(cpus=2)}, [1, 2, 2]),
        ({"one": Resources(cpus=2), "*": Resources(cpus=4)}, [4, 4, 4]),
        ({"one/digits_writers(tasks=3, channels=3)": Resources(cpus=2)}, [1, 1, 1]),
    ],
)
def test_resources_are_matched_as_only_is(resources: Mapping[str, Resources], cpus: list[int]) -> None:
    cells = cells_of(study(resources=resources), "*/digits_split", check=False)
    assert [cell.resources.cpus for cell in cells] == cpus


def test_titles_part_the_name_and_not_the_settings() -> None:
    text = "npz(path='C:/x/y.npz')"
    made = study(methods={"a/b": {"method": "finetune"}}, benchmarks=["digits_split"], orders=2)
    (cell, _) = cells_of(made, check=False)
    assert cell.title == "a/b / digits_split / order 0"
    assert chosen(f"a/b / {text}", [Naming("a/b", (text,))]) == ({0}, [])


def test_a_search_width_is_no_part_of_a_name() -> None:
    assert names("one", search=Search(concurrency=2)) == names("one / *")


def test_dots_alone_are_no_name_that_was_clipped() -> None:
    cells = [Naming("hat", ("digits_split",)), Naming("ewc", ("digits_split",))]
    assert chosen("../*", cells) == (set(), ["../*"]) and chosen("..", cells) == (set(), [".."])
    assert chosen("h../*", cells)[0] == {0}

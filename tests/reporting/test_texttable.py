"""Texts in columns."""

import pytest

from raycl import texttable
from raycl.text import COLUMNS, width_of
from raycl.texttable import Column


def test_names_stand_to_the_left_and_numbers_to_the_right() -> None:
    rows = [("method", "acc", "bwt"), ("hat", ".842", "-.01"), ("finetune", ".5", "")]
    assert texttable.lines(rows, texttable.names_and_numbers(3)) == [
        "method     acc   bwt",
        "hat       .842  -.01",
        "finetune    .5",
    ]


def test_a_text_that_is_longer_than_its_column_pushes_on_the_rest_of_its_row_alone() -> None:
    columns = [Column(width=3), Column(width=4, right=True, gap=0), Column(gap=1)]
    assert texttable.lines([("a", "1", "x"), ("abcde", "12345", "x")], columns) == [
        "a     1 x",
        "abcde12345 x",
    ]
    assert texttable.line(("a", "1", ""), columns) == "a     1"


@pytest.mark.parametrize("name", ["naïve", "中文", "é"])
def test_columns_are_measured_as_a_terminal_shows_them(name: str) -> None:
    found = texttable.grid([(name, "1"), ("plain", "10")], texttable.names_and_numbers(2))
    assert {width_of(line) for line in found} == {len("plain") + texttable.GAP + 2}


def test_what_stands_beside_numbers_is_aligned_and_a_word_spans_both() -> None:
    cells = [(".5", ".01"), ("12.25", ""), ("blocked", None)]
    assert texttable.pairs(cells) == ["   .5 .01", "12.25", "blocked"]
    assert texttable.pairs([("1", "*"), ("10", "")], gap=0) == [" 1*", "10"]
    assert texttable.pairs([("blocked", None)]) == ["blocked"]
    assert texttable.pairs([]) == []


def test_the_room_for_names_is_what_the_columns_after_them_leave() -> None:
    numbers = texttable.names_and_numbers(3)[1:]
    assert texttable.room_beside([("acc", "bwt"), (".842", "-.01")], numbers) == COLUMNS - 2 * (4 + 2)
    assert texttable.room_beside([], numbers) == COLUMNS - 2 * 2


def test_a_row_has_a_text_for_each_column() -> None:
    with pytest.raises(ValueError, match="shorter"):
        texttable.lines([("a", "b"), ("a",)], texttable.names_and_numbers(2))

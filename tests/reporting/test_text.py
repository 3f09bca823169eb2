"""Numbers and names as a reader sees them."""

import pytest

from raycl import text


@pytest.mark.parametrize(
    ("value", "plain", "with_sign"),
    [
        (0.842, ".842", "+.842"),
        (1.0, "1.000", "+1.000"),
        (0.9996, "1.000", "+1.000"),
        (-0.172, "-.172", "-.172"),
        (-1.0, "-1.000", "-1.000"),
        (0.0, ".000", ".000"),
        (-0.0004, "-.000", "-.000"),
        (0.0004, ".000", "+.000"),
        (None, "-", "-"),
        (float("nan"), "-", "-"),
    ],
)
def test_fractions_have_no_leading_zero_and_transfers_a_sign(value, plain, with_sign):
    assert text.fraction(value) == plain
    assert text.signed(value) == with_sign


def test_negative_zero_has_no_sign():
    assert text.signed(-0.0) == ".000"


@pytest.mark.parametrize(
    ("value", "written"),
    [(640, "640"), (999.4, "999"), (9_100, "9 k"), (42_000, "42 k"), (999_600, "1.0 M"), (1_240_000, "1.2 M"),
     (123_000_000, "123 M"), (2_500_000_000, "2.5 G"), (None, "-")],
)  # fmt: skip
def test_quantities(value, written):
    assert text.quantity(value) == written


def test_bytes_have_a_unit():
    assert [text.quantity(n, "B") for n in (0, 640, 37_000, 1_500_000)] == ["0 B", "640 B", "37 kB", "1.5 MB"]


@pytest.mark.parametrize(
    ("seconds", "clock", "about"),
    [(0, "0:00", "1 s"), (22, "0:22", "22 s"), (192, "3:12", "3 min"), (3723, "1:02:03", "62 min"),
     (100_000, "27:46:40", "28 h"), (273_600, "3 d 04 h", "3 days")],
)  # fmt: skip
def test_durations(seconds, clock, about):
    assert (text.clock(seconds), text.about(seconds)) == (clock, about)


def test_long_labels_lose_their_middle_and_stay_different():
    labels = ["impresslearn-heterogeneous-10", "impresslearn-homogeneous-10", "hat"]
    short = text.clipped(labels, 12)
    assert short == ["impress..-10", "impres..10~2", "hat"]
    assert len(set(short)) == 3 and max(map(len, short)) == 12


def test_line_breaks_and_control_characters_do_not_break_a_table():
    assert text.one_line("a\tb\nc\x1b[31m") == "a b c [31m"

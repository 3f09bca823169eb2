"""Names with settings: what is in a value is the value's own; what is no name is said in a line."""

from __future__ import annotations

from dataclasses import make_dataclass
from typing import Any

import pytest

from raycl.calls import Call, format_call, parse
from raycl.errors import UserError

VALUES = (
    "12:30",
    "C:/x:y.npz",
    "C:\\x",
    "cuda:0",
    "https://a.b:80/c?d=e#f",
    "a(b",
    "a)b",
    "[x]",
    "{}",
    "->",
    "a,b",
    "it's",
    'say "b"',
    "'",
    '"',
    "\n",
    "\t",
    "\\",
    "%s",
    "名",
    "",
    " ",
    "#",
    "x=1",
    "f(y=2)",
    "\\N{BULLET}",
    "\0",
    ("a:b", ("c:d", 1)),
    (1,),
    (),
    -1,
    1.5e-300,
    True,
    None,
    10**40,
)


@pytest.mark.parametrize("name", ["mlp", "mine:Times", "rooms.mine:Times"])
@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_a_value_keeps_what_is_in_it(name: str, value: Any) -> None:
    kind = make_dataclass("Config", [("start", Any, "default"), ("other", Any, 3)], frozen=True)
    text = format_call(name, kind(start=value))
    assert parse(text, "here") == Call(name, (), {"start": value})
    assert parse(f" {name} ( {value!r}, other = {value!r} ) ", "here") == Call(
        name, (value,), {"other": value}
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "(",
        "mlp(",
        "mlp)",
        "mlp()()",
        "mlp.x()",
        "3",
        "'mlp'",
        "mlp(hidden)",
        "mlp(f(1))",
        "mlp(*[1])",
        "mlp(*(1,))",
        "mlp(**{})",
        "mlp(**{'hidden': 3})",
        "mlp(hidden=1, hidden=2)",
        "mlp(hidden:=1)",
        "mlp((hidden:=1))",
        "mlp(f'{1}')",
        "mlp(hidden=b'1')",
        "mlp(hidden=1j)",
        "mlp(hidden=...)",
        "mlp(hidden={1})",
        "mlp(hidden=set())",
        "mlp(hidden={})",
        "mlp(hidden={[]: 1})",
        "mlp(hidden=[{}])",
        "mlp(hidden=({1: 2},))",
        "mlp(hidden=1 if 1 else 2)",
        "mlp(x for x in y)",
        "mlp(lambda: 1)",
        "mlp(hidden='a\nb')",
        "mlp(hidden=1)\0",
        "\0",
        "mlp(a=\ud800)",
        "mlp(hidden=01)",
        "mlp; import os",
        "import os",
        "__import__('os').x",
        "mlp(None=1)",
        "None",
        "True(1)",
        "mlp if 1 else 2",
        "mlp(" * 300,
        "mlp(" + "(" * 90 + ")" * 90 + ")(",
        "mlp(" + "-" * 9000 + "1)",
        "mlp(" + "[" * 190,
        "mlp(" + "1+" * 4000 + "1)",
        "mlp(" + "9" * 5000 + ")",
        "m" * 100_000,
        "mlp(" + "a=1," * 30_000 + ")",
        "a:b:C",
        "a b:C",
        ":C",
        "a..b:C",
        ".a:C",
        "../a:C",
        "a/b:C",
        "a:",
        "a: ",
        "3a:C",
        "http://x:C",
        "mine:Times(start='12:30'",
        "mine:Times(12:30)",
        "mine:'a'",
        "mine:A.B(1)",
        "{}:C",
        "mine:C:D(a='x:y')",
    ],
)
def test_what_is_no_name_is_one_line(text: str) -> None:
    with pytest.raises(UserError) as caught:
        parse(text, "here")
    line = str(caught.value)
    assert line.startswith("here: ") and "\n" not in line and len(line) < 400

"""Nasty parts of command lines, settings and studies."""

from __future__ import annotations

_LINES = r"""
0
-1
1
2
3.5
-0.0
1e400
nan
inf
True
None
abc
hat
finetune
digits_split
mlp
mlp(hidden=8)
digits_writers(tasks=3, channels=3)
12:30
C:/x:y.npz
cuda:0
https://u:p@h:1/x?y#z
a(b
a)b
[x]
[
]
{}
{
->
a,b
,
,,
it's
say "b"
'
"
\
%s
%
#
名前
naïve
*
?
*/*
hat/*
..
../x
/
//
/dev/null
/dev/full
/nowhere/x
~
$HOME
`id`
;ls
--
-
--set
=
a=b
a.b
.
...
__class__
__init__.x
lambda: 1
f'{1}'
b'1'
1j
[]
[[]]
{1}
{[]: 1}
{'a': []}
set()
(1,)
1,2,3
(((((
10**20
10**1000
100000000000000000000
mine.py
own.py
own:Own
own:Room
own:Odd
own:Nothing
nosuch:X
os:path
best trial
spg
spg+desk
val
paper
full
Float(0.1, 1)
Float(1, 0)
Int(1, 3)
Choice('a', 1)
Choice()
Seeds(1, 2)
Seeds()
Seeds(1, 1)
Search(trials=2)
Search(trials=0)
Grid({})
Grid({'fit.lr': [0.1]})
Grid({'method.lamb': []})
Resources(cpus=2)
Resources(cpus=-1)
Resources(gpus=0.5)
0x10
1_000
01
éééééééééééééééééééééééééééééééééééééééééééééééééé
"""
WORDS = [
    *_LINES.strip().split("\n"),
    *("", " ", "\n", "\t", "\x1b[31m", "\x7f", "\u202e", "\ud800"),
    *("[" * 150, "-" * 3000 + "1", "1+" * 3000 + "1", "9" * 400, "9" * 5000, "x" * 300, "x" * 20000),
]
_FIELDS = """
methods methods.hat methods.hat.method methods.hat.method.lamb methods.hat.search methods.a,b
methods.hat.benchmarks methods.hat.network methods.hat.preset methods.hat.fit.lr methods.x.y
methods.[x].fit.lr benchmarks benchmarks.0 network name preset fit fit.lr fit.epochs fit.batch
fit.optimiser fit.milestones fit.nosuch search search.trials search.concurrency search.x final final.0
orders protocol resources resources.* resources.hat/*.cpus numerics evaluate paper views sheets
tables folder file . .. search.
"""
FIELDS = [*_FIELDS.split(), ""]
_VALUES = r"""
0
-1
1
2.5
True
None
float('nan')
float('inf')
10**18
10**400
1e308
-0.0
''
'abc'
'[x]'
'a\nb'
'\x00'
[]
[1]
{}
{1: 2}
()
(1, 'a')
set()
object()
print
int
lambda: 1
...
b'x'
1j
Float(0.1, 1.0)
Int(1, 4)
Choice(1, 'a')
Seeds(1)
Seeds(1, 2)
Search()
Search(trials=2)
Grid({'fit.lr': [0.1, 0.2]})
Resources()
Resources(cpus=2)
range(3)
__import__('numpy').float64(1)
__import__('numpy').arange(3)
__import__('torch').ones(2)
[[]] * 3
'x' * 10000
type('T', (), {})()
__import__('pathlib').Path('x')
'mlp(hidden=8)'
['digits_split']
{'hat': {}}
{'finetune': {'fit.lr': 0.1}}
'best trial'
'spg'
'own:Own'
type('Rude', (), {'__repr__': lambda s: 1 / 0})()
type('Same', (str,), {})('a')
"""
VALUES = _VALUES.strip().split("\n")
_STUDY_FIELDS = """
methods benchmarks network name preset fit search final orders protocol resources numerics evaluate
paper views sheets tables nosuch
"""
STUDY_FIELDS = _STUDY_FIELDS.split()
_KEYS = """
method method.lamb method.smax method.nosuch fit.lr fit.epochs fit.batch fit.momentum fit.optimiser
fit.schedule fit.milestones fit.factor fit.weight_decay net.hidden net.drop1 network preset search
benchmarks nosuch . method. .lamb
"""
KEYS = [*_KEYS.split(), ""]
BENCHMARKS = [
    "digits_split",
    "digits_writers",
    "digits_permuted",
    "npz",
    "folder",
    "permuted_mnist",
    "cifar100_10",
    "own:Odd",
    "nosuch",
    "",
]
SETTINGS = ["tasks", "size", "path", "val", "channels", "first", "start", "nosuch", "**", "*"]
MINE = """
from raycl import *
STUDY = Study(methods={"hat": {}, "finetune": {}, "a,b": {"method": "ewc"}, "[x]": {"method": "finetune"},
                       "own": {"method": "own:Own"}},
              benchmarks=["digits_split", "digits_writers(tasks=3, channels=3)"], network="mlp(hidden=8)",
              fit={"epochs": 1}, search=None, final=Seeds(1))
"""
OWN = """
from dataclasses import dataclass
from typing import Annotated
from raycl import *
from raycl import benchmarks
from raycl.benchmarks import Recipe
from raycl.method import Method
class Own(Method):
    @dataclass(frozen=True, kw_only=True)
    class Config(Method.Config):
        lamb: Annotated[float, Float(0.1, 1.0)] = 0.5
@dataclass(frozen=True, kw_only=True)
class Odd(Recipe):
    start: str = "a"
    tasks: int = 5
    def build(self, seed):
        return benchmarks.load("digits_split", seed)
Room = 3
"""

"""A method of your own (l2.py) on data of your own (data.npz), compared with methods of raycl."""

from pathlib import Path

from l2 import L2

from raycl import Search, Seeds, Study

DATA = Path(__file__).with_name("data.npz")  # written by make_data.py

STUDY = Study(
    methods={
        "one": {"search": None},  # a network of its own for each task: the reference for forward transfer
        "finetune": {},
        "mine": {"method": L2},
    },
    benchmarks=[f"npz(path={str(DATA)!r}, tasks=4)"],
    network="mlp(hidden=32)",
    preset="spg+desk",
    search=Search(trials=4, startup_trials=2),
    final=Seeds(1, 2),
)

"""A study of seconds for tests on Ray, and the two roads on which it is played."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from raycl import Search, Seeds, Study
from raycl.runs.store import Store
from raycl.study.agenda import Agenda
from raycl.study.expand import cells_of

HERE = Path(__file__).parent


def tiny(methods: dict[str, Any], **changes: Any) -> Study:
    """A study whose own methods lie beside this file."""
    base: dict[str, Any] = {
        "name": "tiny",
        "methods": methods,
        "benchmarks": ["digits_split"],
        "network": "mlp(hidden=8, drop1=0.0, drop2=0.0)",
        "fit": {"epochs": 2, "lr": 0.1},
        "search": Search(trials=3, concurrency=2, startup_trials=2),
        "final": Seeds(1, 2),
        "folder": HERE,
    }
    return Study(**(base | changes))


def on_ray(study: Study, store: Path, at_once: int | None = None) -> Agenda:
    """Play a study on the cluster that is joined."""
    from raycl.tune.launch import run_on_ray
    from raycl.tune.proposals import propose

    cells = cells_of(study)
    agenda = Agenda(cells, Store(store).open(), propose)
    run_on_ray(study, agenda, cells, shipped=False, at_once=at_once)
    return agenda


def in_process(study: Study, store: Path) -> Agenda:
    """Play a study in this process."""
    from raycl.study.local import run_locally
    from raycl.tune.proposals import propose

    agenda = Agenda(cells_of(study), Store(store).open(), propose)
    run_locally(agenda)
    return agenda

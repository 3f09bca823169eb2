"""The queue of basis masks that runs wait for, which groups missing masks into jobs.

A mask depends on nothing but its specification. How many masks are trained in one job, in which order and
together with which others does not change it, so masks are regrouped freely whenever a study is restarted.
"""

from __future__ import annotations

import functools
import itertools
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from raycl import registry, userfiles
from raycl.archives import Artefact
from raycl.runs.store import Store
from raycl.specs import MaskSpec, key_of
from raycl.study.cells import Cell

AT_ONCE = 64  # largest number of masks in a job for a GPU, which trains them in parallel
IN_A_ROW = 8  # largest number of masks in a job for CPUs, which trains them one after another


@dataclass(frozen=True)
class MaskJob:
    """Basis masks to be trained in one process, on one backbone and by the same rules.

    Attributes:
        specs: Specifications of the masks.
        cell: A cell that waits for them; the job uses its resources.
    """

    specs: tuple[MaskSpec, ...]
    cell: Cell

    @functools.cached_property
    def key(self) -> str:
        return "masks-" + key_of([spec.key for spec in self.specs])

    @property
    def name(self) -> str:
        noun = "mask" if len(self.specs) == 1 else "masks"
        return f"{self.cell.title} / {len(self.specs)} basis {noun}"


class MaskQueue:
    """Queue of the masks that runs wait for, together with these runs."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.slots = 1.0  # number of jobs that can run at the same time
        self.wanted: set[str] = set()  # keys of all masks that any run has asked for
        self._there: set[str] = set()
        self._lacking: dict[str, tuple[MaskSpec, Cell]] = {}
        self._alike: dict[tuple[str, ...], dict[str, MaskSpec]] = defaultdict(dict)  # lacking masks by group
        self._training: set[str] = set()  # masks of live jobs
        self._live: dict[str, MaskJob] = {}
        self._waiting: dict[str, set[str]] = {}  # run -> masks it still lacks
        self._runs: dict[str, set[str]] = defaultdict(set)  # mask -> runs that wait for it

    @property
    def done(self) -> int:
        """Number of requested masks that are in the store."""
        return len(self._there)

    @property
    def idle(self) -> bool:
        """Whether no mask is waiting to be trained."""
        return not self._lacking

    def missing(self, specs: Sequence[MaskSpec]) -> list[MaskSpec]:
        """Return the masks that have to be trained and are not in the store."""
        trained = [spec for spec in specs if spec.trained]
        missing = [spec for spec in trained if not self.store.has(Artefact.MASK, spec.key)]
        self.wanted |= {spec.key for spec in trained}
        self._there |= {spec.key for spec in trained} - {spec.key for spec in missing}
        return missing

    def wait(self, run: str, missing: Sequence[MaskSpec], cell: Cell) -> None:
        """Let a run wait for masks, and queue those that no live job is training."""
        self._waiting[run] = {spec.key for spec in missing}
        for spec in missing:
            self._runs[spec.key].add(run)
            if spec.key not in self._training and spec.key not in self._lacking:
                self._lacking[spec.key] = spec, cell
                self._alike[_group(spec)][spec.key] = spec

    def next(self) -> MaskJob | None:
        """Return a job of masks of one group, small enough to keep every slot busy; None if none are left."""
        if not self._lacking:
            return None
        first, cell = next(iter(self._lacking.values()))
        most = AT_ONCE if cell.resources.gpus > 0 else IN_A_ROW
        alike = self._alike[_group(first)]
        count = max(1, min(most, -(-len(alike) // max(1, int(self.slots)))))
        job = MaskJob(tuple(itertools.islice(alike.values(), count)), cell)
        for spec in job.specs:
            del self._lacking[spec.key], alike[spec.key]
            self._training.add(spec.key)
        self._live[job.key] = job
        return job

    def ready(self, key: str) -> list[str]:
        """Note that a mask is in the store, and return the runs that wait for nothing any more."""
        self._there.add(key)
        freed = []
        for run in sorted(self._runs.pop(key, ())):
            if run not in self._waiting:  # another of its masks failed
                continue
            self._waiting[run].discard(key)
            if not self._waiting[run]:
                del self._waiting[run]
                freed.append(run)
        return freed

    def finish(self, job: MaskJob) -> tuple[list[str], list[str]]:
        """Note that a job has ended.

        Returns:
            The runs that wait for nothing any more, and the runs whose mask the job failed to train.
        """
        del self._live[job.key]
        self._training -= {spec.key for spec in job.specs}
        freed, lost = [], set()
        for spec in job.specs:
            if self.store.has(Artefact.MASK, spec.key):
                freed += self.ready(spec.key)
            else:
                lost |= self._runs.pop(spec.key, set())
        for run in lost:
            self._waiting.pop(run, None)
        return freed, sorted(lost)


@functools.lru_cache(maxsize=4096)
def _sequence(benchmark: str, home: Path | None) -> str:
    """Return the benchmark that a window of tasks is cut from; all of its tasks have one input shape."""
    with userfiles.importing_from(home):
        recipe = registry.recipe(benchmark)
    return str(recipe.window(0, 1)) if recipe.windows else benchmark


def _group(spec: MaskSpec) -> tuple[str, ...]:
    """Return what the masks of one job have in common: the backbone, the rules and the training settings."""
    return (
        spec.network,
        _sequence(spec.benchmark, spec.home),
        repr(sorted(spec.code.items())),
        spec.backbone_init,
        str(spec.backbone_seed),
        spec.density_rule,
        spec.score_rank,
        spec.mask_values,
        spec.numerics,
        repr(sorted(spec.fit.items())),
    )

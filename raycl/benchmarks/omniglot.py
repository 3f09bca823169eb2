"""This module defines ten tasks from Omniglot: small real data with the task sizes of PRM's EMNIST-10T."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar
from zlib import crc32

import numpy as np

from raycl.benchmarks import sources
from raycl.benchmarks.base import Recipe
from raycl.benchmarks.families import class_tasks
from raycl.benchmarks.pools import Part, Pool, Rows, shuffled
from raycl.benchmarks.settings import DataSeed
from raycl.errors import UserError
from raycl.tasks import Benchmark

TASKS, CHARACTERS = 10, 5
DRAWERS = (14, 3, 3)  # how many people's drawings are train, val and test


@dataclass(frozen=True, kw_only=True)
class OmniglotTen(Recipe):
    """Ten tasks, each with five characters of one alphabet as its classes; 14 people draw for training.

    The alphabets are used in alphabetical order. If there are fewer than ten, the first ones are used again
    with their next five characters. Of the remaining six people of an alphabet, three draw for validation and
    three for testing.
    """

    id: ClassVar[str] = "omniglot_10"
    source: ClassVar[str] = "omniglot"
    similar: ClassVar[bool | None] = False
    summary: ClassVar[str] = "Omniglot, 10 alphabets of 5 characters each"

    data_seed: DataSeed = 0

    def counts(self) -> tuple[int, int, int] | None:
        return (70, 15, 15)

    def build(self, seed: int) -> Benchmark:
        arrays = sources.arrays(self.source, self.id)
        facts: dict[str, Any] = sources.facts(self.source)
        images, labels = arrays["images_28"], arrays["characters"]
        blocks, titles = self._blocks(arrays, facts["alphabet_names"])
        parts = self._parts(arrays["alphabets"], arrays["drawers"], facts["alphabet_names"])
        train, val, test = (Part(images, labels, rows) for rows in parts)
        pool = Pool(train, val, test, names=tuple(facts["class_names"]))
        tasks = class_tasks(pool, blocks, self.id, titles)
        return Benchmark(str(self), tuple(tasks), (1, 28, 28), similar=self.similar)

    def _blocks(self, arrays: sources.Arrays, names: list[str]) -> tuple[list[list[int]], list[str]]:
        """Return the characters and the name of each task."""
        own = [np.unique(arrays["characters"][arrays["alphabets"] == a]).tolist() for a in range(len(names))]
        blocks: list[list[int]] = []
        titles = []
        for start in range(0, max(map(len, own)) - CHARACTERS + 1, CHARACTERS):
            for name, characters in zip(names, own, strict=True):
                block = characters[start : start + CHARACTERS]
                if len(block) == CHARACTERS and len(blocks) < TASKS:
                    blocks.append(block)
                    titles.append(f"{name} {start + 1} to {start + CHARACTERS}")
        if len(blocks) < TASKS:
            raise UserError(
                f"benchmark {self}: the prepared Omniglot has characters for only {len(blocks)} tasks: "
                "prepare it again from images_background.zip"
            )
        return blocks, titles

    def _parts(self, alphabets: Any, drawers: Any, names: list[str]) -> list[Rows]:
        """Return the rows of train, val and test; each person of an alphabet draws for only one of them."""
        parts: list[list[Rows]] = [[], [], []]
        for alphabet, name in enumerate(names):
            order = shuffled(sum(DRAWERS), self.data_seed, crc32(b"drawers"), crc32(name.encode()))
            for part, people in zip(parts, np.split(order, np.cumsum(DRAWERS)[:-1]), strict=True):
                part.append(np.flatnonzero((alphabets == alphabet) & np.isin(drawers, people)))
        return [np.concatenate(part) for part in parts]

"""Rules by which a search ends trials early: `Halving` and `Median`.

A rule judges trials at the end of a task. It is a function of how accurate certain trials were after how
many tasks, and of nothing else, so that timing, the number of workers and interruptions do not change it.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TypeAlias

from raycl.domains import is_number, plain, shown
from raycl.errors import UserError
from raycl.study import limits

ALWAYS = math.inf  # no score reaches it


@dataclass(frozen=True)
class Course:
    """How far a trial has come.

    Attributes:
        scores: Its mean accuracy on the tasks learnt so far, after each task that it has learnt except the
            last task of all; None where it was not measured.
        over: Whether its run has ended.
        pruned: The number of tasks after which its search has pruned it; 0 if it has not.
    """

    scores: tuple[float | None, ...] = ()
    over: bool = False
    pruned: int = 0

    def score(self, learnt: int) -> float:
        """Return the score after this number of tasks; minus infinity if there is none."""
        found = self.scores[learnt - 1]
        return -math.inf if found is None else found


@dataclass(frozen=True)
class Verdict:
    """What becomes of a trial.

    Attributes:
        pruned: The number of tasks after which it is pruned; 0 if it is not.
        waits: Whether other trials have to come as far before its search can tell.
        below: Where its run pauses from here on, as in `raycl.runs.pauses.Pauses`.
    """

    pruned: int = 0
    waits: bool = False
    below: Mapping[int, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Halving:
    """Successive halving: of the trials that are proposed together, the best go on at the end of some tasks.

    The trials of a generation, which are at most `Search.concurrency`, are proposed together when all earlier
    trials have ended. Each of them pauses at the end of the tasks in `rungs`. When all have come as far,
    those with the highest mean validation accuracy on the tasks learnt so far go on, and the others are
    pruned (Jamieson and Talwalkar, AISTATS 2016, arXiv 1502.07943; a generation is the bracket). With
    ``protocol="paper"`` it is the test accuracy, by which such a study searches. Of equal trials, the earlier
    ones go on.

    Attributes:
        rungs: The numbers of learnt tasks at whose end trials pause, in increasing order.
        keep: The share of the trials at a rung that go on, above 0 and below 1; their number is rounded up.

    Raises:
        UserError: If a value is wrong.
    """

    rungs: Sequence[int]
    keep: float = 1 / 3

    def __post_init__(self) -> None:
        rungs, keep = plain(self.rungs), plain(self.keep)
        if not isinstance(rungs, list | tuple) or not rungs:
            raise UserError(
                f"Halving(rungs={shown(rungs)}) must be numbers of learnt tasks, such as rungs=(1, 3)"
            )
        found = tuple(limits.whole(rung, "Halving: a rung", 1, limits.TASKS) for rung in rungs)
        if any(later <= earlier for earlier, later in pairwise(found)):
            raise UserError(f"Halving(rungs={shown(found)}): rungs must increase, such as rungs=(1, 3)")
        if not is_number(keep) or not 0 < keep < 1:
            raise UserError(f"Halving(keep={shown(keep)}) must be a share above 0 and below 1, such as 1/3")
        object.__setattr__(self, "rungs", found)
        object.__setattr__(self, "keep", float(keep))

    @property
    def latest(self) -> int:
        """The largest number of learnt tasks at whose end a trial is judged in any case."""
        return self.rungs[-1]

    @property
    def how(self) -> str:
        """The rule as a text, such as ``pruned after task 1, where the best 50 % go on``."""
        *first, last = map(str, self.rungs)
        where = f"tasks {', '.join(first)} and {last}" if first else f"task {last}"
        return (
            f"pruned after {where}, where the best {100 * self.keep:.0f} % of those proposed together go on"
        )

    def without_effect(self, trials: int, concurrency: int) -> str:
        """Return why no trial of such a search can be pruned, or ""."""
        together = min(trials, concurrency)
        if self.many(together) < together:
            return ""
        if together == 1:
            return "trials are proposed one at a time: set concurrency to at least 2, or use Median(...)"
        return f"all of the {together} proposed together would go on: raise concurrency, or lower keep"

    def many(self, trials: int) -> int:
        """Return how many of these many trials go on."""
        return math.ceil(trials * self.keep - 1e-9)  # 3 x 1/3 is 1, however it is rounded

    def generation(self, n: int, lost: Sequence[bool], trials: int, concurrency: int) -> range:
        """Return the trials that are proposed together with trial `n`.

        Args:
            n: The number of a trial.
            lost: For each trial before it, whether it has no value and is replaced.
            trials, concurrency: As in `Search`.

        Returns:
            The numbers of the trials; an empty range if the search needs no trial `n`.
        """
        first, replaced = 0, 0
        while True:
            wanted = min(trials + replaced, 2 * trials)
            size = max(0, min(concurrency, wanted - first))
            if n < first + size or not size:
                return range(first, first + size)
            replaced += sum(lost[first : first + size])
            first += size

    def judge(self, generation: Sequence[Course]) -> list[Verdict]:
        """Return what becomes of each trial of a whole generation."""
        found = [Verdict() for _ in generation]
        going = list(range(len(generation)))
        for rung in self.rungs:
            there = [n for n in going if len(generation[n].scores) >= rung]
            if away := [n for n in going if n not in there and not generation[n].over]:
                for n in there:
                    found[n] = Verdict(waits=True)
                for n in away:
                    found[n] = Verdict(below={rung: ALWAYS})
                return found
            ranked = sorted(there, key=lambda n: (-generation[n].score(rung), n))
            best = [n for n in ranked if generation[n].pruned != rung][: self.many(len(going))]
            for n in there:
                if n not in best:
                    found[n] = Verdict(pruned=rung)
            going = sorted(best)
        return found


@dataclass(frozen=True, kw_only=True)
class Median:
    """The median rule: a trial is pruned where it falls below the median of earlier trials.

    At the end of each task, the trial's mean validation accuracy on the tasks learnt so far is compared with
    that of the trials which had ended when it was proposed (with ``protocol="paper"``, the test accuracy). It
    is pruned if its own is below the median of theirs after the same task; trials that were pruned later or
    not at all count as well as those pruned there (Golovin et al., Google Vizier, KDD 2017, section 3.2).

    Attributes:
        after: The number of learnt tasks from which trials are judged.
        warmup: The number of earlier trials that must have come as far before a trial is judged.

    Raises:
        UserError: If a value is not an integer of at least 1.
    """

    after: int = 2
    warmup: int = 5

    def __post_init__(self) -> None:
        for name, most in (("after", limits.TASKS), ("warmup", limits.RUNS)):
            found = limits.whole(getattr(self, name), f"Median: {name}", 1, most)
            object.__setattr__(self, name, found)

    @property
    def latest(self) -> int:
        """The largest number of learnt tasks at whose end a trial is judged in any case."""
        return self.after

    @property
    def how(self) -> str:
        """The rule as a text."""
        return f"pruned from task {self.after} on, below the median of at least {self.warmup} earlier ones"

    def without_effect(self, trials: int, concurrency: int) -> str:
        """Return why no trial of such a search can be pruned, or ""."""
        if trials - concurrency >= self.warmup:
            return ""
        return (
            f"the last of {trials} trials, {concurrency} at once, would know {max(0, trials - concurrency)} "
            f"earlier ones, and warmup = {self.warmup}: raise trials, or lower concurrency or warmup"
        )

    def medians(self, earlier: Sequence[Course]) -> dict[int, float]:
        """Return the scores below which a trial is pruned, by the number of tasks learnt.

        Args:
            earlier: The trials that had ended when the trial was proposed.
        """
        found = {}
        longest = max((len(course.scores) for course in earlier), default=0)
        for learnt in range(self.after, longest + 1):
            known = [course.score(learnt) for course in earlier if len(course.scores) >= learnt]
            if len(known) >= self.warmup:
                found[learnt] = statistics.median(known)
        return found

    def judge(self, own: Course, medians: Mapping[int, float]) -> Verdict:
        """Return what becomes of a trial, given the `medians` of the earlier ones."""
        if own.pruned:
            return Verdict(pruned=own.pruned)
        for learnt, median in medians.items():
            if len(own.scores) >= learnt and own.score(learnt) < median:
                return Verdict(pruned=learnt)
        return Verdict(below=medians)


Prune: TypeAlias = Halving | Median

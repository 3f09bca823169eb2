"""Replay of a search for samplers that keep notes of their own at its trials.

Such a sampler cannot be made from the values of the trials alone. It is therefore asked again for every trial
of the search, in their order, with what it knew when the trial was proposed. Then it is asked for the next
one, so that the proposal depends on the ledger and nothing else. A replay is kept for the next proposal of
the same search, which continues it as long as the ledger agrees; this saves time and changes nothing.
"""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.samplers import BaseSampler
from optuna.study import StudyDirection
from optuna.trial import TrialState, create_trial

from raycl.study.proposer import Outcome, Values

KEPT = 64  # replays that are kept


class Replay:
    """Replay of one search.

    Args:
        space: The searched fields.
        known: Function that returns of how many trials the outcomes were known when a trial was proposed,
            given its number and the outcomes.
        directions: Optuna's direction of each objective.
    """

    def __init__(
        self,
        space: Mapping[str, BaseDistribution],
        known: Callable[[int, Sequence[Outcome]], int],
        directions: Sequence[StudyDirection] = (StudyDirection.MAXIMIZE,),
    ) -> None:
        self._space, self._known_by, self._directions = space, known, list(directions)
        self._study: optuna.Study | None = None
        self._asked: list[Mapping[str, Any]] = []
        self._trials: list[optuna.Trial] = []
        self._told: list[Outcome] = []

    def proposal(
        self,
        n: int,
        asked: Sequence[Mapping[str, Any]],
        told: Sequence[Outcome],
        sampler: Callable[[int], BaseSampler],
        known: Sequence[Mapping[str, Any]],
    ) -> Mapping[str, Any]:
        """Return the values of trial `n`.

        Args:
            n: Number of the trial.
            asked: Values of the trials before it.
            told: Outcomes of the first of these trials.
            sampler: Function that makes the sampler for a trial of this number.
            known: Values of trials that the sampler knows from the beginning, whose outcomes are 0.
        """
        many = len(self._asked)
        agrees = self._asked == list(asked[:many]) and self._told == list(told[: len(self._told)])
        if self._study is None or many > n or not agrees:
            self._begin(known)
        try:
            for k in range(len(self._asked), n):
                self._asked.append(self._ask(k, told, sampler, asked[k]))
            found = self._ask(n, told, sampler, None)
        except BaseException:
            self._study = None  # a trial may be in it that no sampler has finished
            raise
        self._asked.append(found)
        return found

    def _begin(self, known: Sequence[Mapping[str, Any]]) -> None:
        self._study = optuna.create_study(directions=self._directions)
        self._asked, self._trials, self._told = [], [], []
        for params in known:
            self._study.add_trial(
                create_trial(
                    params=dict(params),
                    distributions=dict(self._space),
                    state=TrialState.COMPLETE,
                    values=[0.0] * len(self._directions),
                )
            )

    def _ask(
        self,
        k: int,
        told: Sequence[Outcome],
        sampler: Callable[[int], BaseSampler],
        params: Mapping[str, Any] | None,
    ) -> dict[str, Any]:
        """Ask the sampler for trial `k`; with `params`, the trial gets these values instead of its answer."""
        study = self._study
        assert study is not None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # enqueue_trial
            study.sampler = sampler(k)
            for j in range(len(self._told), self._known_by(k, told)):
                state, values, scores = told_as(told[j])
                for learnt, score in scores.items():
                    self._trials[j].report(score, learnt)
                study.tell(self._trials[j], values if state is TrialState.COMPLETE else None, state=state)
                self._told.append(told[j])
            if params is not None:
                study.enqueue_trial(dict(params))
            trial = study.ask()
            self._trials.append(trial)
            _ = trial.relative_params  # asks for the notes even if all values are given
            return {key: _suggested(trial, key, domain) for key, domain in self._space.items()}


class Replays:
    """The latest replays, by search."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, Replay] = OrderedDict()

    def of(
        self,
        key: str,
        space: Mapping[str, BaseDistribution],
        known: Callable[[int, Sequence[Outcome]], int],
        directions: Sequence[StudyDirection] = (StudyDirection.MAXIMIZE,),
    ) -> Replay:
        """Return the replay of the search with this key."""
        found = self._kept.pop(key, None) or Replay(space, known, directions)
        self._kept[key] = found
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return found


def told_as(outcome: Outcome) -> tuple[TrialState, list[float] | None, dict[int, float]]:
    """Return what Optuna is told of a trial: its state, its values, and its scores by number of tasks learnt.

    The value of a pruned trial is its last score, as Optuna itself has it.
    """
    if outcome is None:
        return TrialState.FAIL, None, {}
    if isinstance(outcome, Values):
        return TrialState.COMPLETE, list(outcome.of), {}
    if isinstance(outcome, tuple):
        scores = {learnt: score for learnt, score in enumerate(outcome, start=1) if score is not None}
        last = list(scores.values())[-1:]
        return TrialState.PRUNED, last or None, scores
    return TrialState.COMPLETE, [outcome], {}


def _suggested(trial: optuna.Trial, key: str, domain: BaseDistribution) -> Any:
    if isinstance(domain, CategoricalDistribution):
        return trial.suggest_categorical(key, domain.choices)
    if isinstance(domain, FloatDistribution):
        return trial.suggest_float(key, domain.low, domain.high, log=domain.log)
    return trial.suggest_int(key, domain.low, domain.high, log=domain.log)  # type: ignore[attr-defined]

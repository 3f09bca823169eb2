"""TPE, with every option set explicitly, as a pure function of the trials that it is given."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import TrialState, create_trial

from raycl.space import Choice, Domain, Float
from raycl.specs import key_of
from raycl.study.cells import Cell
from raycl.study.values import Search


def tpe(
    cell: Cell,
    n: int,
    history: Sequence[tuple[Mapping[str, Any], float | None]],
    running: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """Return the parameters of trial `n`, which depend on the arguments and nothing else.

    Args:
        cell: The cell that is searched.
        n: Number of the trial, from 0.
        history: Parameters of finished trials with their objective. None means that the trial diverged;
            Optuna gets it with the state FAIL.
        running: Parameters of trials that count as running, which Optuna's constant liar takes into account.
    """
    search = cell.search
    assert isinstance(search, Search)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    space = {key: _distribution(domain) for key, domain in cell.space.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # constant_liar
        sampler = optuna.samplers.TPESampler(
            seed=int(key_of({"cell": cell.key, "n": n})[:8], 16),
            n_startup_trials=search.startup_trials,
            n_ei_candidates=24,
            multivariate=False,
            group=False,
            constant_liar=search.concurrency > 1,
        )
    study = optuna.create_study(direction="maximize", sampler=sampler)
    for params, value in history:
        state = TrialState.FAIL if value is None else TrialState.COMPLETE
        study.add_trial(_trial(cell, params, space, state, value))
    for params in running:
        study.add_trial(_trial(cell, params, space, TrialState.RUNNING, None))
    return dict(study.ask(space).params)


def _trial(
    cell: Cell, params: Mapping[str, Any], space: Mapping[str, BaseDistribution], state: TrialState,
    value: float | None,
) -> optuna.trial.FrozenTrial:  # fmt: skip
    known = {key: _outward(cell.space[key], params[key]) for key in space}
    return create_trial(params=known, distributions=dict(space), state=state, value=value)


def _distribution(domain: Domain) -> BaseDistribution:
    match domain:
        case Choice(options=options):
            with warnings.catch_warnings():
                # Optuna warns that tuples cannot be stored in a database, but nothing is stored here.
                warnings.filterwarnings("ignore", message="Choices for a categorical distribution")
                return CategoricalDistribution(options)  # type: ignore[arg-type]
        case Float(low, high, log):
            return FloatDistribution(low, high, log=log)
        case _:
            return IntDistribution(domain.low, domain.high, log=domain.log)


def _outward(domain: Domain, value: Any) -> Any:
    """Return a value as Optuna gave it, because JSON has turned tuples into lists."""
    return tuple(value) if isinstance(domain, Choice) and isinstance(value, list) else value

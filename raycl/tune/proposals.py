"""Samplers of Optuna, with every option set explicitly, as pure functions of the trials they are given."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeAlias

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import BaseSampler
from optuna.study import StudyDirection
from optuna.trial import TrialState, create_trial

from raycl import registry, userfiles
from raycl.errors import UserError
from raycl.process import untouched
from raycl.space import Choice, Domain, Float
from raycl.specs import key_of
from raycl.study.cells import Cell
from raycl.study.proposer import Outcome
from raycl.study.values import Search
from raycl.tune.replay import Replays, told_as

History: TypeAlias = Sequence[tuple[Mapping[str, Any], Outcome]]
_Space: TypeAlias = dict[str, BaseDistribution]

_REPLAYS = Replays()


def propose(cell: Cell, n: int, history: History, running: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the parameters of trial `n`, which depend on the arguments and nothing else.

    The random numbers are those of `Cell.drawing`: two cells with the same search space see the same random
    trials, and the same proposals of their sampler as long as their histories are equal.

    Args:
        cell: The cell that is searched.
        n: Number of the trial, from 0.
        history: Parameters of finished trials with their outcome. Optuna gets a pruned trial with the state
            PRUNED and its scores as intermediate values, and one without a value with the state FAIL.
        running: Parameters of trials that count as running, which several samplers take into account.

    Raises:
        UserError: If a user's own sampler raises, returns something else than a sampler, or proposes values
            outside the domains.
    """
    search = cell.search
    assert isinstance(search, Search)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    space = {key: _distribution(cell.space[key]) for key in sorted(cell.space)}  # drawn in this order
    if search.sampler in ("qmc", "cmaes", "nsgaii") or search.own_sampler:
        params = _replayed(cell, n, history, running, space)
    else:
        params = _told(cell, n, history, running, space)
    return {key: params[key] for key in cell.space}


def _told(
    cell: Cell, n: int, history: History, running: Sequence[Mapping[str, Any]], space: _Space
) -> Mapping[str, Any]:
    """Return the proposal of a sampler that knows everything from the values of the trials."""
    study = optuna.create_study(directions=_directions(cell), sampler=_sampler(cell, n))
    for params, outcome in history:
        study.add_trial(_trial(cell, params, space, *told_as(outcome)))
    for params in running:
        study.add_trial(_trial(cell, params, space, TrialState.RUNNING))
    return study.ask(space).params


def _replayed(
    cell: Cell, n: int, history: History, running: Sequence[Mapping[str, Any]], space: _Space
) -> Mapping[str, Any]:
    """Return the proposal of a sampler that keeps notes at the trials, so that it proposes them all again.

    CMA-ES keeps its covariance there, QMC the number of points that it has drawn, and NSGA-II the generation.
    """
    search = cell.search
    assert isinstance(search, Search)
    told = [(_outwards(cell, params), value) for params, value in history]
    asked = [params for params, _ in told] + [_outwards(cell, params) for params in running]
    known_by = functools.partial(_known, search)
    replay = _REPLAYS.of(f"{cell.key} {search.trials}", space, known_by, _directions(cell))
    if not search.own_sampler:
        # The points of Sobol's sequence begin with the first trial if the sampler knows the space by then.
        known = [_least(space)] if search.sampler == "qmc" else []
        return replay.proposal(n, asked, [value for _, value in told], lambda k: _sampler(cell, k), known)
    with userfiles.importing_from(cell.home):
        own = registry.sampler(search.sampler, f"{cell.name}: search.sampler")
        with untouched(search.sampler), userfiles.blamed(own):
            params = replay.proposal(n, asked, [value for _, value in told], _own_sampler(cell, own), [])
    for key, domain in cell.space.items():
        if params[key] not in domain:
            raise UserError(
                f"{cell.name}: {search.sampler} proposes {key} = {params[key]!r:.60}, outside {domain}"
            )
    return params


def _directions(cell: Cell) -> list[StudyDirection]:
    """Return Optuna's direction of each objective."""
    return [StudyDirection.MINIMIZE if each.smaller else StudyDirection.MAXIMIZE for each in cell.objectives]


def _known(search: Search, n: int, told: Sequence[Outcome]) -> int:
    """Return of how many trials a search knew the outcomes when it proposed trial `n`."""
    return search.known(n, [outcome is None for outcome in told])


def _own_sampler(cell: Cell, own: Callable[..., Any]) -> Callable[[int], BaseSampler]:
    """Return a function from a trial's number to a new sampler of the user's."""

    def make(n: int) -> BaseSampler:
        found = own(_seed(cell, n))
        if not isinstance(found, BaseSampler):
            raise UserError(
                f"{userfiles.where(own)} returns {found!r:.60}; it should return a sampler of Optuna, "
                "such as optuna.samplers.TPESampler(seed=seed)"
            )
        return found

    return make


def _seed(cell: Cell, n: int | Literal["all"]) -> int:
    """Return the seed of the sampler for trial `n`."""
    return int(key_of({"drawing": cell.drawing, "n": n})[:8], 16)


def _sampler(cell: Cell, n: int) -> BaseSampler:
    """Return a new sampler of Optuna for trial `n`."""
    search, seed = cell.search, _seed(cell, n)
    assert isinstance(search, Search)
    with warnings.catch_warnings():
        # constant_liar, multivariate, group, QMCSampler and GPSampler
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        match search.sampler:
            case "tpe":
                return optuna.samplers.TPESampler(
                    seed=seed,
                    n_startup_trials=search.startup_trials,
                    n_ei_candidates=24,
                    multivariate=search.multivariate,
                    group=search.group,
                    constant_liar=search.concurrency > 1,
                )
            case "gp":
                return optuna.samplers.GPSampler(
                    seed=seed,
                    n_startup_trials=search.startup_trials,
                    deterministic_objective=False,
                    warn_independent_sampling=False,
                )
            case "cmaes":
                return optuna.samplers.CmaEsSampler(
                    seed=seed, n_startup_trials=search.startup_trials, warn_independent_sampling=False
                )
            case "nsgaii":
                return optuna.samplers.NSGAIISampler(
                    seed=seed,
                    population_size=search.startup_trials,
                    mutation_prob=None,  # one field of each child on average
                    crossover_prob=0.9,
                    swapping_prob=0.5,
                )
            case "qmc":
                return optuna.samplers.QMCSampler(
                    qmc_type="sobol",
                    scramble=True,
                    seed=_seed(cell, "all"),  # one sequence for all trials
                    independent_sampler=optuna.samplers.RandomSampler(seed=seed),
                    warn_independent_sampling=False,
                )
            case _:
                return optuna.samplers.RandomSampler(seed=seed)


def _trial(
    cell: Cell,
    params: Mapping[str, Any],
    space: Mapping[str, BaseDistribution],
    state: TrialState,
    values: Sequence[float] | None = None,
    scores: Mapping[int, float] | None = None,
) -> optuna.trial.FrozenTrial:
    known = _outwards(cell, params)
    return create_trial(
        params={key: known[key] for key in space},
        distributions=dict(space),
        state=state,
        values=values,
        intermediate_values=dict(scores or {}),
    )


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


def _least(space: _Space) -> dict[str, Any]:
    """Return a point of the space."""
    return {
        key: d.choices[0] if isinstance(d, CategoricalDistribution) else d.low  # type: ignore[attr-defined]
        for key, d in space.items()
    }


def _outwards(cell: Cell, params: Mapping[str, Any]) -> dict[str, Any]:
    """Return values as Optuna gave them, because JSON has turned tuples into lists."""
    return {
        key: tuple(value) if isinstance(cell.space[key], Choice) and isinstance(value, list) else value
        for key, value in params.items()
    }

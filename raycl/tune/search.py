"""A Tune searcher that hands out the jobs of a whole study, so that one Tuner keeps a cluster busy."""

from __future__ import annotations

import dataclasses
import json
import shutil
import uuid
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from ray.tune import Callback
from ray.tune.execution.placement_groups import PlacementGroupFactory
from ray.tune.search import Searcher

from raycl.process import describe_left
from raycl.runs.result import Result, Trained
from raycl.study.agenda import Agenda
from raycl.study.jobs import Job
from raycl.study.maskjobs import MaskJob
from raycl.training.fit import Pulse
from raycl.tune.room import Room
from raycl.tune.stall_watch import last_words

_SMALL = {"trial_id", "training_iteration", "done"}  # what Tune keeps of the last result of an ended run


class StudySearch(Searcher):
    """Searcher that hands an agenda's jobs to Tune and takes their results back.

    Tune pickles its searcher, and a copied agenda would go out of step with the original. The searcher
    therefore holds only a token, by which it finds the agenda in the driver.

    Args:
        agenda: The agenda.
        common: Entries that the config of every job contains.
        room: Where runs may be placed, and how many; None sets no limit.
        say: Function that receives messages about runs, one line each.
    """

    agendas: ClassVar[dict[str, Agenda]] = {}
    rooms: ClassVar[dict[str, Room | None]] = {}
    says: ClassVar[dict[str, Callable[[str], None]]] = {}

    def __init__(
        self,
        agenda: Agenda,
        common: dict[str, Any],
        room: Room | None = None,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        super().__init__()
        self.token = uuid.uuid4().hex
        self.agendas[self.token], self.rooms[self.token], self.says[self.token] = agenda, room, say
        self.said: set[tuple[str, str]] = set()
        self.common = common
        self.keys: dict[str, str] = {}
        self.outcomes: dict[str, str] = {}

    @property
    def agenda(self) -> Agenda:
        return self.agendas[self.token]

    def suggest(self, trial_id: str) -> Any:
        """Return a job's config, None if live jobs must end first, or FINISHED when all is over."""
        strangers: list[str] = []
        if room := self.rooms[self.token]:
            while room.messages:
                self.says[self.token](room.messages.popleft())
            self.agenda.masks.slots, strangers = room.now()
            if len(self.keys) >= self.agenda.masks.slots:
                return None
        job = self.agenda.next()
        if job is None:
            return Searcher.FINISHED if self.agenda.over else None
        self.keys[trial_id] = job.key
        return self.common | config_of(job) | {"strangers": strangers}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        if "outcome" in result:
            self.outcomes[trial_id] = result["outcome"]
        elif "mask" in result:
            self.agenda.mask_ready(result["mask"])
        elif "pulse" in result and trial_id in self.keys:
            self.agenda.pulse(self.keys[trial_id], Pulse(**json.loads(result["pulse"])))

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        outcome = self.outcomes.pop(trial_id, None)  # the process may have ended since then, as intended
        key = self.keys.pop(trial_id, None)
        job = self.agenda.live.get(key) if key else None
        if key is None or job is None:
            return
        message = "the worker process or its node died, in the second and third attempt as well"
        if why := last_words(self.agenda.store.checkpoints / key):
            message += f"; the last time {why}"
        if isinstance(job, MaskJob):
            trained = Trained(**json.loads(outcome)) if outcome else Trained("failed", message)
            self._say_left(job, trained.left)
            shutil.rmtree(self.agenda.store.checkpoints / key, ignore_errors=True)
            self.agenda.finish_masks(key, trained)
        elif outcome:
            finished = Result.from_json(json.loads(outcome))
            self._say_left(job, finished.provenance.get("left", ()))
            self.agenda.finish(key, finished)
        else:
            self.agenda.finish(key, Result(job.spec, "failed", message=message))

    def _say_left(self, job: Job | MaskJob, left: Sequence[str]) -> None:
        """Report, once per label, what its runs leave changed in a process, which is then not used again."""
        if left and (job.cell.label, line := describe_left(left)) not in self.said:
            self.said.add((job.cell.label, line))
            self.says[self.token](f"{job.name} left {line}: its worker process is not used again")

    def forget(self) -> None:
        """Release the agenda."""
        self.agendas.pop(self.token, None)
        self.rooms.pop(self.token, None)
        self.says.pop(self.token, None)

    def save(self, checkpoint_path: str) -> None:
        """Save nothing, because the store holds all results."""

    def restore(self, checkpoint_path: str) -> None:
        raise AssertionError("a study is resumed from its store, never from Tune's snapshots")


class Elsewhere(Callback):
    """Callback that keeps a run that is tried again away from nodes that are not fit.

    Its request was made when the run began. Nodes that have joined since then are unknown to it.

    Args:
        token: The token of the searcher.
        placement: Function from the config of a run to Ray's request for it.
    """

    def __init__(self, token: str, placement: Callable[[dict[str, Any]], PlacementGroupFactory]) -> None:
        self._token, self._placement = token, placement

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Make the request anew."""
        if room := StudySearch.rooms.get(self._token):
            _, strangers = room.now()
            trial.update_resources(self._placement(trial.config | {"strangers": strangers}))


class LastWord(Callback):
    """Callback that lets a worker process end after its outcome without Tune trying the run again."""

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Set the allowed failures to 0; Tune calls the searcher first, so it has the outcome already."""
        if "outcome" in result:
            trial.max_failures = 0


class Forgetful(Callback):
    """Callback that lets Tune forget what a run has reported once the searcher has its outcome.

    Tune keeps every run to the end, with its last result and with running averages of each number in it: two
    to five times as much memory as the agenda needs for the run. Nothing reads them after the step of Tune's
    loop in which the run ended. During that step, callbacks of Tune's own do, and print what they find empty.
    """

    def __init__(self) -> None:
        self._ended: list[Any] = []

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Note that a run has ended well; the searcher was told before."""
        self._ended.append(trial)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Note that a run has ended otherwise, and is not tried again."""
        self._ended.append(trial)

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Forget what the runs have reported that ended in this step."""
        while self._ended:
            self._forget(self._ended.pop())

    @staticmethod
    def _forget(trial: Any) -> None:
        about = trial.run_metadata
        # Without an iteration, Tune would ask the run's worker process for its first result.
        about.last_result = {name: about.last_result[name] for name in _SMALL & about.last_result.keys()}
        about.metric_analysis, about.metric_n_steps = {}, {}


def config_of(job: Job | MaskJob) -> dict[str, Any]:
    """Return what a worker needs to execute a job."""
    common = {"key": job.key, "name": job.name, **dataclasses.asdict(job.cell.resources)}
    if isinstance(job, MaskJob):
        return common | {"specs": [spec.to_json() for spec in job.specs]}
    pauses = job.pauses.to_plain() if job.pauses else None
    return common | {"spec": job.spec.to_json(), "keep": job.keep, "pauses": pauses}

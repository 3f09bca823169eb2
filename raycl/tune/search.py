"""One Tune searcher that walks a whole study, so that one Tuner keeps a whole cluster busy."""

from __future__ import annotations

import dataclasses
import json
import shutil
import uuid
from typing import Any, ClassVar

from ray.tune.search import Searcher

from raycl.agenda import Agenda, Job
from raycl.maskjobs import MaskJob
from raycl.store import Result, Trained
from raycl.training import Pulse
from raycl.tune.watch import last_words


class StudySearch(Searcher):
    """Hands an agenda's jobs to Tune and takes their results back.

    Tune pickles its searcher, and the copy would go its own way; so this holds only the name of the agenda,
    which stays in the driver.
    """

    agendas: ClassVar[dict[str, Agenda]] = {}

    def __init__(self, agenda: Agenda, common: dict[str, Any]) -> None:
        super().__init__()
        self.token = uuid.uuid4().hex
        self.agendas[self.token] = agenda
        self.common = common
        self.keys: dict[str, str] = {}

    @property
    def agenda(self) -> Agenda:
        return self.agendas[self.token]

    def suggest(self, trial_id: str) -> Any:
        """A job's config; None while others run that it waits for; FINISHED when all is over."""
        job = self.agenda.next()
        if job is None:
            return Searcher.FINISHED if self.agenda.over else None
        self.keys[trial_id] = job.key
        return self.common | config_of(job)

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        if "mask" in result:
            self.agenda.mask_ready(result["mask"])
        elif "pulse" in result and trial_id in self.keys:
            self.agenda.pulse(self.keys[trial_id], Pulse(**json.loads(result["pulse"])))

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        key = self.keys.pop(trial_id, None)
        job = self.agenda.live.get(key) if key else None
        if key is None or job is None:
            return
        message = "the worker process or its node died, and so did its second and third attempt"
        if why := last_words(self.agenda.store.checkpoints / key):
            message += f"; the last time {why}"
        outcome = None if error or not result else result.get("outcome")
        if isinstance(job, MaskJob):
            trained = Trained(**json.loads(outcome)) if outcome else Trained("failed", message)
            shutil.rmtree(self.agenda.store.checkpoints / key, ignore_errors=True)
            self.agenda.finish_masks(key, trained)
        elif outcome:
            self.agenda.finish(key, Result.from_json(json.loads(outcome)))
        else:
            self.agenda.finish(key, Result(job.spec, "failed", message=message))

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the store holds the truth."""

    def restore(self, checkpoint_path: str) -> None:
        raise AssertionError("a study is resumed from its store, never from Tune's snapshots")


def config_of(job: Job | MaskJob) -> dict[str, Any]:
    """What a worker needs to play a job."""
    common = {"key": job.key, "name": job.name, **dataclasses.asdict(job.cell.resources)}
    if isinstance(job, MaskJob):
        return common | {"specs": [spec.to_json() for spec in job.specs]}
    return common | {"spec": job.spec.to_json()}

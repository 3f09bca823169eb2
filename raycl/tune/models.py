"""Trained methods as models of MLflow, which its model pages show and `mlflow.pyfunc.load_model` loads.

A model is what `raycl export` writes, with a short program that loads it. Its one pickled file,
``method.pt``, is read by raycl's restricted unpickler, which executes nothing from the file. The model
belongs to the final run that trained it, and is found again by the tag `raycl.key`.
"""

from __future__ import annotations

import os
import re
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from mlflow import pyfunc
from mlflow.entities import LoggedModelOutput, LoggedModelStatus
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.types import ParamSchema, ParamSpec, Schema, TensorSpec

import raycl
from raycl import userfiles
from raycl.runs import execution, export, kept
from raycl.runs.model import Model
from raycl.runs.store import model_path
from raycl.study.progress import CellState, Trial
from raycl.text import counted
from raycl.tune.experiment import no_answer
from raycl.tune.tracking import Tracking, cell_key

KEY = "raycl.key"
PAGE = 100  # models that MLflow is asked for at a time
PROGRAM = '''\
"""Loads the model in the artifact "model"; MLflow executes this file when it loads the model."""

import warnings

import mlflow
import numpy as np
import raycl

with warnings.catch_warnings():
    # MLflow advises to add type hints, which it does not have for images, and shows that in spite of filters.
    warnings.showwarning = lambda *args, **kwargs: None

    class Exported(mlflow.pyfunc.PythonModel):
        """`predict` takes images and the number of their task, and returns the name of each image's class."""

        def load_context(self, context):
            self.model = raycl.load_exported(context.artifacts["model"])

        def predict(self, context, model_input, params=None):
            task = int((params or {}).get("task", 0))
            return self.model.predict(np.asarray(model_input), task).labels



mlflow.models.set_model(Exported())
'''


@dataclass
class Logged:
    """What `log_models` has done.

    Attributes:
        new, known: Numbers of models that were written now, and that MLflow had already.
        unkept: Number of final runs whose method the store has not kept.
    """

    new: int = 0
    known: int = 0
    unkept: int = 0

    def __str__(self) -> str:
        text = f"{counted(self.new, 'model')} logged, {self.known} there already"
        if self.unkept:
            kept_none = f"{counted(self.unkept, 'final run')} kept no weights"
            text += f"; {kept_none}: raycl run STUDY --keep final keeps them"
        return text


def log_models(tracking: Tracking, say: Callable[[str], None] = lambda line: None) -> Logged:
    """Log the trained method of each final run of a study to MLflow, unless it is there.

    Args:
        tracking: The tracking of the study, which has written the runs.
        say: Function that receives messages, one line each.

    Raises:
        UserError: If MLflow cannot be used.
    """
    found = Logged()
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    try:
        there = set(_known(tracking))
        with userfiles.importing_from(tracking.study.folder):
            for state, seed, trial in _final_runs(tracking):
                if (key := trial.spec.key) in there:
                    found.known += 1
                    continue
                model = _recalled(trial, tracking, say)
                if model is None:
                    found.unkept += 1
                    continue
                _log(tracking, state, seed, model)
                there.add(key)
                found.new += 1
    except (MlflowException, OSError) as error:
        raise no_answer(tracking.uri, error) from None
    return found


def _known(tracking: Tracking) -> Iterator[str]:
    """Yield the keys of the runs whose models MLflow has; what an interrupted command left is deleted."""
    experiment, token = tracking.experiment, None
    while True:
        page = experiment.client.search_logged_models([experiment.id], max_results=PAGE, page_token=token)
        for model in page:
            if KEY in model.tags and model.status == LoggedModelStatus.READY:
                yield model.tags[KEY]
            elif KEY in model.tags:
                experiment.client.delete_logged_model(model.model_id)
        if not (token := page.token):
            return


def _final_runs(tracking: Tracking) -> Iterator[tuple[CellState, int, Trial]]:
    """Yield the finished final runs of a study with their cells and seeds."""
    for state in tracking.agenda.states:
        runs = [(trial.seed, trial) for trial in state.final_runs]
        if not state.seeds and state.best is not None:
            runs.append((state.cell.trial_seed, state.best))
        for seed, trial in runs:
            if seed is not None and trial.result is not None and trial.result.status == "done":
                yield state, seed, trial


def _recalled(trial: Trial, tracking: Tracking, say: Callable[[str], None]) -> Model | None:
    """Return the trained method of a run; None if the store has not kept it."""
    try:
        found = execution.recalled(trial.spec, model_path(tracking.agenda.store.root, trial.spec.key))
    except FileNotFoundError:
        return None
    except kept.Unusable as error:
        say(f"the weights that were kept of run {trial.spec.key[:12]} cannot be used ({error})")
        return None
    return Model(found.method, trial.spec, found.reports, "kept", found.ports)


def _log(tracking: Tracking, state: CellState, seed: int, model: Model) -> None:
    """Write a model, and attach it to the run that trained it."""
    experiment, key, cell = tracking.experiment, model.spec.key, state.cell
    run = experiment.known[experiment.known["", cell_key(state)].run_id, key].run_id
    name = re.sub(r"[^\w-]+", "_", f"{cell.label}-{cell.benchmark}-seed-{seed}")[:200]
    tags = {KEY: key, "raycl.method": cell.kinds.method, "raycl.benchmark": cell.benchmark}
    with tempfile.TemporaryDirectory(prefix="raycl-model-") as scratch:
        whole = _written(model, Path(scratch))
        logged = experiment.client.create_logged_model(experiment.id, name, run, tags, model_type="raycl")
        experiment.client.log_model_artifacts(logged.model_id, str(whole))
    experiment.client.log_outputs(run, [LoggedModelOutput(logged.model_id, step=len(model.reports))])
    experiment.client.finalize_logged_model(logged.model_id, "READY")  # last: others are not believed


def _written(model: Model, scratch: Path) -> Path:
    """Return the folder of a model of MLflow."""
    exported, program, whole = scratch / "exported", scratch / "program.py", scratch / "whole"
    export.write(model, exported)
    program.write_text(PROGRAM, encoding="utf-8")
    inputs = model.ports[0].inputs
    schema = inputs and Schema([TensorSpec(np.dtype(np.uint8), (-1, *inputs.shape))])
    params = ParamSchema([ParamSpec("task", "integer", 0)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.showwarning = lambda *args, **kwargs: None  # MLflow sets filters of its own
        pyfunc.save_model(
            path=str(whole),
            python_model=str(program),
            artifacts={"model": str(exported)},
            signature=ModelSignature(schema, params=params) if schema else None,
            pip_requirements=[f"raycl=={raycl.__version__}", "torch", "safetensors"],
        )
    return whole

"""Writing of a trained method to a folder that is used without a store, and reading it back.

The folder holds ``weights.safetensors`` (the method's `state_dict`), ``model.json`` (classes, normalisation,
network, settings and accuracies), ``method.pt`` (what a method consists of besides its tensors, in the
restricted form of checkpoints), ``load.py``, and ``code/`` for classes of the user's own.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from raycl import userfiles
from raycl.errors import UserError, typed_path
from raycl.plainfiles import Unfit, read_bytes, read_plain
from raycl.runs import execution, kept
from raycl.runs.model import Model
from raycl.specs import RunSpec
from raycl.wholefiles import publish

FORMAT = "raycl-model/1"
ABOUT, WEIGHTS, METHOD, LOADER, CODE = "model.json", "weights.safetensors", "method.pt", "load.py", "code"
LOADER_TEXT = '''\
"""Loads the model of this folder. It needs torch and raycl, and neither a store nor data.

    from load import model
    model.predict(images, task=0).labels
"""

from pathlib import Path

import raycl

model = raycl.load_exported(Path(__file__).parent)

if __name__ == "__main__":
    print(model)
'''


def write(model: Model, folder: Path) -> list[Path]:
    """Write a model to a folder, and return the paths of its files.

    Raises:
        UserError: If the folder contains other files, or the method has a state that cannot be stored.
    """
    _check_free(folder)
    spec = model.spec
    form, _ = execution.form_of(spec)
    try:
        method = kept.to_bytes(spec.key, form, kept.Kept(model.method, model.reports, model.ports))
        weights = weights_to_bytes(model.method.state_dict(), {"format": "pt", "run": spec.key})
    except (kept.Unusable, KeyError, ValueError) as error:
        raise UserError(f"run {spec.key[:12]} cannot be exported: {error}") from None
    (folder / ABOUT).unlink(missing_ok=True)  # written last: without it the folder is no model
    if spec.code and spec.home is not None:
        shutil.rmtree(folder / CODE, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
        userfiles.pack(spec.home, folder / CODE)
    publish(folder / WEIGHTS, weights, mode=None)
    publish(folder / METHOD, method, mode=None)
    publish(folder / LOADER, LOADER_TEXT, mode=None)
    publish(folder / ABOUT, json.dumps(about(model), indent=1) + "\n", mode=None)
    return [folder / name for name in (ABOUT, WEIGHTS, METHOD, LOADER)]


def weights_to_bytes(state: Mapping[str, Tensor], about: dict[str, str]) -> bytes:
    """Return the content of a file of safetensors.

    Args:
        state: The tensors by name.
        about: Strings to store besides them.

    Raises:
        KeyError: If a tensor has a type that the format does not have.
    """
    # Tensors that share memory, or are views of others, cannot be written as they are.
    tensors = {name: t.detach().cpu().contiguous().clone() for name, t in state.items()}
    return safetensors.torch.save(tensors, about)


def about(model: Model) -> dict[str, Any]:
    """Return what ``model.json`` says of a model."""
    spec = model.spec
    matrix = [[None if value != value else value for value in row] for row in model.matrix.tolist()]
    return {
        "format": FORMAT,
        "run": spec.key,
        "method": spec.method,
        "config": dict(spec.config),
        "network": spec.network,
        "benchmark": spec.benchmark,
        "fit": dict(spec.fit),
        "seed": spec.seed,
        "input_shape": list(model.method.world.input_shape),
        "tasks": kept.plain_ports(model.ports),
        "accuracies": matrix,
        "parameters": {name: list(t.shape) for name, t in model.method.state_dict().items()},
        "spec": spec.to_json(),
    }


def _check_free(folder: Path) -> None:
    """Check that a folder can receive a model.

    Raises:
        UserError: If it contains anything but an earlier export.
    """
    try:
        names = {path.name for path in folder.iterdir()}
    except FileNotFoundError:
        return
    except OSError as error:
        raise UserError(f"{typed_path(folder)} cannot be used ({error.strerror}): name a folder") from None
    if foreign := names - {ABOUT, WEIGHTS, METHOD, LOADER, CODE, "__pycache__"}:
        raise UserError(f"{typed_path(folder)} contains other files ({min(foreign)}): name a new folder")


def load_exported(folder: str | Path, device: str = "cpu") -> Model:
    """Return the model that `raycl export` wrote to a folder.

    The weights are those of ``weights.safetensors``, so that weights that were edited elsewhere can be used.
    If the run has classes of the user's own, the copies in the folder's ``code/`` are imported.

    Args:
        folder: The folder.
        device: Device of the method.

    Raises:
        UserError: If the folder does not contain a model, or this version of raycl cannot read it.
    """
    folder = Path(folder).resolve()
    try:
        plain = read_plain(folder / ABOUT)
        if plain.get("format") != FORMAT:
            raise Unfit("another format")
        spec = RunSpec.from_json(plain["spec"], folder / CODE if (folder / CODE).is_dir() else None)
        tensors = safetensors.torch.load(read_bytes(folder / WEIGHTS, None))
        found = execution.recalled(spec, folder / METHOD, device)
        found.method.load_state_dict(tensors)
    except UserError:
        raise
    except (
        OSError,
        Unfit,
        KeyError,
        TypeError,
        RuntimeError,
        kept.Unusable,
        safetensors.SafetensorError,
    ) as error:
        raise UserError(f"{typed_path(folder)} does not contain a model of raycl ({error})") from None
    return Model(found.method, spec, found.reports, "kept", found.ports)

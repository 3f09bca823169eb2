"""A trained method with what it takes to use it: `raycl.load` returns one."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from raycl import metrics
from raycl.benchmarks.arrays import as_images
from raycl.errors import UserError
from raycl.method import Method
from raycl.runs.inputs import make_benchmark
from raycl.runs.kept import Ports, ports_of
from raycl.runs.reports import TaskReport
from raycl.specs import RunSpec
from raycl.tasks import Benchmark, Inputs
from raycl.training.feeding import evaluation_batch

Origin: TypeAlias = Literal["kept", "trained again"]


@dataclass(frozen=True, eq=False)
class Prediction:
    """Answers of a model on images of one task.

    Attributes:
        labels: Name of the most probable class of each image, [n].
        y: Its number, [n]; comparable with ``benchmark.tasks[task].test.y``.
        probabilities: Probability of each class (softmax of the logits), float32 [n, classes].
        class_names: Names of the classes, in the order of the columns of `probabilities`.
    """

    labels: NDArray[np.str_]
    y: NDArray[np.int64]
    probabilities: NDArray[np.float32]
    class_names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.y)


class Model:
    """A trained method in evaluation mode.

    ``model.predict(images, task)`` takes images as the data source has them. ``model(x, task)`` returns the
    logits of inputs that are normalised already.

    Attributes:
        method: The method, a `torch.nn.Module`.
        spec: The run that trained it.
        origin: "kept" if its weights were read from a store, else "trained again".
        reports: Reports of the training run.
    """

    def __init__(
        self,
        method: Method,
        spec: RunSpec,
        reports: Sequence[TaskReport],
        origin: Origin,
        ports: Sequence[Ports] = (),
    ) -> None:
        self.method, self.spec, self.reports, self.origin = method, spec, reports, origin
        self._ports = tuple(ports)

    def __repr__(self) -> str:
        spec = self.spec
        return (
            f"Model({spec.method} on {spec.benchmark}, seed {spec.seed}, run {spec.key[:12]}, {self.origin})"
        )

    def __call__(self, x: Tensor, task: int) -> Tensor:
        """Return logits [batch, classes of the task] of inputs that are normalised already."""
        logits: Tensor = self.method(x, task)
        return logits

    @functools.cached_property
    def benchmark(self) -> Benchmark:
        """The tasks of the run; ``benchmark.tasks[t].test.x`` and ``.y`` are images and labels of task t.

        Raises:
            UserError: If their data are not on this machine.
        """
        return make_benchmark(self.spec)

    @functools.cached_property
    def ports(self) -> tuple[Ports, ...]:
        """What each task looks like from outside; read from the data if the store has not kept it."""
        return self._ports or ports_of(self.benchmark)

    @property
    def matrix(self) -> metrics.Matrix:
        """The accuracies [tasks learnt, task tested] on test data, as the training run measured them."""
        return metrics.matrix([report.test for report in self.reports])

    @property
    def device(self) -> torch.device:
        """The device of the method's parameters."""
        return next(itertools.chain(self.method.parameters(), self.method.buffers()), torch.zeros(0)).device

    def to(self, device: torch.device | str) -> Model:
        """Move the method to a device, and return this model."""
        self.method.to(device)
        return self

    def predict(self, images: ArrayLike, task: int) -> Prediction:
        """Return the answers of the model on images.

        The images are transformed and normalised as the benchmark does with those of this task.

        Args:
            images: uint8 in 0..255 or floats in [0, 1], which are rounded to 255ths as in the benchmark. The
                shape is [n, channels, height, width], [n, height, width, channels] or, for grey images,
                [n, height, width]; or features [n, d].
            task: Index of the task, from 0.

        Raises:
            UserError: If there is no such task, or the images are not like its own; the message says what is
                expected.
        """
        if type(task) is not int or not 0 <= task < len(self.ports):
            raise UserError(f"predict: task = {task!r} should be 0 to {len(self.ports) - 1}, counted from 0")
        inputs, names = self.ports[task].inputs, self.ports[task].class_names
        if inputs is None:
            raise UserError(
                f"predict: the splits of {self.spec.benchmark} are of a class of its own, which does not say "
                "how images become inputs; call the model with inputs that are normalised already"
            )
        logits = self._logits(_pixels(images, inputs), inputs, task)
        probabilities = logits.double().softmax(1).float().numpy()
        y = logits.argmax(1).numpy()
        return Prediction(np.array(names)[y], y, probabilities, names)

    def _logits(self, pixels: NDArray[np.uint8], inputs: Inputs, task: int) -> Tensor:
        """Return the logits [n, classes] of stored images, on the CPU."""
        was_training, device = self.method.training, self.device
        dtype = next((p.dtype for p in self.method.parameters()), torch.get_default_dtype())
        size = evaluation_batch(self.method.modules(), device)
        self.method.eval()
        try:
            with torch.no_grad():
                found = [
                    self(inputs(pixels[start : start + size], device).to(dtype), task).cpu()
                    for start in range(0, len(pixels), size)
                ]
        finally:
            self.method.train(was_training)
        return torch.cat(found) if found else torch.zeros(0, len(self.ports[task].class_names))


def _pixels(images: ArrayLike, inputs: Inputs) -> NDArray[np.uint8]:
    """Return images as the data source stores them.

    Raises:
        UserError: If they are of another type or shape.
    """
    found = np.asarray(images) if isinstance(images, list | tuple | np.ndarray) else images
    if isinstance(found, np.ndarray) and found.dtype == np.uint8 and found.shape[1:] == inputs.shape:
        return found.copy() if not found.flags.c_contiguous or not found.flags.writeable else found
    pixels = as_images(images, "predict: images")
    if pixels.shape[1:] != inputs.shape:
        raise UserError(
            f"predict: images have shape {np.shape(images)}; images of this task have the shape "
            f"{inputs.shape} each (channels, height, width)"
        )
    return pixels

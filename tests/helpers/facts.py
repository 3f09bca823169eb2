"""What many tests assert: equal bits, kept logits, untouched state, golden numbers."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from raycl.method import Method
from raycl.tasks import Benchmark
from raycl.training.fit import Fit

GOLDEN = Path(__file__).parents[1] / "golden"


def bits(tensor: Tensor) -> bytes:
    """The numbers as bytes: NaN equals NaN, -0.0 is not 0.0."""
    return tensor.detach().cpu().reshape(-1).contiguous().view(torch.uint8).numpy().tobytes()


def same_bits(left: Tensor, right: Tensor) -> bool:
    return left.shape == right.shape and left.dtype == right.dtype and bits(left) == bits(right)


def state(module: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by name, copied."""
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


def assert_same_state(left: Mapping[str, Tensor], right: Mapping[str, Tensor]) -> None:
    assert left.keys() == right.keys()
    moved = [name for name in left if not same_bits(left[name], right[name])]
    assert not moved, f"differ: {moved}"


def logits(method: Method, on: Benchmark, tasks: Iterable[int]) -> dict[int, Tensor]:
    """Logits on the test split of each task, in evaluation mode."""
    was = method.training
    method.train(False)
    with torch.no_grad():
        found = {task: method(on.tasks[task].test.take(slice(None)), task) for task in tasks}
    method.train(was)
    return found


def reloaded(method: Method) -> Method:
    """The method as a checkpoint gives it back."""
    buffer = io.BytesIO()
    torch.save(method, buffer)
    buffer.seek(0)
    back: Method = torch.load(buffer, weights_only=False)
    return back


class WatchedFit(Fit):
    """A training loop that asserts that nothing outside of what it may move has moved."""

    watched = 0

    def __call__(self, learner: Any, task: Any, **kwargs: Any) -> Any:
        groups = kwargs.get("over") or learner.trainable(task.index)
        free = {id(t) for group in groups for t in (group["params"] if isinstance(group, dict) else [group])}
        whole = learner if isinstance(learner, nn.Module) else nn.Module()
        still = {n: p for n, p in whole.named_parameters() if id(p) not in free}
        before = {name: p.detach().clone() for name, p in still.items()}
        others = {n: b for n, b in whole.named_buffers() if _of_another_task(n, task.index)}
        others = {} if getattr(learner, "joint", False) else others  # one set of statistics for all
        before |= {name: b.clone() for name, b in others.items()}
        fitted = super().__call__(learner, task, **kwargs)
        moved = [name for name, t in {**still, **others}.items() if not same_bits(before[name], t.detach())]
        assert not moved, f"moved though not trainable: {moved}"
        self.watched += len(before)
        return fitted


def _of_another_task(name: str, task: int) -> bool:
    """Whether a buffer belongs to the batch normalisation of another task."""
    parts = [part for part in name.split(".") if part != "states"]
    return "norms" in parts and parts[parts.index("norms") + 1] != str(task)


# ---------------------------------------------------------------------- numbers of the authors' own code


def golden(case: str) -> dict[str, Any]:
    """One file of recorded numbers."""
    whole: dict[str, Any] = json.loads((GOLDEN / f"{case}.json").read_text())
    return whole


def drawn(case: Mapping[str, Any]) -> dict[str, Tensor]:
    """The inputs and initial weights that a case draws, in its order, and checked against its sums."""
    rs = np.random.RandomState(case["seed"])
    found: dict[str, Tensor] = {}
    for entry in case["draws"]:
        shape, note = entry["shape"], entry["note"]
        if entry["call"] == "randn":
            scale, shift = note.removeprefix("x = ").split("*randn(shape) + ")
            value = float(scale) * rs.randn(*shape) + float(shift)
        elif entry["call"] == "rand":
            low = float(note.split("*rand(shape) + ")[1])
            high = float(note.split("(")[1].split("-")[0])
            value = (high - low) * rs.rand(*shape) + low
        else:
            low_high = note.removeprefix("randint(").split(",")[:2]
            value = rs.randint(int(low_high[0]), int(low_high[1]), size=shape)
        assert np.isclose(value.sum(), entry["sum"], rtol=1e-8), entry["name"]
        assert np.allclose(value.reshape(-1)[:2], entry["first"], rtol=1e-8), entry["name"]
        found[entry["name"]] = torch.from_numpy(np.asarray(value))
    return found


def assert_close(found: Tensor | float, wanted: Any, what: str = "") -> None:
    """Equal to what a golden file rounds to ten digits."""
    a = found.detach().double() if isinstance(found, Tensor) else torch.tensor(found, dtype=torch.float64)
    b = torch.tensor(wanted, dtype=torch.float64)
    assert a.shape == b.shape, f"{what}: {tuple(a.shape)} against {tuple(b.shape)}"
    torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-7, msg=lambda text: f"{what}: {text}")


def named(net: nn.Module, body: str = "fc{}", head: str = "last.{}") -> dict[str, nn.Parameter]:
    """Parameters of a chain of blocks under the names of a golden file."""
    found = {}
    for kind, pattern, layers in (
        ("body", body, [block.layer for block in net.body]),
        ("head", head, net.heads),
    ):  # type: ignore[union-attr, arg-type]
        for index, layer in enumerate(layers, start=kind == "body"):
            found[f"{pattern.format(index)}.weight"] = layer.weight
            found[f"{pattern.format(index)}.bias"] = layer.bias
    return found


def put(parameters: Mapping[str, nn.Parameter], values: Mapping[str, Tensor]) -> None:
    """Write the initial values of a golden file over a network's."""
    with torch.no_grad():
        for name, p in parameters.items():
            p.copy_(values[f"init:{name}"])


def gradients(parameters: Mapping[str, nn.Parameter]) -> dict[str, Tensor]:
    return {name: p.grad.clone() for name, p in parameters.items() if p.grad is not None}

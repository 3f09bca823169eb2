"""Piggyback's masks and training replay the numbers of the authors' own code (golden 06a)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import facts
import pytest
import torch
import toys
from torch import Tensor, nn

from raycl.networks import Heads

CASE = facts.golden("06a_piggyback")
TRAINED = "adam(lr=5e-3, 8 steps, loss=sum(y*c)/10+mean(y^2))"


class Single(Heads):
    """A single layer, whose output is the answer."""

    @dataclass(frozen=True, kw_only=True)
    class Config(Heads.Config):
        outputs: int = 4
        kernel: int = 0  # 0: a linear layer

    def __init__(
        self, input_shape: tuple[int, int, int], classes: Sequence[int], config: Config, width: float = 1.0
    ) -> None:
        super().__init__(input_shape, classes, config, width)
        inputs, kernel = input_shape[0], config.kernel
        self.body = (
            nn.Conv2d(inputs, config.outputs, kernel, padding=1)
            if kernel
            else nn.Linear(inputs, config.outputs)
        )
        self.heads = nn.ModuleList(nn.Identity() for _ in classes)

    def features(self, x: Tensor, task: int = 0) -> Tensor:
        y: Tensor = self.body(x if isinstance(self.body, nn.Conv2d) else x.flatten(1))
        return y


def begun(
    name: str, drawn: Mapping[str, Tensor], of: str, real: Tensor | None, **config: Any
) -> tuple[Any, Any]:
    """A method whose one layer has the weights of a case, at its second task, and the benchmark."""
    weight, x = drawn[f"{of}:weight"], drawn[f"{of}:x"]
    x = x if x.dim() == 4 else x.reshape(*x.shape, 1, 1)
    y = torch.zeros(len(x), dtype=torch.long)
    on = toys.given([(x, y), (x, y)], (1, 1), val="none")
    kernel = weight.shape[-1] if weight.dim() == 4 else 0
    method: Any = toys.method(
        name, on, f"test_golden_piggyback:Single(outputs={len(weight)}, kernel={kernel})", **config
    )
    with torch.no_grad():
        method.net.body.weight.copy_(weight)
        method.net.body.bias.copy_(drawn.get(f"{of}:bias", torch.zeros(len(weight))))
    method.freeze()
    method.begin(1)
    if real is not None:
        with torch.no_grad():
            method.real[0].copy_(real)
    return method, on


def train(method: Any, on: Any, c: Tensor, lr: float, steps: int) -> Tensor:
    """Adam steps on all samples at once, by the method's own loop; the losses."""
    losses: list[Tensor] = []
    step = method.step

    def loss(batch: Any) -> Tensor:
        y: Tensor = method(batch.x, batch.task)
        return (y * c).sum() / 10 + (y**2).mean()

    def stepping(batch: Any, update: Any) -> Tensor:
        losses.append(step(batch, update))
        return losses[-1]

    method.loss, method.step = loss, stepping
    loop = toys.fit(optimiser="adam", lr=lr, epochs=steps, batch=len(c), shuffle=False)
    loop(method, on.tasks[1])
    return torch.stack(losses)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("run", CASE["runs"], ids=lambda run: f"{run['kind']}-{run['fn']}")
def test_masks_gradients_and_eight_steps(run: dict[str, Any]) -> None:
    values = facts.drawn(CASE)
    kind, options = run["kind"], {"binarizer": "binary", "ternarizer": "ternary"}
    method, on = begun("piggyback", values, kind, values[f"{kind}:R"], values=options[run["fn"]])
    c = values[f"{kind}:c"]
    y = method(on.tasks[1].test.take(slice(None)), 1)
    facts.assert_close(y if kind == "linear" else y[0, 0], run["output"], "output")
    facts.assert_close(method.masks(1)[0], run["mask"], "mask")
    loss = (y * c).sum()
    loss.backward()
    facts.assert_close(loss, run["loss"], "loss")
    facts.assert_close(method.real[0].grad, run["grad_R"], "gradient of R")
    assert method.net.body.weight.grad is None and method.net.body.bias.grad is None
    losses = train(method, on, c, 5e-3, 8)
    facts.assert_close(losses, run[TRAINED]["loss"], "losses")
    facts.assert_close(method.real[0], run[TRAINED]["R_final"], "R after training")
    method.finish()
    assert int((method.masks(1)[0] == 1).sum()) == run[TRAINED]["kept"]


@pytest.mark.usefixtures("float64")
def test_the_threshold_itself_is_dropped() -> None:
    (examples,) = CASE["binarizer_examples"]
    on = toys.benchmark()
    for values, key in (("binary", "bin"), ("ternary", "ter")):
        method: Any = toys.method("piggyback", on, values=values)
        assert method.kept(torch.tensor(examples["inp"])).tolist() == examples[key]

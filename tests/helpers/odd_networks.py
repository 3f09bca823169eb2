"""Bodies of networks that users bring, on pictures of 8 by 8: what a method may not take for granted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize
from torch.utils.checkpoint import checkpoint

from raycl.networks import Heads

SHAPE = (1, 8, 8)
CLASSES = (2, 3)


class Net(Heads):
    """A body, and heads on what it puts out."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__(SHAPE, CLASSES, Heads.Config())
        self.body = body
        with torch.no_grad():
            self.body.train(False)
            width = self.body(torch.zeros(2, *SHAPE)).shape[1]
            self.body.train(True)
        self.make_heads(width, CLASSES)


def flat(*layers: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Flatten(), *layers)


def wide(*layers: nn.Module) -> nn.Module:
    """Something on pictures, then a hidden layer."""
    return nn.Sequential(*layers, nn.Flatten(), nn.LazyLinear(6), nn.ReLU())


class Then(nn.Module):
    """A forward pass in a line, over modules by name."""

    def __init__(self, does: Callable[[Any, Tensor], Tensor], **parts: Any) -> None:
        super().__init__()
        self.does = does
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x: Tensor) -> Tensor:
        return self.does(self, x)


class Scaled(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return 0.1 * super().forward(x)


class Standardised(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        return F.conv2d(x, weight, self.bias)


class Halved(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return 0.5 * weight


class Doubles(torch.autograd.Function):
    """Twice the gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return 2 * gradients[0]


class PerBatch(torch.autograd.Function):
    """The gradient divided by the size of the batch."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0] / len(gradients[0])


class Ghost(nn.Module):
    """Takes away the mean of the batch, which it does not differentiate; while training, with `only`."""

    def __init__(self, only: bool = False) -> None:
        super().__init__()
        self.only = only

    def forward(self, x: Tensor) -> Tensor:
        return x if self.only and not self.training else x - 0.5 * x.detach().mean(0)


def linear(inputs: int = 64, outputs: int = 16, **how: Any) -> nn.Linear:
    return nn.Linear(inputs, outputs, **how)


def changed(module: nn.Module, change: Callable[[Any], Any]) -> nn.Module:
    change(module)
    return module


def tied() -> nn.Module:
    first, second = linear(), nn.Linear(16, 16)
    third = nn.Linear(16, 16)
    third.weight = second.weight
    return flat(first, nn.ReLU(), second, nn.ReLU(), third)


def twice() -> nn.Module:
    return Then(lambda s, x: s.b(F.relu(s.b(F.relu(s.a(x.flatten(1)))))), a=linear(), b=nn.Linear(16, 16))


def masked_by_a_hook() -> nn.Module:
    layer = linear()
    layer.weight.register_hook(lambda g: 0.5 * g)
    return flat(layer, nn.ReLU())


def own_forward() -> nn.Module:
    layer = linear()
    layer.forward = lambda x: F.linear(x, 3 * layer.weight, layer.bias)  # type: ignore[method-assign]
    return flat(layer, nn.ReLU())


def frozen() -> nn.Module:
    body = flat(linear(), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 16))
    first, _, second, _, third = list(body)[1:]
    first.requires_grad_(False)
    second.weight.requires_grad_(False)
    third.bias.requires_grad_(False)
    return body


FAST: dict[str, Callable[[], nn.Module]] = {
    "linear": lambda: flat(linear(), nn.ReLU(), nn.Linear(16, 16), nn.Tanh()),
    "without biases": lambda: flat(linear(bias=False), nn.ReLU(), nn.Linear(16, 8, bias=False)),
    "in-place ReLU": lambda: flat(linear(), nn.ReLU(inplace=True), nn.Linear(16, 16), nn.ReLU(inplace=True)),
    "in-place ReLU on convolutions": lambda: nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.ReLU(inplace=True), nn.Conv2d(3, 4, 3, stride=2), nn.ReLU(True), nn.Flatten()
    ),
    "in-place arithmetic": lambda: Then(
        lambda s, x: s.b(s.a(x.flatten(1)).mul_(0.3).add_(1.0).clamp_(min=0.5)),
        a=linear(),
        b=nn.Linear(16, 8),
    ),
    "convolution with stride, padding, dilation": lambda: nn.Sequential(
        nn.Conv2d(1, 3, (3, 2), stride=(2, 1), padding=(1, 2), dilation=(1, 2)), nn.ReLU(), nn.Flatten()
    ),
    "skip": lambda: Then(
        lambda s, x: (h := F.relu(s.a(x.flatten(1)))) + F.relu_(s.b(h)), a=linear(), b=nn.Linear(16, 16)
    ),
    "a view is put out": lambda: Then(lambda s, x: s.a(x.flatten(1))[:, ::2], a=linear()),
    "channels last": lambda: Then(
        lambda s, x: F.relu(s.a(x.to(memory_format=torch.channels_last))).flatten(1), a=nn.Conv2d(1, 3, 3)
    ),
    "called by keyword": lambda: Then(lambda s, x: F.relu(s.a(input=x.flatten(1))), a=linear()),
    "a part that nothing uses": lambda: Then(lambda s, x: s.a(x.flatten(1)), a=linear(), b=nn.Linear(3, 3)),
    "a part whose output is thrown away": lambda: Then(
        lambda s, x: (s.b(x.flatten(1)), s.a(x.flatten(1)))[1], a=linear(), b=linear()
    ),
    "some of it frozen": frozen,
    "normalised without parameters": lambda: flat(linear(), nn.LayerNorm(16, elementwise_affine=False)),
    "function of its own": lambda: Then(lambda s, x: Doubles.apply(s.a(x.flatten(1))), a=linear()),
    "checkpointed": lambda: Then(
        lambda s, x: checkpoint(lambda z: F.relu(s.a(z)), x.flatten(1), use_reentrant=False), a=linear()
    ),
    "double precision inside": lambda: Then(
        lambda s, x: s.a(x.flatten(1).double()).float(), a=nn.Linear(64, 16, dtype=torch.float64)
    ),
}

EXACT: dict[str, Callable[[], nn.Module]] = {
    "subclass of Linear": lambda: flat(Scaled(64, 16), nn.ReLU()),
    "subclass of Conv2d": lambda: wide(Standardised(1, 3, 3)),
    "grouped convolution": lambda: wide(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3, groups=2)),
    "circular padding": lambda: wide(nn.Conv2d(1, 3, 3, padding=1, padding_mode="circular")),
    "string padding": lambda: wide(nn.Conv2d(1, 3, 3, padding="same")),
    "weight normalisation": lambda: flat(parametrizations.weight_norm(linear())),
    "spectral normalisation": lambda: flat(parametrizations.spectral_norm(linear())),
    "parametrised by hand": lambda: flat(
        changed(linear(), lambda m: parametrize.register_parametrization(m, "weight", Halved()))
    ),
    "forward hook": lambda: flat(changed(linear(), lambda m: m.register_forward_hook(lambda m, x, y: 2 * y))),
    "forward pre-hook": lambda: flat(
        changed(linear(), lambda m: m.register_forward_pre_hook(lambda m, x: (2 * x[0],)))
    ),
    "backward hook": lambda: flat(
        linear(),
        nn.ReLU(),
        changed(nn.Linear(16, 8), lambda m: m.register_full_backward_hook(lambda m, i, o: (2 * i[0],))),
    ),
    "hook on a weight": masked_by_a_hook,
    "a forward of its own": own_forward,
    "tied weights": tied,
    "a layer used twice": twice,
    "weights used as functions": lambda: Then(
        lambda s, x: F.relu(F.linear(x.flatten(1), s.a.weight)), a=linear()
    ),
    "weights used again": lambda: Then(
        lambda s, x: s.a(x.flatten(1)) + 1e-3 * (x.flatten(1) @ s.a.weight.T), a=linear()
    ),
    "decay inside the network": lambda: Then(
        lambda s, x: s.a(x.flatten(1)) * s.a.weight.square().mean(), a=linear()
    ),
    "sequence": lambda: Then(lambda s, x: F.relu(s.a(x.squeeze(1))).mean(1), a=nn.Linear(8, 16)),
    "sequence of one": lambda: Then(lambda s, x: s.a(x.reshape(-1, 1, 64)).squeeze(1), a=linear()),
    "rows of pictures as samples": lambda: Then(
        lambda s, x: s.a(x.reshape(-1, 8)).view(len(x), -1), a=nn.Linear(8, 4)
    ),
    "features before samples": lambda: Then(
        lambda s, x: (
            s.b(s.a(x.flatten(1)).T @ x.flatten(1)[:, :16]).mean(0).expand(len(x), -1) + x.flatten(1)[:, :8]
        ),
        a=linear(),
        b=nn.Linear(16, 8),
    ),
    "samples in another order": lambda: Then(lambda s, x: s.a(x.flatten(1).flip(0)).flip(0), a=linear()),
    "unbatched convolution": lambda: Then(
        lambda s, x: torch.stack([s.a(each).flatten() for each in x]), a=nn.Conv2d(1, 2, 3)
    ),
    "one-dimensional convolution": lambda: Then(
        lambda s, x: F.relu(s.a(x.squeeze(1))).flatten(1), a=nn.Conv1d(8, 4, 3)
    ),
    "transposed convolution": lambda: wide(nn.ConvTranspose2d(1, 3, 3, stride=2)),
    "layer normalisation": lambda: flat(linear(), nn.LayerNorm(16), nn.ReLU(inplace=True)),
    "group normalisation": lambda: wide(nn.Conv2d(1, 4, 3), nn.GroupNorm(2, 4), nn.ReLU(inplace=True)),
    "batch normalisation": lambda: wide(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True)),
    "PReLU": lambda: flat(linear(), nn.PReLU()),
    "embedding": lambda: Then(
        lambda s, x: s.a((x * 3).long().clamp(-3, 3).flatten(1) + 3).mean(1), a=nn.Embedding(7, 16)
    ),
    "recurrent": lambda: Then(lambda s, x: s.a(x.squeeze(1))[0][:, -1], a=nn.GRU(8, 6, batch_first=True)),
    "recurrent, time first": lambda: Then(
        lambda s, x: s.a(x.squeeze(1).transpose(0, 1))[0][-1], a=nn.LSTM(8, 6)
    ),
    "attention": lambda: Then(
        lambda s, x: s.a(*[x.squeeze(1)] * 3, need_weights=False)[0].flatten(1),
        a=nn.MultiheadAttention(8, 2, batch_first=True),
    ),
    "transformer": lambda: Then(
        lambda s, x: s.a(x.squeeze(1)).mean(1),
        a=nn.TransformerEncoderLayer(8, 2, 12, dropout=0.0, batch_first=True),
    ),
    "bilinear": lambda: Then(
        lambda s, x: s.a(x.flatten(1)[:, :20], x.flatten(1)[:, 20:]), a=nn.Bilinear(20, 44, 6)
    ),
    "a parameter of its own": lambda: changed(
        Then(lambda s, x: s.scale * s.a(x.flatten(1)), a=linear()),
        lambda m: m.register_parameter("scale", nn.Parameter(torch.tensor(0.7))),
    ),
    "an expanded parameter": lambda: changed(
        Then(lambda s, x: s.a(x.flatten(1)) + s.place.expand(len(x), 16), a=linear()),
        lambda m: m.register_parameter("place", nn.Parameter(torch.linspace(-1, 1, 16)[None])),
    ),
    "an extra parameter in a plain layer": lambda: Then(
        lambda s, x: s.a.gain * s.a(x.flatten(1)),
        a=changed(linear(), lambda m: m.register_parameter("gain", nn.Parameter(torch.tensor(1.5)))),
    ),
    "batch mean, not differentiated": lambda: flat(linear(), Ghost(), nn.ReLU()),
    "batch mean, differentiated": lambda: flat(
        Then(lambda s, x: (h := s.a(x)) - 0.9 * h.mean(0), a=linear())
    ),
    "gradient divided by the batch": lambda: Then(lambda s, x: PerBatch.apply(s.a(x.flatten(1))), a=linear()),
}

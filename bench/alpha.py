"""Speed of combining masks, which is the alpha part of an ImpressLearn step, forwards and backwards."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from bench.line import Line
from raycl.supermasks.alpha import Basis, Engine, combine
from raycl.supermasks.bank import random_mask

SHAPES = ((300, 784), (100, 300), (10, 100))  # LeNet-300-100
DENSITY = 0.1
ENGINES: tuple[Engine, ...] = ("table", "float", "chunks")
ROUNDS = 5


def alpha() -> list[Line]:
    """Compare combining basis masks of LeNet-300-100 to autograd with stacked float masks; density 0.1."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    lines: list[Line] = []
    for k in (16, 64, 250):
        lines += _with(k)
    path = "MKL float32" if torch.backends.mkl.is_available() else "torch's own float32, no MKL"
    path = path if torch.get_float32_matmul_precision() == "highest" else "oneDNN float32"
    lines.insert(0, Line(f"matrix products by {path}", torch.get_num_threads(), "thread"))
    torch.set_num_threads(threads)
    return lines


def _with(k: int) -> list[Line]:
    generator = torch.Generator().manual_seed(0)
    weights = [torch.randn(shape, generator=generator) for shape in SHAPES]
    outside = [torch.randn(shape, generator=generator) for shape in SHAPES]  # dL/dV
    coefficients = torch.randn(k, len(SHAPES), generator=generator).requires_grad_()
    masks = [random_mask([w.numel() for w in weights], DENSITY, seed) for seed in range(k)]
    stacked = [torch.stack([mask.tensors(weights)[i] for mask in masks]) for i in range(len(weights))]
    bases = {engine: Basis(weights, masks, engine) for engine in ENGINES}

    def plain() -> list[Tensor]:
        columns = zip(coefficients.unbind(1), stacked, weights, strict=True)
        return [(a[:, None, None] * masks).sum(0) * w for a, masks, w in columns]

    def step(values: Callable[[], list[Tensor]]) -> Tensor:
        (gradient,) = torch.autograd.grad(values(), coefficients, outside)
        return gradient

    ways: dict[str, Callable[[], list[Tensor]]] = {"plain": plain}
    ways |= {engine: lambda basis=basis: combine(basis, coefficients) for engine, basis in bases.items()}  # type: ignore[misc]
    wanted = _exact(stacked, weights, outside)
    errors = {name: float((step(way) - wanted).norm() / wanted.norm()) for name, way in ways.items()}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            started = time.perf_counter()
            step(way)
            seconds[name].append(time.perf_counter() - started)
    floats = sum(t.numel() * t.element_size() for t in stacked)
    lines = [
        Line(f"K = {k}: stacked float masks, autograd", statistics.median(seconds["plain"]) * 1e3, "ms"),
        Line(f"K = {k}: their memory", floats / 2**20, "MiB"),
        Line(f"K = {k}: error of their gradient", errors["plain"], "of its norm"),
    ]
    for engine, basis in bases.items():
        pairs = zip(seconds["plain"], seconds[engine], strict=True)
        ratio = statistics.median(before / now for before, now in pairs)
        taken = basis.nbytes + (floats if engine == "float" else 0)
        goal = "13 or more" if k == 250 and engine == "table" else ""
        compact = "30 or more" if engine != "float" else ""
        lines += [
            Line(f"K = {k}, {engine}: alpha step", statistics.median(seconds[engine]) * 1e3, "ms"),
            Line(f"K = {k}, {engine}: against stacked floats", ratio, "x faster", goal),
            Line(f"K = {k}, {engine}: memory of masks", taken / 2**20, "MiB"),
            Line(f"K = {k}, {engine}: memory against stacked floats", floats / taken, "x less", compact),
            Line(f"K = {k}, {engine}: error of the gradient", errors[engine], "of its norm", "under 1e-6"),
        ]
    return lines


def _exact(stacked: list[Tensor], weights: list[Tensor], outside: list[Tensor]) -> Tensor:
    """Compute the gradient <M_i^t * W_i, dL/dV_i> [K, layers] directly, in double precision."""
    columns = [
        masks.flatten(1).double() @ (w.double() * g.double()).flatten()
        for masks, w, g in zip(stacked, weights, outside, strict=True)
    ]
    return torch.stack(columns, 1)

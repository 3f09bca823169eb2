"""Linear combinations of masks: V_i = W_i * sum_t alpha[t, i] M_i^t (ImpressLearn eq. 1, section 5).

The combination is linear in alpha, so its gradient is <M_i^t * W_i, dL/dV_i>: a product with the masks one
way and with their transpose the other. Nothing is saved for the backward pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal, Protocol, TypeAlias, get_args

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

from raycl.errors import UserError
from raycl.supermasks.bank import BasisMask

Engine: TypeAlias = Literal["auto", "float", "table", "chunks"]
LIMIT = 2**28  # bytes that "auto" lets the masks take as floats
WORD = 16  # masks that share a word of bits
WIDE = 2**14  # weights of a layer from which a table of 2^16 sums pays
CHUNK = 2**20  # entries of masks unpacked at a time
PIECE = 2**16  # weights summed at a time: rounding grows with the length of a sum


class Basis:
    """K masks of one backbone side by side, read-only. A binary mask takes a bit per weight and no more.

    Sixteen masks share a word per weight, so that one look into a table of sums answers for all of them.
    For K masks of n weights in a layer, P in all layers, and floats of f bytes, the engines take besides the
    bits (2 P ceil(K / 16) bytes) and the result (n f for each of U combinations at once)

    - "table": for a moment 2^16 f + n (4 + f), in layers below 2^14 weights n ceil(K / 16) (16 + 2 f): tables
      of the sums of sixteen coefficients; on the way back gradients are added up by word. Binary masks only;
      on a GPU the order of its sums is not fixed.
    - "float": K P f, kept between calls; matrix products both ways.
    - "chunks": for a moment (f + 5) max(n, 2^20), a few masks as floats; matrix products both ways.

    "auto" is "table" for binary masks on a CPU; else "float" where K P f bytes fit `limit`, else "chunks".

    Attributes:
        weights: of the masked layers, frozen.
        bits: int16 [ceil(K / 16), n] of each layer; bit b of word g belongs to mask 16 g + b.
        values: of each layer the factors of kept weights, mask after mask, in C order; empty if binary.
        engine: the one in use.
    """

    def __init__(
        self,
        weights: Sequence[Tensor],
        masks: Sequence[BasisMask],
        engine: Engine = "auto",
        limit: int = LIMIT,
    ) -> None:
        """Raises UserError: no masks, masks of another network or of mixed kinds, or no such engine."""
        self.weights = tuple(weight.detach() for weight in weights)
        _check(masks, self.sizes)
        self.bits = tuple(_words(masks, layer, w) for layer, w in enumerate(self.weights))
        self.values: tuple[Tensor, ...] = ()
        self._ends: tuple[NDArray[np.int64], ...] = ()  # of each mask's values
        if masks[0].values:
            layers = [[mask.values[layer] for mask in masks] for layer in range(len(self.weights))]
            self.values = tuple(
                torch.from_numpy(np.concatenate(parts)).to(w.device)
                for parts, w in zip(layers, self.weights, strict=True)
            )
            self._ends = tuple(np.cumsum([0, *map(len, parts)]) for parts in layers)
        self._statistics = tuple(mask.statistics for mask in masks)
        self.engine = self._chosen(engine, limit)
        self._combiner: _Combiner | None = None

    def __len__(self) -> int:
        return len(self._statistics)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Weights of each layer."""
        return tuple(weight.numel() for weight in self.weights)

    @property
    def nbytes(self) -> int:
        """Bytes of bits and values."""
        return sum(t.numel() * t.element_size() for t in (*self.bits, *self.values))

    def statistics(self, i: int) -> tuple[NDArray[np.float32], ...]:
        """Running mean and variance of every batch normalisation under mask `i`, in the network's order."""
        return self._statistics[i]

    def mask(self, i: int) -> list[Tensor]:
        """Mask `i`, a tensor per layer in the shape, type and place of its weight."""
        return [self.rows(layer, i, i + 1).view_as(w) for layer, w in enumerate(self.weights)]

    def rows(self, layer: int, start: int, stop: int) -> Tensor:
        """Masks start .. stop - 1 of a layer as floats [stop - start, n]."""
        which = torch.arange(start, stop, dtype=torch.int32, device=self.bits[layer].device)
        shifts = (which % WORD).to(torch.int16)[:, None]
        kept = (self.bits[layer].index_select(0, which // WORD) >> shifts).bitwise_and_(1)
        found = kept.to(self.weights[layer].dtype)
        if self.values:
            ends = self._ends[layer]
            factors = self.values[layer][int(ends[start]) : int(ends[stop])].to(found.dtype)
            found.masked_scatter_(kept.bool(), factors)
        return found

    @property
    def combiner(self) -> _Combiner:
        """The engine, made on first use; it stays out of checkpoints."""
        if self._combiner is None:
            engines: dict[str, type[_Combiner]] = {"table": _Tables, "float": _Floats, "chunks": _Chunks}
            self._combiner = engines[self.engine](self)
        return self._combiner

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_combiner": None}

    def _chosen(self, engine: Engine, limit: int) -> Engine:
        if engine not in get_args(Engine):
            raise UserError(f"engine = {engine!r} of a basis is not one of {', '.join(get_args(Engine))}")
        if engine == "table" and self.values:
            raise UserError("engine = 'table' of a basis takes binary masks only; use 'float' or 'chunks'")
        if engine != "auto":
            return engine
        if not self.values and self.weights[0].device.type == "cpu":
            return "table"
        floats = len(self) * sum(w.numel() * w.element_size() for w in self.weights)
        return "float" if floats <= limit else "chunks"


def combine(basis: Basis, alpha: Tensor) -> list[Tensor]:
    """Effective weights V_i = W_i * sum_t alpha[t, i] M_i^t of the layers that have a column in alpha.

    Args:
        alpha: [K, columns], or [U, K, columns] for U tasks at once; column i belongs to layer i.

    Returns:
        A tensor per column in the shape of its layer's weight, with U in front if alpha has it.
    """
    assert alpha.shape[-2] == len(basis), f"alpha {tuple(alpha.shape)} for {len(basis)} masks"
    assert alpha.shape[-1] <= len(basis.weights), f"alpha {tuple(alpha.shape)} has too many columns"
    return list(_Combine.apply(alpha, basis))


def penalty(alpha: Tensor, lamb: float) -> Tensor:
    """Eq. 2: lamb sum_i (sum_t |alpha[t, i]| - 1)^2, summed over the tasks of a [U, K, d] alpha."""
    excess = alpha.abs().sum(-2) - 1
    return lamb * excess.square().sum()


class _Combine(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, alpha: Tensor, basis: Basis) -> tuple[Tensor, ...]:
        ctx.basis, ctx.shape = basis, alpha.shape
        rows = alpha.detach().reshape(-1, *alpha.shape[-2:])  # [U, K, columns]
        mixed = (basis.combiner.mix(i, rows[:, :, i].contiguous()) for i in range(rows.shape[2]))
        return tuple(
            m.view(*alpha.shape[:-2], *weight.shape) * weight
            for m, weight in zip(mixed, basis.weights, strict=False)
        )

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        basis: Basis = ctx.basis
        columns = [
            basis.combiner.project(i, (gradient * weight).reshape(-1, weight.numel()))
            for i, (gradient, weight) in enumerate(zip(gradients, basis.weights, strict=False))
        ]
        return torch.stack(columns, -1).view(ctx.shape), None


class _Combiner(Protocol):
    """Sums of a layer's masks."""

    def __init__(self, basis: Basis) -> None: ...

    def mix(self, layer: int, coefficients: Tensor) -> Tensor:
        """[U, K] to [U, n]: sum_t c[u, t] M^t."""
        ...

    def project(self, layer: int, gradient: Tensor) -> Tensor:
        """[U, n] to [U, K]: <M^t, gradient[u]>."""
        ...


class _Chunks:
    """Unpacks a few masks at a time."""

    def __init__(self, basis: Basis) -> None:
        self.basis = basis

    def parts(self, layer: int) -> Iterator[tuple[int, int, Tensor]]:
        """First mask, the one after the last, and the masks as floats [masks, n]."""
        count = len(self.basis)
        step = max(1, CHUNK // self.basis.sizes[layer])
        for start in range(0, count, step):
            stop = min(start + step, count)
            yield start, stop, self.basis.rows(layer, start, stop)

    def mix(self, layer: int, coefficients: Tensor) -> Tensor:
        mixed = coefficients.new_zeros(len(coefficients), self.basis.sizes[layer])
        for start, stop, masks in self.parts(layer):
            mixed.addmm_(coefficients[:, start:stop], masks)
        return mixed

    def project(self, layer: int, gradient: Tensor) -> Tensor:
        found = gradient.new_empty(len(gradient), len(self.basis))
        for start, stop, masks in self.parts(layer):
            pieces = zip(masks.split(PIECE, 1), gradient.split(PIECE, 1), strict=True)
            found[:, start:stop] = sum(mask @ g.T for mask, g in pieces).T
        return found


class _Floats(_Chunks):
    """All masks unpacked once; the product then reads each of them once."""

    def __init__(self, basis: Basis) -> None:
        super().__init__(basis)
        self.dense = [basis.rows(layer, 0, len(basis)) for layer in range(len(basis.weights))]

    def parts(self, layer: int) -> Iterator[tuple[int, int, Tensor]]:
        yield 0, len(self.basis), self.dense[layer]


class _Tables:
    """Looks the sum of sixteen coefficients up by a weight's word; adds gradients up by word.

    A table of 2^16 sums is made of two of 2^8. Layers too small for that use the two as they are.
    """

    def __init__(self, basis: Basis) -> None:
        self.basis = basis
        weight = basis.weights[0]
        codes = torch.arange(256, device=weight.device)
        places = torch.arange(8, device=weight.device)
        self.patterns = ((codes[:, None] >> places) & 1).to(weight.dtype)  # [256, 8], the bits of a byte

    def mix(self, layer: int, coefficients: Tensor) -> Tensor:
        bits, size = self.basis.bits[layer], self.basis.sizes[layer]
        padded = F.pad(coefficients, (0, len(bits) * WORD - len(self.basis)))
        sums = padded.view(-1, len(bits), 2, 8) @ self.patterns.T  # [U, words, low and high byte, 256]
        if size < WIDE:
            places = _places(bits)
            found = [one.reshape(-1).index_select(0, places).view(-1, size).sum(0) for one in sums]
            return torch.stack(found)
        mixed = coefficients.new_zeros(len(coefficients), size)
        for word, both in zip(map(_unsigned, bits), sums.unbind(1), strict=True):
            for out, (low, high) in zip(mixed, both, strict=True):
                out += (high[:, None] + low).view(-1).index_select(0, word)
        return mixed

    def project(self, layer: int, gradient: Tensor) -> Tensor:
        bits, size = self.basis.bits[layer], self.basis.sizes[layer]
        sums = gradient.new_zeros(len(gradient), len(bits), 2, 256)
        if size < WIDE:
            places = _places(bits)
            for of, one in zip(gradient, sums, strict=True):
                one.view(-1).index_add_(0, places, of.expand(2 * len(bits), size).reshape(-1))
        else:
            table = gradient.new_empty(256, 256)  # [high byte, low byte]
            for word, both in zip(map(_unsigned, bits), sums.unbind(1), strict=True):
                for of, (low, high) in zip(gradient, both, strict=True):
                    table.zero_().view(-1).index_add_(0, word, of)
                    torch.sum(table, 0, out=low)
                    torch.sum(table, 1, out=high)
        return (sums @ self.patterns).view(len(gradient), -1)[:, : len(self.basis)]


def _unsigned(word: Tensor) -> Tensor:
    """A word per weight as numbers 0 .. 65535, [n] int32, which a look-up wants."""
    return word.view(torch.uint16).to(torch.int32)


def _places(bits: Tensor) -> Tensor:
    """Where the low and the high byte of each word stand in tables [words, 2, 256], flat [words 2 n]."""
    words = _unsigned(bits)
    tables = torch.arange(0, 512 * len(bits), 256, dtype=torch.int32, device=bits.device).view(-1, 2, 1)
    return (torch.stack([words & 255, words >> 8], 1) + tables).view(-1)


def _check(masks: Sequence[BasisMask], sizes: Sequence[int]) -> None:
    if not masks:
        raise UserError("a basis needs at least one mask; raise k")
    wanted = [(n + 7) // 8 for n in sizes]
    for number, mask in enumerate(masks):
        if [len(layer) for layer in mask.bits] != wanted:
            raise UserError(
                f"basis mask {number} has layers of {[len(layer) for layer in mask.bits]} bytes, and the "
                f"network wants {wanted}; train it on this network"
            )
        if bool(mask.values) != bool(masks[0].values):
            raise UserError(f"basis mask {number} and mask 0 differ in kind: one is binary, one has values")


def _words(masks: Sequence[BasisMask], layer: int, weight: Tensor) -> Tensor:
    n = weight.numel()
    words = np.zeros((-(-len(masks) // WORD), n), np.uint16)
    for t, mask in enumerate(masks):
        words[t // WORD] |= np.unpackbits(mask.bits[layer], count=n).astype(np.uint16) << (t % WORD)
    return torch.from_numpy(words.view(np.int16)).to(weight.device)

"""Linear combinations of masks: V_i = W_i * sum_t alpha[t, i] M_i^t (ImpressLearn eq. 1, section 3).

The combination is linear in alpha, so its gradient is <M_i^t * W_i, dL/dV_i>. The forward pass is a product
with the masks, and the backward pass one with their transpose. No tensor is saved for the backward pass.
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
LIMIT = 2**28  # the largest number of bytes for which "auto" stores the masks as floats
WORD = 16  # the number of masks whose bits share a word
WIDE = 2**14  # the number of weights of a layer from which a table of 2^16 sums is worth its cost
CHUNK = 2**20  # the number of entries of masks that are unpacked at a time
PIECE = 2**16  # the number of weights summed at a time, because rounding errors grow with the length of a sum


class Basis:
    """Read-only store of K masks of one backbone, in which a binary mask takes one bit per weight.

    For each weight, the bits of sixteen masks form a word, so that a single look-up in a table of sums covers
    sixteen masks. For K masks of n weights in a layer and P in all layers, and floats of f bytes, the engines
    need the following memory in bytes, in addition to the bits (2 P ceil(K / 16)) and to the result (n f for
    each of U combinations at once).

    - "table" temporarily needs 2^16 f + n (4 + f), and n ceil(K / 16) (16 + 2 f) in layers of fewer than 2^14
      weights. The forward pass looks up sums of sixteen coefficients in tables; the backward pass adds up
      gradients by word. It works for binary masks only, and on a GPU the order of its sums is not fixed.
    - "float" needs K P f, which it keeps between calls. Both passes are matrix products.
    - "chunks" temporarily needs (f + 5) max(n, 2^20), for a few masks as floats. Both passes are matrix
      products.

    "auto" chooses "table" for binary masks on a CPU; otherwise "float" if K P f bytes are within `limit`, and
    "chunks" if not.

    Args:
        weights: Weights of the masked layers.
        masks: Masks of the basis.
        engine: Engine that combines the masks.
        limit: Limit for "auto", in bytes.

    Attributes:
        weights: Frozen weights of the masked layers.
        bits: Tensor int16 [ceil(K / 16), n] for each layer; bit b of word g belongs to mask 16 g + b.
        values: For each layer, the factors of kept weights, mask after mask in C order; empty if binary.
        engine: Engine in use.

    Raises:
        UserError: There are no masks, they are of another network or of different kinds, or the engine is
            unknown or does not support them.
    """

    def __init__(
        self,
        weights: Sequence[Tensor],
        masks: Sequence[BasisMask],
        engine: Engine = "auto",
        limit: int = LIMIT,
    ) -> None:
        self.weights = tuple(weight.detach() for weight in weights)
        _check(masks, self.sizes)
        self.bits = tuple(_words(masks, layer, w) for layer, w in enumerate(self.weights))
        self.values: tuple[Tensor, ...] = ()
        self._ends: tuple[NDArray[np.int64], ...] = ()  # where the values of each mask end
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
        """Number of weights of each layer."""
        return tuple(weight.numel() for weight in self.weights)

    @property
    def nbytes(self) -> int:
        """Number of bytes of bits and values."""
        return sum(t.numel() * t.element_size() for t in (*self.bits, *self.values))

    def statistics(self, i: int) -> tuple[NDArray[np.float32], ...]:
        """Return mean and variance of every batch normalisation under mask `i`, in the network's order."""
        return self._statistics[i]

    def mask(self, i: int) -> list[Tensor]:
        """Return mask `i` as one tensor per layer, with the shape, dtype and device of its weight."""
        return [self.rows(layer, i, i + 1).view_as(w) for layer, w in enumerate(self.weights)]

    def rows(self, layer: int, start: int, stop: int) -> Tensor:
        """Return masks start, ..., stop - 1 of a layer as floats [stop - start, n]."""
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
        """Implementation of the engine, which is created on first use and not saved in checkpoints."""
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
            raise UserError("engine = 'table' of a basis takes only binary masks; use 'float' or 'chunks'")
        if engine != "auto":
            return engine
        if not self.values and self.weights[0].device.type == "cpu":
            return "table"
        floats = len(self) * sum(w.numel() * w.element_size() for w in self.weights)
        return "float" if floats <= limit else "chunks"


def combine(basis: Basis, alpha: Tensor) -> list[Tensor]:
    """Return the effective weights V_i = W_i * sum_t alpha[t, i] M_i^t of the layers with a column in alpha.

    Args:
        basis: The K masks.
        alpha: Coefficients [K, columns], or [U, K, columns] for U tasks at once; column i belongs to layer i.

    Returns:
        One tensor per column, with the shape of the weight of its layer, and U as first axis if alpha has it.
    """
    assert alpha.shape[-2] == len(basis), f"alpha {tuple(alpha.shape)} for {len(basis)} masks"
    assert alpha.shape[-1] <= len(basis.weights), f"alpha {tuple(alpha.shape)} has too many columns"
    return list(_Combine.apply(alpha, basis))


def penalty(alpha: Tensor, lamb: float) -> Tensor:
    """Return the penalty of eq. 2, lamb sum_i (sum_t |alpha[t, i]| - 1)^2, summed over the tasks of alpha.

    Args:
        alpha: Coefficients [K, d], or [U, K, d] for U tasks.
        lamb: Weight of the penalty.
    """
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
    """Products with the masks of a layer, and with their transpose."""

    def __init__(self, basis: Basis) -> None: ...

    def mix(self, layer: int, coefficients: Tensor) -> Tensor:
        """Return sum_t c[u, t] M^t as [U, n] for coefficients c [U, K]."""
        ...

    def project(self, layer: int, gradient: Tensor) -> Tensor:
        """Return <M^t, gradient[u]> as [U, K] for gradients [U, n]."""
        ...


class _Chunks:
    """Combiner that unpacks a few masks at a time."""

    def __init__(self, basis: Basis) -> None:
        self.basis = basis

    def parts(self, layer: int) -> Iterator[tuple[int, int, Tensor]]:
        """Yield the start and end of each range of masks, and its masks as floats [masks, n]."""
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
    """Combiner that unpacks all masks once and keeps them."""

    def __init__(self, basis: Basis) -> None:
        super().__init__(basis)
        self.dense = [basis.rows(layer, 0, len(basis)) for layer in range(len(basis.weights))]

    def parts(self, layer: int) -> Iterator[tuple[int, int, Tensor]]:
        yield 0, len(self.basis), self.dense[layer]


class _Tables:
    """Combiner that looks up the sum of sixteen coefficients by the word of a weight.

    The backward pass adds up gradients by word. A table of 2^16 sums is built from two tables of 2^8, one per
    byte of the word. For layers of fewer than `WIDE` weights this is not worth it, and the two are used.
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
    """Return the words of all weights as numbers from 0 to 65535, [n] int32, as indexing needs them."""
    return word.view(torch.uint16).to(torch.int32)


def _places(bits: Tensor) -> Tensor:
    """Return flat indices [words 2 n] of both bytes of each word, low and high, in tables [words, 2, 256]."""
    words = _unsigned(bits)
    tables = torch.arange(0, 512 * len(bits), 256, dtype=torch.int32, device=bits.device).view(-1, 2, 1)
    return (torch.stack([words & 255, words >> 8], 1) + tables).view(-1)


def _check(masks: Sequence[BasisMask], sizes: Sequence[int]) -> None:
    if not masks:
        raise UserError("a basis needs at least one mask; raise k")
    expected = [(n + 7) // 8 for n in sizes]
    for number, mask in enumerate(masks):
        if [len(layer) for layer in mask.bits] != expected:
            raise UserError(
                f"basis mask {number} has layers of {[len(layer) for layer in mask.bits]} bytes, but the "
                f"network needs {expected}; train it on this network"
            )
        if bool(mask.values) != bool(masks[0].values):
            raise UserError(
                f"basis mask {number} and mask 0 differ in kind: one is binary, and the other has values"
            )


def _words(masks: Sequence[BasisMask], layer: int, weight: Tensor) -> Tensor:
    n = weight.numel()
    words = np.zeros((-(-len(masks) // WORD), n), np.uint16)
    for t, mask in enumerate(masks):
        words[t // WORD] |= np.unpackbits(mask.bits[layer], count=n).astype(np.uint16) << (t % WORD)
    return torch.from_numpy(words.view(np.int16)).to(weight.device)

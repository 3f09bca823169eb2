"""PathNet: Fernando et al., 2017, arXiv 1701.08734, in the form of HAT's code.

Every layer is a set of narrow modules. A path names a few modules per layer, whose outputs are summed. For
each task, two paths compete over several generations of training. The winning path answers the task, and its
modules are frozen permanently.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, TypeAlias

import torch
from torch import Tensor, nn

from raycl.masks import layers_of
from raycl.method import Method, Task
from raycl.networks import Blocks, Heads, Network
from raycl.networks._checks import check_walked
from raycl.networks._dropout import dropout
from raycl.space import Choice, Int
from raycl.training.fit import Fit

PATHS = 2
MODULES = 1_000  # largest number of modules per layer; a whole network is built for each index

Path: TypeAlias = list[list[int]]
"""Modules of each layer; a module that mutation named twice is active once."""


@dataclass
class _Entrant:
    """A path in the tournament and the present state of its learning-rate schedule."""

    path: Path
    lr: float | None = None
    patience: int | None = None
    best: float = math.inf  # lowest validation loss


class PathNet(Method):
    """Tournaments between paths through shared modules; free modules are reset before every task.

    A generation trains each path for ``epochs // generations`` epochs. The second path starts from the
    weights that the first one leaves. At the end of a generation the best weights so far are restored. A
    plateau schedule continues from one generation to the next, separately for the two paths; any other
    schedule runs completely in each generation.

    Equations:
        h[l] = sum over m in P[l] of block[l,m](h[l-1])
        winner = path with the lowest validation loss in any generation so far
        other path <- winner, with each m <- (m + u) mod modules
                      with probability 1 / (n_active L),  u ~ U{-2, ..., 2}

        h[l]        output of layer l of L; h[0] is the input, and the head of
                    the task reads h[L]
        P[l]        path: n_active of the `modules` modules of layer l
        block[l,m]  module m: the network's layer l with `expansion` times its
                    width, followed by ReLU, dropout and pooling
    """

    keeps_logits = True
    needs = (Blocks, Heads)
    preset_overrides: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        # The paper has three pairs of (n_active, modules). Independent domains cannot express pairs, so all
        # combinations are searched.
        "prm": {
            "method.generations": Choice(5, 10, 20, 40),
            "method.n_active": Choice(3, 5),
            "method.modules": Choice(10, 16, 20),
        },
        "pmask": {"method.generations": Int(5, 200), "method.n_active": 3, "method.modules": 16},
    }
    deviations: ClassVar[Sequence[str]] = (
        "two paths per task compete by validation loss (HAT); the paper draws pairs from many paths",
        "a generation's second path starts from the first one's best weights; in HAT's code from its last",
        "a module that mutation names twice in a layer is active once",
        "there are at most as many generations as epochs",
    )

    @dataclass(frozen=True, kw_only=True)
    class Config(Method.Config):
        generations: Annotated[int, Choice(5, 10, 20, 50)] = 20  # G
        n_active: Annotated[int, Int(2, 5)] = 3  # N, active modules per layer
        modules: Annotated[int, Choice(10, 16, 20)] = 16  # M, modules per layer
        expansion: float = 0.258  # e, width of a module relative to the network's layer

        def __post_init__(self) -> None:
            for name in ("generations", "n_active"):
                if getattr(self, name) < 1:
                    raise ValueError(f"{name} = {getattr(self, name)} must be at least 1")
            if self.n_active > self.modules:
                raise ValueError(f"n_active = {self.n_active} must not exceed modules = {self.modules}")
            if self.modules > MODULES:
                raise ValueError(f"modules = {self.modules} is too many: at most {MODULES} in a layer")
            if not 0 < self.expansion <= 16:
                raise ValueError(f"expansion = {self.expansion} must be above 0, and at most 16")

    config: Config

    @classmethod
    def check_network(cls, net: Network, tasks: int) -> None:
        super().check_network(net, tasks)
        check_walked(net, cls.__name__)

    def make(self) -> None:
        nets = [self._narrow(index) for index in range(self.config.modules)]
        self.check_network(nets[0], self.world.tasks)
        self.layers: Any = nn.ModuleList(  # [layer][module]
            nn.ModuleList(blocks) for blocks in zip(*(net.blocks for net in nets), strict=True)
        )
        self.heads = nets[0].heads
        self.drop_in = [block.drop_in for block in nets[0].blocks]  # drawn once per layer, not per module
        for block in (block for net in nets for block in net.blocks):
            block.drop_in = 0.0
        self.paths: list[Path] = []  # paths of the tasks learnt
        self.path: Path = [list(range(self.config.n_active)) for _ in self.layers]  # path of all other tasks

    def _narrow(self, index: int) -> Blocks:
        """Return a network whose layers are the modules number `index`, with their initial weights."""
        width = self.config.expansion * (1 + 2**-50)  # the factor keeps rounding from losing a unit
        net = self.world.build(width, index)
        assert isinstance(net, Blocks)
        return net

    def learn(self, task: Task, fit: Fit) -> None:
        if self.paths:
            self.restart()
        self.path = self.tournament(task, fit)
        self.paths.append(self.path)
        for layer, frozen in zip(self.layers, self.frozen(), strict=True):
            for module in frozen:
                layer[module].requires_grad_(False)  # saves their backward pass

    def restart(self) -> None:
        """Reset free modules to their initial weights."""
        frozen = self.frozen()
        for index in range(self.config.modules):
            start = self._narrow(index)
            for layer, block, taken in zip(self.layers, start.blocks, frozen, strict=True):
                if index not in taken:
                    layer[index].load_state_dict(block.state_dict())

    def tournament(self, task: Task, fit: Fit) -> Path:
        """Train paths in generations and return the winner, with the weights of its best epoch restored."""
        generations = min(self.config.generations, fit.config.epochs)
        entrants = [_Entrant(self.drawn()) for _ in range(PATHS)]
        tensors = [*self._free(), *self.heads[task.index].parameters()]
        lowest, winner, saved = math.inf, 0, [t.detach().clone() for t in tensors]
        for generation in range(generations):
            for place, entrant in enumerate(entrants):
                loss = self._train(entrant, task, fit, fit.config.epochs // generations, generation)
                if loss < lowest:
                    lowest, winner, saved = loss, place, [t.detach().clone() for t in tensors]
            with torch.no_grad():
                for tensor, copy in zip(tensors, saved, strict=True):
                    tensor.copy_(copy)
            for place, entrant in enumerate(entrants):
                if place != winner and generation + 1 < generations:
                    entrant.path = self.mutated(entrants[winner].path)
        return entrants[winner].path

    def _train(self, entrant: _Entrant, task: Task, fit: Fit, epochs: int, generation: int) -> float:
        """Train one path for one generation and return its validation loss.

        If there are no validation data, it is the loss on the training split.
        """
        self.path = entrant.path
        fitted = fit(
            self,
            task,
            epochs=epochs,
            lr=entrant.lr,
            patience=entrant.patience,
            best=entrant.best,
            stream=f"generation-{generation}",
            account="main",
        )
        if fit.config.schedule == "plateau":
            entrant.lr = fitted.lr
        entrant.patience = fitted.patience
        if not len(task.val):
            return fit.loss(self, task.index, task.train)
        entrant.best = min(entrant.best, fitted.val_loss)
        return fitted.val_loss

    def drawn(self) -> Path:
        """Return a random path with distinct modules in each layer."""
        n, modules = self.config.n_active, self.config.modules
        return [torch.randperm(modules, device="cpu")[:n].tolist() for _ in self.layers]

    def mutated(self, path: Path) -> Path:
        """Return a mutated copy of the path.

        Each entry is shifted by -2..2, modulo the number of modules, with a probability such that one entry
        of the whole path is expected to be chosen.
        """
        found, n = [], self.config.n_active
        for entries in path:
            moves = torch.rand(n, device="cpu") < 1 / (n * len(path))
            shifts = torch.randint(-2, 3, (n,), device="cpu") * moves
            pairs = zip(entries, shifts.tolist(), strict=True)
            found.append([(entry + shift) % self.config.modules for entry, shift in pairs])
        return found

    def frozen(self, tasks: int | None = None) -> list[set[int]]:
        """Return, for each layer, the modules on the paths of the first `tasks` tasks, or of all tasks."""
        paths = self.paths[:tasks]
        return [{m for path in paths for m in path[layer]} for layer in range(len(self.layers))]

    def _free(self, path: Path | None = None) -> list[nn.Parameter]:
        """Return the parameters of modules that are not frozen, on a path or, with None, in all layers."""
        found: list[nn.Parameter] = []
        for index, (layer, frozen) in enumerate(zip(self.layers, self.frozen(), strict=True)):
            named = range(len(layer)) if path is None else dict.fromkeys(path[index])
            found += [p for module in named if module not in frozen for p in layer[module].parameters()]
        return found

    def trainable(self, task: int) -> Iterable[Any]:
        return [*self._free(self.path), *self.heads[task].parameters()]

    def forward(self, x: Tensor, task: int) -> Tensor:
        path = self.paths[task] if task < len(self.paths) else self.path
        for layer, entries, drop_in in zip(self.layers, path, self.drop_in, strict=True):
            x = dropout(x, drop_in, self.training)
            x = functools.reduce(torch.add, (layer[module](x) for module in dict.fromkeys(entries)))
        logits: Tensor = self.heads[task](x)
        return logits

    def diagnostics(self, task: int) -> dict[str, Any]:
        """Return the share of modules that are frozen after `task`, in total and by layer."""
        shares = [len(frozen) / self.config.modules for frozen in self.frozen(task + 1)]
        names = layers_of(nn.ModuleList(layer[0] for layer in self.layers))
        return {
            "frozen": sum(shares) / len(shares),
            "frozen_layers": dict(zip(names, shares, strict=True)),
        }

    def count_parameters(self) -> int:
        return sum(p.numel() for p in self.parameters())  # includes frozen modules, as they were learnt

    def stored_bytes(self) -> int:
        indices = sum(len(entries) for path in self.paths for entries in path)
        return super().stored_bytes() + 8 * indices

"""PathNet: Fernando et al., 2017, arXiv 1701.08734, in the form of HAT's code.

Every layer is a set of narrow modules; a path names a few of them per layer, whose outputs are summed. For
each task two paths compete over generations of training, the winner answers the task, and its modules are
frozen for good.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raycl.masks import layers_of
from raycl.method import Method, Task
from raycl.networks import Blocks, Heads, Network
from raycl.networks._checks import check_walked
from raycl.space import Choice, Int
from raycl.training.fit import Fit

PATHS = 2
MODULES = 1_000  # each is a network

Path: TypeAlias = list[list[int]]
"""For each layer the modules; one that mutation named twice is active once."""


@dataclass
class _Entrant:
    """A path in the tournament, and where its place stands in the schedule."""

    path: Path
    lr: float | None = None
    patience: int | None = None
    best: float = math.inf  # lowest validation loss


class PathNet(Method):
    """Tournaments over paths through shared modules; free modules start anew with every task.

    A generation trains each path for ``epochs // generations`` epochs, the second on the weights that the
    first leaves; then the best weights so far are restored. A plateau schedule goes on from generation to
    generation, separately for the two; other schedules run their whole course in each generation.
    """

    keeps_logits = True
    needs = (Blocks, Heads)
    preset_overrides: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "prm": {  # n_active and modules as pairs, which independent domains cannot say, are three of these
            "method.generations": Choice(5, 10, 20, 40),
            "method.n_active": Choice(3, 5),
            "method.modules": Choice(10, 16, 20),
        },
        "pmask": {"method.generations": Int(5, 200), "method.n_active": 3, "method.modules": 16},
    }
    deviations: ClassVar[Sequence[str]] = (
        "two paths per task, compared by validation loss (HAT); the paper plays pairs out of many",
        "a generation's second path starts from the first one's best weights, in HAT's code from its last",
        "a module that mutation names twice in a layer is active once",
        "no more generations than epochs",
    )

    @dataclass(frozen=True, kw_only=True)
    class Config(Method.Config):
        generations: Annotated[int, Choice(5, 10, 20, 50)] = 20  # G
        n_active: Annotated[int, Int(2, 5)] = 3  # N, modules of a path in each layer
        modules: Annotated[int, Choice(10, 16, 20)] = 16  # M, in each layer
        expansion: float = 0.258  # e, width of a module over the width of the network's layer

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
        self.drop_in = [block.drop_in for block in nets[0].blocks]  # drawn once for all modules of a layer
        for block in (block for net in nets for block in net.blocks):
            block.drop_in = 0.0
        self.paths: list[Path] = []  # of the tasks learnt
        self.path: Path = [list(range(self.config.n_active)) for _ in self.layers]  # of all other tasks

    def _narrow(self, index: int) -> Blocks:
        """A network of which each layer is the module `index`, with its initial weights."""
        width = self.config.expansion * (1 + 2**-50)  # so that rounding loses no whole unit
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
                layer[module].requires_grad_(False)  # spares the backward pass

    def restart(self) -> None:
        """Free modules get their initial weights back."""
        frozen = self.frozen()
        for index in range(self.config.modules):
            start = self._narrow(index)
            for layer, block, kept in zip(self.layers, start.blocks, frozen, strict=True):
                if index not in kept:
                    layer[index].load_state_dict(block.state_dict())

    def tournament(self, task: Task, fit: Fit) -> Path:
        """Train paths in generations; the winner, with the weights of its best epoch in place."""
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
        """One generation of one path; its validation loss, or on an empty split the loss in training."""
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
        """A random path; the modules of a layer are distinct."""
        n, modules = self.config.n_active, self.config.modules
        return [torch.randperm(modules, device="cpu")[:n].tolist() for _ in self.layers]

    def mutated(self, path: Path) -> Path:
        """A copy, in which one entry in all is expected to move, by -2..2 modulo the number of modules."""
        found, n = [], self.config.n_active
        for entries in path:
            moves = torch.rand(n, device="cpu") < 1 / (n * len(path))
            shifts = torch.randint(-2, 3, (n,), device="cpu") * moves
            pairs = zip(entries, shifts.tolist(), strict=True)
            found.append([(entry + shift) % self.config.modules for entry, shift in pairs])
        return found

    def frozen(self, tasks: int | None = None) -> list[set[int]]:
        """For each layer the modules on the paths of the first `tasks`, or of all that are learnt."""
        paths = self.paths[:tasks]
        return [{m for path in paths for m in path[layer]} for layer in range(len(self.layers))]

    def _free(self, path: Path | None = None) -> list[nn.Parameter]:
        """Parameters of the modules that no task has taken, on a path or in all."""
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
            x = F.dropout(x, drop_in, self.training)
            x = functools.reduce(torch.add, (layer[module](x) for module in dict.fromkeys(entries)))
        logits: Tensor = self.heads[task](x)
        return logits

    def diagnostics(self, task: int) -> dict[str, Any]:
        """Share of the modules that are frozen after `task`, in all and by layer."""
        shares = [len(frozen) / self.config.modules for frozen in self.frozen(task + 1)]
        names = layers_of(nn.ModuleList(layer[0] for layer in self.layers))
        return {
            "frozen": sum(shares) / len(shares),
            "frozen_layers": dict(zip(names, shares, strict=True)),
        }

    def count_parameters(self) -> int:
        return sum(p.numel() for p in self.parameters())  # frozen modules were learnt

    def stored_bytes(self) -> int:
        indices = sum(len(entries) for path in self.paths for entries in path)
        return super().stored_bytes() + 8 * indices

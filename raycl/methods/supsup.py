"""Supermasks in superposition (SupSup): Wortsman et al., NeurIPS 2020, arXiv 2006.14769.

The network's weights are random and never trained. Each task trains a score per weight, and its mask keeps
the weights with the highest scores of each layer. The masks, one bit per weight, and the batch statistics are
stored for each task.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Literal, Self

import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call

from raycl.masks import layers_of, weights_of
from raycl.method import Buffers, Method, Task
from raycl.networks import Heads, Network
from raycl.networks._checks import check_maskable, check_statistics
from raycl.probes import answers
from raycl.probes.backbones import set_statistics, statistics_of
from raycl.probes.task_inference import Candidates
from raycl.space import Float, make_config
from raycl.specs import MaskSpec, MaskValues, RunSpec
from raycl.supermasks.bank import Backbone, BasisMask, packed
from raycl.supermasks.basis import own_masks, rules_of, training_of
from raycl.supermasks.edge_popup import density_of, draw_scores, fixed_weight, mask_of
from raycl.training.fit import Fit

_IMPRESSLEARN = {"method.backbone_init": "kaiming_normal", "method.head": "shared"}


class SupSup(Method):
    """A mask per task for one frozen random backbone including the heads; biases are zero.

    If a network has one head for all tasks, each task masks that head. A task that is not learnt yet is
    answered by the whole backbone.

    Equations:
        V[l] = M[l] W[l]
        M[l] = 1 at the r largest entries of |S[l]|, else 0
        r = n - floor((1 - density) n)
        dL/dS[l] = sign(S[l]) dL/dM[l]          straight through M
        W[l] = sign(W0[l]) sqrt(2 / fan_in),  initial S[l] ~ U(-c, c)

        V[l]    weights of layer l with which a task is answered
        W[l]    fixed weights, n in number; W0 are the network's initial ones
        S[l]    scores of the present task
        L       mean cross-entropy over a batch
        fan_in  inputs of a unit of layer l; c = 1 / sqrt(fan_in)

        With inference="one_shot", the task of a batch is inferred:

        task = argmin_k dH/db[k] at b[1] = ... = b[U] = 1/U
        V[l] = W[l] sum_k b[k] M^k[l]

        H       mean entropy of the predictions for the batch
        M^k     masks of task k, one of U tasks learnt
    """

    deviations: ClassVar[Sequence[str]] = (
        "weights are ranked by the absolute value of their scores, as in SupSup's code; the text of "
        "ImpressLearn says by score, which is score_rank='raw'",
        "a task is inferred by the entropy of all images of a batch; SupSup's code takes a single one for "
        "PermutedMNIST",
    )
    keeps_logits = True
    version: ClassVar[int] = 2  # 2: accuracies are measured again if shared batch statistics change them
    preset_overrides: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "spg": {"method.density": Float(0.05, 0.9), "fit.lr": Float(1e-3, 1.0, log=True)},
        "prm": {"method.density": Float(0.01, 0.8, log=True), "fit.lr": Float(1e-4, 1e-1, log=True)},
        "impresslearn_basis_mnist": _IMPRESSLEARN,
        "impresslearn_basis_cifar": _IMPRESSLEARN,
        "impresslearn_basis_imagenet": _IMPRESSLEARN,
    }

    @dataclass(frozen=True, kw_only=True)
    class Config(Method.Config):
        density: Annotated[float, Float(0.01, 0.9, log=True)] = 0.3  # share of ones in each layer
        backbone_init: Literal["signed_constant", "kaiming_normal"] = "signed_constant"
        score_rank: Literal["abs", "raw"] = "abs"  # rank weights by |score|, or by score
        density_rule: Literal["uniform", "er", "threshold"] = "uniform"  # threshold: score >= 0, no density
        head: Literal["own", "shared"] = "own"  # weights below the head's mask, per task or for all tasks
        mask_values: MaskValues = "binary"
        # Initial scores of a new task: "none" draws them, "mean" uses the mean final scores of earlier tasks.
        start: Literal["none", "mean"] = "none"
        bank: bool = False  # masks are trained beforehand, in parallel, and shared with bases
        basis_preset: str = "impresslearn_basis_mnist"  # preset for training masks of a bank or a basis
        basis_epochs: int = 0  # 0: as the preset says
        basis_lr: float = 0.0  # learning rate; 0: as the preset says
        basis_optimiser: Literal["", "sgd", "rmsprop", "adam"] = ""  # "": as the preset says
        # The mask used in evaluation: that of the given task, or that of the task inferred for a batch.
        inference: answers.Inference = "given"
        steps: int = 10  # steps of inference by gradient
        inference_batch: int = 0  # images by which a task is inferred; 0: each batch that is evaluated
        inference_orders: int = 0  # after the last task, measure `gn_acc` over so many orders of the images
        probes: bool = False  # after the last task, measure masks on other tasks and their overlap

        def __post_init__(self) -> None:
            if not 0 < self.density <= 1:
                raise ValueError(f"density = {self.density} must be above 0 and at most 1")
            if self.basis_lr < 0:
                raise ValueError(f"basis_lr = {self.basis_lr} must be at least 0")
            if self.basis_epochs < 0 or self.steps < 1:
                raise ValueError(
                    f"basis_epochs = {self.basis_epochs} must be at least 0, steps = {self.steps} at least 1"
                )
            if min(self.inference_batch, self.inference_orders) < 0:
                raise ValueError(
                    f"inference_batch = {self.inference_batch} and inference_orders = "
                    f"{self.inference_orders} must be at least 0"
                )
            if (self.bank or self.inference != "given" or self.probes) and self.head != "shared":
                raise ValueError("bank, inference and probes need head = 'shared': one head for all tasks")

    config: Config

    @classmethod
    def required_masks(cls, spec: RunSpec) -> tuple[MaskSpec, ...]:
        config = make_config(cls.Config, spec.config, spec.method)
        return own_masks(spec, training_of(config), **rules_of(config)) if config.bank else ()

    @classmethod
    def check_network(cls, net: Network, tasks: int) -> None:
        super().check_network(net, tasks)
        check_maskable(net, cls.__name__, heads=True)

    def make(self) -> None:
        super().make()
        if self._one_head and len(set(self.world.classes)) > 1:
            raise ValueError(
                f"head = 'shared' needs the same number of classes in all tasks, not {self.world.classes}"
            )
        if self.config.bank:
            check_statistics(self.net, type(self).__name__)
        with torch.no_grad():
            for layer in layers_of(self.net).values():
                layer.weight.copy_(fixed_weight(layer.weight, self.config.backbone_init))
                if layer.bias is not None:
                    layer.bias.zero_()
        self.net.requires_grad_(False)
        self.scores = nn.ParameterList()  # scores of the task being learnt, layer by layer
        self.current: int | None = None  # that task
        self.done: dict[int, BasisMask] = {}  # masks of finished tasks
        self.mean = Buffers()  # mean scores of finished tasks, without those of separate heads
        self._evaluated: tuple[int, dict[str, Tensor]] | None = None
        self._candidates: Candidates | None = None

    @property
    def _one_head(self) -> bool:
        return self.config.head == "shared" and isinstance(self.net, Heads)

    @functools.cached_property
    def _weights(self) -> dict[str, Tensor]:
        """All fixed weights of the network, by name; they are needed at every step."""
        return weights_of(self.net)

    def layers(self, task: int) -> dict[str, Tensor]:
        """Return the fixed weights that `task` masks, by the names that the network uses for this task."""
        weights = self._weights
        found = {name: weight for name, weight in weights.items() if not name.startswith("heads.")}
        head = f"heads.{task if len(self.net.heads) > 1 else 0}.weight"
        found[head] = weights["heads.0.weight" if self._one_head else head]
        return found

    def learn(self, task: Task, fit: Fit) -> None:
        self._candidates = None
        if self.config.bank:
            self.done[task.index] = self.world.inputs["basis"][task.index]
            set_statistics(self.net, task.index, self.done[task.index].statistics)
            return
        self.start(task.index)
        fit(self, task)
        self.finish()

    def popped(self, task: int) -> dict[str, Tensor]:
        """Return the layers for which `task` trains scores and has its own mask."""
        return self.layers(task)

    def start(self, task: int) -> None:
        """Draw scores for a task, or use the mean scores for layers that have them."""
        self.current = task
        drawn = [draw_scores(weight) for weight in self.popped(task).values()]
        drawn[: len(self.mean)] = [mean.clone() for mean in self.mean]
        self.scores = nn.ParameterList(drawn)

    def finish(self) -> None:
        """Store the bits of the masks, and factors if masks are not binary; discard the scores."""
        assert self.current is not None
        with torch.no_grad():
            masks = self.masks(self.current)
            self._remember()
        values: list[NDArray[Any]] = []
        if self.config.mask_values != "binary":
            kind = torch.int8 if self.config.mask_values == "signed" else None
            values = [mask[mask != 0].to(kind or mask.dtype).numpy(force=True) for mask in masks]
        self.done[self.current] = BasisMask(packed(masks), tuple(values))
        self.current, self.scores = None, nn.ParameterList()

    def _remember(self) -> None:
        """Update the mean with the scores of the task just learnt."""
        if self.config.start == "none":
            return
        shared = self.scores if self._one_head or len(self.net.heads) == 1 else list(self.scores)[:-1]
        for place, scores in enumerate(shared):
            if place == len(self.mean):
                self.mean.append(torch.zeros_like(scores))
            self.mean[place].lerp_(scores, 1 / (len(self.done) + 1))

    def trainable(self, task: int) -> Iterable[Any]:
        return list(self.scores) if task == self.current else []

    def masks(self, task: int) -> list[Tensor]:
        """Return one mask per layer, of the weight's shape; a finished task's are made from its bits."""
        weights = list(self.popped(task).values())
        if task in self.done:
            return self.done[task].tensors(weights)
        if task != self.current:
            return [torch.ones_like(weight) for weight in weights]
        rank, rule, values = self.config.score_rank, self.config.density_rule, self.config.mask_values
        densities = [density_of(scores, self.config.density, rule) for scores in self.scores]
        return [mask_of(s, d, rank, rule, values) for s, d in zip(self.scores, densities, strict=True)]

    def masked(self, task: int) -> dict[str, Tensor]:
        """Return the effective weights by name; evaluation computes them once and caches them."""
        if self.training or torch.is_grad_enabled():
            return self.effective(task)
        if self._evaluated is None or self._evaluated[0] != task:
            self._evaluated = task, self.effective(task)
        return self._evaluated[1]

    def effective(self, task: int) -> dict[str, Tensor]:
        """Return the weights times the masks, by name."""
        layers = self.popped(task).items()
        return {name: w * mask for (name, w), mask in zip(layers, self.masks(task), strict=True)}

    def train(self, mode: bool = True) -> Self:
        self._evaluated = None  # scores may have changed
        return super().train(mode)

    def forward(self, x: Tensor, task: int) -> Tensor:
        if self.config.inference == "given" or self.training or len(self.learnt) < 2:
            return self._answer(x, task)
        parts = x.split(self.config.inference_batch or max(len(x), 1))
        return torch.cat([self._answer(part, self._inferred(part)) for part in parts])

    def _answer(self, x: Tensor, task: int) -> Tensor:
        logits: Tensor = functional_call(self.net, self.masked(task), (x, task), tie_weights=False)
        return logits

    def _inferred(self, x: Tensor) -> int:
        """Return the learnt task to which a batch belongs by its entropy."""
        how, steps = self.config.inference, self.config.steps
        return self.learnt[answers.found(how, self.candidates(), [x], steps).task]

    @property
    def answers_stay(self) -> bool:  # inference may take an old task for a new one
        return self.config.inference == "given" and super().answers_stay

    @property
    def learnt(self) -> list[int]:
        return sorted(self.done)

    def kept(self, task: int) -> BasisMask:
        """Return the mask of a finished task in the form that a bank stores."""
        return replace(self.done[task], statistics=statistics_of(self.net, task))

    def candidates(self) -> Candidates:
        """Return the tasks learnt so far as mixtures of masks, for inference."""
        if self._candidates is None:
            masks = [self.kept(task) for task in self.learnt]
            self._candidates = answers.candidates_of(self.backbone, masks)
        return self._candidates

    @property
    def backbone(self) -> Backbone:
        return Backbone(self.net, tuple(self.layers(0)), tuple(self.layers(0).values()))

    def examine(self, tasks: Sequence[Task], fit: Fit) -> dict[str, Any]:
        """Return how often the task of a batch is inferred correctly, and with `probes` more numbers.

        These are the accuracies of masks on other tasks ("X") and the overlap of masks.
        """
        diagnostics: dict[str, Any] = {}
        if self.config.inference != "given" and len(self.learnt) > 1:
            diagnostics |= answers.inference_diagnostics(
                self.config.inference, self.candidates(), tasks, fit.device
            )
            diagnostics |= self.accuracy_over_orders(tasks, fit)
        if self.config.probes:
            masks = [self.kept(task) for task in self.learnt]
            diagnostics |= answers.wrong_mask_diagnostics(self.backbone, masks, tasks)
            shared = answers.overlap_diagnostics(masks, self.backbone.sizes).items()
            diagnostics |= {f"task_{name}": value for name, value in shared}
        return diagnostics

    def accuracy_over_orders(self, tasks: Sequence[Task], fit: Fit) -> dict[str, Any]:
        """Return `gn_acc`, the accuracy with inferred tasks over several orders of the test images.

        An order decides which images share the batch by which their task is inferred.
        """
        orders, size = self.config.inference_orders, self.config.inference_batch
        if not orders:
            return {}
        return answers.accuracy_over_orders(
            self, [task.test for task in tasks], orders, size or answers.GN_BATCH, fit.seed, fit.device
        )

    def diagnostics(self, task: int) -> dict[str, Any]:
        """Return the share of weights that the task's masks keep and, for a bank, the seconds of training."""
        masks, about = self.masks(task), self.done[task].about if self.config.bank else {}
        kept = sum(int(mask.count_nonzero()) for mask in masks)
        seconds = {"mask_seconds": about["seconds"]} if about else {}
        return {"density": kept / sum(mask.numel() for mask in masks)} | seconds

    def count_parameters(self) -> int:
        return sum(w.numel() for task in range(self.world.tasks) for w in self.layers(task).values())

    def stored_bytes(self) -> int:
        """Return the bytes of backbone, mean scores, batch statistics, and each task's bits and factors."""
        backbone = {w for task in range(self.world.tasks) for w in self.layers(task).values()}
        tensors: list[Tensor] = [*backbone, *self.net.buffers(), *self.mean]
        kept = [layer for mask in self.done.values() for layer in (*mask.bits, *mask.values)]
        return sum(layer.nbytes for layer in kept) + sum(t.numel() * t.element_size() for t in tensors)

"""ImpressLearn: continual learning via combined task impressions, linear combinations of masks.

A basis of K masks for a frozen random backbone W is trained as in SupSup or drawn at random. A new task
learns nothing but coefficients alpha [K, layers], and its weights are V_i = W_i * sum_t alpha[t, i] M_i^t
(eq. 1). K floats per layer and the batch statistics are stored for each task.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from raycl.method import Task, one_task
from raycl.methods.supsup import SupSup
from raycl.networks import Network
from raycl.networks._checks import check_statistics
from raycl.probes.answers import candidates_of, inference_diagnostics, overlap_diagnostics
from raycl.probes.backbones import set_statistics
from raycl.probes.task_inference import Candidates, normalised
from raycl.space import Choice, make_config
from raycl.specs import MaskSpec, RunSpec
from raycl.supermasks.alpha import Basis, combine, penalty
from raycl.supermasks.bank import BasisMask, packed
from raycl.supermasks.basis import masks_of, rules_of, training_of
from raycl.tasks import Batch
from raycl.training.fit import Fit

MASKS = 10_000  # largest number of masks of one kind; the paper uses at most 250


class ImpressLearn(SupSup):
    """Coefficients per task for a basis of masks of all layers, with one head for all tasks.

    A task that is not learnt yet is answered by the mean of the basis, where its coefficients start.

    Equations:
        V[i] = W[i] sum_k alpha[k,i] M^k[i]                              (eq. 1)
        L = CE + lamb sum_i (sum_k |alpha[k,i]| - 1)^2                   (eq. 2)
        alpha[k,i] = 1/K                        at the start of a task

        V[i]   weights of layer i with which the present task is answered
        W[i]   fixed random weights
        M^k    mask k of the K of the basis, trained as in `supsup` or drawn
        alpha  all that a task trains: a coefficient for each mask and layer
        CE     mean cross-entropy over a batch
    """

    deviations: ClassVar[Sequence[str]] = (
        "coefficients are trained with RMSprop or Adam, as Table 3 says, and its weight decay is added to "
        "the gradient; section 3 says stochastic gradient descent",
        "the paper prints no epochs, no schedules, and not how masks are trained: on MNIST, masks take 1 "
        "epoch and coefficients 5; the rest follows the first author's earlier public code",
        "accuracies are on the official test images, with one split of the data; the paper speaks of "
        "validation performance and of three train/test splits",
        "random masks have as many ones in each layer as trained masks; the paper picks edges until the "
        "density is reached, which may also mean in the whole network",
        "the head is masked and combined as well: 54 layers of ResNet-50, where Table 2 counts 53",
        "batch normalisations have no weights, and statistics of their own for each task, which Table 2 "
        "does not count",
        "the paper says neither by how many images a task is inferred (128 in our studies) nor what an epoch "
        "of inference is (here a step on one more batch)",
    )
    # SupSup is at version 2, but this method does not accept the networks for which that version differs.
    version: ClassVar[int] = 1
    preset_overrides: ClassVar[Mapping[str, Mapping[str, Any]]] = {  # Table 3
        "impresslearn_alpha_mnist": {"method.lamb": 0.0, "method.basis_preset": "impresslearn_basis_mnist"},
        "impresslearn_alpha_cifar": {"method.lamb": 0.005, "method.basis_preset": "impresslearn_basis_cifar"},
        "impresslearn_alpha_imagenet": {
            "method.lamb": 0.005,
            "method.basis_preset": "impresslearn_basis_imagenet",
        },
    }

    @dataclass(frozen=True, kw_only=True)
    class Config(SupSup.Config):
        """Hyperparameters; those of `supsup` apply to the basis masks and to the last layer in `hybrid`."""

        basis: Literal["heterogeneous", "homogeneous", "random", "mixed"] = "heterogeneous"
        k: int = 10  # number of masks; a mixed basis uses `k_het` and `k_hom` instead
        k_het: int = 0  # number of masks trained on a different task each
        k_hom: int = 0  # number of masks trained on one task, with different scores and data order
        density: float = 0.1  # of each basis mask; a value of the grid in the paper's figures, not searched
        backbone_init: Literal["signed_constant", "kaiming_normal"] = "kaiming_normal"
        head: Literal["own", "shared"] = "shared"
        hybrid: bool = False  # the last layer trains a mask of its own instead of coefficients (A.5)
        lamb: Annotated[float, Choice(0.0, 0.005)] = 0.0  # eq. 2, pulls the L1 norm of a layer's alpha to 1
        # "new" learns tasks that follow those of the basis, and "basis_gn" learns those of the basis again.
        # "both" keeps the basis tasks' own masks and learns the others, so that a task is inferred among all.
        stage: Literal["new", "basis_gn", "both"] = "new"

        @property
        def counts(self) -> dict[str, int]:
            """Number of masks by kind."""
            if self.basis == "mixed":
                return {"heterogeneous": self.k_het, "homogeneous": self.k_hom}
            return {self.basis: self.k}

        @property
        def basis_tasks(self) -> int:
            """Number of tasks that have masks of their own in the basis; mask t belongs to task t."""
            trained = self.counts
            return max(trained.get("heterogeneous", 0), min(trained.get("homogeneous", 0), 1))

        def __post_init__(self) -> None:
            super().__post_init__()
            if min(self.counts.values()) < 1:
                wanted = "k_het and k_hom" if self.basis == "mixed" else "k"
                raise ValueError(f"basis = {self.basis!r} of {self.counts}: {wanted} must be at least 1")
            if max(self.counts.values()) > MASKS:
                raise ValueError(f"basis = {self.basis!r} of {self.counts}: at most {MASKS} masks of a kind")
            if self.basis != "mixed" and (self.k_het or self.k_hom):
                raise ValueError(f"k_het and k_hom are for basis = 'mixed'; basis = {self.basis!r} takes k")
            if self.basis == "random" and (self.density_rule, self.mask_values) != ("uniform", "binary"):
                raise ValueError("basis = 'random' is binary with uniform density; choose another basis")
            if self.head != "shared" or self.start != "none":
                raise ValueError("combining masks needs head = 'shared' and start = 'none'")
            if self.lamb < 0:
                raise ValueError(f"lamb = {self.lamb} must not be below 0")
            if self.bank or self.probes or (self.hybrid and self.inference != "given"):
                raise ValueError("bank and probes are for supsup; hybrid needs inference = 'given'")
            if self.hybrid and self.stage == "both":
                raise ValueError("stage = 'both' keeps whole masks, but hybrid trains the last layer's anew")

    config: Config

    @classmethod
    def required_masks(cls, spec: RunSpec) -> tuple[MaskSpec, ...]:
        config = make_config(cls.Config, spec.config, spec.method)
        return masks_of(
            spec,
            relearn="" if config.stage == "new" else config.stage,
            training=training_of(config),
            **config.counts,
            **rules_of(config),
        )

    @classmethod
    def check_network(cls, net: Network, tasks: int) -> None:
        super().check_network(net, tasks)
        check_statistics(net, cls.__name__)

    def make(self) -> None:
        super().make()
        masks, wanted = self.world.inputs.get("basis", ()), sum(self.config.counts.values())
        if len(masks) != wanted:
            raise ValueError(
                f"the basis should have {wanted} masks, but world.inputs['basis'] has {len(masks)}"
            )
        self.basis = Basis(tuple(self.layers(0).values()), masks)
        self.basis_seconds = sum(mask.about.get("seconds", 0.0) for mask in masks)
        self.world = replace(self.world, inputs={})  # so that checkpoints do not contain the masks twice
        self.alphas = nn.ParameterDict()  # [K, combined layers] by task
        self.own: list[int] = []  # basis tasks that keep their own mask; they need no coefficients

    def learn(self, task: Task, fit: Fit) -> None:
        if self.config.stage == "both" and task.index < self.config.basis_tasks:
            self._candidates = None
            self.own = sorted({*self.own, task.index})
            set_statistics(self.net, task.index, self.basis.statistics(task.index))
            return
        super().learn(task, fit)

    def popped(self, task: int) -> dict[str, Tensor]:
        return dict(list(self.layers(task).items())[-1:]) if self.config.hybrid else {}

    def start(self, task: int) -> None:
        super().start(task)
        self.alphas[str(task)] = nn.Parameter(self._uniform())

    def _uniform(self) -> Tensor:
        masks, weights = len(self.basis), self.basis.weights
        return weights[0].new_full((masks, len(weights) - self.config.hybrid), 1 / masks)

    def alpha(self, task: int) -> Tensor:
        """Return the coefficients of a task, [K, combined layers]; they are 0 and 1 if it keeps its mask."""
        if str(task) in self.alphas:
            own: Tensor = self.alphas[str(task)]
            return own
        uniform = self._uniform()
        if task not in self.own:
            return uniform
        uniform.zero_()[task] = 1
        return uniform

    @property
    def learnt(self) -> list[int]:
        return sorted([*self.own, *map(int, self.alphas)])

    def candidates(self) -> Candidates:
        """Return the tasks learnt as real masks R^u = sum_t alpha^u[t] M^t (section 4.2, GN)."""
        if self._candidates is None:
            alphas = torch.stack([self.alpha(task).detach() for task in self.learnt])
            self._candidates = candidates_of(self.backbone, self.basis, alphas)
        return self._candidates

    def examine(self, tasks: Sequence[Task], fit: Fit) -> dict[str, Any]:
        """Return how often the task of a batch is inferred correctly, and how basis masks overlap."""
        diagnostics: dict[str, Any] = {}
        if self.config.inference != "given" and len(self.learnt) > 1:
            how, found = self.config.inference, self.candidates()
            diagnostics |= inference_diagnostics(how, found, tasks, fit.device)
            # Real masks differ in scale, so the inference is also measured with normalised ones.
            even = replace(found, coefficients=normalised(found.coefficients))
            more = inference_diagnostics(how, even, tasks, fit.device).items()
            diagnostics |= {f"{name}_normalised": value for name, value in more}
            diagnostics |= self.accuracy_over_orders(tasks, fit)
        masks = [BasisMask(packed(self.basis.mask(i))) for i in range(min(len(self.basis), 10))]
        return diagnostics | overlap_diagnostics(masks, self.basis.sizes)

    def trainable(self, task: int) -> Iterable[Any]:
        return [self.alphas[str(task)], *self.scores] if task == self.current else []

    def effective(self, task: int) -> dict[str, Tensor]:
        combined = zip(self.layers(task), combine(self.basis, self.alpha(task)), strict=False)
        return dict(combined) | super().effective(task)

    def loss(self, batch: Batch) -> Tensor:
        loss = super().loss(batch)
        lamb = self.config.lamb
        return loss + penalty(self.alpha(one_task(batch)), lamb) if lamb else loss  # eq. 2

    def diagnostics(self, task: int) -> dict[str, Any]:
        """Return the size and sign of the coefficients by layer, and the cost of task and basis.

        The cost is the bytes of a task's coefficients, and the bytes and training time of the basis. In stage
        `basis_gn`, where mask t was trained on task t, the result also has the share of layers whose largest
        coefficient belongs to that mask, and the share of |alpha| on it (section 4.2).
        """
        alpha = self.alpha(task).detach()
        found = {
            "k": len(self.basis),
            "alpha_l1": alpha.abs().sum(0).tolist(),
            "alpha_negative": float((alpha < 0).double().mean()),
            "alpha_bytes": alpha.numel() * alpha.element_size(),
            "basis_bytes": self.basis.nbytes,
            "basis_seconds": self.basis_seconds,
        }
        if self.config.hybrid:
            found |= super().diagnostics(task)
        if self.config.stage == "basis_gn" and task < self.config.counts.get("heterogeneous", 0):
            hits = (alpha.argmax(0) == task).double()
            mass = (alpha[task].abs() / alpha.abs().sum(0).clamp_min(1e-30)).double()
            found |= {
                "hit_rate": float(hits.mean()),
                "hit_by_layer": hits.tolist(),
                "alpha_mass": float(mass.mean()),
                "alpha_mass_by_layer": mass.tolist(),
            }
        return found

    def count_parameters(self) -> int:
        """Return the number of coefficients of all tasks, plus the last layer's scores in a hybrid.

        The basis is not counted, because the method does not train it.
        """
        scores = sum(w.numel() for task in range(self.world.tasks) for w in self.popped(task).values())
        return self.world.tasks * self._uniform().numel() + scores

    def stored_bytes(self) -> int:
        """Return the bytes that SupSup stores plus those of the basis and of each task's coefficients."""
        alphas = sum(a.numel() * a.element_size() for a in self.alphas.values())
        return super().stored_bytes() + self.basis.nbytes + int(alphas)

"""Similar and dissimilar tasks in one sequence (CAT): Ke, Liu and Huang, NeurIPS 2020, arXiv 2112.10017.

CAT extends HAT. It finds out which earlier tasks are similar to the new one (t small fits before task t,
O(T^2) in total), does not block their units for the new task, and gives the new task a second head, which
attends to the features that the network computes under the masks of those tasks. CAT may forget: units of
similar tasks are overwritten by design, and all attention heads use one attention block, which later tasks
keep training. Mask heads forget as little as HAT's if all earlier tasks are judged dissimilar.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from raycl.masks import weight_factors
from raycl.method import Buffers, Task, measuring, one_task
from raycl.methods.hat import HAT
from raycl.networks import Blocks
from raycl.networks._attention import Attention, initialised_on_cpu
from raycl.space import Choice, Float, Int
from raycl.tasks import Batch, Update
from raycl.training.fit import Fit


class CAT(HAT):
    """HAT with a similarity test before each task, unblocked units, and an attention head per task.

    The head of HAT is called the mask head. A task is answered by whichever head is better on its validation
    split, or on its training split if there is no validation split. With `attention_weight=0` the attention
    head is neither trained nor used.

    Equations:
        g'[l,i,j] = max(1 - min(A[l,i], A[l-1,j]),
                        min(T[l,i], T[l-1,j])) g[l,i,j]
        L = CE(mask head) + lamb R + attention_weight CE(attention head)
        attention head = linear(Att(relu(v), {h^k: k similar to t}))
        k is similar to t where acc[k] > acc[new]

        T[l,i]    0 at units that a dissimilar task was the first to use, else
                  1; T[0] = 1; bias i gets the factor max(1 - A[l,i], T[l,i])
        h^k       features, the outputs of the last layer, under the gates of
                  task k at smax
        v         learnt vector of the present task t
        Att       attention with feed-forward layers; with fewer than two tasks
                  k, the attention head reads the features under T instead
        acc[k]    validation accuracy on task t of a linear map that is trained
                  on the logits of the frozen network for task k
        acc[new]  the same of a new network, under the untrained gates of task t
    """

    preset_overrides: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "spg": {"method.attention_weight": 1.0},
        "prm": {**HAT.preset_overrides["prm"], "method.n_head": Choice(1, 5)},
    }
    deviations: ClassVar[Sequence[str]] = (
        "attention is over the tasks found similar; CAT's code skips those in training (attend=literal)",
        "the similarity test uses the masks of earlier tasks at smax; CAT's code uses a slope of 1",
        "earlier tasks' logits in the similarity test are computed once, without dropout and augmentation; "
        "CAT computes them in every epoch, so its similarity test takes longer than the one here",
        "the parameter count includes parameters that CAT's code declares but never trains; they are not "
        "built here",
    )

    @dataclass(frozen=True, kw_only=True)
    class Config(HAT.Config):
        n_head: Annotated[int, Int(1, 6)] = 1  # heads of attention, each of floor(features / n_head) units
        attention_weight: Annotated[float, Float(0.25, 2.0)] = 1.0  # weight of the attention head's loss
        attend: Literal["similar", "literal"] = "similar"  # literal: as CAT's code, see `attended`

        def __post_init__(self) -> None:
            super().__post_init__()
            if self.n_head > 64:
                raise ValueError(f"n_head = {self.n_head} is too many: at most 64")
            for name, least in (("n_head", 1), ("attention_weight", 0)):
                if getattr(self, name) < least:
                    raise ValueError(f"{name} = {getattr(self, name)} must be at least {least}")

    config: Config

    def make(self) -> None:
        super().make()
        width, tasks = self.body.units[-1], self.world.tasks
        self.attention = initialised_on_cpu(lambda: Attention(width, self.config.n_head))
        self.attention_heads = initialised_on_cpu(
            lambda: nn.ModuleList(nn.Linear(width, n) for n in self.world.classes)
        )
        self.queries = initialised_on_cpu(lambda: nn.ParameterList(torch.randn(width) for _ in range(tasks)))
        self.claimed_by = Buffers(torch.full((n,), tasks) for n in self.body.units)  # `tasks`: none
        self.unblocked = nn.ModuleList(Buffers(torch.ones_like(m) for m in self.used) for _ in range(tasks))
        self.similar: dict[int, list[int]] = {}  # earlier tasks found similar, by task
        self.transfer: dict[str, float] = {}  # accuracies in the latest similarity test
        self.by_attention: set[int] = set()  # tasks whose attention head answers

    def learn(self, task: Task, fit: Fit) -> None:
        t, earlier = task.index, list(self.similar)
        self.similar[t] = self.find_similar(earlier, task, fit) if earlier else []
        dissimilar = [k for k in earlier if k not in self.similar[t]]
        self.unblocked[t] = Buffers(open_units(claims, dissimilar) for claims in self.claimed_by)
        self.factors = self.factors_for(t) if earlier else []
        fit(self, task)
        self.factors = []
        self.merge(t)
        if self.config.attention_weight:
            self.choose_head(task, fit)

    def find_similar(self, earlier: Sequence[int], task: Task, fit: Fit) -> list[int]:
        """Return the earlier tasks whose logits predict the new task better than a reference network does.

        A linear map is fitted on the logits of each earlier task. The reference is a new network that is
        trained under the task's still random mask.
        """
        own = self.world.build(start=1)
        assert isinstance(own, Blocks)
        learner = LinearMap(task.classes, task.classes, own, self.masks(task.index))
        self.transfer = {"reference": _accuracy(learner, task, fit, "reference")}
        for k in earlier:
            learner = LinearMap(self.world.classes[k], task.classes)
            self.transfer[str(k)] = _accuracy(learner, self.seen_by(k, task, fit), fit, str(k))
        return [k for k in earlier if self.transfer[str(k)] > self.transfer["reference"]]

    def seen_by(self, k: int, task: Task, fit: Fit) -> Task:
        """Return a copy of the task whose inputs are replaced by the frozen network's logits for task `k`."""
        found, masks, none = [], self.masks(k), torch.zeros(0, self.world.classes[k])
        with measuring(self.net), torch.no_grad():
            for split in (task.train, task.val):
                logits = [self.logits(batch.x, k, masks) for batch in fit.batches(split, task.index)]
                found.append(Outputs(torch.cat([none, *logits]), split.y))
        return replace(task, train=found[0], val=found[1])

    def factors_for(self, task: int) -> list[tuple[Tensor, Tensor]]:
        """Return max(1 - cumulative mask, T_sim) for each block's weight and bias.

        Both masks are over units and are first expanded to the shapes of the parameters.
        """
        masks = self.used, self.unblocked[task]
        blocked, closed = (weight_factors(self.body.blocks, list(mask.buffers())) for mask in masks)
        pairs = zip(blocked, closed, strict=True)
        return [(torch.maximum(w, 1 - cw), torch.maximum(b, 1 - cb)) for (w, b), (cw, cb) in pairs]

    def merge(self, task: int) -> None:
        """Merge the task's gates into the used units; the task claims units whose rounded mask rises."""
        before = [used.round() for used in self.used]
        super().merge(task)
        for claims, old, used in zip(self.claimed_by, before, self.used, strict=True):
            claims[used.round() > old] = task

    def choose_head(self, task: Task, fit: Fit) -> None:
        """Let the attention head answer the task from now on if it is strictly better than the mask head."""
        t, split = task.index, task.val if len(task.val) else task.train
        by_mask = fit.accuracy(self, t, split)
        self.by_attention.add(t)
        if fit.accuracy(self, t, split) <= by_mask:
            self.by_attention.remove(t)

    def trainable(self, task: int) -> Iterable[Any]:
        parts: list[Any] = [*super().trainable(task)]
        if self.config.attention_weight:
            parts += self.attention_heads[task].parameters()
            if len(self.attended(task, training=True)) > 1:
                parts += [*self.attention.parameters(), self.queries[task]]
        return parts

    def attended(self, task: int, training: bool) -> list[int]:
        """Return the earlier tasks that a task attends to, which are the similar ones.

        With attend="literal" they are the dissimilar ones in training, and in evaluation all tasks that had a
        similar task, or were one, by the time the task was learnt.
        """
        similar = self.similar.get(task, [])
        if self.config.attend == "similar":
            return similar
        known = {t: found for t, found in self.similar.items() if t <= task}
        related = {k for t, found in known.items() if found for k in (t, *found)}
        return [k for k in known if k < task and (k not in similar if training else k in related)]

    def masks(self, task: int) -> list[Tensor]:
        """Return the gates of a task at smax, regardless of the present slope, and without gradient."""
        return [torch.sigmoid(self.config.smax * e.detach()) for e in self.embeddings[task].parameters()]

    def attention_logits(self, x: Tensor, task: int) -> Tensor:
        """Return the logits of the attention head.

        It attends to two or more tasks; if there are fewer, its input is the features under T_sim.
        """
        tasks = self.attended(task, self.training)
        if len(tasks) > 1:
            seen = torch.stack([self.body.features(x, k, self.masks(k)) for k in tasks], 1)
            h = self.attention(F.relu(self.queries[task]), seen)  # seen: [batch, tasks, features]
        else:
            h = self.body.features(x, task, list(self.unblocked[task].buffers()))
        logits: Tensor = self.attention_heads[task](h)
        return logits

    def forward(self, x: Tensor, task: int) -> Tensor:
        return self.attention_logits(x, task) if task in self.by_attention else super().forward(x, task)

    def loss(self, batch: Batch) -> Tensor:
        """Return the loss of both heads plus the regulariser; the validation loss is the same at smax."""
        loss, weight = super().loss(batch), self.config.attention_weight
        if weight:
            logits = self.attention_logits(batch.x, one_task(batch))
            loss = loss + weight * F.cross_entropy(logits, batch.y)
        return loss

    def diagnostics(self, task: int) -> dict[str, Any]:
        """Return HAT's numbers, those of the similarity test, and the head that answers the task.

        HAT's numbers are computed as if all tasks were dissimilar.
        """
        found = {"similar": self.similar[task], "transfer": self.transfer}
        return (
            super().diagnostics(task) | found | {"head": "attention" if task in self.by_attention else "mask"}
        )

    def parts(self) -> dict[str, int]:
        """Return the parameter counts of the main network, transfer network and attention part of CAT's code.

        Some of these are never trained and therefore not built here: in the attention part the embeddings and
        heads, and in the transfer network the heads over pairs of features and the maps to earlier tasks.
        """
        body, heads, embeddings, attention, queries = (
            sum(p.numel() for p in module.parameters())
            for module in (self.net.body, self.net.heads, self.embeddings, self.attention, self.queries)
        )
        classes, tasks, width = sum(self.world.classes), self.world.tasks, self.queries[0].numel()
        return {
            "main": body + embeddings + 2 * heads,
            "transfer": body + heads + (2 * width + 1) * classes + (classes + tasks) * classes,
            "attention": attention + queries + embeddings + heads,
        }

    def count_parameters(self) -> int:
        """Return the sum of all `parts`, as SPG's Table 10 counts CAT."""
        return sum(self.parts().values())


def open_units(claimed_by: Tensor, dissimilar: Sequence[int]) -> Tensor:
    """Return T_sim, which is 0 at units that dissimilar tasks claimed and 1 at all others."""
    theirs = torch.isin(claimed_by, torch.tensor(dissimilar, dtype=torch.long, device=claimed_by.device))
    return (~theirs).to(torch.get_default_dtype())


class LinearMap(nn.Module):
    """Model fitted in the similarity test: a linear map of logits and, if given, the network below it."""

    def __init__(self, given: int, classes: int, net: Blocks | None = None, masks: Sequence[Tensor] = ()):
        super().__init__()
        self.map, self.net, self.masks = initialised_on_cpu(lambda: nn.Linear(given, classes)), net, masks

    def forward(self, x: Tensor, task: int) -> Tensor:
        if self.net is not None:
            x = self.net.head(self.net.features(x, task, self.masks), task)
        return F.linear(x, self.map.weight, self.map.bias)

    def trainable(self, task: int) -> Iterable[Any]:
        return [*self.map.parameters(), *(() if self.net is None else self.net.trainable(task))]

    def validation_loss(self, batch: Batch) -> Tensor:
        return F.cross_entropy(self(batch.x, one_task(batch)), batch.y)

    def step(self, batch: Batch, update: Update) -> Tensor:
        loss = self.validation_loss(batch)
        loss.backward()
        update()
        return loss.detach()


@dataclass(frozen=True, eq=False)
class Outputs:
    """Split whose inputs are logits [n, classes of an earlier task]."""

    x: Tensor
    y: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.y)

    def take(self, rows: NDArray[np.int64] | slice, device: torch.device | str = "cpu") -> Tensor:
        return self.x[rows].to(device)


def _accuracy(learner: LinearMap, task: Task, fit: Fit, name: str) -> float:
    """Fit `learner` and return its accuracy on the validation split, or the training split if it is empty."""
    has_val, stream = len(task.val) > 0, f"similarity-{name}"
    fitted = fit(learner, task, train_accuracy=not has_val, stream=stream, account="similarity")
    return fitted.val_accuracy if has_val else fitted.train_accuracy

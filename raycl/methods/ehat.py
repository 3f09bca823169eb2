"""EWC in HAT (EHAT), a baseline of PRM (anonymous, submitted to ICLR 2022).

PRM only names it "EWC in the HAT package". It is read here as HAT (Serra et al., ICML 2018) with the penalty
of EWC (Kirkpatrick et al., PNAS 2017), which keeps the weights that HAT's gates do not block near their
values after the previous task.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch

from raycl.method import Buffers, Task
from raycl.methods._fisher import fisher
from raycl.methods.ewc import add_pull
from raycl.methods.hat import HAT
from raycl.space import Float
from raycl.tasks import Batch
from raycl.training.fit import Fit


class EHAT(HAT):
    """HAT with EWC's penalty on the trunk; the Fisher is measured under the gates of each task at smax.

    The reported loss and the validation loss are those of HAT, without the penalty.

    Equations:
        g'[l,i,j] = (1 - min(A[l,i], A[l-1,j])) (g + p)[l,i,j]       (HAT eq. 2)
        p = ewc_lamb F (theta - theta*)                              (EWC eq. 3)

        p       gradient of EWC's penalty
        theta   parameters of the trunk
        theta*  their values after the previous task
        F       mean over the earlier tasks of the Fisher diagonals, measured as
                `ewc` does, under the gates of each task at smax
    """

    capturable: ClassVar[bool] = True
    deviations: ClassVar[Sequence[str]] = (
        "read as EWC on top of HAT, because its printed backward transfer is 0 everywhere, which plain EWC's "
        "cannot be",
        "the Fisher is that of single samples, measured without dropout; HAT's code squares gradients of "
        "batches of 20, with dropout (fisher_batch, fisher_mode)",
        "the validation loss is HAT's, without the penalty, which HAT's code includes for EWC",
    )

    @dataclass(frozen=True, kw_only=True)
    class Config(HAT.Config):
        ewc_lamb: Annotated[float, Float(1.0, 5e4, log=True)] = 5000.0  # lambda of EWC
        fisher_batch: int = 1  # as in `ewc`
        fisher_mode: Literal["eval", "train"] = "eval"  # as in `ewc`

        def __post_init__(self) -> None:
            super().__post_init__()
            for name, least in (("ewc_lamb", 0), ("fisher_batch", 1)):
                if getattr(self, name) < least:
                    raise ValueError(f"{name} = {getattr(self, name)} must be at least {least}")

    config: Config

    def make(self) -> None:
        super().make()
        trunk = list(self.body.body.parameters())
        self.anchor = Buffers(p.detach().clone() for p in trunk)  # theta*
        self.fisher = Buffers(torch.zeros_like(p) for p in trunk)  # F, running mean over the tasks learnt

    def learn(self, task: Task, fit: Fit) -> None:
        super().learn(task, fit)
        self.consolidate(task, fit)

    def consolidate(self, task: Task, fit: Fit) -> None:
        """Set the anchor to the present weights and add the Fisher of the task to the running mean."""
        dropout = self.config.fisher_mode == "train"
        found = fisher(self.net, task, fit, self.config.fisher_batch, dropout=dropout, forward=self)
        new = dict(zip(self.net.parameters(), found, strict=True))
        with torch.no_grad():
            for p, anchor, mean in zip(self.net.body.parameters(), self.anchor, self.fisher, strict=True):
                mean.mul_(self.learnt - 1).add_(new[p]).div_(self.learnt)
                anchor.copy_(p)

    def edit_gradients(self, batch: Batch) -> None:
        """Add ewc_lamb F (theta - theta*), then block gradients as HAT does.

        In this order the penalty does not move weights that earlier tasks use.
        """
        if self.learnt:
            add_pull(self.net.body.parameters(), self.anchor, self.fisher, self.config.ewc_lamb)
        super().edit_gradients(batch)

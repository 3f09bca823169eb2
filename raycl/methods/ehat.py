"""EWC in HAT (EHAT), a baseline of PRM (anonymous, submitted to ICLR 2022), which only names it "EWC in the
HAT package": HAT (Serra et al., ICML 2018) with the penalty of EWC (Kirkpatrick et al., PNAS 2017).

The penalty holds the weights that HAT's gates leave open near their values after the previous task.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch

from raycl.method import Buffers, Task
from raycl.methods._fisher import fisher
from raycl.methods.ewc import _pieces
from raycl.methods.hat import HAT
from raycl.space import Float
from raycl.tasks import Batch
from raycl.training.fit import Fit


class EHAT(HAT):
    """HAT whose trunk is held by EWC's penalty as well, with the Fisher under the gates of each task at smax.

    The loss that is reported, and the validation loss, are HAT's alone.
    """

    deviations: ClassVar[Sequence[str]] = (
        "read as EWC on top of HAT: its printed backward transfer is 0 everywhere, plain EWC's cannot be",
    )

    @dataclass(frozen=True, kw_only=True)
    class Config(HAT.Config):
        ewc_lamb: Annotated[float, Float(1.0, 5e4, log=True)] = 5000.0  # lambda of EWC
        fisher_batch: int = 1  # as EWC's
        fisher_mode: Literal["eval", "train"] = "eval"  # as EWC's

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
        """Move the anchor here and take the Fisher of the task just learnt into the running mean."""
        dropout = self.config.fisher_mode == "train"
        found = fisher(self.net, task, fit, self.config.fisher_batch, dropout=dropout, forward=self)
        new = dict(zip(self.net.parameters(), found, strict=True))
        with torch.no_grad():
            for p, anchor, mean in zip(self.net.body.parameters(), self.anchor, self.fisher, strict=True):
                mean.mul_(self.learnt - 1).add_(new[p]).div_(self.learnt)
                anchor.copy_(p)

    def edit_gradients(self, batch: Batch) -> None:
        """Add ewc_lamb F (theta - theta*), then block: what earlier tasks use does not move back either."""
        if self.learnt:
            with torch.no_grad():
                for p, anchor, mean in zip(self.net.body.parameters(), self.anchor, self.fisher, strict=True):
                    assert p.grad is not None
                    for gradient, weight, here, there in _pieces(p.grad, mean, p, anchor):
                        gradient.addcmul_(weight, here - there, value=self.config.ewc_lamb)
        super().edit_gradients(batch)

"""Callbacks that send the values of a study to TensorBoard and to Weights & Biases.

A study names them as ``callbacks=[TensorBoard("logs")]``. The two libraries are imported when a run has
finished, so that the file can be read without them.
"""

from typing import Any

from raycl import Callback


class TensorBoard(Callback):
    """Writes a folder of events for each run, which ``tensorboard --logdir FOLDER`` shows."""

    def __init__(self, folder: str) -> None:
        self.folder, self.writer = folder, None

    def on_epoch(self, run: Any, epoch: Any) -> None:
        from tensorboardX import SummaryWriter  # comes with Ray Tune

        self.writer = self.writer or SummaryWriter(f"{self.folder}/{run.method}-{run.key[:12]}")
        for name, value in epoch.values.items():
            self.writer.add_scalar(f"{epoch.fit}/{name}", value, epoch.step)

    def on_run(self, run: Any, values: Any) -> None:
        if self.writer:
            self.writer.add_hparams(dict(run.settings), dict(values), name="settings")
            self.writer.close()
        self.writer = None


class WandB(Callback):
    """Makes a run of Weights & Biases for each run; ``mode="offline"`` writes it to this machine alone."""

    def __init__(self, project: str, **options: Any) -> None:
        self.options, self.open = {"project": project, **options}, None

    def on_epoch(self, run: Any, epoch: Any) -> None:
        import wandb

        self.open = self.open or wandb.init(name=run.name, config=dict(run.settings), **self.options)
        if epoch.fit == "main":
            self.open.log(dict(epoch.values), step=epoch.step)

    def on_run(self, run: Any, values: Any) -> None:
        if self.open:
            self.open.summary.update(dict(values))
            self.open.finish()
        self.open = None

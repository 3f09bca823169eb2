"""Table 3: hyperparameters of the alpha stage, as printed and as in raycl's presets."""

from raycl import Sheet, Study
from raycl.methods.impresslearn import ImpressLearn
from raycl.training.presets import PRESETS

PRINTED = {  # learning rate, lambda, optimiser, batch
    "impresslearn_alpha_mnist": ("0.002", "0", "RMSprop", "128"),
    "impresslearn_alpha_cifar": ("0.02", "0.005", "Adam", "64"),
    "impresslearn_alpha_imagenet": ("0.0025", "0.005", "Adam", "96"),
}


COLUMNS = ("lr", "ours", "lambda", "ours", "optimiser", "ours", "batch", "ours")


def line(preset: str) -> list[str]:
    """Return a row of printed and our hyperparameters in turn, then our epochs and weight decay."""
    fit = PRESETS[preset].fit
    lamb = ImpressLearn.preset_overrides[preset]["method.lamb"]
    ours = (f"{fit['lr']:g}", f"{lamb:g}", str(fit["optimiser"]), str(fit["batch"]))
    pairs = zip(PRINTED[preset], ours, strict=True)
    return [
        preset.removeprefix("impresslearn_alpha_"),
        *(text for pair in pairs for text in pair),
        str(fit["epochs"]),
        f"{fit.get('weight_decay', 0.0):g}",
    ]


STUDY = Study(
    paper="impresslearn",
    sheets=[
        Sheet(
            title="Table 3: printed, and ours behind it",
            header=["data", *COLUMNS, "epochs", "decay"],
            rows=[line(preset) for preset in PRINTED],
            notes=[
                "epochs are not printed, nor schedules: constant on MNIST, else cosine; both follow the "
                "first author's public code",
                "the table can only mean the alpha stage; the text says plain SGD instead",
            ],
        )
    ],
)
SMALL = STUDY

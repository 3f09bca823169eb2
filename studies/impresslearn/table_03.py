"""Table 3: hyperparameters of the alpha stage, as printed and as in raycl's presets and studies."""

import inspect
from dataclasses import dataclass

from torch.optim import Adam

from raycl import Sheet, Study
from raycl.methods.impresslearn import ImpressLearn
from raycl.training.presets import PRESETS

from . import fig_02, fig_03, fig_04, fig_05


@dataclass(frozen=True)
class Row:
    """A row of the table.

    Attributes:
        data: The data set.
        preset: raycl's preset.
        study: The study whose homogeneous bases are counted.
        printed: The printed values: the largest homogeneous basis, learning rate, lambda, optimiser, batch.
        adam: The momentum and the weight decay that the text below the table gives for Adam, or blanks.
    """

    data: str
    preset: str
    study: Study
    printed: tuple[str, str, str, str, str]
    adam: tuple[str, str] = ("", "")


ADAM = ("0.9", "0.1")
TABLE = (
    Row("Rotated MNIST", "impresslearn_alpha_mnist", fig_02.STUDY, ("250", "0.002", "0", "RMSprop", "128")),
    Row("Permuted MNIST", "impresslearn_alpha_mnist", fig_03.STUDY, ("250", "0.002", "0", "RMSprop", "128")),
    Row(
        "Split CIFAR-100",
        "impresslearn_alpha_cifar",
        fig_04.STUDY,
        ("75", "0.02", "0.005", "Adam", "64"),
        ADAM,
    ),
    Row(
        "Split ImageNet",
        "impresslearn_alpha_imagenet",
        fig_05.STUDY,
        ("75", "0.0025", "0.005", "Adam", "96"),
        ADAM,
    ),
)
FIRST = ("|M_hom|", "lr", "lambda")
SECOND = ("optimiser", "batch", "momentum", "decay")


def largest(study: Study) -> str:
    """Return the size of the largest homogeneous basis of a study, or a dash."""
    sizes = [keys["method.k"] for keys in study.methods.values() if keys.get("method.basis") == "homogeneous"]
    return str(max(sizes)) if sizes else "-"


def ours(row: Row) -> tuple[str, ...]:
    """Return our values in the order of the columns; momentum and decay only where the paper has them."""
    fit = PRESETS[row.preset].fit
    lamb = ImpressLearn.preset_overrides[row.preset]["method.lamb"]
    beta = inspect.signature(Adam).parameters["betas"].default[0]  # raycl leaves torch's value
    adam = (f"{beta:g}", f"{fit['weight_decay']:g}") if any(row.adam) else ("", "")
    return largest(row.study), f"{fit['lr']:g}", f"{lamb:g}", str(fit["optimiser"]), str(fit["batch"]), *adam


def lines(names: tuple[str, ...]) -> list[list[str]]:
    """Return a line for each row, with printed and our values of these columns in turn."""
    columns = (*FIRST, *SECOND)
    places = [columns.index(name) for name in names]
    found = []
    for row in TABLE:
        printed, own = (*row.printed, *row.adam), ours(row)
        found.append([row.data, *(text for place in places for text in (printed[place], own[place]))])
    return found


def headed(names: tuple[str, ...]) -> list[str]:
    """Return the header of these columns."""
    return ["data", *(text for name in names for text in (name, "ours"))]


STUDY = Study(
    paper="impresslearn",
    sheets=[
        Sheet(
            title="Table 3: printed, and ours behind it",
            header=headed(FIRST),
            rows=lines(FIRST),
            notes=[
                "|M_hom|: the largest homogeneous basis; Figure 5 shows none of Split ImageNet",
            ],
        ),
        Sheet(
            title="Table 3, continued; momentum and weight decay are in the text below it, for Adam only",
            header=headed(SECOND),
            rows=lines(SECOND),
            notes=[
                "momentum: Adam's first beta",
                "the table can only mean the alpha stage; the text says plain SGD instead",
            ],
        ),
        Sheet(
            title="What the paper does not print",
            header=["data", "epochs", "schedule"],
            rows=[
                [row.data, str(PRESETS[row.preset].fit["epochs"]), str(PRESETS[row.preset].fit["schedule"])]
                for row in TABLE
            ],
            notes=["epochs of CIFAR-100 and ImageNet, and schedules, follow the first author's public code"],
        ),
    ],
)
SMALL = STUDY

"""KSM, Table 2 and Figures 4 and 6: ImageNet, then five fine-grained data sets, and the sizes of the models.

The backbone is torchvision's ResNet-50, pretrained on ImageNet and not trained further. The small form uses
six small data sets instead, and a small VGG that is trained on the first of them. In both forms the sizes are
counted again from the network itself.
"""

from raycl import Curves, Layers, PaperTable
from raycl.papers.accounts.ksm import table_2_sizes

from .common import DESK_INITIAL, METHODS, PAPER, ROWS

FINETUNE = {"method": "copies", "method.start": "first", "preset": "ksm_finetune"}
FINETUNED = FINETUNE | {"method.initial": "ksm_initial"}
DESK_FINETUNED = FINETUNE | DESK_INITIAL | {"fit.epochs": 12, "fit.milestones": (8,)}
SKETCH, SMALL_VISUAL = "imagenet_to_sketch(val=0.1)", "small_visual(val=0.1)"
PARTS = {name: f"{SKETCH}[{name}]" for name in ("ImageNet", "CUBS", "Cars", "Flowers", "WikiArt", "Sketch")}
SMALL_TITLES = ("CIFAR-100", "CIFAR-10", "FashionMNIST", "MNIST", "Omniglot", "Tiny ImageNet")
SMALL_PARTS = {title: f"{SMALL_VISUAL}#{t}" for t, title in enumerate(SMALL_TITLES, 1)}
VIEWS = [
    Curves("Figure 4: seconds of training by data set", value="ct_train[t]"),
    Layers("Figure 6: share of dropped entries", value="soft_share", rows="ksm,piggyback"),
]


def tables(benchmark, parts):
    """Return tables of the accuracy by data set and of the size of the whole model."""
    rows = {"Finetune": "finetuned", **ROWS}
    return [
        PaperTable(
            "Table 2: accuracy",
            table="2",
            rows=rows,
            columns=parts,
            unit="percent",
            paper_seeds=1,
            notes=["the paper copies the columns of other methods from their publications"],
        ),
        PaperTable(
            "Table 2: model size in MiB",
            table="2",
            rows=rows,
            columns={"size": (benchmark, "bytes_total")},
            unit={"bytes_total": "MiB"},
            paper_seeds=1,
        ),
    ]


STUDY = PAPER.full.with_(
    methods=METHODS.full | {"finetuned": FINETUNED},
    benchmarks=[SKETCH],
    network="resnet50(norm='affine', weights='imagenet')",
    tables=tables(SKETCH, PARTS),
    sheets=[table_2_sizes],
    views=VIEWS,
)
SMALL = PAPER.small.with_(
    methods=METHODS.small | {"finetuned": DESK_FINETUNED},
    benchmarks=[SMALL_VISUAL],
    tables=tables(SMALL_VISUAL, SMALL_PARTS),
    sheets=[table_2_sizes],
    views=VIEWS,
)

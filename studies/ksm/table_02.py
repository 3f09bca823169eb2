"""KSM, Table 2 and Figures 4 and 6: ImageNet, then five fine-grained data sets, and the sizes of the models.

The backbone is torchvision's ResNet-50, pretrained on ImageNet and not trained further. The small form uses
CIFAR-10 and five superclasses of CIFAR-100 instead, and a small VGG that is trained on CIFAR-10. In both
forms the sizes are counted again from the network itself.
"""

from raycl import Curves, Layers, PaperTable
from raycl.papers.accounts.ksm import table_2_sizes

from .common import DESK_INITIAL, FOOTING, METHODS, PAPER, RATES, ROWS

FINETUNE = {"method": "copies", "method.start": "first", "preset": "ksm_finetune"}
FINETUNED = FINETUNE | {"method.initial": "ksm_initial"}
DESK_FINETUNED = FINETUNE | DESK_INITIAL | {"fit.epochs": 12}  # the runs that set CPG's goals
SKETCH, STAND_IN = "imagenet_to_sketch(val=0.1)", "cifar_to_super(val=0.2)"
PARTS = {name: f"{SKETCH}[{name}]" for name in ("ImageNet", "CUBS", "Cars", "Flowers", "WikiArt", "Sketch")}
SMALL_TITLES = ("CIFAR-10", "aquatic mammals", "fish", "flowers", "food containers", "fruit, vegetables")
SMALL_PARTS = {title: f"{STAND_IN}#{t}" for t, title in enumerate(SMALL_TITLES, 1)}
VIEWS = [
    Curves("Figure 4: seconds of training by data set", value="ct_train[t]"),
    Layers("Figure 6: share of dropped entries", value="soft_share", rows="ksm,piggyback"),
]


def tables(benchmark, parts, rate):
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
            notes=[
                FOOTING,
                rate,
                "the paper copies the columns of other methods from their publications",
            ],
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
    tables=tables(SKETCH, PARTS, RATES.full),
    sheets=[table_2_sizes],
    views=VIEWS,
)
SMALL = PAPER.small.with_(
    methods=METHODS.small | {"finetuned": DESK_FINETUNED},
    benchmarks=[STAND_IN],
    tables=tables(STAND_IN, SMALL_PARTS, RATES.small),
    sheets=[table_2_sizes],
    views=VIEWS,
)

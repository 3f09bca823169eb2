"""Section 4.2, text: inferring by entropy to which of 250 learnt tasks a batch belongs.

Accuracies are measured after 1, 2, 3, 5 and 10 steps. The paper finds the right task in 94.6 % of cases
within 3 "epochs" and in 98.1 % within 5. It does not say what an epoch is; here it is a step on one more
unlabelled batch. SupSup mixes the tasks' own masks, and ImpressLearn mixes the tasks' linear combinations of
25 masks.
"""

from raycl import Form, Seeds

from .common import FEW, OWN, PAPER, Data

DATA = Form(
    full=Data("permuted_mnist", 25, 250, "val=0.0"),
    small=Data("permuted_mnist", 25, 50, FEW + ", limit_test=1000"),
)
HOW = ("one_shot", "binary", "gradient")
MIXED = {"method": "impresslearn", "method.k": 25}
METHODS = {  # own masks and linear combinations, each with three ways of inference
    f"{label}-{how}": keys | {"method.density": 0.15, "method.inference": how}
    for label, keys in (("own", OWN), ("het-25", MIXED))
    for how in HOW
}

STUDY = PAPER.full.with_(methods=METHODS, benchmarks=[DATA.full.new_tasks])
SMALL = PAPER.small.with_(methods=METHODS, benchmarks=[DATA.small.new_tasks], final=Seeds(1))

"""Section 4.2, text: which of 250 learnt tasks is a batch of? By entropy, in 1, 2, 3, 5 and 10 steps.

The paper finds the right task in 94.6 % of cases within 3 "epochs" and in 98.1 % within 5, and does not say
what an epoch is; here it is a step on one more unlabelled batch. SupSup mixes masks of the tasks' own,
ImpressLearn their linear combinations of 25 masks.
"""

from impresslearn_common import FEW, OWN, Data, Keys, figure

from raycl import Seeds

MANY = Data("permuted_mnist", 25, 250, "val=0.0")
SOME = Data("permuted_mnist", 25, 50, FEW + ", limit_test=1000")
HOW = ("one_shot", "binary", "gradient")


def methods(data: Data) -> Keys:
    """Own masks and combinations, each by three ways of inference."""
    masks = {f"own-{how}": OWN | {"method.density": 0.15, "method.inference": how} for how in HOW}
    mixed = {
        f"het-25-{how}": {
            "method": "impresslearn",
            "method.k": 25,
            "method.density": 0.15,
            "method.inference": how,
        }
        for how in HOW
    }
    return masks | mixed


STUDY = figure(MANY, methods(MANY), "Task inference among 250 tasks", views=[])
DESK = figure(SOME, methods(SOME), "Task inference among 50 tasks", views=[], final=Seeds(1))

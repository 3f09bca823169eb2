"""Section 4.2, GN setting: inferring by entropy to which of 250 learnt tasks a batch belongs.

A batch may belong to a task of the basis or to a new task, and all of them are candidates: 25 basis tasks,
which keep the masks that were trained on them, and 225 new tasks, which have linear combinations of these
masks. The rates of success are measured after 1, 2, 3, 5 and 10 steps. The paper finds the right task in
94.6 % of cases within 3 "epochs" and in 98.1 % within 5. It does not say what an epoch is; here it is a step
on one more unlabelled batch. SupSup infers among the same tasks, each with a mask of its own.

The small form has 25 basis tasks and 10 new ones.
"""

from raycl import Curves, Form, Seeds

from .common import FEW, GN_BATCH, OWN, PAPER, Data

DATA = Form(full=Data("permuted_mnist", 25, 225, "val=0.0"), small=Data("permuted_mnist", 25, 10, FEW))
VIEWS = [
    Curves(
        "How often the task of a batch of 128 images is found, by the number of steps",
        value="task_inference_acc[steps]",
        rows="*-gradient",
        unit="fraction",
        notes=["one-shot and binary inference take a single batch; their accuracies are in the table"],
    ),
    Curves(
        "The same if all combined masks are scaled to the L1 norm of a binary mask",
        value="task_inference_acc_normalised[steps]",
        rows="het-*-gradient",
        unit="fraction",
        notes=[
            "combined masks of new tasks are larger than masks of basis tasks, whose place they take unscaled"
        ],
    ),
]
HOW = ("one_shot", "binary", "gradient")


def methods(data: Data) -> dict[str, dict[str, object]]:
    """Return own masks and linear combinations, each with three ways of inference."""
    mixed = {"method": "impresslearn", "method.k": data.first, "method.stage": "both"}
    return {
        f"{label}-{how}": {
            **keys,
            **GN_BATCH,
            "method.density": 0.15,
            "method.inference": how,
        }
        for label, keys in (("own", OWN), (f"het-{data.first}", mixed))
        for how in HOW
    }


def every_task(data: Data) -> str:
    """Return the window of the basis tasks and the new tasks."""
    return data.window(0, data.first + data.new)


STUDY = PAPER.full.with_(methods=methods(DATA.full), benchmarks=[every_task(DATA.full)], views=VIEWS)
SMALL = PAPER.small.with_(
    methods=methods(DATA.small), benchmarks=[every_task(DATA.small)], views=VIEWS, final=Seeds(1)
)

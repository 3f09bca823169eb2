"""Five methods on MNIST, cut down for a small machine: permuted and rotated tasks of 10,000 images each.

Prepare MNIST first with ``raycl data prepare mnist``, or with ``--from DIR`` if a folder contains its files.
The protocol and the sizes are those of raycl and not of a paper, so the report compares no printed numbers.
"""

from raycl import Seeds, Study

STUDY = Study(
    methods={
        "one": {},
        "finetune": {},
        "hat": {"method.lamb": 0.75, "method.smax": 400.0},
        "spg": {},
        "supsup": {"method.density": 0.25, "fit.lr": 20.0},  # its scores need large steps
    },
    benchmarks=["permuted_mnist(tasks=5, limit_train=10000)", "rotated_mnist(tasks=5, limit_train=10000)"],
    network="mlp(hidden=256, drop1=0.0, drop2=0.1)",
    preset="spg+desk",
    search=None,
    final=Seeds(1, 2, 3),
)

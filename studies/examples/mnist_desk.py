"""Real MNIST at desk size: five permuted and five rotated tasks of 10,000 images each.

Needs MNIST: ``raycl data prepare mnist``, or ``--from DIR`` with a folder that holds its files.
`protocol` and sizes are ours, not a paper's: no number here stands beside a printed one.
"""

from raycl import Seeds, Study

STUDY = Study(
    methods={
        "one": {},
        "finetune": {},
        "hat": {"method.lamb": 0.75, "method.smax": 400.0},
        "spg": {},
        "supsup": {"method.density": 0.25, "fit.lr": 20.0},  # scores are small, and want large steps
    },
    benchmarks=["permuted_mnist(tasks=5, limit_train=10000)", "rotated_mnist(tasks=5, limit_train=10000)"],
    network="mlp(hidden=256, drop1=0.0, drop2=0.1)",
    preset="spg+desk",
    search=None,
    final=Seeds(1, 2, 3),
)

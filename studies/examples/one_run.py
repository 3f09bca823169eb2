"""A single training run of HAT with published settings: one seed and no search.

The values of c and s_max are those of the paper (Serra et al. 2018); the dropout rates are those of its code.
"""

from raycl import Seeds, Study

STUDY = Study(
    methods={"hat": {"method.lamb": 0.75, "method.smax": 400.0, "net.drop1": 0.2, "net.drop2": 0.5}},
    benchmarks=["digits_split"],
    network="mlp(hidden=64)",
    preset="prm",
    search=None,
    final=Seeds(1),
)

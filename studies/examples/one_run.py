"""No search: published values, one seed. HAT's own c and s_max (Serra et al. 2018), dropout of its code."""

from raycl import Seeds, Study

STUDY = Study(
    methods={"hat": {"method.lamb": 0.75, "method.smax": 400.0, "net.drop1": 0.2, "net.drop2": 0.5}},
    benchmarks=["digits_split"],
    network="mlp(hidden=64)",
    preset="prm",
    search=None,
    final=Seeds(1),
)

"""The study of the faults, whose runs may stand still for as long as a slow machine needs to start hosts."""

from raycl import Resources

from .small_study import STUDY as SMALL

STUDY = SMALL.with_(resources={"*": Resources(cpus=1)})

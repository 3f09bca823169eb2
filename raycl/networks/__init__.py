"""Networks, each a body that computes features and heads that classify.

A network does not depend on any method; methods attach masks from outside.
"""

from raycl.networks._norms import TaskNorms
from raycl.networks.base import Block, Blocks, Heads, Network, PerTaskBatchNorm, Start

__all__ = ["Block", "Blocks", "Heads", "Network", "PerTaskBatchNorm", "Start", "TaskNorms"]

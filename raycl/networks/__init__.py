"""Networks: a body that makes features, and heads. They know no method; masks attach from outside."""

from raycl.networks._norms import TaskNorms
from raycl.networks.base import Block, Blocks, Heads, Network, PerTaskBatchNorm, Start

__all__ = ["Block", "Blocks", "Heads", "Network", "PerTaskBatchNorm", "Start", "TaskNorms"]

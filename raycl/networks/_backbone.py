"""The state of a network trained on the first task, which several methods and variants can share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from raycl.archives import Artefact, DamagedArtefact
from raycl.networks.base import Network


@dataclass(frozen=True)
class Pretrained:
    """Tensors of a network after the first task, and the cost of its training.

    Attributes:
        tensors: tensors of the body and the first head, by name in the network, including batch statistics.
        seconds, epochs, updates: duration of the training, its epochs and its updates.
    """

    tensors: Mapping[str, Tensor]
    seconds: float
    epochs: int
    updates: int


def adopt(net: Network, tensors: Mapping[str, Tensor]) -> None:
    """Load a backbone into a network that may have more heads.

    Raises:
        DamagedArtefact: If the backbone belongs to another network.
    """
    own = net.state_dict()
    wrong = [
        name
        for name, tensor in tensors.items()
        if name not in own or (own[name].shape, own[name].dtype) != (tensor.shape, tensor.dtype)
    ]
    lacking = [name for name in own if not name.startswith("heads.") and name not in tensors]
    if wrong or lacking:
        where = (wrong + lacking)[0]
        raise DamagedArtefact(f"the backbone does not fit the network at {where}", Artefact.BACKBONE)
    net.load_state_dict(dict(tensors), strict=False)


def state_of(net: Network) -> dict[str, Tensor]:
    """Return the tensors that make up a backbone: those of the body and of the first head."""
    return {
        name: tensor.detach().cpu()
        for name, tensor in net.state_dict().items()
        if not name.startswith("heads.") or name.startswith("heads.0.")
    }

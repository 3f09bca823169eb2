"""Checks of a network on torch's meta device, which needs neither data nor memory."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from raycl import userfiles
from raycl.domains import shown
from raycl.errors import UserError
from raycl.networks import Network
from raycl.study.limits import PARAMETERS

COPIES = 4  # copies of the weights during training: weights, gradients, best epoch, optimiser moments
ALONE = "more than 1 value per channel"  # part of torch's error for batch normalisation of a single value


@dataclass(frozen=True)
class Measured:
    """Properties of a network.

    Attributes:
        parameters: Number of parameters.
        normalised: Whether any layer computes statistics of a batch.
    """

    parameters: int
    normalised: bool

    @property
    def training_bytes(self) -> int:
        """Approximate bytes of memory that training takes in float32."""
        return COPIES * 4 * self.parameters


def measured(
    kind: type[Network], config: Any, input_shape: tuple[int, int, int], classes: Iterable[int], place: str
) -> Measured:
    """Build a network on the meta device and return its properties.

    Args:
        kind: Class of the network.
        config: Its settings.
        input_shape: Channels, height and width of the inputs.
        classes: Number of classes of each task.
        place: Where the network is named, for messages.

    Raises:
        UserError: If the network does not fit the inputs, cannot be built, or fits no machine's memory.
    """
    try:
        found = _measured(kind, config, input_shape, tuple(classes))
    except UserError:
        raise
    except (ValueError, RuntimeError, OverflowError, MemoryError, TypeError, IndexError) as error:
        if isinstance(error, ValueError):
            raise UserError(f"{place}: {' '.join(str(error).split())}") from None
        raise UserError(
            f"{place}: a network of these sizes cannot be built ({shown(str(error))}); give it smaller ones"
        ) from None
    if found.parameters > PARAMETERS:
        raise UserError(
            f"{place}: the network would have {found.parameters:.3g} parameters, but more than "
            f"{PARAMETERS:.0e} fit no machine; give it smaller sizes"
        )
    return found


def fails_alone(
    kind: type[Network], config: Any, input_shape: tuple[int, int, int], classes: Iterable[int]
) -> bool:
    """Return whether a training step on one sample fails, because batch normalisation would divide 0 by 0.

    The step is tried on the meta device, which takes some seconds the first time in a process.
    """
    net = _on_meta(kind, config, input_shape, tuple(classes))
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            net.train()(torch.zeros(1, *input_shape, device="meta"), 0)
    except ValueError as error:
        return ALONE in str(error)
    except Exception:  # it reads values, which the meta device does not have: the answer is unknown
        return False
    return False


def _measured(
    kind: type[Network], config: Any, input_shape: tuple[int, int, int], classes: tuple[int, ...]
) -> Measured:
    try:
        hash(config)
    except TypeError:  # a Config that is not frozen has no hash, so the answer cannot be cached
        return _looked_at(kind, config, input_shape, classes)
    return _remembered(kind, config, input_shape, classes)  # type: ignore[arg-type]  # classes have a hash


def _looked_at(
    kind: type[Network], config: Any, input_shape: tuple[int, int, int], classes: tuple[int, ...]
) -> Measured:
    net = _on_meta(kind, config, input_shape, classes)
    normalised = any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in net.modules())
    return Measured(sum(p.numel() for p in net.parameters()), normalised)


_remembered = functools.lru_cache(maxsize=256)(_looked_at)


def _on_meta(
    kind: type[Network], config: Any, input_shape: tuple[int, int, int], classes: tuple[int, ...]
) -> Network:
    with torch.device("meta"), userfiles.blamed(kind):
        return kind.variant(config)(input_shape, classes, config)

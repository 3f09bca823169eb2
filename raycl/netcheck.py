"""What a network is like before it costs anything: built on torch's meta device, without any data."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from raycl.domains import shown
from raycl.errors import UserError
from raycl.limits import PARAMETERS
from raycl.networks import Network

COPIES = 4  # of the weights while they are trained: themselves, their gradient, the best epoch's, and moments
ALONE = "more than 1 value per channel"  # torch's words for a batch normalisation that sees one number


@dataclass(frozen=True)
class Measured:
    """A network.

    Attributes:
        parameters: how many.
        normalised: whether any layer takes statistics of a batch.
        fails_alone: whether training it on a batch of one sample fails.
    """

    parameters: int
    normalised: bool
    fails_alone: bool

    @property
    def training_bytes(self) -> int:
        """About what training takes, in float32."""
        return COPIES * 4 * self.parameters


def measured(
    kind: type[Network], config: Any, input_shape: tuple[int, int, int], classes: Iterable[int], place: str
) -> Measured:
    """Build a network on the meta device.

    Raises:
        UserError: it does not fit the inputs, fails to be built, or is larger than any machine's memory.
    """
    try:
        found = _measured(kind, config, input_shape, tuple(classes))
    except UserError:
        raise
    except (ValueError, RuntimeError, OverflowError, MemoryError, TypeError, IndexError) as error:
        if isinstance(error, ValueError) or not kind.__module__.startswith("raycl."):
            raise UserError(f"{place}: {' '.join(str(error).split())}") from None
        raise UserError(
            f"{place}: a network of these sizes cannot be built ({shown(str(error))}); give it smaller ones"
        ) from None
    if found.parameters > PARAMETERS:
        raise UserError(
            f"{place}: the network would have {found.parameters:.3g} parameters, and more than "
            f"{PARAMETERS:.0e} fit no machine; give it smaller sizes"
        )
    return found


def machine_bytes() -> int:
    """Memory of this machine; 0 where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return 0


def _measured(
    kind: type[Network], config: Any, input_shape: tuple[int, int, int], classes: tuple[int, ...]
) -> Measured:
    try:
        hash(config)
    except TypeError:  # a Config that is not frozen
        return _built(kind, config, input_shape, classes)
    return _remembered(kind, config, input_shape, classes)  # type: ignore[arg-type]  # classes have a hash


def _built(
    kind: type[Network], config: Any, input_shape: tuple[int, int, int], classes: tuple[int, ...]
) -> Measured:
    with torch.device("meta"):
        net = kind.variant(config)(input_shape, classes, config)
    modules = [m for m in net.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    alone = bool(modules) and _fails_alone(net, input_shape)
    return Measured(sum(p.numel() for p in net.parameters()), bool(modules), alone)


_remembered = functools.lru_cache(maxsize=256)(_built)


def _fails_alone(net: nn.Module, input_shape: tuple[int, int, int]) -> bool:
    """Whether a training step on one sample fails where a batch normalisation would divide 0 by 0."""
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            net.train()(torch.zeros(1, *input_shape, device="meta"), 0)
    except ValueError as error:
        return ALONE in str(error)
    except Exception:  # it reads numbers, and there are none here: nothing is known
        return False
    return False

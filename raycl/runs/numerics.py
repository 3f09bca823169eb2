"""The precision of torch's matrix products in this process."""

from __future__ import annotations

import torch

from raycl import devices
from raycl.specs import Numerics


def set_numerics(numerics: Numerics) -> str:
    """Set the precision of torch's matrix products, and return a description of what was chosen.

    "fast" allows TF32 on a GPU. On a CPU it allows oneDNN's float32 where a test product agrees with float64
    to a relative error of 2e-6; the test is needed because the same setting permits bfloat16, which some
    machines would use.
    """
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    torch.set_float32_matmul_precision("highest")
    if numerics == "strict":
        return "strict"
    if devices.available():
        torch.set_float32_matmul_precision("high")
        return "fast: TF32"
    torch.set_float32_matmul_precision("medium")
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(128, 784, generator=generator), torch.randn(784, 300, generator=generator)
    exact = a.double() @ b.double()
    if float(((a @ b).double() - exact).abs().max() / exact.abs().max()) < 2e-6:
        return "fast: oneDNN float32"
    torch.set_float32_matmul_precision("highest")
    return "fast: nothing safe found"

"""The state of torch and NumPy on which the results of a run depend bit for bit, in the calling thread."""

from __future__ import annotations

import functools
import itertools
import math
from typing import Any

import numpy as np
import torch
from torch.nn.modules import module as modules
from torch.utils import _device

from raycl.process.parts import Part

C: Any = torch._C
_HELD: list[Any] = []  # References to guards, which would undo their effect when they are collected.
_SDP = {
    "flash": "flash",
    "mem_efficient": "mem_efficient",
    "math": "math",
    "cudnn": "cudnn",
    "overrideable": "overrideable",
    "fa3": "fa3",
    "fa4": "fa4",
}
_PLAIN = {  # Descriptions of settings that torch reads and writes under one name.
    "cudnn_enabled": "torch's cuDNN",
    "cudnn_benchmark": "torch's cuDNN benchmark",
    "cudnn_deterministic": "torch's cuDNN determinism",
    "cudnn_allow_tf32": "torch's cuDNN TF32",
    "cublas_allow_tf32": "torch's cuBLAS TF32",
    "cublas_allow_fp16_reduced_precision_reduction": "torch's cuBLAS fp16 reduction",
    "cublas_allow_bf16_reduced_precision_reduction": "torch's cuBLAS bf16 reduction",
    "cublas_allow_fp16_accumulation": "torch's cuBLAS fp16 accumulation",
    "cpu_allow_fp16_reduced_precision_reduction": "torch's fp16 reduction",
    "math_sdp_allow_fp16_bf16_reduction": "torch's attention reduction",
    "mkldnn_enabled": "torch's oneDNN",
    "mkldnn_deterministic": "torch's oneDNN determinism",
    "onednn_allow_tf32": "torch's oneDNN TF32",
    "nnpack_enabled": "torch's NNPACK",
    "deterministic_fill_uninitialized_memory": "torch's filling of new memory",
    "linalg_preferred_backend": "torch's library of linear algebra",
    "blas_preferred_backend": "torch's BLAS",
    "qengine": "torch's engine of quantised products",
    "native_aot_enabled": "torch's compiled kernels",
}
_FP32 = [
    ("generic", "all"),
    *((at, op) for at in ("cuda", "mkldnn") for op in ("all", "matmul", "conv", "rnn")),
]


@functools.cache
def parts() -> tuple[Part, ...]:
    """Return all parts of this state; `known` holds the values with which torch starts."""
    found = [
        *_autograd(),
        *_modes(),
        *_autocast(),
        *_precision(),
        Part("torch's default dtype", torch.get_default_dtype, torch.set_default_dtype, torch.float32),
        Part("flush-denormal", _flushes, lambda was: _nothing(torch.set_flush_denormal(was)), False),
        Part("torch's number of threads", torch.get_num_threads, torch.set_num_threads),
        Part("NumPy's handling of floating-point errors", np.geterr, lambda was: _nothing(np.seterr(**was))),
        Part("global hooks of torch's modules", _hooks, _put_hooks),
        Part("operators of torch registered anew", _operators),
    ]
    return tuple(found)


def _autograd() -> list[Part]:
    return [
        # Inference mode comes first, since leaving it also changes the other settings.
        Part("inference mode", torch.is_inference_mode_enabled, _put_inference, False),
        Part("torch's gradients", torch.is_grad_enabled, C._set_grad_enabled, True),
        Part("forward-mode gradients", C._is_fwd_grad_enabled, C._set_fwd_grad_enabled, True),
        Part(
            "autograd's threads",
            C._is_multithreading_enabled,
            C._set_multithreading_enabled,
            True,
        ),
        Part("autograd's view replay", C._is_view_replay_enabled, C._set_view_replay_enabled, False),
        Part(
            "anomaly detection",
            lambda: (torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled()),
            lambda was: torch.set_anomaly_enabled(*was),
            (False, True),
        ),
        Part("hooks on saved tensors", _saved_hooks, _put_saved_hooks, 0),
        Part(
            "saved-tensor hooks forbidden",
            C._autograd._saved_tensors_hooks_get_disabled_error_message,
            lambda was: C._autograd._saved_tensors_hooks_enable(),
        ),
        Part(
            "transforms of torch.func",
            C._functorch.get_dynamic_layer_stack_depth,
            lambda depth: _nothing(C._functorch.pop_dynamic_layer_stack_and_undo_to_depth(depth)),
            0,
        ),
        Part(
            "torch's determinism",
            lambda: (C._get_deterministic_algorithms(), C._get_deterministic_algorithms_warn_only()),
            lambda was: torch.use_deterministic_algorithms(was[0], warn_only=was[1]),
            (False, False),
        ),
        Part(
            "checks of sparse tensors",
            C._check_sparse_tensor_invariants,
            C._set_check_sparse_tensor_invariants,
            False,
        ),
    ]


def _modes() -> list[Part]:
    """Return function modes, dispatch modes and the default device, which torch keeps as a function mode."""
    return [
        Part(
            "torch's default device", lambda: (_context(), _device.CURRENT_DEVICE), _put_device, (None, None)
        ),
        Part("a TorchFunctionMode", _function_modes, _put_function_modes, []),
        Part("a TorchDispatchMode", _dispatch_modes, _put_dispatch_modes, []),
        Part("torch functions overridden", C._get_torch_function_state, C._set_torch_function_state),
    ]


def _autocast() -> list[Part]:
    found = [
        Part("depth of autocast", _nesting, _put_nesting, 0),
        Part("autocast's cache", torch.is_autocast_cache_enabled, torch.set_autocast_cache_enabled, True),
    ]
    for device in C._autocast_supported_devices():
        found += [
            Part(
                f"autocast on {device}",
                functools.partial(torch.is_autocast_enabled, device),
                functools.partial(torch.set_autocast_enabled, device),
                False,
            ),
            Part(
                f"autocast's dtype on {device}",
                functools.partial(torch.get_autocast_dtype, device),
                functools.partial(torch.set_autocast_dtype, device),
            ),
        ]
    return found


def _precision() -> list[Part]:
    found = [
        Part(
            f"torch's fp32 precision ({backend}, {op})",
            functools.partial(C._get_fp32_precision_getter, backend, op),
            functools.partial(_put_fp32, backend, op),
        )
        for backend, op in _FP32
        if hasattr(C, "_get_fp32_precision_getter")
    ]
    found.append(
        Part(
            "torch's precision of float32 products",
            torch.get_float32_matmul_precision,
            torch.set_float32_matmul_precision,
            "highest",
        )
    )
    pairs: list[tuple[str, str, str]] = [(called, f"_get_{n}", f"_set_{n}") for n, called in _PLAIN.items()]
    pairs += [(f"torch's {n} attention", f"_get_{n}_sdp_enabled", f"_set_sdp_use_{n}") for n in _SDP]
    for called, get, set_ in pairs:
        if hasattr(C, get) and hasattr(C, set_):
            found.append(Part(called, getattr(C, get), functools.partial(_put_setting, getattr(C, set_))))
    return found


def _nothing(_: object) -> None:
    """Discard the return value of a setter."""


def _put_setting(setter: Any, value: Any) -> None:
    setter(*value) if isinstance(value, tuple) else setter(value)


def _put_inference(wanted: bool) -> None:
    guard = C._InferenceMode(wanted)
    guard.__enter__()
    _HELD.append(guard)  # When the guard is collected, it restores the mode that it found.


def _saved_hooks() -> int:
    """Return 1 if there are any hooks, else 0; torch does not tell their number."""
    return int(C._autograd._top_saved_tensors_default_hooks(True) is not None)


def _put_saved_hooks(wanted: int) -> None:
    while not wanted and _saved_hooks():
        C._autograd._pop_saved_tensors_default_hooks()


def _context() -> Any:
    return getattr(torch._GLOBAL_DEVICE_CONTEXT, "device_context", None)


def _put_device(was: tuple[Any, Any]) -> None:
    torch._GLOBAL_DEVICE_CONTEXT.device_context, _device.CURRENT_DEVICE = was


def _function_modes() -> list[Any]:
    return [C._get_function_stack_at(i) for i in range(C._len_torch_function_stack())]


def _put_function_modes(wanted: list[Any]) -> None:
    while C._len_torch_function_stack():
        C._pop_torch_function_stack()
    for mode in wanted:
        C._push_on_torch_function_stack(mode)


def _dispatch_modes() -> list[Any]:
    return [C._get_dispatch_stack_at(i) for i in range(C._len_torch_dispatch_stack())]


def _put_dispatch_modes(wanted: list[Any]) -> None:
    while C._len_torch_dispatch_stack() > len(wanted):
        C._pop_torch_dispatch_stack(None)


def _nesting() -> int:
    depth: int = torch.autocast_increment_nesting() - 1
    torch.autocast_decrement_nesting()
    return depth


def _put_nesting(wanted: int) -> None:
    step = torch.autocast_decrement_nesting if _nesting() > wanted else torch.autocast_increment_nesting
    for _ in range(abs(_nesting() - wanted)):
        step()
    torch.clear_autocast_cache()


def _put_fp32(backend: str, op: str, value: str) -> None:
    C._set_fp32_precision_setter(backend, op, value)


def _hook_tables() -> dict[str, Any]:
    found = {f"module.{name}": value for name, value in vars(modules).items() if name.startswith("_global_")}
    optimiser = vars(__import__("sys").modules[torch.optim.Optimizer.__module__])
    return found | {
        f"optim.{name}": value for name, value in optimiser.items() if name.startswith("_global_")
    }


def _hooks() -> dict[str, Any]:
    """Return copies of all tables of hooks that every module and optimiser calls."""
    return {name: dict(t) if isinstance(t, dict) else t for name, t in _hook_tables().items()}


def _put_hooks(wanted: dict[str, Any]) -> None:
    for name, table in _hook_tables().items():
        if isinstance(table, dict):
            table.clear()
            table.update(wanted[name])
    modules._global_is_full_backward_hook = wanted["module._global_is_full_backward_hook"]


def _operators() -> frozenset[str]:
    """Return the kernels of torch's own operators that Python code has registered in place of others."""
    impls = torch.library._impls
    if len(impls) != _seen_operators[0]:
        own = frozenset(k for k in impls if k.startswith("aten/") and not k.endswith("/Meta"))
        _seen_operators[:] = [len(impls), own]
    return _seen_operators[1]  # type: ignore[no-any-return]


_seen_operators: list[Any] = [-1, frozenset()]


def _flushes() -> bool:
    """Return whether this thread flushes denormal numbers to zero."""
    tiny = math.ldexp(1.0, -1060)
    return tiny * 1.5 == 0.0


# The arithmetic itself is checked as well, since not every setting can be read.


def arithmetic() -> tuple[Any, ...]:
    """Return the results of a few small operations, which must be the same before and after a run.

    Torch's pool of threads, if there is one, is tested too, since it has its own settings.
    """
    # The quotients depend on the rounding mode.
    third = [a / b for a, b in itertools.product((1.0, -1.0, 2.0), (3.0, 7.0))]
    with torch.enable_grad(), torch.device("cpu"):
        w = _operands()[0].clone().requires_grad_()
        h = torch.relu(torch.nn.functional.linear(_operands()[1], w))
        loss = torch.nn.functional.cross_entropy(h @ w, torch.arange(16)) + torch.sigmoid(h).mean()
        loss.backward()
        assert w.grad is not None
        threads = torch.get_num_threads()
        flushed = threads > 1 and int((_tiny(threads) * 0.5).count_nonzero()) < len(_tiny(threads))
        return (*third, loss.item(), w.grad.double().sum().item(), h.double().sum().item(), flushed)


@functools.cache
def _operands() -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.arange(256, dtype=torch.float32, device="cpu").reshape(16, 16)
    return torch.sin(x * 0.7), torch.cos(x * 1.3)


@functools.cache
def _tiny(threads: int) -> torch.Tensor:
    """Return denormal float32 numbers, so many that torch splits an operation on them among its threads."""
    return torch.full((40_000 * threads,), 1e-40, dtype=torch.float32, device="cpu")

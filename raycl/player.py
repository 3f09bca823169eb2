"""Plays one run in this process: from its spec, or from where it stood, to a result."""

from __future__ import annotations

import functools
import math
import platform
import subprocess
import time
import traceback
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

import raycl
from raycl import benchmarks, names, pretraining, sequence, userfiles
from raycl.checkpoints import Format, Notes, resume, save
from raycl.method import Method
from raycl.networks import Network, Start
from raycl.pretraining import DamagedBackbone
from raycl.provenance import fingerprint
from raycl.sequence import Report
from raycl.space import filled
from raycl.spec import RunSpec, set_numerics
from raycl.store import Result, Store, Trained, backbone_path, mask_path, patiently, publish
from raycl.supermasks.bank import BasisMask, DamagedMask, MaskSpec, backbone_of, basis_of, to_bytes
from raycl.supermasks.training import Order, Rules, train_masks
from raycl.tasks import Benchmark
from raycl.training import Diverged, Fit, Pulse


def play(
    spec: RunSpec,
    checkpoints: Path | None = None,
    *,
    store: Path | None = None,
    device: str = "cpu",
    threads: int = 1,
    pulse: Callable[[Pulse], None] | None = None,
    alive: Callable[[], None] | None = None,
) -> Result:
    """Play a run to its end.

    What science can do wrong (a diverged loss, an exception of the method's) is an outcome with a status,
    never an exception. With `checkpoints`, a run that was cut off goes on after its last finished task,
    and within a long task after its last long fit. `alive` is called before each batch.
    `store` is the folder where what the run builds on is found, and where a backbone is left.
    """
    torch.set_num_threads(threads)
    _warm()
    started = time.time()
    numerics = set_numerics(spec.numerics)
    where = checkpoints / spec.key if checkpoints else None
    reports: list[Report] = []
    about: dict[str, Any] = {"earlier_seconds": 0.0}
    try:
        _learn(spec, reports, about, where, store, started, device=device, pulse=pulse, alive=alive)
        status, message = "done", ""
    except Diverged as error:
        status, message = "diverged", str(error)
    except DamagedMask as error:
        status, message, about["damaged_mask"] = "failed", str(error), error.key
    except DamagedBackbone as error:
        status, message, about["damaged_backbone"] = "failed", str(error), error.key
    except Exception:
        status, message = "failed", traceback.format_exc()
    about |= provenance(spec, device, threads, numerics) | {
        "started": started,
        "seconds": time.time() - started + about["earlier_seconds"],
    }
    return Result(spec, status, tuple(map(_finite, reports)), message, about)  # type: ignore[arg-type]


def _learn(
    spec: RunSpec, reports: list[Report], about: dict[str, Any], where: Path | None, store: Path | None,
    started: float, *, device: str, **runtime: Any,
) -> None:  # fmt: skip
    """Learn all tasks, from the start or from where an earlier attempt stood; reports as they come."""
    spec.check_code()
    benchmark = spec.make_benchmark()
    form = Format(benchmark, spec.method_class, spec.network_class)
    stood = resume(where / "state.pt", form, device) if where else None
    method, done, earlier = stood or (_method(spec, benchmark, device, store), [], 0.0)
    reports += done
    about["earlier_seconds"] = earlier
    notes = Notes(where, form, device) if where else None
    fit = spec.make_fit(device=device, journal=notes, **runtime)

    def keep(method: Method, reports: list[Report]) -> None:
        if where is not None:
            save(where / "state.pt", form, method, reports, earlier + time.time() - started)

    with torch.device(device):
        for report in sequence.run(
            method, benchmark, fit, done=done, evaluate=spec.evaluate, part=spec.part, keep=keep
        ):
            reports.append(report)
    if spec.kind == "pretrain":
        _leave(spec, method, reports, store)


def _method(spec: RunSpec, benchmark: Benchmark, device: str, store: Path | None) -> Method:
    """A fresh method, with what it builds on: basis masks, a backbone, reports of other runs."""
    inputs: dict[str, Any] = {}
    if not (spec.masks or spec.runs):
        return spec.make_method(benchmark, device)
    assert store is not None, "a run that builds on something is played with the store that holds it"
    if spec.masks:
        with torch.device("meta"):
            net = spec.make_start(benchmark)()
        inputs["basis"] = basis_of(spec.masks, net, functools.partial(mask_path, Store(store).masks))
    for name, run in spec.runs.items():
        if run.kind == "pretrain":
            inputs[name] = pretraining.from_file(backbone_path(store, run.key), run.key)
            continue
        result = Store(store).get(run.key)
        if result is None:
            raise FileNotFoundError(f"{name}, run {run.key} of {run.method}, is not in {store}")
        inputs[name] = list(result.reports)
    return spec.make_method(benchmark, device, inputs)


def _leave(spec: RunSpec, method: Method, reports: Sequence[Report], store: Path | None) -> None:
    """Publish the network that a run trained on the first task."""
    assert store is not None, "a backbone needs a store to be left in"
    (report,) = reports
    took = report.seconds.get("main", 0.0), report.epochs.get("main", 0), report.updates
    found = pretraining.Pretrained(pretraining.state_of(method.net), *took)
    content = pretraining.to_bytes(found, spec.key)
    patiently(lambda: publish(backbone_path(store, spec.key), content), store)


def train(
    specs: Sequence[MaskSpec],
    masks: Path,
    *,
    device: str = "cpu",
    threads: int = 1,
    ready: Callable[[str], None] = lambda key: None,
    pulse: Callable[[Pulse], None] | None = None,
) -> Trained:
    """Train basis masks that have a backbone and rules in common, and publish each when it is ready.

    Args:
        masks: the folder they go to. Those that are there already are left alone.
        ready: called with the key of each that is published.
    """
    torch.set_num_threads(threads)
    _warm()
    started = time.time()
    missing = [spec for spec in specs if not zipfile.is_zipfile(mask_path(masks, spec.key))]
    try:
        with torch.device(device), userfiles.beside(specs[0].home if specs else None):
            for position, mask in _trained_masks(missing, pulse):
                spec = missing[position]
                content = to_bytes(mask, spec)
                patiently(functools.partial(publish, mask_path(masks, spec.key), content), masks)
                ready(spec.key)
    except Diverged as error:
        return Trained("diverged", str(error), time.time() - started)
    except Exception:
        return Trained("failed", traceback.format_exc(), time.time() - started)
    return Trained("done", "", time.time() - started)


def _trained_masks(
    specs: Sequence[MaskSpec], pulse: Callable[[Pulse], None] | None
) -> Iterator[tuple[int, BasisMask]]:
    if not specs:
        return
    first, started = specs[0], time.perf_counter()
    set_numerics(first.numerics)
    first.check_code()
    tasks = [benchmarks.load(spec.benchmark).tasks[spec.task] for spec in specs]
    home = benchmarks.load(first.benchmark)
    start = Start(*_network(first.network), home.input_shape, (max(home.classes),), first.backbone_seed)
    backbone = backbone_of(start(), first.backbone_seed, first.backbone_init)
    orders = [
        Order(task, spec.density, spec.score_seed, spec.order_seed)
        for spec, task in zip(specs, tasks, strict=True)
    ]

    def sign(position: int, epoch: int, loss: float) -> None:
        if pulse is not None:
            pulse(Pulse(position, "masks", epoch, loss, time.perf_counter() - started))

    rules = Rules(first.density_rule, first.score_rank, first.mask_values)
    config: Fit.Config = filled(Fit.Config, first.fit, "fit")
    yield from train_masks(backbone, orders, rules, config, pulse=sign)


def _network(text: str) -> tuple[type[Network], Network.Config]:
    kind = names.network(text)
    settings = names.parse(text, "network").settings(kind.Config, "network")
    return kind, filled(kind.Config, settings, text)


@functools.cache
def _warm() -> None:
    """One step of an optimiser: torch's first takes seconds to import, which are no method's compute time."""
    p = torch.nn.Parameter(torch.zeros(1))
    p.grad = torch.zeros(1)
    torch.optim.SGD([p], lr=0.1).step()


def trained(spec: RunSpec, store: Path | None = None, device: str = "cpu") -> tuple[Method, list[Report]]:
    """Train again and keep the method, for a notebook."""
    set_numerics(spec.numerics)
    spec.check_code()
    benchmark = spec.make_benchmark()
    method = _method(spec, benchmark, device, store)
    with torch.device(device):
        reports = list(sequence.run(method, benchmark, spec.make_fit(device=device), evaluate=spec.evaluate))
    return method, reports


def _finite(report: Report) -> Report:
    """A report that JSON can hold: a figure that is no number becomes None."""

    def clean(value: Any) -> Any:
        if isinstance(value, float) and not math.isfinite(value):
            return None
        if isinstance(value, dict):
            return {str(key): clean(item) for key, item in value.items()}
        return [clean(item) for item in value] if isinstance(value, list | tuple) else value

    return Report.from_json(clean(report.to_json()))


def provenance(spec: RunSpec, device: str, threads: int, numerics: str) -> dict[str, Any]:
    """Where and with what a run was played."""
    return {
        "raycl": raycl.__version__,
        "commit": _commit(),
        "source": fingerprint(spec.method_class),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "device": torch.cuda.get_device_name() if device.startswith("cuda") else device,
        "threads": threads,
        "numerics": numerics,
    }


@functools.cache
def _commit() -> str:
    """The commit of the working copy that raycl runs from, or ""."""
    here = Path(raycl.__file__).parent.parent
    if not (here / ".git").exists():
        return ""
    try:
        command = ["git", "-C", str(here), "rev-parse", "--short=12", "HEAD"]
        return subprocess.run(
            command, capture_output=True, encoding="utf-8", timeout=10, check=True
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""

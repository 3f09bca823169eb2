"""Execution of one run in this process: from its spec or its latest checkpoint to a result."""

from __future__ import annotations

import contextlib
import functools
import math
import time
import traceback
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from raycl import calls, devices, process, registry, userfiles
from raycl.archives import Artefact, DamagedArtefact
from raycl.errors import UserError
from raycl.method import Method
from raycl.networks import Network, Start
from raycl.networks._backbone import Pretrained, state_of
from raycl.process import allocator
from raycl.process.peak import begin_peak
from raycl.runs import artefacts, kept, sequence
from raycl.runs.artefacts import basis_of, mask_to_bytes
from raycl.runs.build import check_code, check_configs, make_fit, make_method, make_start
from raycl.runs.checkpoints import CheckpointFormat, TaskJournal, resume, save
from raycl.runs.inputs import make_benchmark, masks_for, method_of, network_of, runs_for
from raycl.runs.numerics import set_numerics
from raycl.runs.patience import patiently
from raycl.runs.pauses import Pauses
from raycl.runs.provenance import provenance
from raycl.runs.reports import TaskReport
from raycl.runs.result import Result, Status, Trained
from raycl.runs.store import Store
from raycl.space import make_config
from raycl.specs import MaskSpec, RunSpec
from raycl.supermasks.bank import BasisMask, backbone_of
from raycl.supermasks.rules import Order, Rules
from raycl.supermasks.training import train_masks
from raycl.tasks import Benchmark
from raycl.training.feeding import forget_inputs
from raycl.training.fit import Diverged, Fit, Pulse
from raycl.wholefiles import publish


class Invalid(Exception):
    """Raised if a Config, a network or a method refuses to be made with the hyperparameters of a run."""


class Paused(Exception):
    """Raised at the end of a task after which a run pauses; its checkpoint is in the run's folder."""


class Stopped(BaseException):
    """Raised by a callback of the run (`alive` or `pulse`) when the caller no longer needs the run."""


def execute(
    spec: RunSpec,
    checkpoints: Path | None = None,
    *,
    store: Path | None = None,
    device: str = "cpu",
    threads: int = 1,
    pulse: Callable[[Pulse], None] | None = None,
    alive: Callable[[], None] | None = None,
    graphs: bool = False,
    keep: bool = False,
    pauses: Pauses | None = None,
) -> Result:
    """Execute a run to its end, or to a pause, starting from a known state of this process (`raycl.process`).

    A diverged loss, hyperparameters that the run's classes refuse, and anything that the method raises,
    including `SystemExit`, become a result with a status and are never raised. Whatever the run changed in
    the process is restored at its end and listed in ``provenance["left"]``.

    Args:
        spec: The run.
        checkpoints: Folder of checkpoints. With it, an interrupted run resumes after its last finished task,
            and within a long task from its last saved fit.
        store: Folder that holds the masks and runs that this run requires, and that receives a backbone.
        device: Device to train on.
        threads: Number of torch's CPU threads.
        pulse: Receives the progress of training.
        alive: Called before each batch; it may raise `Stopped`.
        graphs: Whether to capture training steps as graphs on an accelerator.
        keep: Whether to write the trained method to the store (`raycl.runs.kept`). If it cannot be kept,
            ``provenance["not_kept"]`` of the result says why.
        pauses: Where the run pauses; its result then has the status "paused". Executed again, the run goes on
            from its checkpoint, or from the start if the checkpoint is gone, with the same result.

    Raises:
        KeyboardInterrupt: If a signal asked this process to end.
        Stopped: If `pulse` or `alive` raised it.
    """
    reports: list[TaskReport] = []
    about: dict[str, Any] = {"earlier_seconds": 0.0}
    prepare(spec.method, spec.network, spec.benchmark)
    with process.interrupts() as signals, process.Guard() as guard:
        torch.set_num_threads(threads)
        begin_peak()
        started, clock = time.time(), time.perf_counter
        began = clock()
        numerics = set_numerics(spec.numerics)
        where = checkpoints / spec.key if checkpoints else None

        def learn() -> None:
            runtime: dict[str, Any] = {"pulse": pulse, "alive": alive, "graphs": graphs, "device": device}
            _learn(spec, reports, about, where, store, guard, keep_method=keep, pauses=pauses, **runtime)

        status, message, more = _outcome(learn, signals)
        more |= {"started": started, "seconds": clock() - began + about["earlier_seconds"]}
    _forget_tasks(about.pop("kinds", ()))
    about |= more | provenance(spec, device, threads, numerics)
    if guard.left:
        about["left"] = list(guard.left)
    return Result(spec, status, tuple(map(_finite, reports)), message, about)


def prepare(*names: str) -> None:
    """Prepare this process for a run of the classes with these names, before the run's clock starts."""
    allocator.keep_freed_memory()
    kinds = {name.partition("(")[0] for name in names}
    if any(":" in kind and not kind.startswith("raycl.") for kind in kinds):
        process.warm()


def _forget_tasks(kinds: Sequence[type]) -> None:
    """Drop cached tasks after a run of a user's own classes, which may have written into their arrays."""
    if any(userfiles.is_own(kind) for kind in kinds):
        registry.forget()
        forget_inputs()


def no_gpu(name: str, gpus: float, where: str = "here") -> str:
    """Return the message that a cell requests a GPU and torch does not find one."""
    return (
        f"resources of {name} ask for a GPU (gpus={gpus:g}), and torch sees none {where}: write gpus=0 in "
        "the study's `resources`, or run it where torch sees one (raycl doctor says what it sees)"
    )


def _outcome(act: Callable[[], None], signals: Sequence[int]) -> tuple[Status, str, dict[str, Any]]:
    """Call `act`, and return its status, its message and further entries for the provenance.

    Args:
        act: Trains something.
        signals: Signals that ask this process to end; they are appended while `act` runs.

    Raises:
        KeyboardInterrupt: If there were any signals, even if the method caught the exception they raised.
        Stopped: If `act` raises it.
    """
    status: Status = "done"
    message, more = "", dict[str, Any]()
    try:
        act()
    except Stopped:
        raise
    except Paused:
        status = "paused"
    except Diverged as error:
        status, message = "diverged", str(error)
    except Invalid as error:
        status, message = "invalid", str(error)
    except DamagedArtefact as error:
        status, message, more = "failed", str(error), {f"damaged_{error.kind}": error.key}
    except BaseException as error:
        if not signals:  # Without a signal, the method itself raised KeyboardInterrupt, as with SystemExit.
            status, message = "failed", _traceback_of(error)
    if signals:
        raise KeyboardInterrupt
    return status, message, more


def _traceback_of(error: BaseException) -> str:
    """Return the traceback of an error, whose last line says what ended the run."""
    try:
        text = "".join(traceback.format_exception(error)).rstrip("\n")
    except Exception:  # The exception's own `__str__` may fail.
        text = f"{type(error).__module__}.{type(error).__qualname__}, which cannot be printed"
    if isinstance(error, SystemExit | KeyboardInterrupt | GeneratorExit):
        text += f"\nthe method raised {type(error).__name__}, which ends its run and nothing else"
    return text + "\n"


def _learn(
    spec: RunSpec,
    reports: list[TaskReport],
    about: dict[str, Any],
    where: Path | None,
    store: Path | None,
    guard: process.Guard,
    *,
    device: str,
    keep_method: bool,
    pauses: Pauses | None,
    **runtime: Any,
) -> None:
    """Learn all tasks, from the start or from a checkpoint, and append each report to `reports`.

    Raises:
        Paused: If the run pauses; `reports` then ends with the task after which it does.
    """
    with process.untouched(spec.method):
        check_code(spec)
        with userfiles.importing_from(spec.home):
            kinds = [method_of(spec), network_of(spec), type(registry.recipe(spec.benchmark))]
    about["kinds"] = kinds
    started = time.perf_counter()
    with guard.at_work(kinds):
        _check_configs(spec)
        benchmark = make_benchmark(spec)
        form = CheckpointFormat(benchmark, *kinds)
        resumed = resume(where / "state.pt", form, device) if where else None
        method, done, earlier = resumed or (_method(spec, benchmark, device, store), [], 0.0)
        reports += done
        about["earlier_seconds"] = earlier
        _pause(pauses, reports, benchmark)  # A checkpoint may be of a later task.
        journal = _SignallingJournal(where, form, device, guard) if where else None
        fit = make_fit(spec, device=device, journal=journal, **runtime)

        def keep(method: Method, reports: list[TaskReport]) -> None:
            if where is not None and not guard.moved():
                save(where / "state.pt", form, method, reports, earlier + time.perf_counter() - started)

        with devices.creating_on(device), guard.at_work():
            for report in sequence.run_sequence(
                method, benchmark, fit, done=done, evaluate=spec.evaluate, part=spec.part, keep=keep
            ):
                reports.append(report)
                _pause(pauses, reports, benchmark)
            if keep_method and (why := _keep(spec, method, reports, benchmark, form, store)):
                about["not_kept"] = why
        if fit.graphs:
            about["graphs"] = fit.about_graphs
    if spec.kind == "pretrain":
        _publish_backbone(spec, method, reports, store)


def _pause(pauses: Pauses | None, reports: list[TaskReport], benchmark: Benchmark) -> None:
    """Pause a run if this is the time, and drop the reports of later tasks.

    Raises:
        Paused: If the run pauses.
    """
    if pauses is None or (learnt := pauses.first(reports, len(benchmark.tasks))) is None:
        return
    del reports[learnt:]
    raise Paused


def _keep(
    spec: RunSpec,
    method: Method,
    reports: Sequence[TaskReport],
    benchmark: Benchmark,
    form: CheckpointFormat,
    store: Path | None,
) -> str:
    """Write a trained method to the store, and return "", or why it cannot be kept."""
    assert store is not None, "a run that is kept is executed with the store that keeps it"
    method.eval()
    found = kept.Kept(method, [_finite(report) for report in reports], kept.ports_of(benchmark))
    return kept.write(store, spec.key, form, found)


def _check_configs(spec: RunSpec) -> None:
    """Check that the Configs of a run accept its hyperparameters, alone and together.

    Raises:
        Invalid: If one does not.
    """
    try:
        make_fit(spec)
        check_configs(spec)
    except UserError as error:
        raise Invalid(" ".join(str(error).split())) from None


@contextlib.contextmanager
def _invalid_if_refused(spec: RunSpec, benchmark: Benchmark) -> Iterator[None]:
    """Turn the refusal of a run's hyperparameters by the classes that are made inside into `Invalid`.

    A class refuses by a `ValueError`. A network may also fail in torch, if its layers do not fit the inputs.
    A `UserError` is about this machine instead, such as weights that are not prepared, since the values of
    the Configs are checked before.

    Raises:
        Invalid: Instead of the refusal.
    """
    try:
        yield
    except (UserError, DamagedArtefact):
        raise
    except ValueError as error:
        raise Invalid(userfiles.fault(error) or " ".join(str(error).split())) from None
    except Exception:
        try:
            with torch.device("meta"):
                make_start(spec, benchmark)()
        except (ValueError, RuntimeError, OverflowError, IndexError) as error:
            text = f"the network cannot be built: {type(error).__name__}: {error}"
            raise Invalid(" ".join(text.split())) from None
        raise


class _SignallingJournal(TaskJournal):
    """A journal that saves fits only while the process is in the state in which the run began."""

    def __init__(self, folder: Path, form: CheckpointFormat, device: str, guard: process.Guard) -> None:
        super().__init__(folder, form, device)
        self._guard = guard

    def is_due(self, seconds: float, ended: bool) -> bool:
        """Decide as `TaskJournal` does, but return False once the state of the process has changed.

        A checkpoint does not hold the state of the process, so that a resumed run would differ.
        """
        return super().is_due(seconds, ended) and not self._guard.moved()


def _method(spec: RunSpec, benchmark: Benchmark, device: str, store: Path | None) -> Method:
    """Return a new method with its inputs: basis masks, a backbone and reports of other runs."""
    inputs: dict[str, Any] = {}
    if not (masks_for(spec) or runs_for(spec)):
        with _invalid_if_refused(spec, benchmark):
            return make_method(spec, benchmark, device)
    assert store is not None, "a run with required masks or runs is executed with the store that holds them"
    if masks_for(spec):
        with torch.device("meta"):
            net = make_start(spec, benchmark)()
        inputs["basis"] = basis_of(masks_for(spec), net, functools.partial(Artefact.MASK.path, store))
    for name, run in runs_for(spec).items():
        if run.kind == "pretrain":
            inputs[name] = artefacts.backbone_from_file(Artefact.BACKBONE.path(store, run.key), run.key)
            continue
        result = Store(store).get(run.key)
        if result is None:
            raise FileNotFoundError(f"{name}, run {run.key} of {run.method}, is not in {store}")
        inputs[name] = list(result.reports)
    with _invalid_if_refused(spec, benchmark):
        return make_method(spec, benchmark, device, inputs)


def _publish_backbone(
    spec: RunSpec, method: Method, reports: Sequence[TaskReport], store: Path | None
) -> None:
    """Write the network that a run trained on the first task to the store."""
    assert store is not None, "a pretraining run is executed with a store for its backbone"
    (report,) = reports
    took = report.seconds.get("main", 0.0), report.epochs.get("main", 0), report.updates
    found = Pretrained(state_of(method.net), *took)
    content = artefacts.backbone_to_bytes(found, spec.key)
    patiently(lambda: publish(Artefact.BACKBONE.path(store, spec.key), content), store)


def train_basis_masks(
    specs: Sequence[MaskSpec],
    store: Path,
    *,
    device: str = "cpu",
    threads: int = 1,
    ready: Callable[[str], None] = lambda key: None,
    pulse: Callable[[Pulse], None] | None = None,
) -> Trained:
    """Train basis masks that share a backbone and rules, and write each to the store when it is ready.

    Args:
        specs: Specs of the masks.
        store: Store that receives the masks. Masks that it already has are not trained again.
        device: Device to train on.
        threads: Number of torch's CPU threads.
        ready: Called with the key of each mask after it was written.
        pulse: Receives the progress of training.
    """
    missing = [spec for spec in specs if not zipfile.is_zipfile(Artefact.MASK.path(store, spec.key))]
    prepare(*(name for spec in missing for name in (spec.network, spec.benchmark)))
    with process.interrupts() as signals, process.Guard() as guard:
        torch.set_num_threads(threads)
        clock = time.perf_counter
        began = clock()
        lost: dict[str, str] = {}  # why training diverged, by the key of the mask

        def learn() -> None:
            home = missing[0].home if missing else None
            with (
                userfiles.importing_from(home),
                guard.at_work(_kinds_of(missing)),
                devices.creating_on(device),
                guard.at_work(),
            ):
                for spec, mask in _masks_apart(missing, lost, pulse):
                    content = mask_to_bytes(mask, spec)
                    path = Artefact.MASK.path(store, spec.key)
                    patiently(functools.partial(publish, path, content), store / Artefact.MASK.folder)
                    ready(spec.key)
            if lost:
                raise Diverged(next(iter(lost.values())))

        if missing:
            set_numerics(missing[0].numerics)
        status, message, _ = _outcome(learn, signals)
        seconds = clock() - began
    if any(spec.code for spec in missing):
        registry.forget()
        forget_inputs()
    return Trained(status, message, seconds, tuple(guard.left), tuple(lost))


def _kinds_of(specs: Sequence[MaskSpec]) -> list[type]:
    """Return the network and recipe classes that a mask-training job needs."""
    with process.untouched("a job of masks"), userfiles.importing_from(specs[0].home if specs else None):
        for spec in specs[:1]:
            check_code(spec)
        recipes = [type(registry.recipe(text)) for text in dict.fromkeys(spec.benchmark for spec in specs)]
        return [*(registry.network(text) for text in dict.fromkeys(spec.network for spec in specs)), *recipes]


def _masks_apart(
    specs: Sequence[MaskSpec], lost: dict[str, str], pulse: Callable[[Pulse], None] | None
) -> Iterator[tuple[MaskSpec, BasisMask]]:
    """Yield the trained masks, and put those that diverge into `lost`.

    If one of them diverges, those that are still missing are trained one by one, so that which of them
    diverge does not depend on which of them were trained together.
    """
    left = dict.fromkeys(range(len(specs)))
    try:
        for position, mask in _trained_masks(specs, pulse):
            del left[position]
            yield specs[position], mask
    except Diverged:
        for position in left:
            try:
                for _, mask in _trained_masks([specs[position]], pulse):
                    yield specs[position], mask
            except Diverged as error:
                lost[specs[position].key] = str(error)


def _trained_masks(
    specs: Sequence[MaskSpec], pulse: Callable[[Pulse], None] | None
) -> Iterator[tuple[int, BasisMask]]:
    if not specs:
        return
    first, started = specs[0], time.perf_counter()
    tasks = [registry.load(spec.benchmark).tasks[spec.task] for spec in specs]
    home = registry.load(first.benchmark)
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
    config: Fit.Config = make_config(Fit.Config, first.fit, "fit")
    yield from train_masks(backbone, orders, rules, config, pulse=sign)


def _network(text: str) -> tuple[type[Network], Network.Config]:
    kind = registry.network(text)
    settings = calls.parse(text, "network").settings(kind.Config, "network")
    return kind, make_config(kind.Config, settings, text)


def trained(
    spec: RunSpec, store: Path | None = None, device: str = "cpu", threads: int = 1
) -> tuple[Method, list[TaskReport]]:
    """Train a run again and return its method, ready to predict, with its reports.

    The caller's own settings of the process are restored at the end.

    Args:
        spec: The run.
        store: Store that holds the masks and runs that this run requires.
        device: Device to train on.
        threads: Number of torch's CPU threads. The result may depend on it bit for bit, so that it should
            equal that of the original run.
    """
    prepare(spec.method, spec.network, spec.benchmark)
    with process.borrowed(), process.Guard() as guard:
        torch.set_num_threads(threads)
        set_numerics(spec.numerics)
        check_code(spec)
        with guard.at_work([method_of(spec), network_of(spec)]):
            benchmark = make_benchmark(spec)
            method = _method(spec, benchmark, device, store)
            fit = make_fit(spec, device=device)
            with devices.creating_on(device), guard.at_work():
                reports = list(
                    sequence.run_sequence(method, benchmark, fit, evaluate=spec.evaluate, part=spec.part)
                )
    method.eval()
    return method, reports


def form_of(spec: RunSpec) -> tuple[CheckpointFormat, list[type]]:
    """Return the format of a run's files, and the classes of its method, network and benchmark."""
    with userfiles.importing_from(spec.home):
        kinds = [method_of(spec), network_of(spec), type(registry.recipe(spec.benchmark))]
    return CheckpointFormat(functools.partial(make_benchmark, spec), *kinds), kinds


def recalled(spec: RunSpec, file: Path, device: str = "cpu") -> kept.Kept:
    """Return the trained method of a run from the file in which it was kept.

    The caller's own settings of the process are restored at the end. The data of the run are needed only for
    a method that keeps samples of earlier tasks.

    Raises:
        FileNotFoundError: If there is no such file.
        raycl.runs.kept.Unusable: If the file cannot be used; the message says why.
        UserError: If one of the user's files has changed since the run was planned.
    """
    prepare(spec.method, spec.network, spec.benchmark)
    with process.borrowed(), process.Guard() as guard:
        check_code(spec)
        form, kinds = form_of(spec)
        for part, kind in zip(("method", "network"), kinds, strict=False):
            here, then = getattr(kind, "version", 1), spec.versions.get(part, 1)
            if here != then:
                raise kept.Unusable(f"it is of version {then} of the {part}, and this is version {here}")
        with guard.at_work(kinds):
            return kept.read(file, spec.key, form, device)


def _finite(report: TaskReport) -> TaskReport:
    """Return the report with None in place of NaN and infinities, which JSON cannot represent."""

    def clean(value: Any) -> Any:
        if isinstance(value, float) and not math.isfinite(value):
            return None
        if isinstance(value, dict):
            return {str(key): clean(item) for key, item in value.items()}
        return [clean(item) for item in value] if isinstance(value, list | tuple) else value

    return TaskReport.from_json(clean(report.to_json()))

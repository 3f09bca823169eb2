"""One run does not change the next, nor the process it is played in (`raycl.process`)."""

from __future__ import annotations

import atexit
import functools
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import raycl
from raycl import devices, process
from raycl.errors import UserError
from raycl.method import Method, Task
from raycl.runs import execution
from raycl.runs.result import Result
from raycl.specs import RunSpec
from raycl.study.expand import cells_of
from raycl.study.local import run_locally
from raycl.study.notelines import lines_of
from raycl.study.values import Resources, Seeds, Study
from raycl.training.fit import Fit
from tests.helpers import rude
from tests.helpers.tiny import in_process, tiny

HOME = Path(__file__).parents[1]
TINY = {"epochs": 1, "lr": 0.1}


def study(methods: dict[str, Any], **changes: Any) -> Study:
    base: dict[str, Any] = {
        "name": "rude",
        "methods": methods,
        "benchmarks": ["digits_permuted(tasks=2, first=1)"],
        "network": "mlp(hidden=8)",
        "fit": TINY,
        "search": None,
        "final": Seeds(1),
        "folder": HOME / "tests" / "helpers",
    }
    return Study(**(base | changes))


def spec_of(method: str, **changes: Any) -> RunSpec:
    (cell,) = cells_of(study({"one": {"method": method}}, **changes))
    return cell.spec({}, 1)


def spec_doing(what: str) -> RunSpec:
    return spec_of(f"rude:{rude.CLASSES[what].__name__}")


def numbers(result: Result) -> list[Any]:
    """All that a run came to, besides times and places."""
    assert result.status == "done", result.message
    return [(r.val, r.test, r.epochs, r.updates, r.diagnostics) for r in result.reports]


@pytest.fixture(scope="module")
def alone() -> list[Any]:
    """A decent run in a process in which nothing else was played."""
    return numbers(execution.execute(spec_of("finetune")))


@pytest.fixture(autouse=True)
def _nothing_spoilt() -> Iterator[None]:
    rude.OVER.clear()
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
    yield
    signal.signal(signal.SIGINT, before)
    rude.OVER.set()
    process._spoilt.clear()


@pytest.mark.parametrize("what", rude.LEAVES)
def test_what_a_run_leaves_behind_is_put_back_and_told(what: str, alone: list[Any]) -> None:
    left = execution.execute(spec_doing(what)).provenance.get("left")
    assert left, "nothing was noticed"
    assert process.spoilt() == []
    after = execution.execute(spec_of("finetune"))
    assert numbers(after) == alone
    assert "left" not in after.provenance


def test_decent_methods_leave_nothing(alone: list[Any]) -> None:
    for name in ("ewc", "hat", "spg", "si", "ucl", "cat", "hypernet", "agem"):
        result = execution.execute(spec_of(name))
        assert result.status == "done", result.message
        assert "left" not in result.provenance, name


def test_a_rude_run_is_the_same_alone_beside_others_and_resumed(tmp_path: Path, alone: list[Any]) -> None:
    spec = spec_of("rude:Function", benchmarks=["digits_permuted(tasks=4, first=1)"])
    first = execution.execute(spec)
    execution.execute(spec_doing("precision"))
    assert numbers(execution.execute(spec)) == numbers(first)
    calls = 0

    def stop_late() -> None:
        nonlocal calls
        calls += 1
        if calls > 120:
            raise execution.Stopped

    with pytest.raises(execution.Stopped):
        execution.execute(spec, tmp_path, alive=stop_late)
    assert not list(tmp_path.rglob("*.pt")), "what it would go on from is not how the process stood"
    assert numbers(execution.execute(spec, tmp_path)) == numbers(first)
    assert process.spoilt() == []


def test_generators_of_python_and_numpy_start_anew_with_each_run_and_fit() -> None:
    draws = [execution.execute(spec_of(f"{__name__}:Draws")).reports[-1].diagnostics for _ in range(2)]
    assert draws[0] == draws[1]
    assert len({*draws[0]["numpy"]}) == len(draws[0]["numpy"]) == 2


class Draws(Method):
    """Draws from generators that belong to nobody."""

    def make(self) -> None:
        super().make()
        self.drawn: dict[str, list[float]] = {"numpy": [], "python": []}

    def learn(self, task: Task, fit: Fit) -> None:
        fit(self, task)
        self.drawn["numpy"].append(float(np.random.rand()))  # noqa: NPY002
        self.drawn["python"].append(random.random())

    def diagnostics(self, task: int) -> dict[str, Any]:
        return self.drawn


class Watched(Method):
    """Notes whether torch hands its operations to Python functions while the method is trained."""

    def learn(self, task: Task, fit: Fit) -> None:
        self.modes = torch._C._len_torch_function_stack()
        fit(self, task)

    def diagnostics(self, task: int) -> dict[str, Any]:
        return {"modes": self.modes}


def test_torch_calls_no_python_function_for_the_operations_of_a_run_on_a_cpu() -> None:
    (report,) = execution.execute(spec_of(f"{__name__}:Watched")).reports[-1:]
    assert report.diagnostics == {"modes": 0}
    with torch.device("cpu"):
        assert torch._C._len_torch_function_stack() == 1


# What nothing can put back.


def agenda_of(study: Study, store: Path) -> Any:
    from raycl.runs.store import Store
    from raycl.study.agenda import Agenda
    from raycl.study.proposer import nothing_to_propose

    return Agenda(cells_of(study), Store(store).open(), nothing_to_propose)


def test_a_local_study_ends_where_a_thread_is_left_and_goes_on_when_started_again(
    tmp_path: Path, alone: list[Any]
) -> None:
    methods = {"mine": {"method": "rude:Thread"}, "finetune": {}}
    said: list[str] = []
    with pytest.raises(UserError, match=r"mine / .* left a thread running .* run the same command again"):
        run_locally(agenda_of(study(methods), tmp_path), said.append)
    process._spoilt.clear()
    again = agenda_of(study(methods), tmp_path)
    assert [state.done for state in again.states] == [1, 0]
    run_locally(again, said.append)
    assert numbers(again.states[1].results[1]) == alone


def test_a_thread_that_ends_and_one_of_a_library_do_no_harm() -> None:
    from concurrent.futures import ThreadPoolExecutor

    with process.Guard() as guard, guard.at_work([]):
        threading.Thread(target=time.sleep, args=(0.05,)).start()
        pool = ThreadPoolExecutor(1)
        pool.submit(int).result()
    assert guard.left == [] == process.spoilt()
    pool.shutdown()


@pytest.mark.parametrize(("what", "said"), [("rounding", "arithmetic"), ("kernel", "operators of torch")])
def test_what_no_setting_shows_is_noticed_by_what_comes_out(what: str, said: str) -> None:
    code = f"""
from tests.test_process import execution, process, spec_doing
result = execution.execute(spec_doing({what!r}))
print(result.status, process.spoilt())
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=HOME, capture_output=True, text=True, timeout=600)
    assert done.stdout.startswith("done") and said in done.stdout, done.stdout + done.stderr


def test_a_local_study_says_what_was_left_in_one_line(tmp_path: Path) -> None:
    said: list[str] = []
    agenda = agenda_of(study({"mine": {"method": "rude:Precision"}}, final=Seeds(1, 2)), tmp_path)
    run_locally(agenda, said.append)
    (line,) = said
    assert line.startswith("mine / digits_permuted(tasks=2, first=1) / seed 1 left torch's fp32 precision")
    assert line.endswith("it was restored, so that the next run starts unaffected") and "\n" not in line


# What a method raises.


@pytest.mark.parametrize("what", rude.RAISES)
def test_whatever_a_method_raises_is_an_outcome(what: str) -> None:
    result = execution.execute(spec_doing(f"raises {what}"))
    assert result.status == "failed"
    last = result.message.strip().splitlines()[-1]
    wanted = {
        "sys.exit": "SystemExit, which ends its run",
        "interrupt": "KeyboardInterrupt, which ends its",
        "generator's end": "GeneratorExit",
        "base exception": "rude.Strange: quite",
        "memory": "MemoryError",
        "recursion": "RecursionError",
        "stop": "StopIteration",
        "speechless": "rude.Speechless",
        "sys.exit with a text": "SystemExit",
    }
    assert wanted[what] in last
    assert "rude.py" in result.message, "it names the user's file"


class Interrupted(Method):
    """Ctrl-C comes while it learns."""

    def learn(self, task: Task, fit: Fit) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        fit(self, task)


class Deaf(Method):
    """It comes, and is swallowed."""

    def learn(self, task: Task, fit: Fit) -> None:
        try:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.2)
        except BaseException:
            pass
        fit(self, task)


@pytest.mark.parametrize("method", ["Interrupted", "Deaf"])
def test_a_real_interruption_interrupts(method: str) -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            execution.execute(spec_of(f"{__name__}:{method}"))
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


# Study files, notebooks, GPUs.


def test_what_a_file_changes_when_it_is_imported_is_put_back_and_said() -> None:
    said: list[str] = []
    relu = torch.nn.functional.relu
    with process.untouched("mine.py", said.append):
        torch.set_default_dtype(torch.float64)
        torch.nn.functional.relu = torch.nn.functional.gelu  # type: ignore[assignment]
    assert torch.get_default_dtype() == torch.float32 and torch.nn.functional.relu is relu
    (line,) = said
    assert line == (
        "mine.py: torch's default dtype at float64 and torch.nn.functional.relu replaced when it was "
        "imported, which were put back: no run may depend on it"
    )
    with process.untouched("decent.py", said.append):
        import wave  # noqa: F401
    assert len(said) == 1


def test_a_loaded_method_predicts_and_its_notebook_is_left_alone(tmp_path: Path) -> None:
    here = study({"finetune": {}}, network="mlp(hidden=8, drop1=0.5)")
    agenda = agenda_of(here, tmp_path)
    run_locally(agenda)
    (result,) = agenda.states[0].results.values()
    torch.manual_seed(3)
    wanted = torch.rand(3)
    torch.manual_seed(3)
    torch.set_grad_enabled(False)
    torch.set_num_threads(2)
    try:
        model, matrix = raycl.load(result.key, tmp_path)
        assert not torch.is_grad_enabled() and torch.get_num_threads() == 2
        assert torch.equal(torch.rand(3), wanted), "its generator has moved"
    finally:
        torch.set_grad_enabled(True)
        torch.set_num_threads(1)
    assert not any(module.training for module in model.method.modules())
    assert np.array_equal(matrix, result.matrix(), equal_nan=True)
    x = torch.rand(4, 1, 8, 8)
    assert torch.equal(model(x, 0), model(x, 0))


@pytest.mark.skipif(devices.available(), reason="there is a GPU here")
def test_a_gpu_that_is_not_there_is_refused(tmp_path: Path) -> None:
    said = r"resources of finetune/.* ask for a GPU \(gpus=1\), and torch sees none here: write gpus=0"
    with pytest.raises(UserError, match=said):
        run_locally(agenda_of(study({"finetune": {}}, resources={"*": Resources(gpus=1)}), tmp_path))
    run_locally(agenda_of(study({"finetune": {}}), tmp_path))  # finished: nothing asks any more
    run_locally(agenda_of(study({"finetune": {}}, resources={"*": Resources(gpus=1)}), tmp_path))


class WritesLabels(Method):
    """Writes into what it was handed."""

    def learn(self, task: Task, fit: Fit) -> None:
        task.train.y[:] = 0
        fit(self, task)


class SwapsSplits(Method):
    """Puts other labels and rows in the place of those of its tasks."""

    def learn(self, task: Task, fit: Fit) -> None:
        object.__setattr__(task.train, "y", task.train.y * 0)
        object.__setattr__(task.test, "rows", task.test.rows * 0)  # type: ignore[attr-defined]
        fit(self, task)


def test_what_a_method_does_to_its_tasks_does_not_reach_the_next_run(alone: list[Any]) -> None:
    writes = execution.execute(spec_of(f"{__name__}:WritesLabels"))
    assert writes.status == "failed" and "read-only" in writes.message
    swaps = execution.execute(spec_of(f"{__name__}:SwapsSplits"))
    assert swaps.status == "done" and numbers(swaps) != alone
    assert numbers(execution.execute(spec_of("finetune"))) == alone


class RunsAtExit(Method):
    """Asks for something to be done when Python ends."""

    def learn(self, task: Task, fit: Fit) -> None:
        atexit.register(os._exit, 0)  # Python's own: who handed it over cannot be told, and it stays
        atexit.unregister(os._exit)
        atexit.register(functools.partial(self.ends, 0))
        atexit.register(lambda: os._exit(0))
        fit(self, task)

    def ends(self, code: int) -> None:
        os._exit(code)


def test_what_a_method_hands_to_atexit_does_not_outlive_its_run() -> None:
    script = (
        "import sys; from raycl.runs import execution; from tests import test_process; "
        f"result = execution.execute(test_process.spec_of('{__name__}:RunsAtExit')); "
        "assert 'a function to be called when Python ends' in result.provenance['left']; sys.exit(7)"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=HOME, capture_output=True, timeout=300)
    assert done.returncode == 7, done.stderr.decode()


def test_what_building_for_a_plan_leaves_is_put_back_and_told(tmp_path: Path) -> None:
    """A network halves every ReLU of the process: the runs of other cells are as if it were not there."""
    decent: dict[str, Any] = {"decent": {"method": "finetune"}}
    rude: dict[str, Any] = {"rude": {"method": "finetune", "network": "rude:RudeNet(hidden=8)"}}
    same: dict[str, Any] = {"search": None, "final": Seeds(1)}
    relu = torch.nn.functional.relu
    alone = in_process(tiny(decent, **same), tmp_path / "alone")
    cells = cells_of(tiny(rude | decent, **same))
    assert torch.nn.functional.relu is relu
    said = "torch.nn.functional.relu replaced when its classes were tried, which was put back"
    assert sum(said in line for line in lines_of(cells)) == 1
    both = in_process(tiny(rude | decent, **same), tmp_path / "both")
    found = {state.cell.label: state.results[1].matrix() for state in both.states}
    assert np.array_equal(found["decent"], alone.states[0].results[1].matrix(), equal_nan=True)
    assert not np.array_equal(found["rude"], found["decent"], equal_nan=True)


def test_what_torch_wraps_itself_is_nobodys_fault() -> None:
    """Torch wraps functions of its own when a process constructs its first optimiser."""
    script = (
        "import torch; from raycl import process; said = [];\n"
        "with process.untouched('mine', said.append):\n"
        "    weight = torch.nn.Parameter(torch.zeros(1)); weight.grad = torch.zeros(1)\n"
        "    before = torch.optim.SGD.step; torch.optim.SGD([weight], lr=0.1).step()\n"
        "    assert torch.optim.SGD.step is not before\n"
        "assert not said, said"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=HOME, capture_output=True, timeout=300)
    assert done.returncode == 0, done.stderr.decode()

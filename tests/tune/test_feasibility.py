"""What forbids a study is said before it starts: real clusters whose nodes do not fit together."""

from __future__ import annotations

import dataclasses
import http.server
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from raycl import Resources
from raycl.errors import UserError
from raycl.runs import fingerprint
from raycl.study.expand import cells_of
from raycl.tune.fitness import address_check, facts, nodes
from raycl.tune.fitness.facts import Facts, here
from raycl.tune.fitness.judging import Elastic, judge, judge_cluster
from raycl.tune.fitness.nodes import Node

pytestmark = pytest.mark.slow  # these tests start clusters, servers or drivers of their own

HOME = Path(__file__).parents[2]


# Joining, without a cluster.


@pytest.fixture
def unset(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Nothing that leads Ray anywhere."""
    for name in ("RAY_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_USE_TLS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(address_check, "SECONDS", 2.0)
    return monkeypatch


@pytest.fixture
def silent() -> Iterator[str]:
    """Something that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def website() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler) as server:
        server.RequestHandlerClass.log_message = lambda *_: None  # type: ignore[method-assign]
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def direct(unset: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Addresses of loopback as they are: Ray would go to this machine's address on its network."""
    from ray._private import services

    unset.setattr(services, "resolve_ip_for_localhost", lambda host: host)
    return unset


def refusal(address: str | None) -> str:
    with pytest.raises(UserError) as caught:
        address_check.check_address(address)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_nothing_listens(direct: pytest.MonkeyPatch) -> None:
    assert "--address 127.0.0.1:1 (Connection refused)" in refusal("127.0.0.1:1")


def test_what_says_nothing_is_waited_for_a_while_only(direct: pytest.MonkeyPatch, silent: str) -> None:
    assert f"no Ray cluster answers at --address {silent} (no answer for 2 s)" in refusal(silent)


def test_a_web_server_is_no_head(direct: pytest.MonkeyPatch, website: str) -> None:
    assert "what listens there is not a Ray head" in refusal(website)


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("10.0.0.1", "Invalid address format"),
        ("127.0.0.1:port", "no Ray cluster answers"),
        ("127.0.0.1:99999", "no Ray cluster answers"),
        ("ray://127.0.0.1:10001", "does not support Ray's client"),
        ("local", "'local' is not a cluster"),
        ("", "'' is not a cluster"),
    ],
)
def test_what_is_no_address(direct: pytest.MonkeyPatch, address: str, said: str) -> None:
    assert said in refusal(address)


def test_an_address_of_the_environment_is_what_auto_means(
    direct: pytest.MonkeyPatch, silent: str, tmp_path: Path
) -> None:
    direct.setenv("RAY_ADDRESS", "127.0.0.1:1")
    assert "--address auto, which is 127.0.0.1:1, (Connection refused)" in refusal("auto")
    direct.setenv("RAY_ADDRESS", "ray://127.0.0.1:1")
    assert "--address ray://127.0.0.1:1: raycl does not" in refusal("auto")
    direct.setenv("RAY_ADDRESS", "local")
    assert "(RAY_ADDRESS=local)" in refusal("auto")


def test_a_token_that_is_not_there_is_said_before_ray_ends_the_process(
    direct: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    direct.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "none"))
    assert f"there is no token file RAY_AUTH_TOKEN_PATH={tmp_path}/none" in refusal(None)
    direct.setenv("RAY_AUTH_MODE", "token")
    (tmp_path / "none").write_text("\n")
    assert "is empty" in refusal("127.0.0.1:1")
    direct.setenv("RAY_AUTH_MODE", "disabled")
    assert address_check.check_address(None) is None
    direct.delenv("RAY_AUTH_TOKEN_PATH")
    direct.setenv("RAY_AUTH_MODE", "token")
    direct.setenv("HOME", str(tmp_path))
    assert "there is no token file ~/.ray/auth_token" in refusal("127.0.0.1:1")
    direct.setenv("RAY_AUTH_TOKEN", "0" * 64)
    assert "Connection refused" in refusal("127.0.0.1:1")


# Judging, from facts.


@pytest.fixture(scope="module")
def mine() -> Facts:
    facts = here()
    data = {"digits": {"mark": "1", "bytes": 3_000_000, "whole": True}}
    return dataclasses.replace(facts, data=data, devices=0, data_writable=True, disk_free=10**9)


def node(facts: Facts | None, **changes: Any) -> Node:
    base = Node("id", "node 10.0.0.2 (b)", "10.0.0.2", head=False, cpus=2, gpus=0, memory=2**30, facts=facts)
    return dataclasses.replace(base, **changes)


def said(mine: Facts, there: Node) -> list[tuple[str, str]]:
    return [(thing.level, str(thing)) for thing in judge(there, mine, Path("/results"), ["digits"])]


def test_a_node_like_this_machine_is_fit(mine: Facts) -> None:
    assert said(mine, node(mine)) == []


def test_a_node_without_cpus_is_asked_for_nothing(mine: Facts) -> None:
    assert said(mine, node(None, cpus=0)) == []


@pytest.mark.parametrize(
    ("package", "there", "level"),
    [
        ("torch", "2.14.0+cu128", "miss"),
        ("torch", None, "miss"),
        ("ray", "2.52.0", "miss"),
        ("numpy", "1.0.0", "note"),
        ("torchvision", "0.1.0", "note"),
        ("scikit-learn", "1.0", "note"),
    ],
)
def test_versions_that_change_results(mine: Facts, package: str, there: str | None, level: str) -> None:
    packages = {**mine.packages, package: there or ""}
    packages = {name: version for name, version in packages.items() if version}
    ((found, text),) = said(mine, node(dataclasses.replace(mine, packages=packages)))
    assert found == level
    assert (
        f"node 10.0.0.2 (b): has {package} {there}" in text if there else f"does not have {package}" in text
    )


def test_a_cpu_build_of_the_same_torch_is_a_note(mine: Facts) -> None:
    version = mine.packages["torch"].partition("+")[0]
    other = dataclasses.replace(mine, packages={**mine.packages, "torch": f"{version}+other"})
    assert [level for level, _ in said(mine, node(other))] == ["note"]


def test_another_python(mine: Facts) -> None:
    assert said(mine, node(dataclasses.replace(mine, python="3.99.0")))[0][0] == "miss"
    major, minor, _ = mine.python.split(".")
    assert said(mine, node(dataclasses.replace(mine, python=f"{major}.{minor}.99")))[0][0] == "note"


def test_another_raycl(mine: Facts) -> None:
    ((level, text),) = said(mine, node(dataclasses.replace(mine, raycl="9.9")))
    assert level == "miss" and f"has raycl 9.9, this machine {mine.raycl}" in text
    newer = dataclasses.replace(mine, source={**mine.source, "masks.py": "0", "cli.py": "0", "new.py": "0"})
    ((level, text),) = said(mine, node(newer))
    assert level == "miss" and "in 1 file (masks.py)" in text  # nothing here imports new.py
    ((level, text),) = said(mine, node(dataclasses.replace(mine, source={**mine.source, "cli.py": "0"})))
    assert level == "note" and "(cli.py)" in text


def test_a_gpu_that_torch_does_not_see(mine: Facts) -> None:
    for gpus in (1, 0.5):
        ((level, text),) = said(mine, node(mine, gpus=gpus))
        assert level == "miss" and "sees none" in text
    assert said(mine, node(dataclasses.replace(mine, devices=1), gpus=0.5)) == []
    assert said(mine, node(dataclasses.replace(mine, devices=None), gpus=1)) == []
    assert judge(node(mine, gpus=1), mine, None, gpus=False)[0].level == "note"


def test_data_that_cannot_be_copied(mine: Facts) -> None:
    lacks = dataclasses.replace(mine, data={})
    assert said(mine, node(lacks)) == []  # it can be
    torn = {"digits": {**mine.data["digits"], "whole": False}}
    for data in ({}, torn, {"digits": {**mine.data["digits"], "mark": "2"}}):
        ((level, text),) = said(mine, node(dataclasses.replace(mine, data=data, disk_free=10**6)))
        assert level == "miss" and "lacks the data of digits (3.0 MB), and has 1.0 MB left" in text
    ((level, text),) = said(mine, node(dataclasses.replace(lacks, data_writable=False)))
    assert level == "miss" and "cannot be written there" in text
    assert judge(node(dataclasses.replace(lacks, disk_free=0)), mine, None, needed=[]) == []


def test_a_clock_that_is_off_is_a_note(mine: Facts) -> None:
    ((level, text),) = said(mine, node(mine, clock=-77.0))
    assert level == "note" and "its clock is 77 s behind this machine's" in text
    assert said(mine, node(mine, clock=1.0)) == []


def test_a_cluster_that_grows_is_not_refused_for_having_no_worker(mine: Facts) -> None:
    head = node(None, cpus=0)
    (miss,) = judge_cluster([head], None)
    assert miss.level == "miss" and "no node of the cluster has a CPU" in miss.text
    (note,) = judge_cluster([head], Elastic())
    assert note.level == "note"
    assert judge_cluster([head, node(mine)], None) == []


def test_files_that_nodes_must_share_are_those_that_workers_load() -> None:
    script = (
        "import sys; import raycl.tune.trainable, raycl.tune.staging, raycl.runs.execution; "
        "from raycl import registry; "
        "registry.recipes(), *map(registry.method, registry.method_names()); "
        "[*map(registry.network, registry.network_names())]; "
        "print(*[m.__file__ for name, m in sys.modules.items() if name.startswith('raycl.')])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300)
    loaded = {Path(file).relative_to(HOME / "raycl").as_posix() for file in done.stdout.split()}
    assert {"tune/trainable.py", "runs/execution.py", "probes/xmeans.py", "methods/_picks.py"} <= loaded
    assert loaded <= fingerprint.worker_files()
    driver = {
        "cli.py",
        "api.py",
        "study/values.py",
        "study/agenda.py",
        "terminal/view.py",
        "study/gc.py",
        "tune/launch.py",
        "tune/fitness/nodes.py",
    }
    assert not driver & fingerprint.worker_files()
    assert not [
        name
        for name in fingerprint.worker_files()
        if name.startswith(("study/", "results/", "papers/", "reporting/", "terminal/"))
    ]


EXECUTED = """
import sys
from raycl import process, registry, specs
from raycl.runs import execution

registry.recipes()
for name in registry.method_names():
    registry.method(name)
with process.Guard():  # it looks at all of raycl, and executes none of it
    pass
run = specs.RunSpec(method=sys.argv[1], network="mlp", benchmark="digits_split", fit={"epochs": 1})
seen = set()
sys.setprofile(lambda frame, event, _: seen.add(frame.f_code.co_filename) if event == "call" else None)
result = execution.execute(run)
sys.setprofile(None)
assert result.status == "done", result.message
print(*[file for file in seen if "/raycl/" in file])
"""


@pytest.mark.parametrize("method", ["finetune", "supsup"])
def test_the_source_of_a_result_is_what_its_run_executes(method: str) -> None:
    command = [sys.executable, "-c", EXECUTED, method]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    executed = {Path(file) for file in done.stdout.split()}
    found = set(fingerprint.files_of([fingerprint.WORKER, f"raycl.methods.{method}", *NETWORKS, *BENCHMARKS]))
    assert len(executed) > 20 and executed <= found, executed - found


NETWORKS = [f"raycl.networks.{path.stem}" for path in (HOME / "raycl" / "networks").glob("*.py")]
BENCHMARKS = [
    f"raycl.benchmarks.{'.'.join(path.relative_to(HOME / 'raycl' / 'benchmarks').with_suffix('').parts)}"
    for path in (HOME / "raycl" / "benchmarks").rglob("*.py")
]


# Resources.


def test_a_share_of_several_gpus_is_refused_at_once() -> None:
    with pytest.raises(UserError, match=r"Resources\(gpus=1.5\)"):
        Resources(cpus=1, gpus=1.5)


@pytest.mark.parametrize(
    ("wanted", "text"),
    [
        (
            Resources(cpus=1, gpus=0.5),
            r"Resources\(cpus=1, gpus=0.5\) fits no node; the largest has 4 CPUs and 0 GPUs",
        ),
        (Resources(cpus=5), r"Resources\(cpus=5, gpus=0\) fits no node; the largest has 4 CPUs"),
        (
            Resources(cpus=1, memory=1e6),
            r"memory=1e\+06\) fits no node; the largest has 4 CPUs and 0 GPUs and .* GiB",
        ),
    ],
)
def test_a_request_that_no_node_can_meet(ray_cluster: int, wanted: Resources, text: str) -> None:
    from raycl.tune.launch import check_resources
    from tests.helpers.tiny import tiny

    cells = cells_of(tiny({"finetune": {}}, resources={"*": wanted}))
    with pytest.raises(UserError, match=text):
        check_resources(cells)


def test_a_cluster_without_cpus_has_a_remedy_of_its_own() -> None:
    from raycl.tune.launch import _fits_nowhere
    from tests.helpers.tiny import tiny

    (cell,) = cells_of(tiny({"finetune": {}}))
    said = str(_fits_nowhere(cell, {"CPU": 1.0, "GPU": 0.0}, [{"memory": 1e9}, {"CPU": 0.0}]))
    assert said.startswith("no node of the cluster has a CPU for runs; start Ray on another machine")


def test_one_node_is_asked_and_agrees_with_its_driver(ray_cluster: int, tmp_path: Path) -> None:
    from raycl.tune.fitness.judging import elastic
    from raycl.tune.fitness.nodes import ask

    (there,) = ask(tmp_path)
    facts = here()
    assert there.runs_studies and there.cpus == 4 and there.head and not there.store and abs(there.clock) < 5
    assert there.facts is not None and there.facts.packages == facts.packages
    assert there.facts.source == facts.source
    assert judge(there, facts, tmp_path) == []
    assert list(tmp_path.iterdir()) == []  # no trace of a question
    assert elastic() is None


@pytest.mark.parametrize("falls", [2, 3])
def test_a_process_that_falls_over_says_nothing_of_its_node_until_the_third(
    ray_cluster: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, falls: int
) -> None:
    asked = facts.answer

    def answer(*about: Any) -> dict[str, Any]:
        with (tmp_path / "tries").open("a") as tries:
            tries.write(".")
        if (tmp_path / "tries").stat().st_size <= falls:
            os._exit(1)
        return asked(*about)

    monkeypatch.setattr(nodes, "answer", answer)
    [node] = nodes.ask()
    assert (tmp_path / "tries").stat().st_size == 3
    assert (node.facts is not None) == (falls == 2) and ("cannot be asked" in node.silent) == (falls == 3)


def test_all_processors_lent_out_keep_no_node_from_answering(ray_cluster: int, tmp_path: Path) -> None:
    import ray

    from raycl.tune.fitness.nodes import ask

    @ray.remote(num_cpus=4)
    def hold(mark: str, until: str) -> None:
        import time

        Path(mark).touch()
        while not Path(until).exists():
            time.sleep(0.05)

    held = hold.remote(str(tmp_path / "holds"), str(tmp_path / "over"))
    while not (tmp_path / "holds").exists():
        ray.wait([held], timeout=0.1)
    try:
        (there,) = ask()
        assert there.facts is not None, there.silent
    finally:
        (tmp_path / "over").touch()
    ray.get(held)


@pytest.mark.parametrize("again", [True, False])
def test_a_worker_whose_folder_was_replaced_can_still_import_torch(tmp_path: Path, again: bool) -> None:
    """Nodes that share a machine share the folder of shipped files; each of them unpacks it anew."""
    folder = tmp_path / "shipped"
    folder.mkdir()
    program = (
        "import os, shutil, sys; from raycl.tune.fitness.facts import answer; folder = sys.argv[1]\n"
        f"shutil.rmtree(folder); {again} and os.mkdir(folder)\n"
        "facts = answer('/nowhere', '', '', '', '', 0.0)['facts']\n"
        "print([facts['torch_error'], os.getcwd()])\n"
    )
    given = os.environ | {"PYTHONPATH": str(HOME)}
    words = ["sh", "-c", 'cd "$0" && exec "$@"', str(folder), sys.executable, "-c", program, str(folder)]
    done = subprocess.run(words, capture_output=True, text=True, env=given)
    assert done.stdout.strip() == str(["", str(folder) if again else "/"]), done.stderr

"""Clusters whose hosts do not fit together, data that are copied to hosts, and clusters that grow.

Hosts are network namespaces, and each command is a process on one of them. What is said of one node, and who
is let in, is also tested without a cluster, in `test_feasibility.py`.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.misfits_cluster import ASK, JOIN, Cluster, Misfits, wait_for, why_not

pytestmark = pytest.mark.slow

STUDY = """
from raycl import Resources, Seeds, Study
STUDY = Study(name="tiny", methods={"finetune": {}}, benchmarks=["digits_split"], network="mlp(hidden=8)",
              fit={"epochs": 1}, search=None, final=Seeds(1, 2), resources={"*": RESOURCES})
"""


@pytest.fixture(scope="module")
def misfits() -> Iterator[Misfits]:
    if reason := why_not():
        pytest.skip(reason)
    with Misfits() as cluster:
        yield cluster


@pytest.fixture(scope="module")
def examined(misfits: Misfits) -> tuple[int, str, str]:
    done = misfits.raycl("doctor", "--address", misfits.address, "--store", str(misfits.store))
    return done.returncode, done.stdout, done.stderr


def flat(text: str) -> str:
    """Without the breaks of lines."""
    return " ".join(text.split())


def test_doctor_finds_every_miss(misfits: Misfits, examined: tuple[int, str, str]) -> None:
    code, out, err = examined
    assert code == 1 and err == "", err
    whole = flat(out)
    assert "cluster at 10.77.0.1:6379: 4 nodes, 3 can run studies" in out
    assert "MISS node 10.77.0.2 (worker1): Ray offers 1 GPU there, but torch" in whole
    assert "MISS node 10.77.0.3 (worker2): its raycl" in whole and "(masks.py); install the same" in whole
    assert (
        f"MISS node 10.77.0.3 (worker2): store {misfits.store}: it has another folder of that name" in whole
    )
    assert "MISS node 10.77.0.4 (worker3): raycl cannot be imported by" in whole
    assert "No module named 'raycl'" in whole
    assert "not ready: 4 problems found" in out
    assert "written and read by 2 of 3 nodes" in whole


def test_doctor_fits_the_screen_and_keeps_the_secret(
    misfits: Misfits, examined: tuple[int, str, str]
) -> None:
    _, out, _ = examined
    assert max(map(len, out.splitlines())) <= 80
    assert misfits.token.read_text() not in out
    rows = [line for line in out.splitlines() if line.startswith("  10.77.0.")]
    assert ["runs nothing" in row for row in rows] == [True, False, False, False]


def test_nothing_is_left_in_the_store(misfits: Misfits, examined: tuple[int, str, str]) -> None:
    assert misfits.head.run("ls", "-A", str(misfits.store)) == ""
    assert misfits.head.run("ls", "-A", str(misfits.switch.shared)) == "results\n"


def asked(misfits: Misfits, tmp_path: Path, resources: str, store: Path) -> tuple[int, str, str]:
    study = tmp_path / "tiny.py"
    study.write_text(textwrap.dedent(STUDY).replace("RESOURCES", resources))
    misfits.head.run("mkdir", "-p", str(store))
    return misfits.driver_says(ASK, misfits.address, str(store), str(study))


@pytest.mark.parametrize(
    ("resources", "text"),
    [
        ("Resources(cpus=1, gpus=1)", "(worker1): Ray offers 1 GPU there"),
        ("Resources(cpus=1)", "node 10.77.0.3 (worker2): its raycl"),
        ("Resources(cpus=2)", "Resources(cpus=2, gpus=0) fits no node; the largest has 1 CPUs and 1 GPUs"),
        (
            "Resources(cpus=1, gpus=2)",
            "Resources(cpus=1, gpus=2) fits no node; the largest has 1 CPUs and 1 GPUs",
        ),
    ],
)
def test_a_study_is_refused_in_one_line(misfits: Misfits, tmp_path: Path, resources: str, text: str) -> None:
    code, _, err = asked(misfits, tmp_path, resources, misfits.store)
    assert code != 0 and err.count("\n") == 1 and err.startswith("raycl: "), err
    assert text in err
    if "fits no node" not in text:
        assert f"more: raycl doctor --address {misfits.address})" in err


JUDGE = """
import sys
from pathlib import Path
from raycl.tune.fitness import facts, judging, nodes
from raycl.tune.launch import cluster
_, address, store, seconds = sys.argv
with cluster(address, None):
    mine = facts.here()
    for node in nodes.ask(Path(store), float(seconds)):
        for thing in judging.judge(node, mine, Path(store), ["digits"]):
            print(thing)
"""


def judged(misfits: Misfits, store: str, seconds: float = 120) -> tuple[int, str, str]:
    return misfits.driver_says(JUDGE, misfits.address, store, str(seconds))


def test_a_store_that_only_the_head_sees_and_data_without_room(misfits: Misfits) -> None:
    """/tmp/ray is each host's own folder here."""
    misfits.head.run("mkdir", "-p", "/tmp/ray/results")
    misfits.head.run(sys.executable, "-m", "raycl.cli", "data", "prepare", "digits")
    code, out, err = judged(misfits, "/tmp/ray/results")
    assert code == 0, err
    found = [line for line in out.splitlines() if "store /tmp/ray/results" in line]
    assert len(found) == 3 and all("it sees no such folder; --store DIR must name" in line for line in found)
    lacking = [line for line in out.splitlines() if "lacks the data" in line]
    assert len(lacking) == 1 and "(worker2): lacks the data of digits" in lacking[0]  # the others have room
    assert "MB left at" in lacking[0]


def test_raycl_run_refuses_a_store_that_only_the_head_sees(misfits: Misfits) -> None:
    study = misfits.switch.root / "tiny.py"
    study.write_text(STUDY.replace("RESOURCES", "Resources(cpus=1)"))
    done = misfits.raycl("run", str(study), "--address", misfits.address, "--store", "/tmp/ray/results")
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
    assert "raycl: node 10.77.0.2 (worker1): store /tmp/ray/results: it sees no such folder" in done.stderr


def joined(misfits: Misfits, address: str, **options: Any) -> str:
    """What a driver says that is not let in: one line."""
    code, _, err = misfits.driver_says(JOIN, address, **options)
    assert code == 1 and err.startswith("raycl: ") and err.count("\n") == 1, err
    return err


def test_a_token_is_asked_for(misfits: Misfits) -> None:
    wrong = misfits.switch.root / "wrong"
    wrong.write_text("0" * 64)
    env = {"RAY_AUTH_TOKEN_PATH": str(wrong)}
    refused = joined(misfits, misfits.address, env=env)
    assert f"refuses the token of RAY_AUTH_TOKEN_PATH={wrong}" in refused and "0" * 64 not in refused
    assert "asks for a token, but RAY_AUTH_MODE is not 'token'" in joined(
        misfits, misfits.address, env={"RAY_AUTH_MODE": "disabled"}
    )
    study = misfits.switch.root / "tiny.py"
    study.write_text(STUDY.replace("RESOURCES", "Resources(cpus=1)"))
    words = ["run", str(study), "--address", misfits.address, "--store", str(misfits.store / "x")]
    done = misfits.raycl(*words, env=env)
    assert done.returncode == 2 and done.stderr == refused


def test_a_machine_that_belongs_to_no_cluster(misfits: Misfits) -> None:
    lonely = misfits.lonely
    assert "this machine is not a node of the Ray cluster" in joined(misfits, misfits.address, host=lonely)
    assert "(this machine belongs to no cluster)" in joined(misfits, "auto", host=lonely)
    lonely.run("sh", "-c", "echo 10.77.0.5:6379 > /tmp/ray/ray_current_cluster")  # one that has ended since
    assert "--address auto, which is 10.77.0.5:6379, (Connection refused)" in joined(
        misfits, "auto", host=lonely
    )


def test_another_of_rays_servers_is_no_head(misfits: Misfits) -> None:
    script = "import json, ray; ray.init('auto', log_to_driver=False, logging_level='ERROR'); "
    script += "print(ray.nodes()[0]['NodeManagerAddress'], ray.nodes()[0]['NodeManagerPort'])"
    host, port = misfits.head.run(sys.executable, "-c", script).split()[-2:]
    assert "what listens there is not a head of Ray" in joined(misfits, f"{host}:{port}")


def test_a_head_of_another_version(misfits: Misfits) -> None:
    write = (
        "import sys; from ray._raylet import GcsClient; c = GcsClient(address=sys.argv[1]); "
        "old = c.internal_kv_get(b'CLUSTER_METADATA', namespace=b'cluster'); print(old.decode()); "
        "c.internal_kv_put(b'CLUSTER_METADATA', sys.argv[2].encode() or old, True, namespace=b'cluster')"
    )
    true = misfits.head.run(sys.executable, "-c", write, misfits.address, "").strip()
    for key, text in (
        ("ray_version", "runs Ray 1.2.3, this machine Ray"),
        ("python_version", "runs Python 1.2.3"),
    ):
        other = json.dumps(json.loads(true) | {key: "1.2.3"})
        misfits.head.run(sys.executable, "-c", write, misfits.address, other)
        try:
            assert text in joined(misfits, misfits.address)
        finally:
            misfits.head.run(sys.executable, "-c", write, misfits.address, true)


@pytest.mark.release
def test_a_node_that_hangs_is_a_miss_and_no_hang(misfits: Misfits) -> None:
    """The last test of this cluster: Ray takes the node for dead."""
    pids = misfits.workers[0].pids(lambda command: "raylet/raylet" in command)
    assert pids
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        code, out, err = judged(misfits, str(misfits.store), seconds=15)
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
    assert code == 0, err
    assert "node 10.77.0.2 (worker1): has not answered within 15 s" in out or "cannot be asked" in out
    assert "(worker3): raycl cannot be imported" in out  # who answers is heard


# Copying, and growing.

STAGE = """
import sys
from raycl.errors import UserError
from raycl.tune import staging
from raycl.tune.launch import cluster
staging.BLOCK_BYTES = 100_003
try:
    with cluster(sys.argv[1], None):
        print(*staging.stage(["digits"]), sep="\\n")
except UserError as error:
    sys.exit(f"raycl: {error}")
"""


@pytest.mark.release
def test_data_are_copied_to_hosts_block_by_block() -> None:
    if reason := why_not():
        pytest.skip(reason)
    with Cluster(workers=2) as cluster:

        def stage() -> str:
            return cluster.head.run(sys.executable, "-c", STAGE, cluster.address).strip()

        one, two = cluster.workers
        cluster.head.run(sys.executable, "-m", "raycl.cli", "data", "prepare", "digits")
        files = {file.name for file in (cluster.head.own / "data" / "digits").iterdir()}
        arrays = {name for name in files if name.endswith(".npy")}
        count = len(arrays) + 1
        copied = [f"{count} data files copied to node {host.address}" for host in (one, two)]
        assert sorted(stage().splitlines()) == copied
        for host in (one, two):
            folder = host.own / "data" / "digits"
            assert {file.name for file in folder.iterdir()} == {*arrays, "manifest.json"}
            for name in arrays:
                assert (folder / name).read_bytes() == (cluster.head.own / "data/digits" / name).read_bytes()
        assert stage() == ""
        torn = two.own / "data" / "digits" / min(arrays)
        torn.write_bytes(torn.read_bytes()[:-1])
        assert stage() == f"1 data files copied to node {two.address}"
        one.run("mount", "-t", "tmpfs", "-o", "size=1m", "none", str(one.data))
        done = cluster.head.try_run(sys.executable, "-c", STAGE, cluster.address)
        said = (
            f"raycl: data cannot be copied to node {one.address} (No space left on device); make room there"
        )
        assert done.returncode == 1 and done.stderr.startswith(said) and done.stderr.count("\n") == 1
        left = one.run("find", str(one.data), "-type", "f").split()
        assert not [name for name in left if name.endswith(".tmp")]


GROWS = {
    "cluster_name": "grows",
    "max_workers": 3,  # with the head
    "provider": {"type": "fake_multinode", "head_node_id": "f" * 51 + "00000", "use_node_id_as_ip": True,
                 "disable_node_updaters": True, "disable_launch_config_check": True},
    "auth": {"ssh_user": "nobody"},
    "available_node_types": {
        "ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
        "worker": {"resources": {"CPU": 1}, "node_config": {}, "min_workers": 0, "max_workers": 2},
    },
    "head_node_type": "ray.head.default",
    "idle_timeout_minutes": 5,
    "upscaling_speed": 1.0,
    "file_mounts_sync_continuously": False,
    **{name: {} for name in ("docker", "file_mounts")},
    **{name: [] for name in ("initialization_commands", "setup_commands", "head_setup_commands",
                             "worker_setup_commands", "head_start_ray_commands", "worker_start_ray_commands",
                             "cluster_synced_files", "rsync_exclude", "rsync_filter")},
}  # fmt: skip


@pytest.mark.release
def test_a_cluster_without_a_worker_grows_one(tmp_path: Path) -> None:
    """Ray's own autoscaler, whose nodes are processes of one host."""
    if reason := why_not():
        pytest.skip(reason)
    cluster = Cluster(workers=0)
    try:
        settings = cluster.switch.root / "grows.json"
        settings.write_text(json.dumps(GROWS))
        cluster.head.run(
            "ray", "start", "--head", "--num-cpus=0", "--port=6379", "--include-dashboard=false",
            f"--autoscaling-config={settings}", *Cluster._common(cluster.head),
            env={"RAY_FAKE_CLUSTER": "1", "AUTOSCALER_UPDATE_INTERVAL_S": "1"},
        )  # fmt: skip

        def report() -> tuple[int, str]:
            done = cluster.raycl("doctor", "--address", cluster.address, "--store", str(cluster.store))
            return done.returncode, flat(done.stdout)

        wait_for(lambda: "the cluster starts nodes on demand" in report()[1], "the autoscaler")
        code, out = report()
        assert code == 0 and "1 node, 0 can run studies" in out and "ready: no problems found" in out
        study = tmp_path / "tiny.py"
        study.write_text(STUDY.replace("RESOURCES", "Resources(cpus=1)"))
        done = cluster.raycl("run", str(study), "--address", cluster.address, "--store", str(cluster.store))
        assert done.returncode == 0, done.stdout + done.stderr
        assert cluster.finished() == 2
        assert "2 can run studies" in report()[1]  # as many as there were runs to play at a time
    finally:
        cluster.switch.close()

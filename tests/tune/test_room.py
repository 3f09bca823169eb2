"""Which nodes of a cluster may execute runs, and when."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


def last_lines(folder: Path, program: str, count: int) -> list[str]:
    """Run a program in a process of its own, because it starts a cluster, and return its last lines."""
    (folder / "program.py").write_text(program)
    done = subprocess.run(
        [sys.executable, "program.py"], cwd=folder, capture_output=True, text=True, timeout=400, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-count:]


DRAINS = """
import time

import ray
from ray.cluster_utils import Cluster
from ray.core.generated import autoscaler_pb2

from raycl.tune.room import live_nodes

cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
other = cluster.add_node(num_cpus=2)
ray.init(address=cluster.address, log_to_driver=False)

@ray.remote(num_cpus=2)
def busy():
    time.sleep(600)

work = busy.remote()
deadline = time.monotonic() + 120
while ray.available_resources().get("CPU", 0) > 1:  # until the node is busy, as an idle one would end at once
    assert time.monotonic() < deadline
    time.sleep(0.1)
before = live_nodes()
print(sorted(node["Resources"]["CPU"] for node in before.values()))
reason = autoscaler_pb2.DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")
client = ray._private.worker.global_worker.gcs_client
assert client.drain_node(other.node_id, reason, "preempted", 2**63 - 1)[0]
while other.node_id in live_nodes():
    assert time.monotonic() < deadline
    time.sleep(0.1)
print(before.keys() - live_nodes().keys() == {other.node_id})
"""


@pytest.mark.slow
def test_a_node_that_drains_does_not_count(tmp_path: Path) -> None:
    assert last_lines(tmp_path, DRAINS, 2) == ["[1.0, 2.0]", "True"]


JOINS = """
import ray
from ray.cluster_utils import Cluster

from raycl.tune.launch import wait_for_nodes

cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
ray.init(address=cluster.address, log_to_driver=False)
print(wait_for_nodes(print, seconds=0.3))
print(wait_for_nodes(lambda line: cluster.add_node(num_cpus=2, wait=False), seconds=300))
print(wait_for_nodes(print))
"""


@pytest.mark.slow
def test_a_study_waits_for_the_first_node_with_cpus(tmp_path: Path) -> None:
    waits = "no node of the cluster offers a CPU yet; waiting up to 0.3 s for nodes to join"
    assert last_lines(tmp_path, JOINS, 4) == [waits, "1.0", "2.0", "2.0"]

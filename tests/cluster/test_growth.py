"""Hosts join and leave while a study runs: more runs at a time, nothing lost, and the same results.

Hosts are network namespaces of this machine (`tests/helpers/hosts.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.faults import Scene, cluster_for_faults, undisturbed
from tests.helpers.hosts import Cluster, why_not

pytestmark = pytest.mark.slow
STUDY = Path(__file__).with_name("growing_study.py")


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A head and four workers, of which only the first has started Ray."""
    if reason := why_not():
        pytest.skip(reason)
    made = cluster_for_faults(workers=4)
    try:
        made.start_head()
        made.start_worker(made.workers[0])
        yield made
    finally:
        made.switch.close()


def hosts_at_work(scene: Scene) -> set[str]:
    return {line.host for line in scene.at_work()}


def test_a_study_follows_its_cluster(cluster: Cluster) -> None:
    """Two hosts join, a third that is not fit joins, and one leaves in the middle of a run."""
    first, second, third, _ = (host.name for host in cluster.workers)
    scene = Scene(cluster, "growth", study=STUDY)
    said = scene.play().text
    with scene.held(1):  # nothing ends meanwhile, so that only more room lets more runs begin
        assert {line.host for line in scene.journal()} == {first}
        for host in cluster.workers[1:3]:  # they lack the data
            cluster.start_worker(host)
        scene.wait(lambda: hosts_at_work(scene) == {first, second, third}, "three hosts at work")
        assert said().count("has joined: ") == 2  # with what was copied

        apart = cluster.workers[3]
        apart.run("mount", "-t", "tmpfs", "none", str(cluster.switch.shared))  # the store is another disk
        cluster.start_worker(apart)
        scene.wait(lambda: "no run is placed there" in said(), "the unfit host to be refused")

        cluster.workers[2].kill_all()
        scene.wait(lambda: third not in hosts_at_work(scene), "the host to be gone")
    lost = len(scene.journal())
    assert scene.finish() == 0, said()
    journal = scene.journal()
    assert {line.host for line in journal} == {first, second, third}  # never the one that is not fit
    assert third not in {line.host for line in journal[lost:]}
    begun = Counter((line.run, line.task) for line in journal)
    assert max(begun.values()) <= 2  # what the host that left was doing
    assert cluster.csv(STUDY) == undisturbed()

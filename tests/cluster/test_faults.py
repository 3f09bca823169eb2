"""The short form of `make faults`: four faults in one study, and what they cost; and each fault alone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cluster.faults import (
    FAULTS,
    Fault,
    Scene,
    Struck,
    cluster_for_faults,
    kill_driver,
    kill_node,
    kill_process,
    misbehave,
    strike,
    undisturbed,
)
from tests.helpers.hosts import Cluster, why_not

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    if reason := why_not():
        pytest.skip(reason)
    with cluster_for_faults() as made:
        yield made


def test_four_faults_cost_a_task_each(cluster: Cluster) -> None:
    scene = Scene(cluster, "short")
    expected = undisturbed()
    scene.pace(1.0)
    first = scene.play()
    kill_process(scene, 1)
    kill_node(scene, 2)
    kill_driver(scene, 3)
    misbehave(scene, "hang", 4)
    outcome = scene.outcome(Struck([first.wait(), scene.finish()]), expected, (-9, 0))
    assert outcome.codes == [-9, 0]
    assert outcome.same
    assert 2 <= outcome.most <= 3 and outcome.tasks == 75  # a second fault may strike the same task
    assert 3 <= outcome.again <= 5  # a process, a node of one, a driver of two, a hanging run


@pytest.mark.release
@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_each_fault_of_the_matrix(fault: Fault, cluster: Cluster, request: pytest.FixtureRequest) -> None:
    if reason := fault.lacking():
        pytest.skip(reason)
    tracking = request.getfixturevalue("tracking") if fault.tracked else None
    outcome = strike(cluster, fault, tracking)
    assert outcome.survived, outcome

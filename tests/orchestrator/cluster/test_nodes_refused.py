"""Workers that a cluster could never place are refused at once, unless it can grow."""

from __future__ import annotations

import pytest

from nmt.orchestrator.cluster import nodes as cluster_nodes
from nmt.orchestrator.cluster.nodes import Node, check_nodes, is_fixed, may_grow_by
from nmt.orchestrator.errors import RequestError
from nmt.orchestrator.experiment.sections import Scaling

NODES = [Node("a", "10.0.0.1", {"CPU": 4.0}), Node("b", "10.0.0.2", {"CPU": 4.0, "GPU": 2.0})]
BY_HAND = {"autoscaler_report": {"node_type_mapping": {"ab12": "node_ab12", "cd34": "node_cd34"}}}
SCALED = {"autoscalerReport": {"nodeTypeMapping": {"ab12": "small-group", "cd34": "head-group"}}}


def never() -> bool:
    return False


def scaling(**values: object) -> Scaling:
    return Scaling.model_validate(values)


@pytest.mark.parametrize(
    "fits",
    [
        scaling(workers=8),
        scaling(workers=2, cpus_per_worker=4),
        scaling(workers=2, use_gpu=True),
        scaling(workers=16, cpus_per_worker=0.5),
        scaling(workers={"min": 1, "max": 100}, cpus_per_worker=4),
    ],
)
def test_workers_that_fit_pass(fits: Scaling) -> None:
    check_nodes(fits, NODES, never)


@pytest.mark.parametrize(
    ("asked", "room"),
    [
        (scaling(workers=9), "use at most 8 workers"),
        (scaling(workers=2, cpus_per_worker=5), "no node can hold even one"),
        (scaling(workers=3, cpus_per_worker=3), "use at most 2 workers"),
        (scaling(workers=3, use_gpu=True), "use at most 2 workers"),
    ],
)
def test_workers_that_never_fit_are_refused_with_the_nodes(asked: Scaling, room: str) -> None:
    with pytest.raises(RequestError, match=room) as refusal:
        check_nodes(asked, NODES, never, "tune.workers_per_trial")
    message = str(refusal.value)
    assert message.startswith(f"tune.workers_per_trial: {asked.min_workers} workers of {asked.cpus_per_worker:g} CPU")
    assert "10.0.0.1 (4 CPUs), 10.0.0.2 (4 CPUs, 2 GPUs)" in message


def test_a_cluster_that_grows_is_given_time() -> None:
    check_nodes(scaling(workers=9), NODES, lambda: True)


def test_the_autoscalers_status_shows_whether_nodes_are_started() -> None:
    assert is_fixed(BY_HAND)
    assert not is_fixed(SCALED)
    assert not is_fixed({})


def test_a_new_clusters_autoscaler_is_given_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_nodes.time, "sleep", lambda seconds: None)
    answers = [{}, {"autoscaler_report": {"node_type_mapping": {}}}, BY_HAND]
    assert may_grow_by(lambda: answers.pop(0)) is False
    monkeypatch.setattr(cluster_nodes, "_FIRST_STATUS", 0.0)
    assert may_grow_by(dict) is True

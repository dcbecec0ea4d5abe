"""Checks of a Ray cluster before it trains."""

from __future__ import annotations

from nmt.orchestrator.cluster.nodes import check_nodes, may_grow, present_nodes
from nmt.orchestrator.cluster.shared_storage import check_shared
from nmt.orchestrator.experiment.sections import Scaling


def check_cluster(scaling: Scaling, storage: str, data: str, key: str = "scaling.workers") -> None:
    """Check that this process's cluster can place the workers, and that its nodes share storage and data.

    Args:
        scaling: Workers of a run or a trial.
        storage: Folder or URI of the finished stages.
        data: Prepared folder.
        key: Key of the number of workers in the experiment file.

    Raises:
        RequestError: Workers could never be placed, or a node does not see storage or data.
        RunError: A node does not answer.
    """
    nodes = present_nodes()
    check_nodes(scaling, nodes, may_grow, key)
    if len(nodes) > 1:
        check_shared(storage, data)

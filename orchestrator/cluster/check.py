"""What has to hold on a Ray cluster before it trains."""

from __future__ import annotations

from orchestrator.cluster.nodes import check_nodes, may_grow, present_nodes
from orchestrator.cluster.shared_storage import check_shared
from orchestrator.experiment.sections import Scaling


def check_cluster(scaling: Scaling, storage: str, data: str, key: str = "scaling.workers") -> None:
    """Check the cluster that this process has joined: that workers can be placed, and that all nodes share the storage.

    Args:
        scaling: Workers of a run or a trial.
        storage: Where stages are kept.
        data: Prepared folder.
        key: What the number of workers is called in the experiment file.

    Raises:
        RequestError: Workers could never be placed, or a node does not see storage or data.
        RunError: A node does not answer.
    """
    nodes = present_nodes()
    check_nodes(scaling, nodes, may_grow, key)
    if len(nodes) > 1:  # one shares all that it has
        check_shared(storage, data)

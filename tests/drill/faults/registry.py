"""The faults of the drill, by name."""

from __future__ import annotations

from tests.drill.faults.fault import Fault
from tests.drill.faults.full_disk import fill_disk
from tests.drill.faults.lost_node import lose_nodes, unplug_node
from tests.drill.faults.signals import (
    kill_after_record,
    kill_driver,
    kill_in_checkpoint,
    kill_worker,
    stop_worker,
)
from tests.drill.faults.tracking_outage import stop_tracking
from tests.drill.nodes.namespaces import namespace_nodes
from tests.drill.nodes.one_address import one_address_nodes

FAULTS = {
    "worker-stage-1": Fault("kill -9 of a worker in stage 1", kill_worker(stage=1, rank=1)),
    "worker-stage-3": Fault("kill -9 of a worker in stage 3", kill_worker(stage=3, rank=1)),
    "checkpoint": Fault("kill -9 of the first worker while it writes a checkpoint", kill_in_checkpoint),
    "record": Fault("kill -9 of the first worker right after it saved stage 2", kill_after_record),
    "driver": Fault("kill -9 of the command in stage 2, then the same command again", kill_driver(stage=2)),
    "node": Fault("loss of a worker's node in stage 2, a new one 5 s later", lose_nodes(one_address_nodes, [2])),
    "nodes": Fault(
        "loss of a worker's node in each stage, three nodes",
        lose_nodes(one_address_nodes, [1, 2, 3], spare=1),
        times=3,
    ),
    "addresses": Fault(
        "loss of a worker's node in each stage, two nodes with addresses of their own, a new one 5 s later",
        lose_nodes(namespace_nodes, [1, 2, 3]),
        times=3,
    ),
    "cable": Fault("a node cut off the network in stage 2, three nodes", unplug_node),
    "tracking": Fault("MLflow server away for a minute", stop_tracking, restarts=False),
    "disk": Fault("disk full for checkpoints", fill_disk, restarts=False),
    "hang": Fault("hung worker (SIGSTOP) in stage 2", stop_worker),
}

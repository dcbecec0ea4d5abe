"""Lost nodes of a cluster."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from tests.drill.nodes.namespaces import namespaces
from tests.drill.nodes.nodes import Node, StartNodes
from tests.drill.trial import WORKERS, Trial


def lose_nodes(start: StartNodes, stages: Sequence[int], spare: int = 0) -> Callable[[Trial, Sequence[str]], float]:
    """Lose a node with a worker in each of some stages, and add another one.

    The lost node is that of the driver's mailbox if a node has it. With spare nodes the workers restart there at once;
    without, they wait for the new node, which comes five seconds later.

    Args:
        start: Starts the cluster.
        stages: Numbers of the stages.
        spare: Number of nodes beyond one for each worker.
    """

    def make(trial: Trial, keys: Sequence[str]) -> float:
        at = 0.0
        with start(trial.site.environment) as cluster:
            nodes = [cluster.add() for _ in range(WORKERS + spare)]
            trial.start("--address", cluster.address)
            for stage in stages:
                trial.reach(keys[stage - 1])
                lost = nodes.pop(_choose_node(trial, nodes, stage))
                at = time.time()
                cluster.lose(lost)
                if not spare:
                    time.sleep(5.0)
                nodes.append(cluster.add())
            trial.finish()
        return at

    return make


def unplug_node(trial: Trial, keys: Sequence[str]) -> float:
    """Cut the first worker's node off the network; it keeps running and sees the storage, as it may over NFS."""
    with namespaces(trial.site.environment) as cluster:
        nodes = [cluster.add() for _ in range(WORKERS + 1)]
        trial.start("--address", cluster.address)
        trial.reach(keys[1])
        lost = nodes[_choose_node(trial, nodes, stage=2)]
        at = time.time()
        cluster.unplug(lost)
        trial.finish()
    return at


def _choose_node(trial: Trial, nodes: Sequence[Node], stage: int) -> int:
    """Choose the node to lose, and note it: that of the mailbox, or else that of the first worker."""
    families = [node.processes() for node in nodes]
    with_mailbox = [any("_QueueActor" in " ".join(p.cmdline()) for p in family) for family in families]
    workers = [trial.worker(rank).pid for rank in range(WORKERS)]
    with_worker = [[pid for pid in workers if any(p.pid == pid for p in family)] for family in families]
    trial.notes.append(f"stage {stage}: workers on {sum(map(bool, with_worker))} of {len(nodes)} nodes")
    with_first_worker = [workers[0] in pids for pids in with_worker]
    index = (with_mailbox if any(with_mailbox) else with_first_worker).index(True)
    held = "the first" if with_first_worker[index] else "the second" if with_worker[index] else "no"
    trial.notes.append(
        f"stage {stage}: the lost node {nodes[index].address} had {held} worker"
        + (" and the mailbox" if with_mailbox[index] else "")
    )
    return index

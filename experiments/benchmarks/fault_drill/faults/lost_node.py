"""A node of a cluster that is lost."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from experiments.benchmarks.fault_drill.family import psutil
from experiments.benchmarks.fault_drill.trial import WORKERS, Trial


def lose_node(trial: Trial, keys: Sequence[str]) -> float:
    """A worker's node goes, that of the driver's mailbox if there is one, and another one comes a little later."""
    with _environment(trial.site.environment):
        from ray.cluster_utils import Cluster

        cluster: Any = Cluster()
        try:
            cluster.add_node(num_cpus=0, include_dashboard=False)
            nodes = [cluster.add_node(num_cpus=1) for _ in range(WORKERS)]
            trial.start("--address", cluster.address)
            trial.reach(keys[1])
            families = [_processes(node) for node in nodes]
            place = _chosen(trial, families)
            at = time.time()
            cluster.remove_node(nodes[place], allow_graceful=False)
            for process in families[place]:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            time.sleep(5.0)
            cluster.add_node(num_cpus=1)
            trial.finish()
        finally:
            cluster.shutdown()
    return at


def _chosen(trial: Trial, families: Sequence[Sequence[Any]]) -> int:
    """Which node to lose: the mailbox's, or without a mailbox the first worker's; it is noted."""
    with_mailbox = [any("_QueueActor" in " ".join(p.cmdline()) for p in family) for family in families]
    with_first_worker = [any(p.pid == trial.worker(0).pid for p in family) for family in families]
    place = (with_mailbox if any(with_mailbox) else with_first_worker).index(True)
    trial.notes.append(
        f"the lost node had {'the first' if with_first_worker[place] else 'the second'} worker"
        + (" and the mailbox" if with_mailbox[place] else "")
    )
    return place


def _processes(node: Any) -> list[Any]:
    """What its raylet has started: workers, and actors such as the queue of :class:`orchestrator.mailbox.Mailbox`."""
    found: list[Any] = psutil.Process(node.all_processes["raylet"][0].process.pid).children(recursive=True)
    return found


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Nodes of a cluster take the environment of the process that starts them."""
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)

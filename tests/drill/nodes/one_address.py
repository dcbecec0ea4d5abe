"""Nodes that share this machine's address, on Ray's own test cluster."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from tests.drill.family import psutil
from tests.drill.nodes.nodes import Node, Nodes


@dataclass
class OneAddressNode:
    """A node with its own raylet.

    Attributes:
        raylet: Ray's handle of the node.
        address: The machine's address.
    """

    raylet: Any
    address: str

    def processes(self) -> list[Any]:
        """Return workers and actors, such as the queue of :class:`nmt.orchestrator.cluster.mailbox.Mailbox`."""
        found: list[Any] = psutil.Process(self.raylet.all_processes["raylet"][0].process.pid).children(recursive=True)
        return found


class OneAddressNodes:
    """A cluster of :class:`ray.cluster_utils.Cluster`.

    Args:
        cluster: The cluster, with a head.
    """

    def __init__(self, cluster: Any) -> None:
        self._cluster = cluster
        self.address: str = cluster.address

    def add(self) -> OneAddressNode:
        """Start a node."""
        raylet = self._cluster.add_node(num_cpus=1)
        return OneAddressNode(raylet, raylet.node_ip_address)

    def lose(self, node: Node) -> None:
        """Kill a node and its processes."""
        assert isinstance(node, OneAddressNode)
        processes = node.processes()
        self._cluster.remove_node(node.raylet, allow_graceful=False)
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.kill()


@contextmanager
def one_address_nodes(environment: Mapping[str, str]) -> Iterator[Nodes]:
    """Start a cluster on this machine's address; its nodes inherit this process's environment, set here meanwhile."""
    with _environment(environment):
        from ray.cluster_utils import Cluster

        cluster: Any = Cluster()
        try:
            cluster.add_node(num_cpus=0, include_dashboard=False)
            yield OneAddressNodes(cluster)
        finally:
            cluster.shutdown()


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)

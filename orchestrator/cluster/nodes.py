"""Nodes of a Ray cluster, and whether they can hold the workers."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nmt.orchestrator.errors import RequestError
from nmt.orchestrator.experiment.sections import Scaling

_FIRST_STATUS = 15.0
"""Seconds within which the autoscaler of a new cluster writes its first status."""


@dataclass(frozen=True)
class Node:
    """A node that is alive.

    Attributes:
        node_id: Ray's id.
        address: IP address.
        resources: Total resources, such as ``{"CPU": 4.0}``.
    """

    node_id: str
    address: str
    resources: Mapping[str, float]

    def room(self, scaling: Scaling) -> int:
        """Return the number of workers that fit on it."""
        fits = [self.resources.get("CPU", 0.0) / scaling.cpus_per_worker]
        if scaling.use_gpu:
            fits.append(self.resources.get("GPU", 0.0))
        return math.floor(min(fits) + 1e-9)

    def __str__(self) -> str:
        gpus = self.resources.get("GPU", 0.0)
        return f"{self.address} ({self.resources.get('CPU', 0.0):g} CPUs{f', {gpus:g} GPUs' if gpus else ''})"


def check_nodes(
    scaling: Scaling, nodes: Sequence[Node], grows: Callable[[], bool], key: str = "scaling.workers"
) -> None:
    """Refuse workers that a cluster of fixed size could never place; a worker never spans two nodes.

    Args:
        scaling: Workers requested.
        nodes: Nodes of the cluster.
        grows: Returns whether the cluster may start further nodes; called only when there are too few.
        key: Key of the number of workers in the experiment file.

    Raises:
        RequestError: The nodes are too few or too small.
    """
    room, needed = sum(node.room(scaling) for node in nodes), scaling.min_workers
    if room >= needed or grows():
        return
    each = f"{scaling.cpus_per_worker:g} CPU{' and a GPU' if scaling.use_gpu else ''}"
    shown = ", ".join(map(str, nodes[:8])) + (f" and {len(nodes) - 8} more" if len(nodes) > 8 else "")
    at_most = f"use at most {room} workers" if room else "no node can hold even one"
    raise RequestError(
        f"{key}: {needed} workers of {each}, each on one node, can never be placed: the Ray cluster has "
        f"{shown or 'no node'}, room for {room}, and starts no further nodes; {at_most}, or lower "
        "scaling.cpus_per_worker" + (" or set scaling.use_gpu to false" if scaling.use_gpu else "")
    )


def present_nodes() -> list[Node]:
    """Return the nodes of the cluster that this process has joined."""
    import ray

    return [
        Node(node["NodeID"], node["NodeManagerAddress"], dict(node["Resources"]))
        for node in ray.nodes()
        if node["Alive"]
    ]


def may_grow() -> bool:
    """Return whether the cluster that this process has joined may start further nodes."""
    from ray.experimental.internal_kv import _internal_kv_get

    return may_grow_by(lambda: json.loads(_internal_kv_get("__autoscaling_status") or "{}"))


def may_grow_by(read: Callable[[], Mapping[str, Any]]) -> bool:
    """Return whether a cluster may start further nodes, by its autoscaler's status.

    Args:
        read: Reads the status; empty until the autoscaler has written one.
    """
    end = time.monotonic() + _FIRST_STATUS
    while not _kinds(status := read()) and time.monotonic() < end:
        time.sleep(1.0)
    return not is_fixed(status)


def is_fixed(status: Mapping[str, Any]) -> bool:
    """Return whether the status is that of a cluster whose nodes were started by hand.

    For such a cluster Ray's monitor uses a provider that starts nothing and names each node's type ``node_`` plus the
    node; an autoscaler's node types have names of their own. Without a status the answer is no.

    Args:
        status: What the monitor writes, with its own keys or in the dashboard's camel case.
    """
    kinds = _kinds(status)
    return bool(kinds) and all(kind == f"node_{node}" for node, kind in kinds.items())


def _kinds(status: Mapping[str, Any]) -> Mapping[str, str]:
    report = status.get("autoscaler_report") or status.get("autoscalerReport") or {}
    kinds: Mapping[str, str] = report.get("node_type_mapping") or report.get("nodeTypeMapping") or {}
    return kinds

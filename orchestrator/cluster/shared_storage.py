"""Checks with small files that all nodes of a cluster see the same storage and data."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

import pyarrow.fs as pafs

from nmt.orchestrator.cluster.nodes import Node, present_nodes
from nmt.orchestrator.credentials import without_credentials
from nmt.orchestrator.errors import RequestError, RunError, last_line
from nmt.trainers.store.file_system import is_file, locate

_PATIENCE = 120.0
"""Seconds within which every node must answer."""

_DRIVER = "driver"


def check_shared(storage: str, data: str | None) -> None:
    """Check that every node reads the driver's file, writes one that the driver reads, and sees the data.

    Args:
        storage: Folder or URI of the finished stages.
        data: Prepared folder; not checked when absent.

    Raises:
        RequestError: A node does not see the storage or the data; names the nodes.
        RunError: A node does not answer.
    """
    nodes = [node for node in present_nodes() if node.resources.get("CPU", 0.0) > 0]
    filesystem, root = locate(storage)
    folder = f"{root}/.shared-{uuid.uuid4().hex[:12]}"
    filesystem.create_dir(folder, recursive=True)
    try:
        _write(filesystem, f"{folder}/{_DRIVER}")
        name = folder.rpartition("/")[2]
        answers = _probe_all(nodes, storage, name, data)
        problems = [f"{node}: {problem}" for node, problem in answers if problem]
        if not problems:
            seen = {info.base_name for info in filesystem.get_file_info(pafs.FileSelector(folder))}
            unseen = [node for node, _ in answers if node.node_id not in seen]
            problems = [f"{node}: the driver does not see what it writes" for node in unseen]
    finally:
        filesystem.delete_dir(folder)
    if problems:
        raise RequestError(
            "the nodes of the cluster do not share storage and data:\n"
            + "\n".join(f"  {problem}" for problem in problems)
            + "\ngive a folder of a network file system that every node mounts at the same path, or a URI such as "
            "s3://bucket/folder"
        )


def probe(node_id: str, storage: str, name: str, data: str | None) -> str | None:
    """Return the problem of the node where this runs; ``None`` when it sees everything.

    Args:
        node_id: The node; names the file that it writes.
        storage: Folder or URI of the finished stages.
        name: Folder in the storage with the driver's file.
        data: Prepared folder.
    """
    try:
        filesystem, root = locate(storage)
        if not is_file(filesystem, f"{root}/{name}/{_DRIVER}"):
            return f"{without_credentials(storage)} is not the folder that the driver writes to"
        _write(filesystem, f"{root}/{name}/{node_id}")
        if data is not None:
            filesystem, root = locate(data)
            if not is_file(filesystem, f"{root}/schema.json"):
                return f"the data are not at {without_credentials(data)}"
    except (OSError, ValueError) as error:
        return without_credentials(str(error))
    return None


def _probe_all(nodes: Sequence[Node], storage: str, name: str, data: str | None) -> list[tuple[Node, str | None]]:
    """Return the problem that each node reports, without nodes that have left the cluster meanwhile."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    remote: Any = ray.remote(probe)
    answers = [
        remote.options(
            num_cpus=0, scheduling_strategy=NodeAffinitySchedulingStrategy(node.node_id, soft=False), max_retries=1
        ).remote(node.node_id, storage, name, data)
        for node in nodes
    ]
    try:
        ray.wait(answers, num_returns=len(answers), timeout=_PATIENCE)
        ready, _ = ray.wait(answers, num_returns=len(answers), timeout=0)
        if silent := [str(node) for node, answer in zip(nodes, answers, strict=True) if answer not in ready]:
            raise RunError(f"no answer within {_PATIENCE:g} seconds from {', '.join(silent)}")
        found = []
        for node, answer in zip(nodes, answers, strict=True):
            try:
                found.append((node, ray.get(answer)))
            except ray.exceptions.RayError:
                # A node that left the cluster while it was asked is none that workers could be placed on.
                if node.node_id in {present.node_id for present in present_nodes()}:
                    raise
        return found
    except ray.exceptions.RayError as error:
        raise RunError(f"a node cannot run the project: {last_line(error)}") from error


def _write(filesystem: pafs.FileSystem, path: str) -> None:
    with filesystem.open_output_stream(path) as stream:
        stream.write(b"shared")

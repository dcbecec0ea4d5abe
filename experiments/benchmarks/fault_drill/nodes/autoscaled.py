"""A cluster whose autoscaler starts nodes when somebody asks for more than there is, with Ray's provider for tests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import yaml

from experiments.benchmarks.fault_drill.nodes.ray_start import RayStart

_HEAD = "head"
_WORKER = "worker"


@contextmanager
def autoscaled_cluster(environment: Mapping[str, str], port: int, most: int) -> Iterator[str]:
    """Start a head without CPUs; yields the cluster's address.

    Args:
        environment: Environment variables of all nodes.
        port: A free port for it.
        most: Nodes of one CPU that the autoscaler may start.
    """
    folder = Path(environment["RAY_TMPDIR"])
    address = f"127.0.0.1:{port}"
    kinds = {
        _HEAD: {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
        _WORKER: {"resources": {"CPU": 1}, "node_config": {}, "min_workers": 0, "max_workers": most},
    }
    content = {
        "cluster_name": "fault-drill",
        "max_workers": most,
        "idle_timeout_minutes": 10,
        "provider": {"type": "fake_multinode", "gcs_address": address},
        "available_node_types": kinds,
        "head_node_type": _HEAD,
    }
    (folder / "autoscaling.yaml").write_text(yaml.safe_dump(content))
    options = ["--head", f"--port={port}", "--node-ip-address=127.0.0.1", "--num-cpus=0"]
    options += ["--include-dashboard=false", f"--temp-dir={folder}/ray", "--min-worker-port=0", "--max-worker-port=0"]
    options += [f"--autoscaling-config={folder}/autoscaling.yaml"]
    variables = {**environment, "RAY_FAKE_CLUSTER": "1", "AUTOSCALER_UPDATE_INTERVAL_S": "1"}
    head = RayStart(options, variables, folder / "head.log")
    try:
        yield address
    finally:
        head.end()

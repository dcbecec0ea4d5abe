"""A cluster whose autoscaler starts nodes on demand, with Ray's provider for tests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import yaml

from tests.drill.nodes.ray_start import RayStart

_HEAD = "ray.head.default"
_WORKER = "worker"
_COMMANDS = ("initialization", "setup", "head_setup", "worker_setup", "head_start_ray", "worker_start_ray")


@contextmanager
def autoscaled_cluster(environment: Mapping[str, str], port: int, most: int) -> Iterator[str]:
    """Start a head without CPUs, and yield the cluster's address.

    Args:
        environment: Environment variables of all nodes.
        port: A free port for the head.
        most: Largest number of nodes, of one CPU each.
    """
    import ray

    folder = Path(environment["RAY_TMPDIR"])
    own = ray.util.get_node_ip_address()  # Ray uses it even when told to use the loopback address
    address = f"{own}:{port}"
    kinds = {
        _HEAD: {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
        _WORKER: {"resources": {"CPU": 1}, "node_config": {}, "min_workers": 0, "max_workers": most},
    }
    content = {
        "cluster_name": "fault-drill",
        "max_workers": most,
        "idle_timeout_minutes": 10,
        "provider": {
            "type": "fake_multinode",
            "gcs_address": address,
            "use_node_id_as_ip": True,  # all nodes share one address
            "disable_node_updaters": True,
            "disable_launch_config_check": True,
        },
        "available_node_types": kinds,
        "head_node_type": _HEAD,
        # The autoscaler requires these keys, which ``ray up`` would fill in.
        **{name: {} for name in ("auth", "docker", "file_mounts")},
        "cluster_synced_files": [],
        "file_mounts_sync_continuously": False,
        **{f"{name}_commands": [] for name in _COMMANDS},
        "upscaling_speed": 1.0,
    }
    (folder / "autoscaling.yaml").write_text(yaml.safe_dump(content))
    options = ["--head", f"--port={port}", f"--node-ip-address={own}", "--num-cpus=0"]
    options += ["--include-dashboard=false", f"--temp-dir={folder}/ray", "--min-worker-port=0", "--max-worker-port=0"]
    options += [f"--autoscaling-config={folder}/autoscaling.yaml"]
    variables = {**environment, "RAY_FAKE_CLUSTER": "1", "AUTOSCALER_UPDATE_INTERVAL_S": "1"}
    head = RayStart(options, variables, folder / "head.log")
    try:
        yield address
    finally:
        head.end()

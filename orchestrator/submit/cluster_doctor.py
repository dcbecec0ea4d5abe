"""The verb ``doctor`` on a cluster: what can be seen from outside, and what a job finds inside."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from orchestrator.errors import RequestError, RunError
from orchestrator.experiment.file import load
from orchestrator.experiment.sections import Experiment
from orchestrator.submit import own_modules
from orchestrator.submit.job import Job
from orchestrator.submit.job_client import JobClient, cluster_nodes, connect, dashboard_address
from orchestrator.submit.package import pack
from orchestrator.submit.requirements import local_requirements
from orchestrator.verbs.doctor import Finding, examine

_MARK = "nmt-finding "
"""What a line of the job's log begins with that holds a finding."""

_ANY = {
    "name": "doctor",
    "data": {"path": "/nowhere"},
    "tasks": [{"name": "any", "loss": "binary_cross_entropy"}],
    "model": {"name": "shared_bottom"},
    "storage": "/nowhere",
}


def examine_cluster(address: str | None, file: str | None) -> list[Finding]:
    """Look at a cluster from outside, and send a job that looks from inside.

    Args:
        address: The cluster's dashboard.
        file: Experiment file whose storage, data and tracking are tried from there; ``None`` leaves that out.

    Raises:
        RequestError: There is no address, the file is wrong, or the cluster wants a token.
        RunError: The cluster does not answer.
    """
    where = dashboard_address(address)
    client = connect(where)
    nodes = cluster_nodes(client, where)
    outside = [
        Finding("job server", True, f"answers at {where}"),
        Finding("nodes", bool(nodes), ", ".join(map(str, nodes)) or "none yet; is the cluster still starting?"),
    ]
    experiment = load(file) if file is not None else Experiment.model_validate(_ANY)
    return [*outside, *_inside(client, where, experiment, file is not None)]


def _inside(client: JobClient, where: str, experiment: Experiment, with_experiment: bool) -> list[Finding]:
    from orchestrator.submit.follow import follow
    from orchestrator.submit.job import submit

    requirements = local_requirements(own_modules.find(experiment).installed)
    # Every examination is a job of its own: what holds now need not hold later.
    options = ("--with-experiment",) if with_experiment else ()
    name = f"{experiment.name}-{uuid.uuid4().hex[:8]}"
    job = Job("doctor", options, name, pack(experiment, requirements), (), {"nmt.verb": "doctor"})
    log: list[str] = []
    info = follow(client, submit(client, job, where).job_id, log.append, where)
    lines = "".join(log).splitlines()
    found = [Finding(**json.loads(line.removeprefix(_MARK))) for line in lines if line.startswith(_MARK)]
    told = [line for line in lines if line.startswith(("error: ", "note: "))]
    image = not any(line.startswith("error: ") for line in told)
    ended = str(getattr(info.status, "value", info.status)) == "SUCCEEDED"
    return [
        Finding("job", ended, f"{info.submission_id}: {str(getattr(info.status, 'value', info.status)).lower()}"),
        Finding("image", image, "; ".join(told) or "has what is installed here, in the same versions"),
        *found,
    ]


def examine_inside(file: str | None) -> int:
    """Examine the cluster that this job runs on; prints findings for :func:`examine_cluster` to read.

    Args:
        file: The experiment whose storage, data and tracking are tried, if any.
    """
    from orchestrator.cluster.ray_cluster import cluster

    for finding in examine():
        _tell(finding)
    with cluster(None, verbose=False):
        for finding in _of_nodes():
            _tell(finding)
        if file is not None:
            for finding in _of_experiment(load(file)):
                _tell(finding)
    return 0


def versions() -> dict[str, str]:
    """What a node has of what decides numbers: Python, Ray, torch, and its GPUs."""
    import platform
    from importlib.metadata import version

    import torch

    gpus = ", ".join(torch.cuda.get_device_name(place) for place in range(torch.cuda.device_count())) or "no GPU"
    return {"python": platform.python_version(), "ray": version("ray"), "torch": torch.__version__, "devices": gpus}


def _of_nodes() -> list[Finding]:
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    from orchestrator.cluster.nodes import present_nodes

    remote: Any = ray.remote(versions)
    found: list[Finding] = []
    answers = [
        (node, remote.options(num_cpus=0, scheduling_strategy=NodeAffinitySchedulingStrategy(node.node_id, soft=False)))
        for node in present_nodes()
    ]
    told: list[dict[str, str]] = []
    for node, task in answers:
        try:
            told.append(ray.get(task.remote(), timeout=120))
            found.append(Finding(f"node {node}", True, ", ".join(f"{key} {value}" for key, value in told[-1].items())))
        except ray.exceptions.RayError as error:
            found.append(Finding(f"node {node}", False, str(error).splitlines()[-1]))
    found.append(_all_alike(told))
    return found


def _all_alike(told: Sequence[dict[str, str]]) -> Finding:
    differing = [key for key in ("python", "ray", "torch") if len({one[key] for one in told}) > 1]
    what = f"nodes differ in {', '.join(differing)}: use one image" if differing else "the same packages on every node"
    return Finding("nodes alike", not differing, what)


def _of_experiment(experiment: Experiment) -> list[Finding]:
    from orchestrator.cluster.shared_storage import check_shared
    from orchestrator.credentials import without_credentials
    from orchestrator.tracking.store import TrackingStore

    found = []
    try:
        check_shared(experiment.storage, None)
        found.append(Finding("storage", True, f"every node reads and writes {without_credentials(experiment.storage)}"))
    except (RequestError, RunError, OSError, ValueError) as error:
        found.append(Finding("storage", False, str(error)))
    try:
        TrackingStore(experiment.tracking, experiment.name)
        found.append(Finding("tracking", True, f"{without_credentials(experiment.tracking)} answers"))
    except Exception as error:
        reason = without_credentials(str(error).splitlines()[0] if str(error) else type(error).__name__)
        found.append(Finding("tracking", False, reason))
    return found


def _tell(finding: Finding) -> None:
    print(f"\n{_MARK}{json.dumps(asdict(finding))}", flush=True)

"""The verb ``doctor`` on a cluster: checks from outside, and checks by a job inside it."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from nmt.orchestrator.errors import RequestError, RunError, first_line, last_line
from nmt.orchestrator.experiment.file import load
from nmt.orchestrator.experiment.sections import Experiment
from nmt.orchestrator.submit import own_modules
from nmt.orchestrator.submit.job import Job, status_text
from nmt.orchestrator.submit.job_client import JobClient, cluster_nodes, connect, dashboard_address
from nmt.orchestrator.submit.package import pack
from nmt.orchestrator.submit.requirements import local_requirements
from nmt.orchestrator.verbs.doctor import Finding, examine

_MARK = "nmt-finding "
"""Prefix of the lines of the job's log that hold a finding."""

_PLACEHOLDER = {
    "name": "doctor",
    "data": {"path": "/nowhere"},
    "tasks": [{"name": "any", "loss": "binary_cross_entropy"}],
    "model": {"name": "shared_bottom"},
    "storage": "/nowhere",
}


def examine_cluster(address: str | None, file: str | None) -> list[Finding]:
    """Check a cluster from outside, and submit a job that checks it from inside.

    Args:
        address: The cluster's dashboard.
        file: Experiment file whose storage and tracking the job checks, if any.

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
    experiment = load(file) if file is not None else Experiment.model_validate(_PLACEHOLDER)
    return [*outside, *_examine_by_job(client, where, experiment, file is not None)]


def _examine_by_job(client: JobClient, where: str, experiment: Experiment, with_experiment: bool) -> list[Finding]:
    from nmt.orchestrator.submit.follow import follow
    from nmt.orchestrator.submit.job import submit

    requirements = local_requirements(own_modules.find(experiment).installed)
    # A unique name makes every examination a new job: earlier findings may not hold any more.
    options = ("--with-experiment",) if with_experiment else ()
    name = f"{experiment.name}-{uuid.uuid4().hex[:8]}"
    job = Job("doctor", options, name, pack(experiment, requirements), (), {"nmt.verb": "doctor"})
    log: list[str] = []
    info = follow(client, submit(client, job, where).job_id, log.append, where)
    lines = "".join(log).splitlines()
    found = [Finding(**json.loads(line.removeprefix(_MARK))) for line in lines if line.startswith(_MARK)]
    remarks = [line for line in lines if line.startswith(("error: ", "note: "))]
    image_works = not any(line.startswith("error: ") for line in remarks)
    status = status_text(info)
    return [
        Finding("job", status == "SUCCEEDED", f"{info.submission_id}: {status.lower()}"),
        Finding("image", image_works, "; ".join(remarks) or "has the packages and versions of this machine"),
        *found,
    ]


def examine_inside(file: str | None) -> int:
    """Check the cluster that this job runs on, and print findings for :func:`examine_cluster`; returns 0.

    Args:
        file: Experiment file whose storage and tracking are checked, if any.
    """
    from nmt.orchestrator.cluster.ray_cluster import cluster

    for finding in examine():
        _print_finding(finding)
    with cluster(None, verbose=False):
        for finding in _examine_nodes():
            _print_finding(finding)
        if file is not None:
            for finding in _examine_experiment(load(file)):
                _print_finding(finding)
    return 0


def versions() -> dict[str, str]:
    """Return the versions on a node that affect results: Python, Ray and torch, and its GPUs."""
    import platform
    from importlib.metadata import version

    import torch

    gpus = ", ".join(torch.cuda.get_device_name(place) for place in range(torch.cuda.device_count())) or "no GPU"
    return {"python": platform.python_version(), "ray": version("ray"), "torch": torch.__version__, "devices": gpus}


def _examine_nodes() -> list[Finding]:
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    from nmt.orchestrator.cluster.nodes import present_nodes

    remote: Any = ray.remote(versions)
    found: list[Finding] = []
    answers = [
        (node, remote.options(num_cpus=0, scheduling_strategy=NodeAffinitySchedulingStrategy(node.node_id, soft=False)))
        for node in present_nodes()
    ]
    by_node: list[dict[str, str]] = []
    for node, task in answers:
        try:
            by_node.append(ray.get(task.remote(), timeout=120))
            detail = ", ".join(f"{key} {value}" for key, value in by_node[-1].items())
            found.append(Finding(f"node {node}", True, detail))
        except ray.exceptions.RayError as error:
            found.append(Finding(f"node {node}", False, last_line(error)))
    found.append(_compare_nodes(by_node))
    return found


def _compare_nodes(by_node: Sequence[dict[str, str]]) -> Finding:
    differing = [key for key in ("python", "ray", "torch") if len({one[key] for one in by_node}) > 1]
    what = f"nodes differ in {', '.join(differing)}: use one image" if differing else "the same packages on every node"
    return Finding("nodes alike", not differing, what)


def _examine_experiment(experiment: Experiment) -> list[Finding]:
    from nmt.orchestrator.cluster.shared_storage import check_shared
    from nmt.orchestrator.credentials import without_credentials
    from nmt.orchestrator.tracking.store import TrackingStore

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
        found.append(Finding("tracking", False, without_credentials(first_line(error))))
    return found


def _print_finding(finding: Finding) -> None:
    print(f"\n{_MARK}{json.dumps(asdict(finding))}", flush=True)

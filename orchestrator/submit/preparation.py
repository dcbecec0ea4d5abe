"""From an experiment file to a job, with every check that is possible before anything is sent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nmt.orchestrator.cluster.nodes import check_nodes
from nmt.orchestrator.cluster.tuning.placement import trial_scaling
from nmt.orchestrator.credentials import without_credentials, without_user
from nmt.orchestrator.experiment.file import assign, load, read
from nmt.orchestrator.experiment.sections import Experiment
from nmt.orchestrator.submit import own_modules
from nmt.orchestrator.submit.job import Job
from nmt.orchestrator.submit.job_client import JobClient, cluster_nodes, is_this_machine, may_grow
from nmt.orchestrator.submit.package import pack
from nmt.orchestrator.submit.reach import check_reach
from nmt.orchestrator.submit.requirements import local_requirements


def prepare_job(
    client: JobClient,
    address: str,
    verb: str,
    file: str,
    overrides: Sequence[str],
    options: Sequence[str],
    include: Sequence[str],
    install: bool,
    log_format: str | None = None,
) -> Job:
    """Make a job of an experiment file.

    Args:
        client: Ray's job client.
        address: The cluster.
        verb: run, sweep, grid or compare.
        file: The experiment file.
        overrides: ``key=value`` assignments.
        options: Options of the verb.
        include: Further files and folders to send.
        install: Whether Ray installs the pinned packages.
        log_format: Format of the job's log; by default the cluster's own setting.

    Raises:
        RequestError: The request is invalid, or the cluster could never place the workers.
        RunError: The cluster does not answer.
    """
    experiment = load(file, overrides)
    nodes = cluster_nodes(client, address)
    check_reach(experiment, _read_unresolved(file, overrides), is_this_machine(nodes))
    if nodes:  # a starting cluster may not have any yet
        one_chain = verb == "run"
        scaling = experiment.scaling if one_chain else trial_scaling(experiment)
        key = "scaling.workers" if one_chain else "tune.workers_per_trial"
        check_nodes(scaling, nodes, lambda: may_grow(client, address), key)
    requirements = local_requirements(own_modules.find(experiment).installed)
    return Job(
        verb,
        tuple(options),
        experiment.name,
        pack(experiment, requirements, include),
        requirements.pins if install else (),
        _metadata(verb, experiment),
        log_format,
    )


def _read_unresolved(file: str, overrides: Sequence[str]) -> dict[str, Any]:
    """Return the content of a valid experiment file with its paths as the user wrote them."""
    content: dict[str, Any] = read(file).content
    for override in overrides:
        assign(content, override)
    return content


def _metadata(verb: str, experiment: Experiment) -> dict[str, str]:
    tracking = experiment.tracking
    page = f"{without_user(tracking).rstrip('/')}/#/experiments" if tracking.startswith("http") else tracking
    return {
        "nmt.verb": verb,
        "nmt.experiment": experiment.name,
        "nmt.mlflow": without_credentials(page),
        "nmt.storage": without_credentials(experiment.storage),
    }

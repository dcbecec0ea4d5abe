"""What a trial needs, and how many of them there is room for at once."""

from __future__ import annotations

import math
from collections.abc import Mapping

from orchestrator.cluster.ray_cluster import address_in_use
from orchestrator.experiment.preflight import check_local_compiler, check_local_resources
from orchestrator.experiment.sections import Experiment, Scaling


def trial_scaling(experiment: Experiment) -> Scaling:
    """Workers of one trial: many trials side by side use a cluster better than many workers of one."""
    workers = experiment.tune.workers_per_trial
    return experiment.scaling.model_copy(update={"workers": workers})


def check_trial(experiment: Experiment, address: str | None) -> None:
    """Refuse trials that this machine could never hold, before Ray starts on it.

    Raises:
        RequestError: With what is asked and what is there.
    """
    if address_in_use(address) is None:
        check_local_resources(trial_scaling(experiment), "tune.workers_per_trial")
        check_local_compiler(experiment)


def max_concurrent(scaling: Scaling, resources: Mapping[str, float], wanted: int | None) -> int:
    """Trials that fit side by side.

    Args:
        scaling: Workers of a trial.
        resources: What the cluster has.
        wanted: The most that the user wants, if any.
    """
    room = [resources.get("CPU", 0.0) / (scaling.max_workers * scaling.cpus_per_worker)]
    if scaling.use_gpu:
        room.append(resources.get("GPU", 0.0) / scaling.max_workers)
    fits = max(1, math.floor(min(room) + 1e-9))
    return fits if wanted is None else min(fits, wanted)

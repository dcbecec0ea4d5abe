"""Resources of a trial, and how many trials fit on a cluster at a time."""

from __future__ import annotations

import math
from collections.abc import Mapping

from nmt.orchestrator.cluster.ray_cluster import address_in_use
from nmt.orchestrator.experiment.preflight import check_local_compiler, check_local_resources
from nmt.orchestrator.experiment.sections import Experiment, Scaling


def trial_scaling(experiment: Experiment) -> Scaling:
    """Return the workers of one trial: concurrent trials use a cluster better than many workers of one trial."""
    workers = experiment.tune.workers_per_trial
    return experiment.scaling.model_copy(update={"workers": workers})


def check_trial(experiment: Experiment, address: str | None) -> None:
    """Refuse trials that this machine could never hold, unless the command joins a cluster.

    Raises:
        RequestError: The machine has too few resources, or no compiler.
    """
    if address_in_use(address) is None:
        check_local_resources(trial_scaling(experiment), "tune.workers_per_trial")
        check_local_compiler(experiment)


def max_concurrent(scaling: Scaling, resources: Mapping[str, float], wanted: int | None) -> int:
    """Return the number of trials that fit at a time.

    Args:
        scaling: Workers of a trial.
        resources: Resources of the cluster.
        wanted: The user's limit, if any.
    """
    room = [resources.get("CPU", 0.0) / (scaling.max_workers * scaling.cpus_per_worker)]
    if scaling.use_gpu:
        room.append(resources.get("GPU", 0.0) / scaling.max_workers)
    fits = max(1, math.floor(min(room) + 1e-9))
    return fits if wanted is None else min(fits, wanted)

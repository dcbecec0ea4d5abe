"""Makes the model of a finished chain a version in MLflow's registry."""

from __future__ import annotations

from nmt.orchestrator.errors import RequestError
from nmt.orchestrator.experiment.prepared import PreparedExperiment
from nmt.orchestrator.models.finished import against_live, finished_model
from nmt.orchestrator.models.mlflow_model import Registered, log_model, register_model
from nmt.orchestrator.tracking.store import run_of_chain


def register_chain(
    prepared: PreparedExperiment,
    name: str,
    alias: str | None = None,
    *,
    although_broken: bool = False,
    although_worse: bool = False,
) -> Registered:
    """Register the model that an experiment's chain ended with, with its guarantees.

    Args:
        prepared: The experiment.
        name: Name of the registered model.
        alias: Alias that shall point to the version.
        although_broken: Register it although a guarantee did not hold.
        although_worse: Register it, and move the alias, although it is worse than the live model.

    Raises:
        RequestError: The chain is not finished or not tracked, a guarantee did not hold, or the alias must not move.
        RunError: The tracking store or its registry does not take the model.
    """
    model = finished_model(prepared)
    tracking = prepared.experiment.tracking
    run_id = run_of_chain(tracking, prepared.experiment.name, str(model.origin["stage_key"]))
    if run_id is None:
        raise RequestError("the tracking store has no finished run of this chain; log it with nmt sync, with its file")
    uri = log_model(tracking, run_id, model)
    return register_model(
        tracking,
        run_id,
        uri,
        model,
        name,
        alias,
        although_broken=although_broken,
        although_worse=although_worse,
        live=against_live(prepared),
    )

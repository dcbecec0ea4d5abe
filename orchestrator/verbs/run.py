"""The verb ``run``: one chain on Ray Train, shown on the terminal and recorded in MLflow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from nmt.orchestrator.cluster.check import check_cluster
from nmt.orchestrator.cluster.ray_cluster import address_in_use, cluster
from nmt.orchestrator.credentials import without_credentials
from nmt.orchestrator.errors import first_line
from nmt.orchestrator.experiment.preflight import check_local_compiler, check_local_resources
from nmt.orchestrator.experiment.prepared import PreparedExperiment
from nmt.orchestrator.experiment.sections import flatten
from nmt.orchestrator.summary.chain import chain_summary
from nmt.orchestrator.terminal.output import Output
from nmt.orchestrator.tracking.chain_live import AWAY_SECONDS, LiveTracking
from nmt.orchestrator.trials.chain_ledger import ChainLedger
from nmt.orchestrator.trials.cost import Cost
from nmt.orchestrator.verbs.changed_code import changed_code
from nmt.trainers.records import StageRecord
from nmt.trainers.reporter import Event

_LOGGED = ("held", "cost", "mlflow_run_id", "mlflow_link", "tracking_complete", "mlflow_model")
"""Keys of the JSON document that the log's last line about a chain has; stages and tasks have lines of their own."""


@dataclass(frozen=True)
class ChainOutcome:
    """A finished chain.

    Attributes:
        records: Stage records, in order.
        cost: Cost of the chain.
        run_id: Id of the chain's MLflow run; ``None`` when it could not be opened.
        link: URL of the run, when the tracking store is a server.
        tracking_failure: Why tracking is incomplete, and what to do; ``None`` when it is complete.
        tracking_complete: Whether the tracking store has everything.
        model: Address of the chain's model in MLflow; ``None`` where it was not logged.
        prepared: The experiment.
    """

    records: tuple[StageRecord, ...]
    cost: Cost
    run_id: str | None
    link: str | None
    tracking_failure: str | None
    tracking_complete: bool
    model: str | None
    prepared: PreparedExperiment = field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready content."""
        return {
            **chain_summary(self.records),
            "cost": self.cost.__dict__,
            "mlflow_run_id": self.run_id,
            "mlflow_link": self.link,
            "tracking_failure": self.tracking_failure,
            "tracking_complete": self.tracking_complete,
            "mlflow_model": self.model,
        }


def run_experiment(
    prepared: PreparedExperiment,
    output: Output,
    *,
    address: str | None = None,
    verbose: bool = False,
    sync_command: str = "nmt sync FILE",
    watch: Callable[[Event], None] = lambda event: None,
) -> ChainOutcome:
    """Run an experiment's chain.

    Args:
        prepared: The experiment.
        output: Shows progress.
        address: Ray cluster to join; by default Ray is started on this machine.
        verbose: Whether to show Ray's own log.
        sync_command: The command that later logs what the tracking store lacks.
        watch: Called with every event, in order, from a thread; it must not raise.

    Raises:
        RequestError: The cluster cannot hold the workers.
        RunError: The run failed; finished stages are kept.
        KeyboardInterrupt: The user interrupted the run; finished stages are kept.
    """
    experiment, spec = prepared.experiment, prepared.spec
    if address_in_use(address) is None:
        check_local_resources(experiment.scaling)
        check_local_compiler(experiment)
    if prepared.fresh is not None:
        prepared.fresh.forget(spec.stage_keys())
    if changed := changed_code(prepared):
        output.say(f"code of {', '.join(changed)} changed: stages are trained anew with it", "code_changed")
    levels = [[task.name for task in stage.level] for stage in spec.stages]
    display = output.chain(levels)
    tracking = LiveTracking(experiment.tracking, experiment.name, spec, flatten(experiment), experiment.storage)
    ledger = ChainLedger()  # counts this command alone, whichever run it continues

    def deliver(_: int, event: Event) -> None:
        if (counted := ledger.take(event)) is not None:
            display.show(counted)
            tracking.write(counted)
            watch(counted)

    status = "FAILED"
    try:
        with cluster(address, verbose):
            check_cluster(experiment.scaling, experiment.storage, prepared.folder)
            from nmt.orchestrator.cluster import ray_train
            from nmt.orchestrator.cluster.mailbox import Mailbox

            output.note(f"the chain {experiment.name} starts", "run_started", levels=levels, storage=experiment.storage)
            with display, Mailbox(deliver) as mailbox:
                reporter = mailbox.reporter()
                records = ray_train.run(experiment, spec, prepared.folder, reporter, run_uuid=tracking.run_uuid)
        status = "FINISHED"
    except (KeyboardInterrupt, SystemExit) as interrupt:
        status = "KILLED"  # Ray Train turns Ctrl-C into an exit of its own
        raise KeyboardInterrupt from interrupt
    finally:
        missing = _close_tracking(tracking, status, output, experiment.storage, sync_command)
    outcome = ChainOutcome(
        records=records,
        cost=ledger.cost,
        run_id=tracking.run_id,
        link=tracking.link,
        tracking_failure=missing,
        tracking_complete=tracking.complete,
        model=_log_model(prepared, tracking, output),
        prepared=prepared,
    )
    document = outcome.to_dict()
    output.note(document["sentence"], "run_finished", **{key: document[key] for key in _LOGGED})
    return outcome


def _log_model(prepared: PreparedExperiment, tracking: LiveTracking, output: Output) -> str | None:
    """Log the chain's model to its run in MLflow, where that is complete; return its address."""
    if not tracking.complete or tracking.run_id is None:
        return None
    from nmt.orchestrator.models.logged_model import log_finished_model

    try:
        return log_finished_model(prepared, tracking.run_id)
    except Exception as error:  # the chain is finished and stored, whatever happens here
        later = "nmt register logs it later, nmt export writes it to a folder"
        output.say(f"the model is not in MLflow: {first_line(error)}; {later}", "model_not_logged", "warning")
        return None


def _close_tracking(tracking: LiveTracking, status: str, output: Output, storage: str, sync_command: str) -> str | None:
    """End the run in MLflow. Return what the tracking store lacks and what to do; ``None`` when it is complete."""
    if tracking.is_away:
        away = f"the tracking store is away ({tracking.failure}); trying for {AWAY_SECONDS:g} seconds"
        output.say(away, "tracking_away", "warning")
    tracking.close(status)
    if not tracking.complete:
        place = without_credentials(storage)
        if tracking.manifest_failure is None:
            later = f"nothing is lost: the records are in {place}; log what is missing later with: {sync_command}"
        else:
            unnoted = f"{place} has no note of it either ({tracking.manifest_failure})"
            later = f"{unnoted}: the same command logs the finished stages"
        missing = f"{tracking.failure}; {later}"
        output.say(f"tracking is not complete: {missing}", "tracking_incomplete", "warning")
        return missing
    if tracking.waiting:
        earlier = f"earlier chains that are not tracked to their end: {tracking.waiting}; log them with: {sync_command}"
        output.say(earlier, "tracking_behind", "warning", chains=tracking.waiting)
    return None

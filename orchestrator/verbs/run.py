"""The verb ``run``: one chain on Ray Train, shown on the terminal and recorded in MLflow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from orchestrator.cluster.check import check_cluster
from orchestrator.cluster.ray_cluster import address_in_use, cluster
from orchestrator.credentials import without_credentials
from orchestrator.experiment.preflight import check_local_compiler, check_local_resources
from orchestrator.experiment.prepared import PreparedExperiment
from orchestrator.experiment.sections import flattened
from orchestrator.summary.chain import chain_summary
from orchestrator.terminal.output import Output
from orchestrator.tracking.chain_live import AWAY_SECONDS, LiveTracking
from orchestrator.trials.chain_ledger import ChainLedger
from orchestrator.trials.cost import Cost
from trainers.records import StageRecord
from trainers.reporter import Event

_IN_A_LINE = ("held", "cost", "mlflow_run_id", "mlflow_link", "tracking_complete")
"""What a log's last line about a chain has of the JSON document; tasks and stages have lines of their own."""


@dataclass(frozen=True)
class ChainOutcome:
    """A finished chain.

    Attributes:
        records: Stage records, in order.
        cost: What was spent.
        run_id: The chain's run in MLflow, or ``None`` when it could not be opened.
        link: Address of its page, when the tracking store is a server.
        tracking_failure: What the tracking store lacks, why, and what to do about it; ``None`` when it has it all.
        tracking_complete: Whether the tracking store has it all.
    """

    records: tuple[StageRecord, ...]
    cost: Cost
    run_id: str | None
    link: str | None
    tracking_failure: str | None
    tracking_complete: bool

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready content."""
        return {
            **chain_summary(self.records),
            "cost": self.cost.__dict__,
            "mlflow_run_id": self.run_id,
            "mlflow_link": self.link,
            "tracking_failure": self.tracking_failure,
            "tracking_complete": self.tracking_complete,
        }


def run_chain(
    prepared: PreparedExperiment,
    output: Output,
    *,
    address: str | None = None,
    verbose: bool = False,
    sync_command: str = "nmt sync FILE",
) -> ChainOutcome:
    """Run an experiment's chain.

    Args:
        prepared: The experiment.
        output: Where progress is shown.
        address: Ray cluster to join; started here when absent.
        verbose: Whether Ray's own log is shown.
        sync_command: The command that logs later what the tracking store lacks now.

    Raises:
        RequestError: The cluster cannot hold the workers.
        RunError: The run failed; finished stages are kept.
        KeyboardInterrupt: The user ended the run; finished stages are kept.
    """
    experiment, spec = prepared.experiment, prepared.spec
    if address_in_use(address) is None:
        check_local_resources(experiment.scaling)
        check_local_compiler(experiment)
    levels = [[task.name for task in level] for level in spec.levels]
    display = output.chain(levels)
    tracking = LiveTracking(experiment.tracking, experiment.name, spec, flattened(experiment), experiment.storage)
    ledger = ChainLedger()  # of this command alone, whatever run it goes on with
    missing: str | None = None

    def deliver(_: int, event: Event) -> None:
        if (told := ledger.take(event)) is not None:
            display.show(told)
            tracking.write(told)

    status = "FAILED"
    try:
        with cluster(address, verbose):
            check_cluster(experiment.scaling, experiment.storage, prepared.folder)
            from orchestrator.cluster import ray_train
            from orchestrator.cluster.mailbox import Mailbox

            output.note(f"the chain {experiment.name} starts", "run_started", levels=levels, storage=experiment.storage)
            with display, Mailbox(deliver) as mailbox:
                reporter = mailbox.reporter()
                records = ray_train.run(experiment, spec, prepared.folder, reporter, run_uuid=tracking.run_uuid)
        status = "FINISHED"
    except (KeyboardInterrupt, SystemExit) as interrupt:
        status = "KILLED"  # Ray Train turns Ctrl-C into an exit of its own
        raise KeyboardInterrupt from interrupt
    finally:
        if tracking.is_away:
            away = f"the tracking store is away ({tracking.failure}); trying for {AWAY_SECONDS:g} seconds"
            output.say(away, "tracking_away", "warning")
        tracking.close(status)
        if not tracking.complete:
            place = without_credentials(experiment.storage)
            if (unwritten := tracking.manifest_failure) is None:
                later = f"nothing is lost: the records are in {place}; log what is missing later with: {sync_command}"
            else:
                later = f"nor is it noted in {place} ({unwritten}): the same command logs the finished stages"
            missing = f"{tracking.failure}; {later}"
            output.say(f"tracking is not complete: {missing}", "tracking_incomplete", "warning")
        elif tracking.waiting:
            earlier = f"{tracking.waiting} earlier chains are not tracked to their end; see: {sync_command}"
            output.say(earlier, "tracking_behind", "warning", chains=tracking.waiting)
    outcome = ChainOutcome(records, ledger.cost, tracking.run_id, tracking.link, missing, tracking.complete)
    told = outcome.to_dict()
    output.note(told.pop("sentence"), "run_finished", **{key: told[key] for key in _IN_A_LINE})
    return outcome

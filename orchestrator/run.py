"""The verb ``run``: one chain on Ray Train, shown on the terminal and recorded in MLflow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rich.console import Console

from orchestrator.cost import Cost
from orchestrator.experiment import flattened
from orchestrator.preflight import check_local_resources, check_resources
from orchestrator.prepared_experiment import PreparedExperiment
from orchestrator.progress import ProgressDisplay
from orchestrator.ray_cluster import address_in_use, cluster
from orchestrator.summary import chain_summary
from orchestrator.tracking.live import LiveTracking
from trainers.records import StageRecord
from trainers.reporter import Event, StageFinished

CLOSING_SECONDS = 120.0
"""Longest that a finished run waits for its last records to be tracked."""


@dataclass(frozen=True)
class ChainOutcome:
    """A finished chain.

    Attributes:
        records: Stage records, in order.
        cost: What was spent.
        run_id: The chain's run in MLflow, or ``None`` when tracking failed.
        link: Address of its page, when the tracking store is a server.
        tracking_failure: Why tracking failed, or ``None``.
    """

    records: tuple[StageRecord, ...]
    cost: Cost
    run_id: str | None
    link: str | None
    tracking_failure: str | None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready content."""
        return {
            **chain_summary(self.records),
            "cost": self.cost.__dict__,
            "mlflow_run_id": self.run_id,
            "mlflow_link": self.link,
            "tracking_failure": self.tracking_failure,
        }


def run_chain(
    prepared: PreparedExperiment, console: Console, *, address: str | None = None, verbose: bool = False
) -> ChainOutcome:
    """Run an experiment's chain.

    Args:
        prepared: The experiment.
        console: Where progress is shown.
        address: Ray cluster to join; started here when absent.
        verbose: Whether Ray's own log is shown.

    Raises:
        RequestError: The cluster cannot hold the workers.
        RunError: The run failed; finished stages are kept.
        KeyboardInterrupt: The user ended the run; finished stages are kept.
    """
    experiment, spec = prepared.experiment, prepared.spec
    if address_in_use(address) is None:
        check_local_resources(experiment.scaling)
    cost = Cost(trials=1)
    display = ProgressDisplay([[task.name for task in level] for level in spec.levels], console)
    tracking = LiveTracking(experiment.tracking, experiment.name, spec, flattened(experiment))

    finished: set[str] = set()

    def deliver(event: Event) -> None:
        nonlocal cost
        if isinstance(event, StageFinished):
            # After the loss of a worker the group starts anew and finds what this very run has trained.
            if event.record.key in finished:
                return
            finished.add(event.record.key)
        display.show(event)
        tracking.write(event)
        if isinstance(event, StageFinished):
            cost = cost + Cost.of_stage(event.record, event.reused)

    status = "FAILED"
    try:
        with cluster(address, verbose) as resources:
            check_resources(experiment.scaling, resources, "the Ray cluster")
            from orchestrator import ray_train

            with display:
                records = ray_train.run(experiment, spec, prepared.folder, deliver)
        status = "FINISHED"
    except (KeyboardInterrupt, SystemExit) as interrupt:
        status = "KILLED"  # Ray Train turns Ctrl-C into an exit of its own
        raise KeyboardInterrupt from interrupt
    finally:
        tracking.close(status, CLOSING_SECONDS)
    return ChainOutcome(records, cost, tracking.run_id, tracking.link, tracking.failure)

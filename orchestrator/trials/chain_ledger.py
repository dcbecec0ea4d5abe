"""A chain's ledger: what a run of it has trained, what it found, and what that cost."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from orchestrator.trials.cost import Cost
from trainers.records import StageRecord
from trainers.reporter import Event, StageFinished, StageStarted


class ChainLedger:
    """Takes a chain's events, in order, and adds up.

    After the loss of a worker the group starts anew and finds what this very run has trained: that is told once, and
    counts as trained.

    Events may get lost with the process that sends or hears them; the record of a stage tells who trained it.

    Args:
        trained: Keys of stages that this run has trained before it was cut off.
        run_uuid: What this run is found by, which the records of its stages have.
    """

    def __init__(self, trained: Iterable[str] = (), run_uuid: str = "") -> None:
        self._run_uuid = run_uuid
        self.trained = dict.fromkeys(trained)
        """Keys of the stages whose training this run began, in order."""
        self.records: dict[str, StageRecord] = {}
        """Records of the finished stages by key, in order."""
        self.cost = Cost(trials=1)

    def take(self, event: Event) -> Event | None:
        """The event as it is to be told, or ``None`` when it was told before."""
        if isinstance(event, StageStarted):
            self.trained[event.key] = None
        if isinstance(event, StageFinished):
            key = event.record.key
            if key in self.records:
                return None
            self.records[key] = event.record
            if not event.reused or (self._run_uuid and event.record.trained_by == self._run_uuid):
                self.trained[key] = None
            event = replace(event, reused=key not in self.trained)
            self.cost = self.cost + Cost.of_stage(event.record, event.reused)
        return event

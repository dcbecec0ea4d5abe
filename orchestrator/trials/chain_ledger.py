"""Ledger of a chain: stages trained, stages reused, and their cost."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from nmt.orchestrator.trials.cost import Cost
from nmt.trainers.records import StageRecord
from nmt.trainers.reporter import Event, StageFinished, StageStarted


class ChainLedger:
    """Adds up a chain's events, in order.

    After the loss of a worker the group restarts and finds the stages that this same run trained. Each of them is
    reported once, and counts as trained.

    Events get lost with the process that sends or receives them; a stage's record then says which run trained it.

    Args:
        trained: Keys of the stages that this run had trained before it was interrupted.
        run_uuid: UUID of this run, as in the records of the stages that it trains.
    """

    def __init__(self, trained: Iterable[str] = (), run_uuid: str = "") -> None:
        self._run_uuid = run_uuid
        self.trained = dict.fromkeys(trained)
        """Keys of the stages whose training this run began, in order."""
        self.records: dict[str, StageRecord] = {}
        """Records of the finished stages by key, in order."""
        self.cost = Cost(trials=1)

    def take(self, event: Event) -> Event | None:
        """Handle an event. Return it with ``reused`` as this run counts it, or ``None`` for a repetition."""
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

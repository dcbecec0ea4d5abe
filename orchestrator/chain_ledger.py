"""A chain's ledger: what a run of it has trained, what it found, and what that cost."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from orchestrator.cost import Cost
from trainers.records import StageRecord
from trainers.reporter import Event, StageFinished, StageStarted


class ChainLedger:
    """Takes a chain's events, in order, and adds up.

    After the loss of a worker the group starts anew and finds what this very run has trained: that is told once, and
    counts as trained.

    Args:
        trained: Keys of stages that this run has trained before it was cut off.
    """

    def __init__(self, trained: Iterable[str] = ()) -> None:
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
            event = replace(event, reused=event.reused and key not in self.trained)
            self.cost = self.cost + Cost.of_stage(event.record, event.reused)
        return event

"""Outcome of a group of trials."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from nmt.orchestrator.errors import RunError
from nmt.orchestrator.trials.cost import Cost
from nmt.orchestrator.trials.extrapolation import Extrapolation
from nmt.orchestrator.trials.forecast import Forecast
from nmt.orchestrator.trials.trial import TrialResult
from nmt.orchestrator.trials.trial_summary import trial_summary

Kind = Literal["sweep", "grid", "comparison"]
"""Kind of a group of trials."""


@dataclass(frozen=True)
class GroupOutcome:
    """Outcome of a group of trials.

    Attributes:
        kind: Kind of the group.
        results: Results of its trials, in order.
        winner: The lexicographic winner; ``None`` when no trial finished.
        cost: Cost of the group.
        planned: Predicted cost.
        whole: Extrapolated cost of the whole grid, where only part of it was trained.
        run_id: Id of its MLflow run; ``None`` when it could not be opened.
        link: URL of the run, when the tracking store is a server.
        view: URL of the saved view in MLflow; without a server, its path below the address of ``nmt ui``.
        tracking_failure: Why tracking is incomplete; ``None`` when it is complete.
    """

    kind: Kind
    results: tuple[TrialResult, ...]
    winner: TrialResult | None
    cost: Cost
    planned: Forecast
    whole: Extrapolation | None
    run_id: str | None
    link: str | None
    view: str | None
    tracking_failure: str | None

    @property
    def broken(self) -> tuple[TrialResult, ...]:
        """Trials that failed for another reason than their learning rate."""
        return tuple(result for result in self.results if result.status == "failed")

    @property
    def unfinished(self) -> tuple[TrialResult, ...]:
        """Trials that were stopped."""
        return tuple(result for result in self.results if result.status == "stopped")

    def of(self, source: str) -> tuple[TrialResult, ...]:
        """Return the results of trials from one source."""
        return tuple(result for result in self.results if result.trial.source == source)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready content."""
        return {
            "kind": self.kind,
            "winner": self.winner.trial.label if self.winner is not None else None,
            "cost": self.cost.__dict__,
            "planned": self.planned.__dict__,
            "extrapolated": self.whole.__dict__ if self.whole is not None else None,
            "trials": [trial_summary(result) for result in self.results],
            "mlflow_run_id": self.run_id,
            "mlflow_link": self.link,
            "mlflow_view": self.view,
            "tracking_failure": self.tracking_failure,
        }

    def check(self) -> None:
        """Raise if the group failed.

        Raises:
            RunError: A trial failed for another reason than its learning rate, or no trial finished and none was
                stopped.
        """
        nothing = bool(self.results) and self.winner is None and not self.unfinished
        if self.broken or nothing:
            failed = len(self.broken) or len(self.results)
            raise RunError(f"{failed} of the {len(self.results)} trials of the {self.kind} failed")

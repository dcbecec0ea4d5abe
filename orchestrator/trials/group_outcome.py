"""What came of a group of trials."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from orchestrator.errors import RunError
from orchestrator.trials.cost import Cost
from orchestrator.trials.extrapolation import Extrapolation
from orchestrator.trials.forecast import Forecast
from orchestrator.trials.trial import TrialResult
from orchestrator.trials.trial_summary import trial_summary

Kind = Literal["sweep", "grid", "comparison"]
"""What a group of trials is."""


@dataclass(frozen=True)
class GroupOutcome:
    """A group that ran.

    Attributes:
        kind: What it is.
        results: What came of its trials, in their order.
        winner: The lexicographic winner; ``None`` when no trial is finished.
        cost: What was spent.
        planned: What was predicted.
        whole: What the whole of a grid would cost of which only some was trained.
        run_id: Its run in MLflow, or ``None`` when it could not be opened.
        link: Address of its page, when the tracking store is a server.
        view: Address of the saved view in MLflow, or the part of it behind that of ``nmt ui``.
        tracking_failure: What the tracking store lacks and why; ``None`` when it has it all.
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
        """Results that belong there in a comparison."""
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
        """See that it is no failure: a trial may fail by its learning rate only, and something must come of a group.

        Raises:
            RunError: It is one.
        """
        nothing = bool(self.results) and self.winner is None and not self.unfinished
        if self.broken or nothing:
            failed = len(self.broken) or len(self.results)
            raise RunError(f"{failed} of the {len(self.results)} trials of the {self.kind} failed")

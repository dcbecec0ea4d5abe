"""Summary of a trial for JSON documents."""

from __future__ import annotations

from typing import Any

from nmt.orchestrator.trials.trial import TrialResult


def trial_summary(result: TrialResult) -> dict[str, Any]:
    """Return a trial's result as JSON-ready content."""
    last = result.records[-1] if result.records else None
    return {
        "label": result.trial.label,
        "source": result.trial.source,
        **result.trial.params,
        "status": result.status,
        "reason": result.reason,
        "stage_keys": [record.key for record in result.records],
        "valid": dict(last.metrics["valid"]) if last is not None else {},
        "test": dict(last.metrics["test"]) if last is not None else {},
        "cost": result.cost.__dict__,
    }

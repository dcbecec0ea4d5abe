"""Outcomes as a Markdown table."""

from __future__ import annotations

from collections.abc import Iterable

from nmt.experiments.benchmarks.harness.markdown import markdown_table
from tests.drill.outcome import Outcome


def outcome_table(outcomes: Iterable[Outcome]) -> str:
    """Format outcomes as a Markdown table."""
    head = ("fault", "lost steps", "recovery s", "numbers equal", "stages trained twice", "records once")
    return markdown_table(head, [(outcome.fault, *_cells(outcome)) for outcome in outcomes])


def _cells(outcome: Outcome) -> list[str]:
    if outcome.skipped:
        return ["skipped", outcome.skipped, "", "", ""]
    if outcome.lost_steps is None:
        return ["failed", "", "", "", ""]
    return [
        str(outcome.lost_steps),
        "–" if outcome.recovery_seconds is None else f"{outcome.recovery_seconds:.0f}",
        "yes" if outcome.equal else "no",
        str(outcome.trained_twice),
        "yes" if outcome.once else "no",
    ]

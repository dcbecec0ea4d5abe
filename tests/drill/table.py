"""Outcomes as a Markdown table."""

from __future__ import annotations

from collections.abc import Iterable

from tests.drill.outcome import Outcome


def table(outcomes: Iterable[Outcome]) -> str:
    """Markdown."""
    lines = [
        "| fault | lost steps | recovery s | numbers equal | stages trained twice | records once |",
        "|---|---|---|---|---|---|",
    ]
    for outcome in outcomes:
        cells = [outcome.fault, *(["skipped", outcome.skipped, "", "", ""] if outcome.skipped else _cells(outcome))]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _cells(outcome: Outcome) -> list[str]:
    if outcome.lost_steps is None:
        return ["failed", "", "", "", ""]
    return [
        str(outcome.lost_steps),
        "–" if outcome.recovery_seconds is None else f"{outcome.recovery_seconds:.0f}",
        "yes" if outcome.equal else "no",
        str(outcome.trained_twice),
        "yes" if outcome.once else "no",
    ]

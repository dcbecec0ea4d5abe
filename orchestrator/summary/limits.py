"""Compares a protected task with its limit."""

from __future__ import annotations

import math
from collections.abc import Iterable

from orchestrator.summary.wording import decimals_for, format_signed, nan_if_none
from trainers.records import Verdict


def against_limit(verdict: Verdict) -> str:
    """Write the acceptance rule's comparison, ``+0.0005 ≤ 0.0012``, with enough decimals to tell the two apart."""
    difference, allowed = nan_if_none(verdict.difference), nan_if_none(verdict.allowed)
    if not (math.isfinite(difference) and math.isfinite(allowed)):
        return "not finite"
    decimals = decimals_for(difference, allowed)
    while not verdict.held and decimals < 9 and f"{difference:.{decimals}f}" == f"{allowed:.{decimals}f}":
        decimals += 1
    return f"{format_signed(difference, decimals)} {'≤' if verdict.held else '>'} {allowed:.{decimals}f}"


def worst_verdict(verdicts: Iterable[Verdict]) -> Verdict | None:
    """Return the validation verdict closest to its limit or furthest beyond it; ``None`` if nothing is protected."""
    valid = (verdict for verdict in verdicts if verdict.split == "valid")
    return max(valid, key=lambda verdict: share_used(verdict.difference, verdict.allowed), default=None)


def share_used(difference: float | None, allowed: float | None) -> float:
    """Return difference / allowed: 1 at the limit, above 1 when it is broken, negative below the optimum.

    Infinite if nothing is allowed and something was lost, or if a number is not finite.
    """
    difference, allowed = nan_if_none(difference), nan_if_none(allowed)
    if not (math.isfinite(difference) and math.isfinite(allowed)):
        return math.inf
    if allowed > 0:
        return difference / allowed
    return 0.0 if difference == 0 else math.copysign(math.inf, difference)

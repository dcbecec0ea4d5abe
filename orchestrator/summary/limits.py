"""A protected task against its limit."""

from __future__ import annotations

import math
from collections.abc import Iterable

from orchestrator.summary.wording import decimals_for, number, signed
from trainers.records import Verdict


def against_limit(verdict: Verdict) -> str:
    """The comparison that the rule made: ``+0.0005 ≤ 0.0012``, with decimals enough to see which one is larger."""
    difference, allowed = number(verdict.difference), number(verdict.allowed)
    if not (math.isfinite(difference) and math.isfinite(allowed)):
        return "not finite"
    decimals = decimals_for(difference, allowed)
    while not verdict.held and decimals < 9 and f"{difference:.{decimals}f}" == f"{allowed:.{decimals}f}":
        decimals += 1
    return f"{signed(difference, decimals)} {'≤' if verdict.held else '>'} {allowed:.{decimals}f}"


def worst(verdicts: Iterable[Verdict]) -> Verdict | None:
    """The validation verdict that is closest to its limit or furthest beyond it, if anything is protected."""
    return max((verdict for verdict in verdicts if verdict.split == "valid"), key=share_used, default=None)


def share_used(verdict: Verdict) -> float:
    """Difference over allowed difference: 1 at the limit, above it when broken, negative when better than the optimum.

    Infinite where nothing is allowed and something was lost, or where a number is not finite.
    """
    difference, allowed = number(verdict.difference), number(verdict.allowed)
    if not (math.isfinite(difference) and math.isfinite(allowed)):
        return math.inf
    if allowed > 0:
        return difference / allowed
    return 0.0 if difference == 0 else math.copysign(math.inf, difference)

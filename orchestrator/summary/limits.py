"""Compares a protected task with its limit."""

from __future__ import annotations

import math
from collections.abc import Iterable

from nmt.orchestrator.summary.wording import decimals_for, format_signed, nan_if_none
from nmt.trainers.records import Verdict


def against_limit(verdict: Verdict) -> str:
    """Write the acceptance rule's comparison, with enough decimals to tell the two apart.

    ``+0.0005 ≤ 0.0012`` for a loss, ``auc -0.0005 ≥ -0.0012`` where the metric decides.
    """
    found = verdict.deciding
    if found.quantity == "loss":
        return _compare(found.difference, found.allowed, "≤" if found.held else ">")
    if found.higher_is_better:
        return f"{found.quantity} {_compare(found.difference, -found.allowed, '≥' if found.held else '<')}"
    return f"{found.quantity} {_compare(found.difference, found.allowed, '≤' if found.held else '>')}"


def _compare(difference: float, limit: float, sign: str) -> str:
    difference, limit = nan_if_none(difference), nan_if_none(limit)
    if not (math.isfinite(difference) and math.isfinite(limit)):
        return "not finite"
    decimals = decimals_for(difference, limit)
    while sign in "<>" and decimals < 9 and f"{difference:.{decimals}f}" == f"{limit:.{decimals}f}":
        decimals += 1
    return f"{format_signed(difference, decimals)} {sign} {limit:.{decimals}f}"


def worst_verdict(verdicts: Iterable[Verdict]) -> Verdict | None:
    """Return the validation verdict closest to its limit or furthest beyond it; ``None`` if nothing is protected."""
    valid = (verdict for verdict in verdicts if verdict.split == "valid")
    return max(valid, key=share_of_limit, default=None)


def share_of_limit(verdict: Verdict) -> float:
    """Return the share of its allowance that a protected task uses, in what decides."""
    return share_used(verdict.deciding.worse, verdict.deciding.allowed)


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

"""Formats numbers and names for tables, sentences and figures."""

from __future__ import annotations

import math
from collections.abc import Sequence

NOTHING = "–"
"""Stands in a cell that has no value."""

MOST_NAMES = 3
"""Longest list of names that is written in full."""


def nan_if_none(value: float | None) -> float:
    """Return the value, or NaN for the ``null`` that stands in JSON for a number that is not finite."""
    return math.nan if value is None else float(value)


def finite_or_none(value: float | None) -> float | None:
    """Return the value, or ``None`` where JSON has no number for it."""
    value = nan_if_none(value)
    return value if math.isfinite(value) else None


def join_names(names: Sequence[str]) -> str:
    """Join names into ``pay``, ``pay and amount`` or ``pay, amount and 61 more``."""
    shown = list(names)
    if len(names) > MOST_NAMES:
        shown = [*names[: MOST_NAMES - 1], f"{len(names) - MOST_NAMES + 1} more"]
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"


def level_name(level: Sequence[str]) -> str:
    """Name a stage after the tasks that it solves: ``pay``, ``like, share``, ``like +30``; ``joint`` for none."""
    if not level:
        return "joint"
    return ", ".join(level) if len(level) <= 2 else f"{level[0]} +{len(level) - 1}"


def format_signed(value: float | None, decimals: int = 4) -> str:
    """Write ``+0.0003``; without a sign if all digits shown are 0, and a dash if the value is not finite."""
    value = nan_if_none(value)
    if not math.isfinite(value):
        return NOTHING
    text = f"{value:+.{decimals}f}"
    return text[1:] if float(text) == 0 else text


def format_difference(value: float | None, standard_error: float | None) -> str:
    """Write ``+0.0005 ±0.0004``, with as many decimals as the two need."""
    decimals = decimals_for(nan_if_none(value), nan_if_none(standard_error))
    return f"{format_signed(value, decimals)} ±{format_signed(standard_error, decimals).lstrip('+')}"


def format_values(*values: float | None, arrow: str = " → ") -> str:
    """Write losses or metrics side by side, with as many decimals as the largest needs: ``0.519 → 0.521``."""
    known = [nan_if_none(value) for value in values]
    scale = max((abs(value) for value in known if math.isfinite(value)), default=0.0)
    decimals = 3 if scale >= 0.1 or scale == 0 else min(9, 2 - math.floor(math.log10(scale)))
    decimals = decimals if scale < 10 else max(0, 3 - math.floor(math.log10(scale)))
    return arrow.join(f"{value:.{decimals}f}" if math.isfinite(value) else NOTHING for value in known)


def format_multiplier(value: float | None) -> str:
    """Write λ with about three digits: ``0.05``, ``1.02``, ``27.4``, ``138``."""
    value = nan_if_none(value)
    if not math.isfinite(value):
        return NOTHING
    return f"{value:.{2 if value < 10 else 1 if value < 100 else 0}f}"


def format_duration(seconds: float) -> str:
    """Write ``0:42``, ``12:05`` or ``1:02:03``; a dash if the duration is unknown."""
    if not math.isfinite(seconds):
        return NOTHING
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


_SHARES = ("accuracy", "auc", "auroc", "f1", "hit_rate", "ndcg", "precision", "recall")


def is_share(metric: str) -> bool:
    """Whether a metric lies between 0 and 1, so that its changes are written in points."""
    return any(word in metric.rpartition(":")[2].lower() for word in _SHARES)


def decimals_for(*values: float) -> int:
    """Return how many decimals to show: 4, more for values below 0.0005 (two digits), fewer for large ones."""
    scale = max((abs(value) for value in values if math.isfinite(value)), default=0.0)
    if scale == 0:
        return 4
    if scale >= 1:
        return max(0, 4 - math.floor(math.log10(scale)))
    return min(9, max(4, 1 - math.floor(math.log10(2 * scale))))

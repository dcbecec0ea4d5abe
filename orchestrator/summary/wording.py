"""How numbers and names are written in tables, sentences and pictures."""

from __future__ import annotations

import math
from collections.abc import Sequence

NOTHING = "–"
"""What stands in a cell without a value."""


MOST_NAMES = 3


def number(value: float | None) -> float:
    """A number of a record that may have been read from JSON, where ``null`` stands for what is not finite."""
    return math.nan if value is None else float(value)


def finite_or_none(value: float | None) -> float | None:
    value = number(value)
    return value if math.isfinite(value) else None


def named(names: Sequence[str]) -> str:
    """``pay``, ``pay and amount``, ``pay, amount and 61 more``."""
    shown = (
        list(names) if len(names) <= MOST_NAMES else [*names[: MOST_NAMES - 1], f"{len(names) - MOST_NAMES + 1} more"]
    )
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"


def level_name(level: Sequence[str]) -> str:
    """A stage by what it minimises: ``pay``, ``like, share``, ``like +30``."""
    return ", ".join(level) if len(level) <= 2 else f"{level[0]} +{len(level) - 1}"


def signed(value: float | None, decimals: int = 4) -> str:
    """``+0.0003``; no sign where all shown digits are 0, and a dash where there is no finite number."""
    value = number(value)
    if not math.isfinite(value):
        return NOTHING
    text = f"{value:+.{decimals}f}"
    return text[1:] if float(text) == 0 else text


def unsigned(*values: float | None, arrow: str = " → ") -> str:
    """Losses or metrics side by side, all with the decimals that the largest needs: ``0.519 → 0.521``."""
    known = [number(value) for value in values]
    scale = max((abs(value) for value in known if math.isfinite(value)), default=0.0)
    decimals = 3 if scale >= 0.1 or scale == 0 else min(9, 2 - math.floor(math.log10(scale)))
    decimals = decimals if scale < 10 else max(0, 3 - math.floor(math.log10(scale)))
    return arrow.join(f"{value:.{decimals}f}" if math.isfinite(value) else NOTHING for value in known)


def multiplier_text(value: float | None) -> str:
    """λ with about three digits: ``0.05``, ``1.02``, ``27.4``, ``138``."""
    value = number(value)
    if not math.isfinite(value):
        return NOTHING
    return f"{value:.{2 if value < 10 else 1 if value < 100 else 0}f}"


_SHARES = ("accuracy", "auc", "auroc", "f1", "hit_rate", "ndcg", "precision", "recall")


def is_share(metric: str) -> bool:
    """Whether a metric is a share of 1, so that its changes are told in points."""
    return any(word in metric.rpartition(":")[2].lower() for word in _SHARES)


def decimals_for(*values: float) -> int:
    """Four decimals; more for two digits of what is below 0.0005, fewer for what is large."""
    scale = max((abs(value) for value in values if math.isfinite(value)), default=0.0)
    if scale == 0:
        return 4
    if scale >= 1:
        return max(0, 4 - math.floor(math.log10(scale)))
    return min(9, max(4, 1 - math.floor(math.log10(2 * scale))))

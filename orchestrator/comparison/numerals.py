"""Formats of a comparison's numbers, the same in the terminal, in Markdown, in HTML and in the figures."""

from __future__ import annotations

import math
from collections.abc import Sequence

from nmt.orchestrator.comparison.results import MethodRow
from nmt.orchestrator.summary.wording import NOTHING, nan_if_none

_SUPERSCRIPTS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
_LONGEST = 10**12


def count_text(count: int) -> str:
    """Format a count: ``1,234,567``; from 10¹² on three digits and a power of ten, ``1.25 × 10¹²``."""
    if count < _LONGEST:
        return f"{count:,}"
    exponent = len(str(count)) - 1
    lead = round(count / 10 ** (exponent - 2)) / 100
    lead, exponent = (lead / 10, exponent + 1) if lead >= 10 else (lead, exponent)
    return f"{lead:.2f} × 10{str(exponent).translate(_SUPERSCRIPTS)}"


def plural_text(count: int, noun: str) -> str:
    """Format a count of things: ``1 trial``, ``1,234 trials``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def times_text(more: int, less: int) -> str:
    """Format the ratio ``more / less`` with two or three digits: ``0.83``, ``3.4``, ``14``, ``1,390,000``."""
    whole = (2 * more + less) // (2 * less)  # in integers: a grid's samples may exceed a float
    if whole < 10:
        ratio = more / less
        return f"{ratio:.2g}" if ratio < 0.995 else f"{ratio:.1f}"
    step = 10 ** max(0, len(str(whole)) - 3)
    return count_text((whole + step // 2) // step * step)


def extrapolation_text(row: MethodRow) -> str:
    """Format ``extrapolated from 20 of 125``; empty where all trials were trained or no samples are known."""
    if not row.extrapolated or row.planned_samples == 0:
        return ""
    if row.cost.trials == 0:
        return f"predicted, none of {count_text(row.planned_trials)} trained"
    return f"extrapolated from {row.cost.trials:,} of {count_text(row.planned_trials)}"


def amount_text(row: MethodRow) -> str:
    """Format the samples of the whole method, with ``≈`` where extrapolated; a dash where nothing is known."""
    if not row.extrapolated:
        return count_text(row.planned_samples)
    return f"≈ {count_text(row.planned_samples)}" if row.planned_samples else NOTHING


def samples_text(row: MethodRow) -> str:
    """Format the samples of the whole method and how they are known: ``≈ 12,500,000 (extrapolated from 20 of 125)``."""
    how = extrapolation_text(row)
    return f"{amount_text(row)} ({how})" if how else amount_text(row)


def reused_text(row: MethodRow) -> str:
    """Format ``270,000 reused``; empty where nothing was reused."""
    return f"{count_text(row.cost.samples_reused)} reused" if row.cost.samples_reused else ""


def trials_text(row: MethodRow) -> str:
    """Format the number of trials: ``9``, or ``20 of 125`` where not all were trained."""
    return f"{row.cost.trials:,} of {count_text(row.planned_trials)}" if row.extrapolated else f"{row.cost.trials:,}"


def stages_text(row: MethodRow) -> str:
    """Format the number of stages trained: ``27``, or ``21 + 6 reused``."""
    reused = f" + {row.cost.stages_reused:,} reused" if row.cost.stages_reused else ""
    return f"{row.cost.stages:,}{reused}"


def seconds_text(row: MethodRow) -> str:
    """Format worker-seconds: ``1,234``, ``1.2`` below ten, ``240 (20 trials)`` where only some trials were trained."""
    seconds = row.worker_seconds
    if row.cost.trials == 0 and seconds == 0:
        return NOTHING
    counted = f"{seconds:,.0f}" if seconds >= 10 else f"{seconds:.1f}"
    return f"{counted} ({plural_text(row.cost.trials, 'trial')})" if row.extrapolated else counted


def metric_texts(values: Sequence[float | None]) -> list[str]:
    """Format the metrics of one task, all with the decimals that give the largest four digits; a dash for NaN."""
    known = [nan_if_none(value) for value in values]
    scale = max((abs(value) for value in known if math.isfinite(value)), default=0.0)
    decimals = 4 if scale == 0 else min(9, max(0, 3 - math.floor(math.log10(scale))))
    return [f"{value:.{decimals}f}" if math.isfinite(value) else NOTHING for value in known]


def decimal_text(value: float) -> str:
    """Format one decimal: ``1,234.5``; a dash for a number that is not finite."""
    return f"{value:,.1f}" if math.isfinite(value) else NOTHING


def rate_text(rate: float | None) -> str:
    """Format a learning rate: ``0.001``, ``1e-05``, or a dash."""
    return NOTHING if rate is None else f"{rate:g}"

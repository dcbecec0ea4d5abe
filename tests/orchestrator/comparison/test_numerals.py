"""Formats of a comparison's numbers."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from nmt.orchestrator.comparison.numerals import (
    amount_text,
    count_text,
    decimal_text,
    extrapolation_text,
    metric_texts,
    plural_text,
    rate_text,
    reused_text,
    samples_text,
    seconds_text,
    stages_text,
    times_text,
    trials_text,
)
from nmt.orchestrator.comparison.results import MethodRow
from nmt.orchestrator.trials.cost import Cost

WHOLE = MethodRow(
    name="NMT",
    source="sweep",
    cost=Cost(trials=9, stages=21, stages_reused=6, samples=2100, samples_reused=600, worker_seconds=1234.4),
    chosen=None,
    planned_trials=9,
    planned_samples=2700,
)
PART = MethodRow(
    name="grid",
    source="grid",
    cost=Cost(trials=20, stages=20, samples=2_000_000, worker_seconds=9.94),
    chosen=None,
    planned_trials=125,
    planned_samples=12_500_000,
)
NONE = MethodRow("grid", "grid", Cost(), None, 125, 0)


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0"),
        (1_234_567, "1,234,567"),
        (10**12 - 1, "999,999,999,999"),
        (1_254_000_000_000, "1.25 × 10¹²"),
        (9_999 * 10**9, "1.00 × 10¹³"),
        (10**400, "1.00 × 10⁴⁰⁰"),
    ],
)
def test_counts(count: int, text: str) -> None:
    assert count_text(count) == text


@pytest.mark.parametrize(
    ("more", "less", "text"),
    [
        (83, 100, "0.83"),
        (1, 1000, "0.001"),
        (999, 1000, "1.0"),
        (34, 10, "3.4"),
        (94, 10, "9.4"),
        (125, 9, "14"),
        (1_388_889, 1, "1,390,000"),
        (10**400, 10**2, "1.00 × 10³⁹⁸"),
    ],
)
def test_ratios(more: int, less: int, text: str) -> None:
    assert times_text(more, less) == text


def test_a_method_trained_in_full_shows_counts_and_reuse() -> None:
    assert (trials_text(WHOLE), stages_text(WHOLE), samples_text(WHOLE)) == ("9", "21 + 6 reused", "2,700")
    assert (amount_text(WHOLE), extrapolation_text(WHOLE), reused_text(WHOLE)) == ("2,700", "", "600 reused")
    assert seconds_text(WHOLE) == "1,234"


def test_a_method_trained_in_part_is_labelled() -> None:
    assert (trials_text(PART), stages_text(PART), reused_text(PART)) == ("20 of 125", "20", "")
    assert samples_text(PART) == "≈ 12,500,000 (extrapolated from 20 of 125)"
    assert (amount_text(PART), extrapolation_text(PART)) == ("≈ 12,500,000", "extrapolated from 20 of 125")
    assert seconds_text(PART) == "9.9 (20 trials)"


def test_a_method_not_trained_extrapolates_nothing() -> None:
    assert (trials_text(NONE), samples_text(NONE), seconds_text(NONE)) == ("0 of 125", "–", "–")
    assert samples_text(replace(NONE, planned_samples=500)) == "≈ 500 (predicted, none of 125 trained)"


def test_metrics_of_a_task_share_their_decimals() -> None:
    assert metric_texts([0.80432, 0.7, None, math.nan]) == ["0.8043", "0.7000", "–", "–"]
    assert metric_texts([12.341, 1.0]) == ["12.34", "1.00"]
    assert metric_texts([0.0, math.inf]) == ["0.0000", "–"]
    assert metric_texts([12345.6, -3.0]) == ["12346", "-3"]
    assert metric_texts([]) == []


def test_plurals() -> None:
    assert [plural_text(count, "trial") for count in (0, 1, 1234)] == ["0 trials", "1 trial", "1,234 trials"]


def test_decimals() -> None:
    assert [decimal_text(value) for value in (1234.56, 0.0, math.nan)] == ["1,234.6", "0.0", "–"]


def test_rates() -> None:
    assert [rate_text(rate) for rate in (1e-3, 1e-5, None)] == ["0.001", "1e-05", "–"]

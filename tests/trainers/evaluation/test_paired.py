"""The paired difference of two models on the same examples, and its standard error."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from nmt.trainers.evaluation.paired import PairedDifference, moments
from nmt.trainers.losses.samples import Samples

Array = NDArray[np.float64]


def samples(sums: Array | list[float], counts: Array | list[float]) -> Samples:
    return Samples(torch.tensor(sums, dtype=torch.float64), torch.tensor(counts, dtype=torch.float64))


def lists(seed: int, examples: int) -> tuple[Array, Array, Array]:
    """Counts, and two models' sums, correlated with the counts and with each other; some lists have no sample."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 6, examples).astype(np.float64)
    reference = counts * rng.gamma(2.0, 0.3, examples)
    candidate = reference + counts * rng.normal(0.02, 0.1, examples)
    return counts, candidate, reference


def test_by_hand() -> None:
    """d = (1, −½, 0, ½), n = (2, 1, 0, 1): D = ¼, residuals ½, −¾, 0, ¼, over 3 examples with a sample."""
    found = PairedDifference.between(samples([3, 0.5, 0, 1], [2, 1, 0, 1]), samples([2, 1, 0, 0.5], [2, 1, 0, 1]))
    assert found.difference == 0.25
    assert found.reference == 3.5 / 4
    assert found.standard_error == pytest.approx(math.sqrt(3 / 2 * (0.25 + 0.5625 + 0.0625) / 16), rel=1e-12)


def test_of_rows_it_is_the_paired_t_tests() -> None:
    rng = np.random.default_rng(0)
    one, other = rng.normal(size=(2, 50))
    found = PairedDifference.between(samples(one, np.ones(50)), samples(other, np.ones(50)))
    d = one - other
    assert found.difference == pytest.approx(d.mean(), rel=1e-12)
    assert found.standard_error == pytest.approx(d.std(ddof=1) / math.sqrt(50), rel=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_against_the_delta_method(seed: int) -> None:
    """Var(d̄ / n̄) by the gradient (1, −D) / n̄ and the covariance of (d, n)."""
    counts, candidate, reference = lists(seed, 40)
    labelled = counts > 0
    d, n = (candidate - reference)[labelled], counts[labelled]
    ratio = d.sum() / n.sum()
    gradient = np.array([1.0, -ratio]) / n.mean()
    variance = gradient @ np.cov(d, n, ddof=1) @ gradient / len(n)
    found = PairedDifference.between(samples(candidate, counts), samples(reference, counts))
    assert found.difference == pytest.approx(ratio, rel=1e-12)
    assert found.standard_error == pytest.approx(math.sqrt(variance), rel=1e-9)


def test_against_the_bootstrap() -> None:
    counts, candidate, reference = lists(7, 400)
    rng = np.random.default_rng(1)
    drawn = rng.integers(0, 400, (3000, 400))
    ratios = (candidate - reference)[drawn].sum(1) / counts[drawn].sum(1)
    found = PairedDifference.between(samples(candidate, counts), samples(reference, counts))
    assert found.standard_error == pytest.approx(ratios.std(), rel=0.06)


def test_moments_of_workers_add_up() -> None:
    counts, candidate, reference = lists(3, 41)
    whole = PairedDifference.between(samples(candidate, counts), samples(reference, counts))
    parts = [
        moments(samples(candidate[r::3], counts[r::3]), samples(reference[r::3], counts[r::3])).numpy()
        for r in range(3)
    ]
    together = PairedDifference.of_moments(np.sum(parts, 0).tolist())
    assert together.difference == pytest.approx(whole.difference, rel=1e-12)
    assert together.standard_error == pytest.approx(whole.standard_error, rel=1e-9)
    assert together.reference == pytest.approx(whole.reference, rel=1e-12)


def test_the_same_model_differs_by_nothing() -> None:
    counts, candidate, _ = lists(4, 30)
    found = PairedDifference.between(samples(candidate, counts), samples(candidate, counts))
    assert (found.difference, found.standard_error) == (0.0, 0.0)


def test_swapping_the_models_turns_the_sign() -> None:
    counts, candidate, reference = lists(5, 30)
    one = PairedDifference.between(samples(candidate, counts), samples(reference, counts))
    other = PairedDifference.between(samples(reference, counts), samples(candidate, counts))
    assert one.difference == -other.difference
    assert one.standard_error == pytest.approx(other.standard_error, rel=1e-12)


def test_one_example_has_no_error_and_none_says_nothing() -> None:
    one = PairedDifference.between(samples([2, 0], [4, 0]), samples([1, 0], [4, 0]))
    assert (one.difference, one.standard_error) == (0.25, 0.0)
    none = PairedDifference.between(samples([0, 0], [0, 0]), samples([0, 0], [0, 0]))
    assert all(math.isnan(value) for value in (none.difference, none.standard_error, none.reference))


def test_an_error_far_below_the_losses_is_not_lost() -> None:
    """Losses of 10⁶ in single precision: what counts is computed from their differences, in double."""
    base = torch.full((64,), 2.0**20)
    shift = torch.tensor([0.0, 1.0]).repeat(32)
    found = PairedDifference.between(Samples(base + shift, torch.ones(64)), Samples(base, torch.ones(64)))
    assert found.difference == 0.5
    assert found.standard_error == pytest.approx(0.5 / math.sqrt(63), rel=1e-9)

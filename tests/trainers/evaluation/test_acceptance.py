from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from nmt.trainers.evaluation.acceptance import judge
from nmt.trainers.evaluation.evaluation import Evaluation
from nmt.trainers.losses.samples import Samples
from nmt.trainers.records import Verdict
from tests.trainers._problems import binary

Array = NDArray[np.float64]
rng = np.random.default_rng(0)


def samples(sums: Array, counts: Array) -> Samples:
    return Samples(torch.from_numpy(sums.astype(np.float32)), torch.from_numpy(counts.astype(np.float32)))


def verdict_on(candidate: Array, reference: Array, counts: Array, s: float = 1.0, tolerance: float = 0.0) -> Verdict:
    """The verdict on one task, whose samples stand in the second column of the evaluation."""
    other = np.full_like(candidate, 7.0)
    local = samples(np.stack([other, candidate], 1), np.stack([other, counts], 1))
    n = counts.sum()
    evaluation = Evaluation(
        split="valid",
        losses={"other": -1.0, "like": float(candidate.sum() / n) if n else math.nan},
        samples={},
        metrics={},
        local=local,
    )
    verdicts = judge(evaluation, {"like": samples(reference, counts)}, [binary("like", tolerance)], s)
    assert [v.task for v in verdicts] == ["like"]
    return verdicts[0]


def rows(n: int = 300, shift: float = 0.02) -> tuple[Array, Array, Array]:
    reference = rng.exponential(size=n)
    return reference + rng.normal(shift, 0.3, size=n), reference, np.ones(n)


def test_standard_error_of_rows_is_the_usual_paired_one() -> None:
    candidate, reference, counts = rows()
    verdict = verdict_on(candidate, reference, counts)
    difference = candidate - reference
    assert verdict.difference == pytest.approx(difference.mean(), rel=1e-5)
    assert verdict.standard_error == pytest.approx(difference.std(ddof=1) / len(difference) ** 0.5, rel=1e-5)
    assert verdict.optimum == pytest.approx(reference.mean(), rel=1e-6)
    assert verdict.value == pytest.approx(candidate.mean(), rel=1e-6)
    assert verdict.split == "valid"


def test_examples_without_a_label_do_not_count() -> None:
    candidate, reference, counts = rows()
    plain = verdict_on(candidate, reference, counts)
    zeros = np.zeros(100)
    padded = verdict_on(*(np.concatenate([part, zeros]) for part in (candidate, reference, counts)))
    assert padded.difference == pytest.approx(plain.difference, rel=1e-9)
    assert padded.standard_error == pytest.approx(plain.standard_error, rel=1e-9)


def test_standard_error_of_lists_with_different_counts() -> None:
    counts = rng.integers(0, 9, size=200).astype(float)
    reference = rng.exponential(size=200) * counts
    candidate = reference + rng.normal(0.05, 0.4, size=200) * counts
    verdict = verdict_on(candidate, reference, counts)
    labelled = counts > 0
    d, n = (candidate - reference)[labelled], counts[labelled]
    mean = d.sum() / n.sum()
    examples = len(n)
    error = (examples / (examples - 1) * ((d - mean * n) ** 2).sum()) ** 0.5 / n.sum()
    assert verdict.difference == pytest.approx(mean, rel=1e-5)
    assert verdict.standard_error == pytest.approx(error, rel=1e-5)


def test_standard_error_counts_lists_and_not_their_pairs() -> None:
    """The same lists with every pair written down four times tell no more than before."""
    counts = rng.integers(1, 9, size=200).astype(float)
    reference = rng.exponential(size=200) * counts
    candidate = reference + rng.normal(0.05, 0.4, size=200) * counts
    once, repeated = verdict_on(candidate, reference, counts), verdict_on(4 * candidate, 4 * reference, 4 * counts)
    assert repeated.standard_error == pytest.approx(once.standard_error, rel=1e-5)


@pytest.mark.parametrize("s", [0.0, 1.0])
def test_the_same_model_is_held(s: float) -> None:
    _, reference, counts = rows()
    verdict = verdict_on(reference, reference, counts, s)
    assert (verdict.difference, verdict.standard_error, verdict.held) == (0.0, 0.0, True)


def test_zero_standard_errors_is_strict() -> None:
    _, reference, counts = rows()
    assert not verdict_on(reference + 1e-4, reference, counts, s=0.0).held
    assert verdict_on(reference - 1e-4, reference, counts, s=0.0).held


def test_standard_errors_widen_the_limit() -> None:
    candidate, reference, counts = rows(shift=0.0)
    candidate = candidate - (candidate - reference).mean()
    error = verdict_on(candidate, reference, counts).standard_error
    just_over = candidate + 1.5 * error
    assert not verdict_on(just_over, reference, counts, s=1.0).held
    verdict = verdict_on(just_over, reference, counts, s=2.0)
    assert verdict.held
    assert verdict.allowed == pytest.approx(2 * error, rel=1e-4)


def test_tolerance_widens_the_limit() -> None:
    _, reference, counts = rows()
    candidate = reference + 0.1
    assert not verdict_on(candidate, reference, counts, s=0.0, tolerance=0.09).held
    verdict = verdict_on(candidate, reference, counts, s=0.0, tolerance=0.11)
    assert verdict.held
    assert verdict.allowed == pytest.approx(0.11)


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("where", [slice(None), slice(0, 1)])
@pytest.mark.parametrize("s", [0.0, 1.0])
def test_a_candidate_that_is_not_finite_is_never_held(value: float, where: slice, s: float) -> None:
    _, reference, counts = rows()
    candidate = reference.copy()
    candidate[where] = value
    assert not verdict_on(candidate, reference, counts, s, tolerance=1e9).held


def test_one_example() -> None:
    verdict = verdict_on(np.array([1.5]), np.array([1.0]), np.ones(1))
    assert (verdict.difference, verdict.standard_error, verdict.held) == (0.5, 0.0, False)


def test_a_split_without_a_label_is_not_held() -> None:
    verdict = verdict_on(np.zeros(5), np.zeros(5), np.zeros(5))
    assert math.isnan(verdict.difference)
    assert not verdict.held


def test_several_tasks_each_have_their_verdict() -> None:
    counts = np.ones((50, 2))
    reference = rng.exponential(size=(50, 2))
    candidate = reference + np.array([-0.2, 0.3])
    evaluation = Evaluation("test", {"a": 0.0, "b": 0.0}, {}, {}, samples(candidate, counts))
    references: dict[str, Any] = {name: samples(reference[:, i], counts[:, i]) for i, name in enumerate("ab")}
    verdicts = judge(evaluation, references, [binary("b"), binary("a")], 1.0)
    assert [(v.task, v.split, v.held) for v in verdicts] == [("b", "test", False), ("a", "test", True)]
    assert judge(evaluation, references, [], 1.0) == ()

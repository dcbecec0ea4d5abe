"""Held-out samples of stored stages: differences of models, of tasks and of levels."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from nmt.orchestrator.trials import held_out
from nmt.orchestrator.trials.held_out import HeldOut
from nmt.trainers.faults import DamagedError
from tests.orchestrator._trials import Shelf


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(str(tmp_path))


def test_a_level_of_one_task_is_the_tasks_paired_difference(shelf: Shelf) -> None:
    shelf.stage("one", {"a": ([3.0, 0.5, 0.0, 1.0], [2.0, 1.0, 0.0, 1.0])})
    shelf.stage("other", {"a": ([2.0, 1.0, 0.0, 0.5], [2.0, 1.0, 0.0, 1.0])})
    found = HeldOut(shelf.stages).difference("one", "other", "a")
    assert found.difference == 0.25
    assert found.standard_error == pytest.approx(math.sqrt(3 / 2 * 0.875 / 16), rel=1e-12)
    assert HeldOut(shelf.stages).level_difference("one", "other", ["a"]) == (
        pytest.approx(found.difference),
        pytest.approx(found.standard_error),
    )


def test_the_difference_of_a_level_is_that_of_the_summed_losses(shelf: Shelf) -> None:
    """Tasks of a level are correlated, so the errors of single tasks do not add up."""
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 60))
    b_like_a = 0.8 * a + 0.2 * b
    shelf.stage("one", {"a": a.tolist(), "b": b_like_a.tolist()})
    shelf.stage("other", {"a": [0.0] * 60, "b": [0.0] * 60})
    difference, error = HeldOut(shelf.stages).level_difference("one", "other", ["a", "b"])
    both = a + b_like_a
    assert difference == pytest.approx(both.mean(), rel=1e-5)
    assert error == pytest.approx(both.std(ddof=1) / math.sqrt(60), rel=1e-5)


def test_against_the_bootstrap_where_labels_are_missing(shelf: Shelf) -> None:
    rng = np.random.default_rng(1)
    d = rng.normal(0.1, 1.0, (2, 500))
    d[1] += 0.5 * d[0]
    n = (rng.random((2, 500)) < [[0.9], [0.4]]).astype(float)
    sums = d * n
    zero = [0.0] * 500
    shelf.stage("one", {"a": (sums[0].tolist(), n[0].tolist()), "b": (sums[1].tolist(), n[1].tolist())})
    shelf.stage("other", {"a": (zero, n[0].tolist()), "b": (zero, n[1].tolist())})
    drawn = rng.integers(0, 500, (3000, 500))
    totals = sum(sums[task][drawn].sum(1) / n[task][drawn].sum(1) for task in range(2))
    difference, error = HeldOut(shelf.stages).level_difference("one", "other", ["a", "b"])
    assert difference == pytest.approx(float((sums.sum(1) / n.sum(1)).sum()), rel=1e-5)
    assert error == pytest.approx(float(np.std(totals)), rel=0.06)


def test_without_tasks_the_difference_is_nan(shelf: Shelf) -> None:
    assert all(math.isnan(value) for value in HeldOut(shelf.stages).level_difference("one", "other", []))


def test_samples_come_from_the_given_split(shelf: Shelf) -> None:
    shelf.stage("one", {"a": [1.0, 2.0]})
    assert HeldOut(shelf.stages).samples("one", "a", "test").sums.tolist() == [1.0, 2.0]
    with pytest.raises(KeyError):
        HeldOut(shelf.stages).samples("one", "a", "train")


def test_missing_samples(shelf: Shelf) -> None:
    shelf.stage("one", {"a": [1.0, 2.0]})
    with pytest.raises(KeyError):
        HeldOut(shelf.stages).samples("one", "b")
    with pytest.raises(DamagedError, match="missing or damaged"):
        HeldOut(shelf.stages).samples("nobody", "a")


def test_recent_samples_are_kept_in_memory(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory holds two stages of 32 bytes each (sums and counts of two examples, on two splits)."""
    monkeypatch.setattr(held_out, "MAX_BYTES", 80)
    for key in ("one", "two", "three"):
        shelf.stage(key, {"a": [1.0, 2.0]})
    reads: list[str] = []
    stages = shelf.stages
    read = stages.references
    monkeypatch.setattr(stages, "references", lambda key: reads.append(key) or read(key))
    found = HeldOut(stages)
    for key in ("one", "two", "one", "three", "one", "two", "two"):
        assert found.samples(key, "a").sums.tolist() == [1.0, 2.0]
    assert reads == ["one", "two", "three", "two"]

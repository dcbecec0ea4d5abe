"""Random splits equal scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.model_selection import train_test_split

from nmt.experiments.data.official.held_out import HeldOut


@pytest.mark.parametrize("rows", [12, 1000, 1001, 65_537])
@pytest.mark.parametrize("seed", [42, 7])
def test_the_indices_are_scikit_learns(rows: int, seed: int) -> None:
    rest, test = train_test_split(np.arange(rows), test_size=0.1, random_state=seed)
    train, valid = train_test_split(rest, test_size=0.1, random_state=seed)
    split = HeldOut(seed=seed).split(rows)
    for place, expected in enumerate((train, valid, test)):
        assert np.flatnonzero(split == place).tolist() == sorted(expected.tolist())


def test_a_thousand_rows() -> None:
    split = HeldOut().split(1000)
    assert np.bincount(split).tolist() == [810, 90, 100]
    # The start of RandomState(42).permutation(1000), a stream that numpy has frozen.
    assert (split[[521, 737, 740, 660, 411, 678, 626, 513, 859, 136]] == 2).all()


def test_places_of_32_bits_give_the_same() -> None:
    expected = np.random.RandomState(42).permutation(10_000)
    assert (HeldOut()._permutation(10_000) == expected).all()
    assert HeldOut()._permutation(10).dtype == np.uint32


def test_without_a_test_split() -> None:
    train, valid = train_test_split(np.arange(500), test_size=0.1, random_state=42)
    split = HeldOut(test=0.0).split(500)
    assert np.flatnonzero(split == 1).tolist() == sorted(valid.tolist())
    assert np.flatnonzero(split == 0).tolist() == sorted(train.tolist())


def test_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = HeldOut().split(1000)
    monkeypatch.setattr("nmt.experiments.data.official.held_out._CHUNK", 8)
    assert (HeldOut().split(1000) == expected).all()


def test_shares_are_checked() -> None:
    with pytest.raises(ValueError, match="give shares below 1"):
        HeldOut(test=1.0)

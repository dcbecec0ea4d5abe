from __future__ import annotations

import numpy as np
import pytest

from nmt.trainers.data.order import epoch_order

LARGE = 30_000
"""More than 840 lanes of 32 examples."""


@pytest.mark.parametrize("examples", [0, 1, 2, 7, 63, 64, 65, 129, 1000, 3840, 26_880, LARGE + 17])
def test_is_a_permutation(examples: int) -> None:
    order = epoch_order(examples, 0, 0, 0)
    assert np.array_equal(np.sort(order), np.arange(examples))


def test_is_deterministic() -> None:
    assert np.array_equal(epoch_order(5000, 3, 1, 2), epoch_order(5000, 3, 1, 2))


@pytest.mark.parametrize("other", [(4, 1, 2), (3, 2, 2), (3, 1, 3), (2, 1, 3), (3, 2, 1)])
def test_differs_by_seed_stage_and_epoch(other: tuple[int, int, int]) -> None:
    one, two = epoch_order(5000, 3, 1, 2), epoch_order(5000, *other)
    assert (one == two).mean() < 0.1


def test_is_shuffled() -> None:
    """Neighbours in the data are far apart in the order, and an example can be at any position."""
    order = epoch_order(LARGE, 0, 0, 0)
    positions = np.argsort(order)
    assert np.abs(np.diff(positions)).mean() > LARGE / 5
    assert abs(np.corrcoef(order, np.arange(LARGE))[0, 1]) < 0.05


@pytest.mark.parametrize("workers", range(1, 9))
@pytest.mark.parametrize("examples", [LARGE, LARGE + 13])
def test_any_window_of_world_size_positions_holds_one_example_per_worker(workers: int, examples: int) -> None:
    owner = epoch_order(examples, 7, 0, 1) % workers
    windows = np.lib.stride_tricks.sliding_window_view(owner, workers)
    assert np.array_equal(np.sort(windows, axis=1), np.broadcast_to(np.arange(workers), windows.shape))


@pytest.mark.parametrize("workers", [2, 3, 4])
def test_a_few_thousand_examples_are_balanced_for_a_few_workers(workers: int) -> None:
    owner = epoch_order(4000, 7, 0, 1) % workers
    for start in range(0, 4000 - 240, 240):
        share = np.bincount(owner[start : start + 240], minlength=workers)
        assert share.tolist() == [240 // workers] * workers

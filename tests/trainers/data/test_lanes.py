from __future__ import annotations

from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nmt.trainers.data.lanes import LANE_COUNTS, Lanes, Part, Window, assign_units

SIZES = st.lists(st.integers(1, 40), min_size=1, max_size=150)
LANES = st.builds(assign_units, SIZES, st.integers(1, 120), st.integers(1, 60))


@given(SIZES, st.integers(1, 120))
def test_every_unit_is_assigned_once(sizes: list[int], max_lanes: int) -> None:
    lanes = assign_units(sizes, max_lanes, 10)
    assert sorted(unit for units in lanes.units for unit in units) == list(range(len(sizes)))
    assert lanes.examples == tuple(sum(sizes[unit] for unit in units) for units in lanes.units)
    assert len(lanes.units) == max(count for count in LANE_COUNTS if count <= min(max_lanes, len(sizes)))
    # The longest lane was the shortest when it got its last and smallest unit.
    longest = max(range(len(lanes.units)), key=lambda lane: lanes.examples[lane])
    assert max(lanes.examples) - min(lanes.examples) <= min(sizes[unit] for unit in lanes.units[longest])


@given(LANES)
def test_every_example_is_yielded_once(lanes: Lanes) -> None:
    for lane, examples in enumerate(lanes.examples):
        counts = [lanes.lane_examples(lane, step) for step in range(lanes.steps + 1)]
        assert counts[0] == 0
        assert counts[-1] == examples
        assert counts == sorted(counts)
        assert all(high - low <= -(-examples // lanes.steps) for low, high in pairwise(counts))
    assert lanes.examples_in(lanes.steps) == sum(lanes.examples)


@given(SIZES, st.integers(1, 120), st.integers(1, 60), st.randoms())
def test_windows_partition_a_lane(sizes: list[int], max_lanes: int, steps: int, random: Random) -> None:
    lanes = assign_units(sizes, max_lanes, steps)
    for lane, examples in enumerate(lanes.examples):
        mine = [sizes[unit] for unit in lanes.units[lane]]
        random.shuffle(mine)
        windows = lanes.windows(lane, mine)
        assert [window.low for window in windows[1:]] == [window.high for window in windows[:-1]]
        assert (windows[0].low, windows[-1].high) == (0, examples)
        mean = -(-examples // len(mine))
        assert all(0 < window.high - window.low <= mean for window in windows)
        counts: dict[int, int] = dict.fromkeys(range(len(mine)), 0)
        for window in windows:
            assert window.lane == lane
            assert lanes.lane_examples(lane, window.step) <= window.low < lanes.lane_examples(lane, window.step + 1)
            assert [part.unit for part in window.parts] == list(range(window.parts[0].unit, window.parts[-1].unit + 1))
            for part in window.parts:
                assert counts[part.unit] == part.first < part.last
                counts[part.unit] = part.last
        assert counts == dict(enumerate(mine))


@given(st.lists(st.integers(1, 30), min_size=1, max_size=5), st.integers(0, 9), st.lists(st.integers(0, 150)))
def test_a_window_yields_each_example_once(lengths: list[int], first: int, cuts: list[int]) -> None:
    """Whatever the steps; and all parts advance at the same relative pace."""
    size = sum(lengths)
    parts = tuple(Part(unit, first, first + length) for unit, length in enumerate(lengths))
    window = Window(0, 0, 7, 7 + size, parts)
    edges = sorted({0, size, *(cut for cut in cuts if cut < size)})
    counts = [0] * len(lengths)
    for low, high in pairwise(edges):
        found = list(window.between(7 + low, 7 + high))
        assert sum(part.last - part.first for part in found) == high - low
        for part in found:
            assert part.first == first + counts[part.unit]
            counts[part.unit] += part.last - part.first
        assert all(
            abs(count - length * high / size) < len(lengths) for count, length in zip(counts, lengths, strict=True)
        )
    assert counts == lengths


@given(st.sampled_from(LANE_COUNTS), st.integers(1, 50), st.integers(1, 200))
def test_lanes_of_equal_length_yield_even_batches(count: int, examples: int, steps: int) -> None:
    """By Hermite's identity batches are as large as those of a single lane."""
    lanes = Lanes(tuple((unit,) for unit in range(count)), (examples,) * count, steps)
    for step in range(steps + 1):
        assert lanes.examples_in(step) == count * examples * step // steps


@given(SIZES, st.integers(2, 60))
def test_no_batch_is_empty_with_half_as_many_lanes_as_examples(sizes: list[int], batch_size: int) -> None:
    lanes = assign_units(sizes, batch_size // 2, -(-sum(sizes) // batch_size))
    counts = [lanes.examples_in(step) for step in range(lanes.steps + 1)]
    assert all(high > low for low, high in pairwise(counts))


def test_lanes_read_their_units_at_different_times() -> None:
    lanes = assign_units([100] * 12, 4, 100)
    assert [[window.step for window in lanes.windows(lane, [100] * 3)] for lane in range(4)] == [
        [0, 8, 41, 75],
        [0, 16, 50, 83],
        [0, 25, 58, 91],
        [0, 33, 66],
    ]


@pytest.mark.parametrize("max_lanes", [1, 96])
def test_an_empty_split(max_lanes: int) -> None:
    lanes = assign_units([], max_lanes, 0)
    assert lanes.units == ()
    assert lanes.examples_in(0) == 0

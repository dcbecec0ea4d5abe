from __future__ import annotations

from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainers.data.lanes import NUMBERS, Lanes, Part, Window, deal

SIZES = st.lists(st.integers(1, 40), min_size=1, max_size=150)
LANES = st.builds(deal, SIZES, st.integers(1, 120), st.integers(1, 60))


@given(SIZES, st.integers(1, 120))
def test_every_unit_is_dealt_once(sizes: list[int], most: int) -> None:
    lanes = deal(sizes, most, 10)
    assert sorted(unit for units in lanes.units for unit in units) == list(range(len(sizes)))
    assert lanes.examples == tuple(sum(sizes[unit] for unit in units) for units in lanes.units)
    assert len(lanes.units) == max(number for number in NUMBERS if number <= min(most, len(sizes)))
    # The shortest lane was the longest one's choice when it took its last unit, the smallest that it has.
    longest = max(range(len(lanes.units)), key=lambda lane: lanes.examples[lane])
    assert max(lanes.examples) - min(lanes.examples) <= min(sizes[unit] for unit in lanes.units[longest])


@given(LANES)
def test_every_example_is_given_once(lanes: Lanes) -> None:
    for lane, examples in enumerate(lanes.examples):
        seen = [lanes.seen(lane, step) for step in range(lanes.steps + 1)]
        assert seen[0] == 0
        assert seen[-1] == examples
        assert seen == sorted(seen)
        assert all(high - low <= -(-examples // lanes.steps) for low, high in pairwise(seen))
    assert lanes.examples_in(lanes.steps) == sum(lanes.examples)


@given(SIZES, st.integers(1, 120), st.integers(1, 60), st.randoms())
def test_windows_partition_a_lane(sizes: list[int], most: int, steps: int, random: Random) -> None:
    lanes = deal(sizes, most, steps)
    for lane, examples in enumerate(lanes.examples):
        mine = [sizes[unit] for unit in lanes.units[lane]]
        random.shuffle(mine)
        windows = lanes.windows(lane, mine)
        assert [window.low for window in windows[1:]] == [window.high for window in windows[:-1]]
        assert (windows[0].low, windows[-1].high) == (0, examples)
        mean = -(-examples // len(mine))
        assert all(0 < window.high - window.low <= mean for window in windows)
        given_by: dict[int, int] = dict.fromkeys(range(len(mine)), 0)
        for window in windows:
            assert window.lane == lane
            assert lanes.seen(lane, window.step) <= window.low < lanes.seen(lane, window.step + 1)
            assert [part.unit for part in window.parts] == list(range(window.parts[0].unit, window.parts[-1].unit + 1))
            for part in window.parts:
                assert given_by[part.unit] == part.first < part.last
                given_by[part.unit] = part.last
        assert given_by == dict(enumerate(mine))


@given(st.lists(st.integers(1, 30), min_size=1, max_size=5), st.integers(0, 9), st.lists(st.integers(0, 150)))
def test_a_window_gives_each_example_once(lengths: list[int], first: int, cuts: list[int]) -> None:
    """In whatever steps, and of all its parts at the same pace."""
    size = sum(lengths)
    parts = tuple(Part(unit, first, first + length) for unit, length in enumerate(lengths))
    window = Window(0, 0, 7, 7 + size, parts)
    edges = sorted({0, size, *(cut for cut in cuts if cut < size)})
    given_by = [0] * len(lengths)
    for low, high in pairwise(edges):
        found = list(window.between(7 + low, 7 + high))
        assert sum(part.last - part.first for part in found) == high - low
        for part in found:
            assert part.first == first + given_by[part.unit]
            given_by[part.unit] += part.last - part.first
        assert all(
            abs(count - length * high / size) < len(lengths) for count, length in zip(given_by, lengths, strict=True)
        )
    assert given_by == lengths


@given(st.sampled_from(NUMBERS), st.integers(1, 50), st.integers(1, 200))
def test_lanes_of_equal_length_make_even_batches(number: int, examples: int, steps: int) -> None:
    """Hermite's identity: the batches are those of a single lane."""
    lanes = Lanes(tuple((unit,) for unit in range(number)), (examples,) * number, steps)
    for step in range(steps + 1):
        assert lanes.examples_in(step) == number * examples * step // steps


@given(SIZES, st.integers(2, 60))
def test_no_batch_is_empty_with_half_as_many_lanes_as_examples(sizes: list[int], batch_size: int) -> None:
    lanes = deal(sizes, batch_size // 2, -(-sum(sizes) // batch_size))
    given_by = [lanes.examples_in(step) for step in range(lanes.steps + 1)]
    assert all(high > low for low, high in pairwise(given_by))


def test_lanes_read_their_units_at_different_times() -> None:
    lanes = deal([100] * 12, 4, 100)
    assert [[window.step for window in lanes.windows(lane, [100] * 3)] for lane in range(4)] == [
        [0, 8, 41, 75],
        [0, 16, 50, 83],
        [0, 25, 58, 91],
        [0, 33, 66],
    ]


@pytest.mark.parametrize("most", [1, 96])
def test_an_empty_split(most: int) -> None:
    lanes = deal([], most, 0)
    assert lanes.units == ()
    assert lanes.examples_in(0) == 0

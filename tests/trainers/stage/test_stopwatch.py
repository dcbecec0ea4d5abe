from __future__ import annotations

import pytest

from nmt.trainers.stage import stopwatch
from nmt.trainers.stage.stopwatch import Stopwatch


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr(stopwatch.time, "monotonic", lambda: now[0])
    return now


def test_each_moment_counts_once(clock: list[float]) -> None:
    watch = Stopwatch("steps")
    clock[0] = 1.0
    with watch.part("evaluation"):
        clock[0] = 3.0
        with watch.part("checkpoints"):
            clock[0] = 7.0
        clock[0] = 15.0
    clock[0] = 31.0
    assert watch.seconds() == {"steps": 17.0, "evaluation": 10.0, "checkpoints": 4.0}


def test_goes_on_after_an_interruption(clock: list[float]) -> None:
    watch = Stopwatch("steps")
    watch.go_on_from({"steps": 5.0, "evaluation": 2.0})
    clock[0] = 1.0
    assert watch.seconds() == {"steps": 6.0, "evaluation": 2.0}


def test_a_part_that_fails_ends(clock: list[float]) -> None:
    watch = Stopwatch("steps")

    def fail() -> None:
        with watch.part("checkpoints"):
            clock[0] = 2.0
            raise OSError("full")

    with pytest.raises(OSError, match="full"):
        fail()
    clock[0] = 5.0
    assert watch.seconds() == {"steps": 3.0, "checkpoints": 2.0}

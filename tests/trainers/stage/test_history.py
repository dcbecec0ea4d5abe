from __future__ import annotations

import math
from typing import ClassVar

import pytest
import torch

from nmt.trainers.records import Row
from nmt.trainers.stage.history import CAPACITY, History
from tests.trainers._asserts import no_host_synchronisation

CPU = torch.device("cpu")


def vector(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def add(history: History, step: int, scale: float = 1.0) -> None:
    history.add(step, vector(0.1 * scale, 0.2 * scale), vector(-0.3 * scale), vector(4.0 + step))


def test_a_row_each_step() -> None:
    history = History(["first", "second"], 1, 1, CPU)
    add(history, 1)
    add(history, 2, 10.0)
    expected = (
        Row(1, {"first": 0.1, "second": 0.2}, {"first": -0.3}, {"first": 5.0}),
        Row(2, {"first": 1.0, "second": 2.0}, {"first": -3.0}, {"first": 6.0}),
    )
    assert history.flush() == expected
    assert history.rows == list(expected)


def test_a_row_every_so_many_steps_is_the_mean() -> None:
    history = History(["first", "second"], 1, 3, CPU)
    for step, scale in enumerate((1.0, 2.0, 6.0, 1.0, 1.0, 1.0, 5.0), start=1):
        add(history, step, scale)
    history.flush()
    one, two = history.rows
    assert (one.step, two.step) == (3, 6)
    assert one.losses == pytest.approx({"first": 0.3, "second": 0.6})
    assert one.violations == pytest.approx({"first": -0.9})
    assert one.multipliers == {"first": 7.0}  # λ after the step, not a mean
    assert two.losses == pytest.approx({"first": 0.1, "second": 0.2})


def test_without_protected_tasks() -> None:
    history = History(["first"], 0, 1, CPU)
    history.add(1, vector(0.5), vector(), vector())
    assert history.flush() == (Row(1, {"first": 0.5}, {}, {}),)


def test_flush_returns_what_is_new() -> None:
    history = History(["first", "second"], 1, 1, CPU)
    assert history.flush() == ()
    add(history, 1)
    assert [row.step for row in history.flush()] == [1]
    assert history.flush() == ()
    add(history, 2)
    add(history, 3)
    assert [row.step for row in history.flush()] == [2, 3]
    assert [row.step for row in history.rows] == [1, 2, 3]


@pytest.mark.parametrize("steps", [CAPACITY, CAPACITY + 1, 3 * CAPACITY + 7])
def test_more_rows_than_the_buffer_holds(steps: int) -> None:
    history = History(["first", "second"], 1, 1, CPU)
    for step in range(1, steps + 1):
        add(history, step, float(step))
    history.flush()
    assert [row.step for row in history.rows] == list(range(1, steps + 1))
    assert [row.losses["first"] for row in history.rows] == pytest.approx([0.1 * n for n in range(1, steps + 1)])
    assert history.rows[-1].multipliers == {"first": 4.0 + steps}


def test_a_bad_step_spoils_its_own_row_only() -> None:
    history = History(["first", "second"], 1, 1, CPU)
    add(history, 1, math.nan)
    add(history, 2)
    history.flush()
    assert math.isnan(history.rows[0].losses["first"])
    assert history.rows[1].losses == {"first": 0.1, "second": 0.2}


def test_values_are_copied() -> None:
    history = History(["first"], 1, 1, CPU)
    losses, multipliers = vector(0.5), vector(1.0)
    history.add(1, losses, vector(0.0), multipliers)
    losses += 1
    multipliers += 1
    assert history.flush() == (Row(1, {"first": 0.5}, {"first": 0.0}, {"first": 1.0}),)


def test_adding_does_not_synchronise() -> None:
    real = History(["first", "second"], 1, 2, CPU)
    with no_host_synchronisation(real, vector(0.1, 0.2), vector(0.1), vector(1.0)) as copies:
        history, losses, violations, multipliers = copies
        for step in range(1, 9):
            history.add(step, losses, violations, multipliers)


class LateCopy:
    """A copy that arrives when it is told to, or is waited for."""

    made: ClassVar[list[LateCopy]] = []

    def __init__(self, values: torch.Tensor) -> None:
        self.values, self.there, self.waited = values.clone(), False, False
        self.made.append(self)

    def is_ready(self) -> bool:
        return self.there

    def wait(self) -> torch.Tensor:
        self.waited = not self.there
        return self.values


def test_rows_are_copied_out_in_order_and_nobody_waits_unless_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LateCopy, "made", [])
    monkeypatch.setattr("nmt.trainers.stage.history.HostCopy", LateCopy)
    history = History(["first", "second"], 1, 1, CPU)
    for step in range(1, CAPACITY + 3):
        add(history, step)
    assert history.flush(wait=False) == ()
    first, second = LateCopy.made  # of the full buffer, and of the rest
    second.there = True
    assert history.flush(wait=False) == ()
    first.there = True
    assert [row.step for row in history.flush(wait=False)] == list(range(1, CAPACITY + 3))
    add(history, CAPACITY + 3)
    assert history.flush(wait=False) == ()
    assert [row.step for row in history.flush()] == [CAPACITY + 3]
    assert [copy.waited for copy in LateCopy.made] == [False, False, True]
    assert len(history.rows) == CAPACITY + 3

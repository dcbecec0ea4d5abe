"""What a chain keeps and logs is proportional to the number of tasks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from nmt.orchestrator.tracking.chain_log import ChainRun, Timed
from nmt.trainers.records import StageRecord
from nmt.trainers.reporter import Evaluated, Event, Progress, StageFinished
from nmt.trainers.spec.chain_spec import ChainSpec, ModelSpec
from nmt.trainers.spec.task import Task
from nmt.trainers.spec.training import Training
from nmt.trainers.stage.followed import MOST_OTHERS, trim_curves
from tests.orchestrator._notebook import Notebook
from tests.orchestrator._records import chain, started

ROWS, CANDIDATES = 6, 3
MOST_POINTS = ROWS * (1 + 3 * MOST_OTHERS) + 2 * CANDIDATES * (1 + MOST_OTHERS) + 9 * (1 + MOST_OTHERS) + 20
"""Points of a stage with one task: rows, candidates, the values of each followed task at the end, and the rest.

Four of the nine values are how far the loss of a protected task is from its optimum, with standard errors, on two
splits.
"""

OF_A_TASK = 10
"""Values that the chain's own run has of a protected task at the end."""


def trained(tasks: int) -> tuple[tuple[StageRecord, ...], ChainSpec]:
    """Return a chain with made-up records, trimmed as the stage loop trims them."""
    names = [f"t{index:02}" for index in range(tasks)]
    records = tuple(map(trim_curves, untrimmed(names)))
    levels = tuple((Task(name, "binary_cross_entropy", name),) for name in names)
    return records, ChainSpec(levels, ModelSpec("shared_bottom"), Training().settle(), 8, "data")


def untrimmed(names: Sequence[str]) -> tuple[StageRecord, ...]:
    return chain([[name] for name in names], steps=ROWS, evaluations=CANDIDATES - 1, joint=True)


def logged(tasks: int, live: bool) -> tuple[list[int], Notebook]:
    """Return the number of points of each run, the chain's first."""
    records, spec = trained(tasks)
    whole = untrimmed([task.name for task in spec.tasks])
    notebook = Notebook()
    run = ChainRun(notebook, spec, {}, "chain")
    for record, full in zip(records, whole, strict=True):
        events: list[Event] = []
        if live:
            events += [started(record)]
            events += [Progress(record.stage, ROWS, full.rows)]
            events += [Evaluated(record.stage, candidate) for candidate in full.candidates]
        run.write([Timed(event, 1) for event in (*events, StageFinished(record, False))])
    run.finish(1.0, 1)
    return [len(points) for points in notebook.points], notebook


@pytest.mark.parametrize("live", [False, True], ids=["from records", "live"])
def test_points_per_stage_have_a_bound(live: bool) -> None:
    totals = {}
    for tasks in (4, 8, 16, 48):
        (own, *stages), _ = logged(tasks, live)
        assert len(stages) == 1 + tasks
        assert own <= OF_A_TASK * tasks + 20
        assert max(stages) <= MOST_POINTS
        totals[tasks] = own + sum(stages)
    assert all(total <= (1 + tasks) * (MOST_POINTS + OF_A_TASK) + 20 for tasks, total in totals.items())
    assert totals[48] / 48 <= 1.5 * totals[16] / 16


def test_a_live_log_equals_the_log_from_the_records() -> None:
    _, live = logged(16, True)
    _, later = logged(16, False)
    for one, other in zip(live.points, later.points, strict=True):
        assert {(p.name, p.value, p.step) for p in one} == {(p.name, p.value, p.step) for p in other}
        assert len({(p.name, p.step) for p in one}) == len(one)


def test_a_table_has_every_task_where_the_curves_do_not() -> None:
    _, notebook = logged(16, False)
    record = trained(16)[0][-1]
    table = notebook.kept["17/tasks.json"]
    assert table["task"] == [f"t{index:02}" for index in range(16)]
    assert table["role"] == ["protected"] * 15 + ["minimised"]
    assert table["weight"] == [None] * 15 + [1.0]
    assert notebook.kept["1/tasks.json"]["role"] == ["minimised"] * 16  # the joint start
    assert notebook.kept["3/tasks.json"]["role"] == ["protected", "minimised"] + ["in the mix"] * 14
    assert notebook.kept["3/tasks.json"]["weight"] == [None, 1.0] + [0.3] * 14
    assert table["lambda"][:15] == pytest.approx([record.multipliers[task] for task in record.protected])
    assert {
        name.rpartition("/")[2] for name in {point.name for point in notebook.points[17]} if "lambda/" in name
    } == set(sorted(record.protected, key=lambda task: record.multipliers[task], reverse=True)[:MOST_OTHERS])
    assert not [path for path in logged(8, False)[1].kept if path.endswith("tasks.json")]


def test_a_record_grows_with_the_tasks_not_with_tasks_times_steps() -> None:
    """Workers and driver hold the records as long as the chain runs."""
    few, many = (trained(tasks)[0][-1] for tasks in (MOST_OTHERS + 1, 48))
    width = [sum(map(len, (row.losses, row.violations, row.multipliers))) for row in (*few.rows, *many.rows)]
    assert set(width) == {1 + 3 * MOST_OTHERS}
    assert {len(candidate.verdicts) for record in (few, many) for candidate in record.candidates} == {MOST_OTHERS}
    assert len(many.verdicts) == 2 * 47
    assert set(many.losses["valid"]) >= set(many.protected)


def test_a_task_beyond_its_limit_is_followed_whatever_its_multiplier() -> None:
    full = untrimmed([f"t{index:02}" for index in range(20)])[-1]
    quiet = min(full.protected, key=lambda task: full.multipliers[task])
    verdicts = tuple(replace(one, held=one.task != quiet) for one in full.verdicts)
    assert quiet not in trim_curves(full).rows[-1].multipliers
    assert quiet in trim_curves(replace(full, verdicts=verdicts)).rows[-1].multipliers

"""A greedy sweep: one stage after the other, each from the best trial of the stage before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nmt.orchestrator.cluster.tuning.runner import Ending
from tests.orchestrator._group import (
    Runner,
    assert_costs_add_up,
    content,
    cut_at,
    sweep,
    trees,
)
from tests.orchestrator._tracked import Project, in_folder


def test_each_stage_starts_at_the_best_trial_of_the_stage_before(project: Project) -> None:
    runner = Runner(project.storage)
    outcome = sweep(project, runner, sweep={"greedy": True})
    assert [len(numbers) for numbers in runner.asked] == [2, 4, 4]
    assert (outcome.cost.trials, outcome.cost.stages) == (10, 12)
    assert (outcome.planned.trials, outcome.planned.stages, outcome.planned.samples) == (10, 12, 2400)
    assert outcome.planned.samples_reused == outcome.cost.samples_reused == (4 * 2 + 4 * 3) * 200
    assert outcome.winner is not None
    assert len(outcome.winner.records) == 4
    assert outcome.winner in outcome.results[6:]
    first = min(outcome.results[:2], key=lambda result: result.records[-1].losses["valid"]["pay"])
    for stage in (0, 1):
        assert {result.records[stage].key for result in outcome.results[2:]} == {first.records[stage].key}
    (group,) = trees(project)
    assert [len(child.children) for child in group.children] == [2, 2, 3, 3, 3, 3, 4, 4, 4, 4]
    assert_costs_add_up(group)


def test_an_interrupted_greedy_sweep_resumes(project: Project, tmp_path_factory: Any, database: Path) -> None:
    other = in_folder(tmp_path_factory.mktemp("greedy"), database)
    sweep(other, sweep={"greedy": True})
    (expected,) = trees(other)
    with pytest.raises(KeyboardInterrupt):
        sweep(project, Runner(project.storage, cut=cut_at(17, KeyboardInterrupt)), sweep={"greedy": True})
    sweep(project, sweep={"greedy": True})
    (group,) = trees(project)
    assert content(project, group) == content(other, expected)


def test_a_greedy_sweep_ends_where_no_trial_finished(project: Project) -> None:
    diverged = (2, Ending("diverged", "nan"))
    runner = Runner(project.storage, dict.fromkeys(range(2, 6), diverged))
    outcome = sweep(project, runner, sweep={"greedy": True})
    assert len(outcome.results) == 6
    assert len(runner.asked) == 2

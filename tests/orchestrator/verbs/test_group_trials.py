"""Trials of a group that diverge, fail or are stopped."""

from __future__ import annotations

from collections import Counter
from typing import Any

from nmt.orchestrator.cluster.tuning.runner import Ending
from tests.orchestrator._group import (
    Runner,
    assert_costs_add_up,
    sweep,
    trees,
    walk,
)
from tests.orchestrator._tracked import Project


def test_a_diverged_trial_counts(project: Project) -> None:
    """It costs what it trained, and the group is finished."""
    ending = Ending("diverged", "stage 2 (amount): the loss is nan; lower training.eta_theta")
    outcome = sweep(project, Runner(project.storage, {1: (2, ending)}))
    assert [result.status for result in outcome.results] == ["finished", "diverged", "finished", "finished"]
    assert outcome.results[1].reason == ending.reason
    assert (outcome.broken, outcome.unfinished) == ((), ())
    assert (outcome.cost.trials, outcome.cost.stages, outcome.cost.samples) == (4, 10, 2000)
    (group,) = trees(project)
    assert group.run.info.status == "FINISHED"
    assert [child.run.info.status for child in group.children] == ["FINISHED", "FAILED", "FINISHED", "FINISHED"]
    assert group.run.data.tags["nmt.trials_failed"] == "1"
    assert group.cost("samples") == 2000
    assert_costs_add_up(group)


def test_a_failed_trial_fails_the_group_and_is_retried(project: Project, undisturbed_sweep: dict[str, Any]) -> None:
    ending = Ending("failed", "RuntimeError: out of memory")
    outcome = sweep(project, Runner(project.storage, {1: (2, ending)}))
    assert [result.trial.label for result in outcome.broken] == [outcome.results[1].trial.label]
    (group,) = trees(project)
    assert group.run.info.status == "FAILED"
    again = sweep(project)
    assert again.cost.samples == 2400
    (group,) = trees(project)
    assert Counter(node.kind for node in walk([group])) == {"sweep": 1, "chain": 4, "stage": 16}
    assert group.run.info.status == "FINISHED"
    assert_costs_add_up(group)


def test_stopped_trials_resume(project: Project) -> None:
    """A time budget stops one running trial; the last one never started."""
    stopped = Ending("stopped")
    outcome = sweep(project, Runner(project.storage, {2: (2, stopped), 3: (None, stopped)}))
    assert [result.status for result in outcome.results] == ["finished", "finished", "stopped", "stopped"]
    assert len(outcome.unfinished) == 2
    (group,) = trees(project)
    assert group.run.info.status == "KILLED"
    assert len(group.children) == 3  # what never started has no run
    assert sweep(project).cost.samples == 2400
    (group,) = trees(project)
    assert_costs_add_up(group)
    assert group.cost("samples") == 2400
    assert {node.run.info.status for node in walk([group])} == {"FINISHED"}


def test_a_trial_whose_stages_are_stored_is_finished_without_its_events(project: Project) -> None:
    outcome = sweep(project, Runner(project.storage, deaf=range(4)))
    assert [result.status for result in outcome.results] == ["finished"] * 4
    (group,) = trees(project)
    assert_costs_add_up(group)
    assert (outcome.cost.stages, outcome.cost.stages_reused) == (12, 4)


def test_without_a_finished_trial_there_is_no_winner(project: Project) -> None:
    diverged = (0, Ending("diverged", "nan"))
    outcome = sweep(project, Runner(project.storage, dict.fromkeys(range(4), diverged)))
    assert outcome.winner is None
    assert outcome.cost.samples == 0
    (group,) = trees(project)
    assert "nmt.winner" not in group.run.data.tags

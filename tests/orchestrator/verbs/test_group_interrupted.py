"""Interrupted groups, and a tracking store that is away: nothing is lost, and nothing is logged twice."""

from __future__ import annotations

from typing import Any

import pytest
from mlflow import MlflowClient

from nmt.orchestrator.tracking import group_live
from nmt.orchestrator.verbs.sync import sync_storage
from tests.orchestrator._group import (
    CutError,
    Runner,
    assert_costs_add_up,
    content,
    cut_at,
    grid,
    manifests,
    sweep,
    trees,
    walk,
)
from tests.orchestrator._tracked import Project, by_chance, unreliable, use


@pytest.mark.parametrize(("error", "number"), [(CutError, 4), (KeyboardInterrupt, 19)])
def test_an_interrupted_sweep_resumes_its_runs(
    project: Project, undisturbed_sweep: dict[str, Any], error: type[BaseException], number: int
) -> None:
    with pytest.raises(error):
        sweep(project, Runner(project.storage, cut=cut_at(number, error)))
    (group,) = trees(project)
    assert group.run.info.status == ("KILLED" if error is KeyboardInterrupt else "FAILED")
    runner = Runner(project.storage)
    outcome = sweep(project, runner)
    assert outcome.cost.samples == 2400
    assert len(set(runner.trained)) == len(runner.trained) <= 12
    (group,) = trees(project)
    assert content(project, group) == undisturbed_sweep
    (manifest,) = manifests(project)
    assert (manifest.status, manifest.logged) == ("FINISHED", True)


def test_a_grid_that_was_interrupted_twice(project: Project, undisturbed_grid: dict[str, Any]) -> None:
    for number in (5, 9):
        with pytest.raises(KeyboardInterrupt):
            grid(project, Runner(project.storage, cut=cut_at(number, KeyboardInterrupt)))
    grid(project)
    (group,) = trees(project)
    assert content(project, group) == undisturbed_grid


def test_stages_whose_events_got_lost_are_counted(project: Project) -> None:
    """Two trials train without their events arriving; the third and its driver are killed."""
    with pytest.raises(CutError):
        sweep(project, Runner(project.storage, cut=cut_at(18, CutError), deaf=(0, 2)))
    outcome = sweep(project)
    assert (outcome.cost.stages, outcome.cost.stages_reused, outcome.cost.samples) == (12, 4, 2400)
    (group,) = trees(project)
    assert_costs_add_up(group)
    assert (group.cost("stages"), group.cost("stages_reused"), group.cost("samples")) == (12, 4, 2400)


def test_stages_are_kept_when_tracking_gives_up(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_live, "AWAY_SECONDS", 0.1)
    use(monkeypatch, unreliable(lambda _: "before"))
    outcome = sweep(project)
    assert outcome.tracking_failure is not None
    assert outcome.run_id is None
    assert [result.status for result in outcome.results] == ["finished"] * 4


@pytest.mark.parametrize("verb", ["sweep", "grid"])
def test_sync_logs_an_untracked_group_as_if_nothing_had_happened(
    project: Project,
    undisturbed_sweep: dict[str, Any],
    undisturbed_grid: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    verb: str,
) -> None:
    with monkeypatch.context() as away:
        away.setattr(group_live, "AWAY_SECONDS", 0.1)
        use(away, unreliable(lambda _: "before"))
        assert {"sweep": sweep, "grid": grid}[verb](project).tracking_failure
    assert MlflowClient(project.uri).get_experiment_by_name("group") is None
    client = use(monkeypatch, unreliable(lambda _: ""))
    synced = sync_storage(None, storage=project.storage)
    (found,) = synced.chains
    assert (found.status, found.ended, found.kind) == ("logged", "FINISHED", verb)
    assert set(client.logged.values()) == {1}
    (group,) = trees(project)
    assert found.run_id == group.run.info.run_id
    assert found.runs == len(list(walk([group])))
    assert content(project, group) == {"sweep": undisturbed_sweep, "grid": undisturbed_grid}[verb]
    assert sync_storage(None, storage=project.storage).chains == ()


def test_a_sweep_interrupted_while_tracking_is_away_is_synced_and_resumes(
    project: Project, undisturbed_sweep: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as away:
        away.setattr(group_live, "AWAY_SECONDS", 0.1)
        use(away, unreliable(lambda _: "before"))
        with pytest.raises(KeyboardInterrupt):
            sweep(project, Runner(project.storage, cut=cut_at(18, KeyboardInterrupt)))
    (found,) = sync_storage(None, storage=project.storage).chains
    assert (found.status, found.ended) == ("logged", "KILLED")
    sweep(project)
    (group,) = trees(project)
    assert content(project, group) == undisturbed_sweep


@pytest.mark.parametrize("seed", range(4))
def test_failed_requests_leave_every_record_once(
    project: Project, undisturbed_sweep: dict[str, Any], monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(group_live, "AWAY_SECONDS", 60.0)
    client = use(monkeypatch, unreliable(by_chance(seed, share=0.05)))
    assert sweep(project).tracking_failure is None
    assert set(client.logged.values()) == {1}
    assert set(client.created.values()) == {1}
    monkeypatch.undo()
    (group,) = trees(project)
    assert content(project, group) == undisturbed_sweep

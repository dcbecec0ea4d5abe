"""A group of trials: its tree in MLflow, its costs on every level, and its manifests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mlflow import MlflowClient

from nmt.orchestrator.tracking import experiment_note, saved_view
from nmt.orchestrator.tracking.manifests.store import ManifestStore
from nmt.orchestrator.trials.group_outcome import GroupOutcome
from tests.orchestrator._group import (
    COSTS,
    Runner,
    assert_costs_add_up,
    grid,
    manifests,
    sweep,
    trees,
    walk,
)
from tests.orchestrator._tracked import Project

COMPARED = {"method", "eta_theta", "eta_lambda", "weights"}


def test_the_cost_of_a_sweep(swept: tuple[Project, GroupOutcome]) -> None:
    """2 stages 0, 2 stages 1 and 2 further stages of 4 chains: of 16 stages 4 are reused."""
    _, outcome = swept
    cost = outcome.cost
    assert (cost.trials, cost.stages, cost.stages_reused) == (4, 12, 4)
    assert (cost.steps, cost.samples, cost.samples_reused, cost.worker_seconds) == (240, 2400, 800, 48.0)
    assert outcome.planned.samples == cost.samples
    assert outcome.planned.samples_reused == cost.samples_reused
    assert outcome.tracking_failure is None
    assert [result.status for result in outcome.results] == ["finished"] * 4
    assert outcome.winner in outcome.results


def test_the_tree_of_a_sweep(swept: tuple[Project, GroupOutcome]) -> None:
    project, outcome = swept
    (group,) = trees(project)
    assert group.run.info.run_id == outcome.run_id
    assert (group.kind, group.run.info.run_name) == ("sweep", "sweep 2×2")
    assert [child.kind for child in group.children] == ["chain"] * 4
    assert [child.run.info.run_name for child in group.children] == [result.trial.short for result in outcome.results]
    for child in group.children:
        assert [stage.run.info.run_name for stage in child.children] == [
            "stage 0: joint",
            "stage 1: pay",
            "stage 2: amount",
            "stage 3: like",
        ]
    assert {node.run.info.status for node in walk([group])} == {"FINISHED"}
    assert_costs_add_up(group)
    assert group.run.data.tags["nmt.winner"] == (outcome.winner.trial.label if outcome.winner else None)
    assert group.run.data.tags["nmt.guarantee"] in ("held", "broken")


def test_the_tree_of_a_grid(gridded: tuple[Project, GroupOutcome]) -> None:
    """2 weights for each of 3 tasks; equal weights are a point of the grid, and cost nothing more."""
    project, outcome = gridded
    (group,) = trees(project)
    assert (group.kind, group.run.info.run_name) == ("grid", "grid of 8")
    assert [child.kind for child in group.children] == ["weights"] * 12
    assert not any(child.children for child in group.children)
    assert_costs_add_up(group)
    assert (outcome.cost.trials, outcome.cost.stages, outcome.cost.stages_reused) == (12, 11, 1)
    assert outcome.cost.samples == 2200
    assert len(outcome.of("grid")) == 8
    assert [result.trial.label for result in outcome.of("baseline")] == [
        "equal weights",
        "pay alone",
        "amount alone",
        "like alone",
    ]
    assert outcome.winner is not None
    assert outcome.winner.trial.source == "grid"
    for child in group.children:
        assert {"accepted_step", "cost/samples"} <= set(child.run.data.metrics)


def test_a_reused_stage_is_tagged_with_the_run_that_trained_it(swept: tuple[Project, GroupOutcome]) -> None:
    project, _ = swept
    (group,) = trees(project)
    stages = [stage for chain in group.children for stage in chain.children]
    trained = {stage.run.data.tags["nmt.stage_key"]: stage for stage in stages if stage.cost("stages") == 1}
    assert len(trained) == 12
    reused = [stage for stage in stages if stage.cost("stages_reused") == 1]
    assert len(reused) == 4
    for stage in stages:
        origin = stage.run.data.tags.get("nmt.reused_from")
        expected = trained[stage.run.data.tags["nmt.stage_key"]].run.info.run_id if stage in reused else None
        assert origin == expected


def test_the_equal_weights_of_a_grid_are_linked_to_their_point(gridded: tuple[Project, GroupOutcome]) -> None:
    project, _ = gridded
    (group,) = trees(project)
    reused = [child for child in group.children if "nmt.reused_from" in child.run.data.tags]
    (equal,) = reused
    assert equal.run.info.run_name == "equal weights"
    origin = next(child for child in group.children if child.run.info.run_id == equal.run.data.tags["nmt.reused_from"])
    assert origin.run.data.params["weights"] == "1:1:1"
    assert origin.run.data.tags["nmt.stage_key"] == equal.run.data.tags["nmt.stage_key"]


def test_every_kind_of_run_has_the_comparable_params(
    swept: tuple[Project, GroupOutcome], gridded: tuple[Project, GroupOutcome]
) -> None:
    kinds = set()
    for project, _ in (swept, gridded):
        for node in walk(trees(project)):
            kinds.add(node.kind)
            assert set(node.run.data.params) >= COMPARED
            assert node.run.data.tags["nmt.method"] == node.run.data.params["method"]
            if node.kind != "stage":
                assert node.run.data.params["training.max_epochs"] == "2"
    assert kinds == {"sweep", "chain", "stage", "grid", "weights"}


def test_curves_have_costs_at_their_steps(undisturbed_sweep: dict[str, Any], undisturbed_grid: dict[str, Any]) -> None:
    """MLflow plots one metric against another by joining their steps."""
    for group, trials in ((undisturbed_sweep, 4), (undisturbed_grid, 12)):
        steps: dict[str, list[int]] = {}
        for name, step, _ in group["points"]:
            steps.setdefault(name, []).append(step)
        for task in ("pay", "amount", "like"):
            assert sorted(steps[f"best/{task}"]) == sorted(steps[f"winner/{task}"]) == list(range(1, trials + 1))
        for name in COSTS:
            assert sorted(steps[f"cost/{name}"]) == list(range(1, trials + 1))
        values = {step: value for name, step, value in group["points"] if name == "cost/samples"}
        assert sorted(values.values()) == [values[step] for step in sorted(values)]


def test_the_best_curve_never_falls(undisturbed_grid: dict[str, Any]) -> None:
    rises = 0
    for task in ("pay", "amount", "like"):
        points = sorted((step, value) for name, step, value in undisturbed_grid["points"] if name == f"best/{task}")
        values = [value for _, value in points]
        assert values == sorted(values)
        rises += len(set(values)) - 1
    assert rises


def test_the_view_and_the_note_are_installed_once(database: Path, project: Project) -> None:
    client = MlflowClient(project.uri)
    sweep(project)
    experiment = client.get_experiment_by_name("group")
    assert experiment is not None
    first = dict(experiment.tags)
    assert first[saved_view.TAG]
    assert first[experiment_note.TAG]
    grid(project)
    second = dict(client.get_experiment_by_name("group").tags)
    assert second == first


def test_the_same_command_again_is_a_new_run_that_trains_nothing(project: Project) -> None:
    sweep(project)
    runner = Runner(project.storage)
    outcome = sweep(project, runner)
    assert runner.trained == []
    assert runner.asked == [[]]
    assert (outcome.cost.stages, outcome.cost.stages_reused) == (0, 16)
    assert (outcome.cost.samples, outcome.cost.samples_reused) == (0, 3200)
    assert len(trees(project)) == 2
    for group in trees(project):
        assert_costs_add_up(group)


def test_manifests_are_read_as_they_were_written(swept: tuple[Project, GroupOutcome]) -> None:
    project, outcome = swept
    (group,) = manifests(project)
    assert type(group).from_json(group.to_json()) == group
    chains = ManifestStore(project.storage)
    for name, result in zip(group.chains, outcome.results, strict=True):
        chain = chains.read(name)
        assert type(chain).from_json(chain.to_json()) == chain
        assert chain.spec == result.trial.spec
        assert chain.wanted == result.trial.keys
        assert (chain.parent, chain.status) == (group.run_uuid, "FINISHED")

"""A group of trials: its tree in MLflow, its costs on every level, and what happens when it is cut off."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from orchestrator.grid import plan_grid, run_grid
from orchestrator.group import GroupOutcome
from orchestrator.manifests.store import GroupStore, ManifestStore
from orchestrator.sweep import plan_sweep, run_sweep
from orchestrator.sync import sync_storage
from orchestrator.tracking import experiment_note, group_live, saved_view
from orchestrator.tuning.runner import Ending

from ._group import Node, Runner, content, prepared, silent, trees, walk
from ._tracked import Project, by_chance, in_folder, unreliable, use

COMPARED = {"method", "eta_theta", "eta_lambda", "weights"}
COSTS = ("trials", "stages", "stages_reused", "steps", "samples", "samples_reused", "worker_seconds")


def sweep(project: Project, runner: Runner | None = None, **sections: Any) -> GroupOutcome:
    experiment = prepared(project, **sections)
    runner = runner or Runner(project.storage)
    return run_sweep(experiment, plan_sweep(experiment), runner.as_runner, silent())


def grid(project: Project, runner: Runner | None = None, **sections: Any) -> GroupOutcome:
    experiment = prepared(project, **sections)
    runner = runner or Runner(project.storage)
    return run_grid(experiment, plan_grid(experiment), runner.as_runner, silent())


def assert_costs_add_up(group: Node) -> None:
    """Group, trials, stages: each is the sum of what is below it."""
    for name in COSTS:
        assert group.cost(name) == sum(child.cost(name) for child in group.children), name
        for chain in group.children:
            if chain.kind == "chain" and name != "trials":
                assert chain.cost(name) == sum(stage.cost(name) for stage in chain.children), name


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory, database: Path) -> tuple[Project, GroupOutcome]:
    """A sweep during which nothing happened."""
    project = in_folder(tmp_path_factory.mktemp("swept"), database)
    return project, sweep(project)


@pytest.fixture(scope="module")
def undisturbed_sweep(swept: tuple[Project, GroupOutcome]) -> dict[str, Any]:
    project, _ = swept
    (tree,) = trees(project)
    return content(project, tree)


@pytest.fixture(scope="module")
def gridded(tmp_path_factory: pytest.TempPathFactory, database: Path) -> tuple[Project, GroupOutcome]:
    """A grid with baselines during which nothing happened."""
    project = in_folder(tmp_path_factory.mktemp("gridded"), database)
    return project, grid(project)


@pytest.fixture(scope="module")
def undisturbed_grid(gridded: tuple[Project, GroupOutcome]) -> dict[str, Any]:
    project, _ = gridded
    (tree,) = trees(project)
    return content(project, tree)


# --- undisturbed ------------------------------------------------------------------------------------------------------


def test_what_a_sweep_costs(swept: tuple[Project, GroupOutcome]) -> None:
    """2 first stages and 4 chains' two others; of the 12 stages 2 are shared."""
    _, outcome = swept
    cost = outcome.cost
    assert (cost.trials, cost.stages, cost.stages_reused) == (4, 10, 2)
    assert (cost.steps, cost.samples, cost.samples_reused, cost.worker_seconds) == (200, 2000, 400, 40.0)
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
            "stage 1: pay",
            "stage 2: amount",
            "stage 3: like",
        ]
    assert {node.run.info.status for node in walk([group])} == {"FINISHED"}
    assert_costs_add_up(group)
    assert group.run.data.tags["nmt.winner"] == (outcome.winner.trial.label if outcome.winner else None)
    assert group.run.data.tags["nmt.guarantee"] in ("held", "broken")


def test_the_tree_of_a_grid(gridded: tuple[Project, GroupOutcome]) -> None:
    """2 weights for each of 3 tasks; equal weights are one of them, and cost nothing twice."""
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
    assert len(trained) == 10
    reused = [stage for stage in stages if stage.cost("stages_reused") == 1]
    assert len(reused) == 2
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


def test_every_kind_of_run_has_the_params_that_runs_are_compared_by(
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
    """MLflow draws a metric against another one by joining their steps."""
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
    assert (outcome.cost.stages, outcome.cost.stages_reused) == (0, 12)
    assert (outcome.cost.samples, outcome.cost.samples_reused) == (0, 2400)
    assert len(trees(project)) == 2
    for group in trees(project):
        assert_costs_add_up(group)


def test_stages_are_kept_where_tracking_is_given_up(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_live, "AWAY_SECONDS", 0.1)
    use(monkeypatch, unreliable(lambda _: "before"))
    outcome = sweep(project)
    assert outcome.tracking_failure is not None
    assert outcome.run_id is None
    assert [result.status for result in outcome.results] == ["finished"] * 4


# --- cut off ----------------------------------------------------------------------------------------------------------


class CutError(Exception):
    """Something that nobody expected."""


def cut_at(number: int, error: type[BaseException]) -> Any:
    """Raise at the so many-th time that a stage starts or ends."""
    calls: list[tuple[int, int]] = []

    def cut(trial: int, stage: int) -> None:
        calls.append((trial, stage))
        if len(calls) == number:
            raise error

    return cut


@pytest.mark.parametrize(("error", "number"), [(CutError, 4), (KeyboardInterrupt, 15)])
def test_a_sweep_that_was_cut_off_goes_on_in_its_runs(
    project: Project, undisturbed_sweep: dict[str, Any], error: type[BaseException], number: int
) -> None:
    with pytest.raises(error):
        sweep(project, Runner(project.storage, cut=cut_at(number, error)))
    (group,) = trees(project)
    assert group.run.info.status == ("KILLED" if error is KeyboardInterrupt else "FAILED")
    runner = Runner(project.storage)
    outcome = sweep(project, runner)
    assert outcome.cost.samples == 2000
    assert len(set(runner.trained)) == len(runner.trained) <= 10
    (group,) = trees(project)
    assert content(project, group) == undisturbed_sweep
    (manifest,) = _groups(project)
    assert (manifest.status, manifest.logged) == ("FINISHED", True)


def test_a_grid_that_was_cut_off_twice(project: Project, undisturbed_grid: dict[str, Any]) -> None:
    for number in (5, 9):
        with pytest.raises(KeyboardInterrupt):
            grid(project, Runner(project.storage, cut=cut_at(number, KeyboardInterrupt)))
    grid(project)
    (group,) = trees(project)
    assert content(project, group) == undisturbed_grid


def _groups(project: Project) -> list[Any]:
    kept = GroupStore(project.storage)
    return [kept.read(name) for name in kept.names()]


# --- the tracking store is away ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["sweep", "grid"])
def test_what_nobody_tracked_is_logged_as_if_nothing_had_happened(
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


def test_a_sweep_that_was_cut_off_while_away_is_logged_and_then_goes_on(
    project: Project, undisturbed_sweep: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as away:
        away.setattr(group_live, "AWAY_SECONDS", 0.1)
        use(away, unreliable(lambda _: "before"))
        with pytest.raises(KeyboardInterrupt):
            sweep(project, Runner(project.storage, cut=cut_at(14, KeyboardInterrupt)))
    (found,) = sync_storage(None, storage=project.storage).chains
    assert (found.status, found.ended) == ("logged", "KILLED")
    sweep(project)
    (group,) = trees(project)
    assert content(project, group) == undisturbed_sweep


@pytest.mark.parametrize("seed", range(1))
def test_requests_that_fail_leave_every_record_once(
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


# --- trials that do not end well --------------------------------------------------------------------------------------


def test_a_trial_that_diverged_is_an_outcome(project: Project) -> None:
    """It counts with what was trained before; the group is finished."""
    ending = Ending("diverged", "stage 2 (amount): the loss is nan; lower training.eta_theta")
    outcome = sweep(project, Runner(project.storage, {1: (1, ending)}))
    assert [result.status for result in outcome.results] == ["finished", "diverged", "finished", "finished"]
    assert outcome.results[1].reason == ending.reason
    assert (outcome.broken, outcome.unfinished) == ((), ())
    assert (outcome.cost.trials, outcome.cost.stages, outcome.cost.samples) == (4, 8, 1600)
    (group,) = trees(project)
    assert group.run.info.status == "FINISHED"
    assert [child.run.info.status for child in group.children] == ["FINISHED", "FAILED", "FINISHED", "FINISHED"]
    assert group.run.data.tags["nmt.trials_failed"] == "1"
    assert group.cost("samples") == 1600
    assert_costs_add_up(group)


def test_a_trial_that_failed_fails_the_group_and_is_tried_again(
    project: Project, undisturbed_sweep: dict[str, Any]
) -> None:
    ending = Ending("failed", "RuntimeError: out of memory")
    outcome = sweep(project, Runner(project.storage, {1: (1, ending)}))
    assert [result.trial.label for result in outcome.broken] == [outcome.results[1].trial.label]
    (group,) = trees(project)
    assert group.run.info.status == "FAILED"
    again = sweep(project)
    assert again.cost.samples == 2000
    (group,) = trees(project)
    assert Counter(node.kind for node in walk([group])) == {"sweep": 1, "chain": 4, "stage": 12}
    assert group.run.info.status == "FINISHED"
    assert_costs_add_up(group)


def test_trials_that_were_stopped_go_on(project: Project) -> None:
    """A time budget: one trial was under way, the last one never started."""
    stopped = Ending("stopped")
    outcome = sweep(project, Runner(project.storage, {2: (1, stopped), 3: (None, stopped)}))
    assert [result.status for result in outcome.results] == ["finished", "finished", "stopped", "stopped"]
    assert len(outcome.unfinished) == 2
    (group,) = trees(project)
    assert group.run.info.status == "KILLED"
    assert len(group.children) == 3  # what never started has no run
    assert sweep(project).cost.samples == 2000
    (group,) = trees(project)
    assert_costs_add_up(group)
    assert group.cost("samples") == 2000
    assert {node.run.info.status for node in walk([group])} == {"FINISHED"}


def test_a_trial_is_finished_when_its_stages_are_there_whatever_was_heard(project: Project) -> None:
    """The last event got lost."""

    class Deaf(Runner):
        def run(self, trials: Any, name: str, deliver: Any) -> dict[int, Ending]:
            return super().run(trials, name, lambda number, event: None)

    outcome = sweep(project, Deaf(project.storage))
    assert [result.status for result in outcome.results] == ["finished"] * 4
    (group,) = trees(project)
    assert_costs_add_up(group)


def test_nothing_finished_has_no_winner(project: Project) -> None:
    diverged = (0, Ending("diverged", "nan"))
    outcome = sweep(project, Runner(project.storage, dict.fromkeys(range(4), diverged)))
    assert outcome.winner is None
    assert outcome.cost.samples == 0
    (group,) = trees(project)
    assert "nmt.winner" not in group.run.data.tags


# --- greedy -----------------------------------------------------------------------------------------------------------


def test_a_greedy_sweep_goes_on_from_the_best_of_each_stage(project: Project) -> None:
    runner = Runner(project.storage)
    outcome = sweep(project, runner, sweep={"greedy": True})
    assert [len(numbers) for numbers in runner.asked] == [2, 4, 4]
    assert (outcome.cost.trials, outcome.cost.stages) == (10, 10)
    assert (outcome.planned.trials, outcome.planned.stages, outcome.planned.samples) == (10, 10, 2000)
    assert outcome.planned.samples_reused == outcome.cost.samples_reused == (4 * 1 + 4 * 2) * 200
    assert outcome.winner is not None
    assert len(outcome.winner.records) == 3
    assert outcome.winner in outcome.results[6:]
    first = min(outcome.results[:2], key=lambda result: result.records[0].losses["valid"]["pay"])
    assert {result.records[0].key for result in outcome.results[2:]} == {first.records[0].key}
    (group,) = trees(project)
    assert [len(child.children) for child in group.children] == [1, 1, 2, 2, 2, 2, 3, 3, 3, 3]
    assert_costs_add_up(group)


def test_a_greedy_sweep_that_was_cut_off_goes_on(project: Project, tmp_path_factory: Any, database: Path) -> None:
    other = in_folder(tmp_path_factory.mktemp("greedy"), database)
    sweep(other, sweep={"greedy": True})
    (expected,) = trees(other)
    with pytest.raises(KeyboardInterrupt):
        sweep(project, Runner(project.storage, cut=cut_at(13, KeyboardInterrupt)), sweep={"greedy": True})
    sweep(project, sweep={"greedy": True})
    (group,) = trees(project)
    assert content(project, group) == content(other, expected)


def test_a_greedy_sweep_ends_where_nothing_is_finished(project: Project) -> None:
    diverged = (1, Ending("diverged", "nan"))
    runner = Runner(project.storage, dict.fromkeys(range(2, 6), diverged))
    outcome = sweep(project, runner, sweep={"greedy": True})
    assert len(outcome.results) == 6
    assert len(runner.asked) == 2


# --- manifests --------------------------------------------------------------------------------------------------------


def test_manifests_are_read_as_they_were_written(swept: tuple[Project, GroupOutcome]) -> None:
    project, outcome = swept
    (group,) = _groups(project)
    assert type(group).from_json(group.to_json()) == group
    chains = ManifestStore(project.storage)
    for name, result in zip(group.chains, outcome.results, strict=True):
        chain = chains.read(name)
        assert type(chain).from_json(chain.to_json()) == chain
        assert chain.spec == result.trial.spec
        assert chain.wanted == result.trial.keys
        assert (chain.parent, chain.status) == (group.run_uuid, "FINISHED")

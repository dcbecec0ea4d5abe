"""Predicted cost of trials, exact to the sample."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from nmt.orchestrator.comparison.costs import sweep_stages
from nmt.orchestrator.trials.forecast import Forecast, forecast, forecast_greedy, stage_samples
from nmt.orchestrator.trials.learning_rates import greedy_trials, sweep_trials
from nmt.orchestrator.trials.loss_weights import WeightGrid, baseline_trials, weights_trial
from nmt.orchestrator.trials.sweep_plan import SweepPlan
from nmt.trainers.data.schema import Schema
from nmt.trainers.spec.chain_spec import Rates
from nmt.trainers.spec.recipe import RecipeName
from nmt.trainers.spec.training import Training
from tests.orchestrator._trials import Shelf, spec_of

SCHEMA = Schema(examples={"train": 1000, "valid": 50, "test": 50})
FIXED = Training(max_epochs=3, patience=None)
THETAS, LAMBDAS = (1e-4, 1e-3, 1e-2), (1.0, 10.0, 100.0)


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(str(tmp_path))


def test_a_stage_costs_its_budget() -> None:
    assert stage_samples(FIXED.settle(), SCHEMA) == 3000


@pytest.mark.parametrize("recipe", ["joint", "paper"])
@pytest.mark.parametrize("levels", range(1, 9))
def test_a_sweep_is_linear_in_the_number_of_tasks(shelf: Shelf, levels: int, recipe: RecipeName) -> None:
    training = replace(FIXED, recipe=recipe)
    spec = spec_of(*([f"task{number}"] for number in range(levels)), training=training)
    lambdas = LAMBDAS[:1] if levels == 1 else LAMBDAS
    trials = sweep_trials(spec, THETAS, lambdas)
    joint = recipe == "joint" and levels > 1
    stages = 3 * joint + 3 + 9 * (levels - 1)
    for known in (levels, 1):  # the cost curve predicts it from a sweep of another number of tasks
        other = sweep_trials(spec_of(*([f"t{number}"] for number in range(known)), training=training), THETAS, lambdas)
        assert sweep_stages(SweepPlan(THETAS, lambdas, False, other, Forecast()), levels) == stages
    reused = len(trials) * (joint + levels) - stages
    assert forecast(trials, SCHEMA, shelf.stages) == Forecast(
        len(trials), stages, reused, stages * 3000, reused * 3000, exact=True
    )


def test_stored_stages_are_reused_with_the_samples_that_they_took(shelf: Shelf) -> None:
    spec = spec_of(["a"], ["b"], training=FIXED)
    trials = sweep_trials(spec, THETAS, LAMBDAS)
    joint, first, _ = trials[0].keys
    shelf.stage(joint, {"a": [0.5], "b": [0.5]}, steps=5)  # 50 samples
    shelf.stage(first, {"a": [0.5]}, steps=7)  # 70 samples
    shelf.stage(trials[4].keys[2], {"a": [0.5], "b": [0.5]}, steps=11)  # 110 samples
    found = forecast(trials, SCHEMA, shelf.stages)
    assert (found.trials, found.stages, found.stages_reused) == (9, 2 + 2 + 8, 27 - 12)
    assert found.samples == 12 * 3000
    # The other stages 0 and 1 are trained once and found twice each.
    assert found.samples_reused == 3 * 50 + 3 * 70 + 110 + (4 + 4) * 3000
    assert found.exact


def test_stages_that_end_early_are_an_upper_bound(shelf: Shelf) -> None:
    spec = spec_of(["a"], ["b"], training=Training(max_epochs=3, patience=5))
    trials = sweep_trials(spec, THETAS[:1], LAMBDAS[:1])
    assert not forecast(trials, SCHEMA, shelf.stages).exact
    for key in trials[0].keys:
        shelf.stage(key, {"a": [0.5]}, steps=7)
    found = forecast(trials, SCHEMA, shelf.stages)
    assert found == Forecast(1, 0, 3, 0, 210, exact=True)  # nothing is trained, so this is exact


def test_a_grid_with_baselines_counts_equal_weights_once(shelf: Shelf) -> None:
    spec = spec_of(["a"], ["b"], ["c"], training=FIXED)
    for normalised in (False, True):
        grid = WeightGrid(3, 5, normalised)
        trials = [*(weights_trial(spec, weights) for weights in grid.all()), *baseline_trials(spec, grid)]
        expected = Forecast(grid.trials + 4, grid.trials + 3, 1, (grid.trials + 3) * 3000, 3000, exact=True)
        assert forecast(trials, SCHEMA, shelf.stages) == expected


@pytest.mark.parametrize("recipe", ["joint", "paper"])
@pytest.mark.parametrize("levels", range(1, 5))
def test_a_greedy_sweep_is_the_sum_of_its_trials(shelf: Shelf, levels: int, recipe: RecipeName) -> None:
    """Equals the sum of the forecasts per level, each made when the earlier stages are stored."""
    spec = spec_of(*([f"task{number}"] for number in range(levels)), training=replace(FIXED, recipe=recipe))
    chosen: list[Rates] = []
    total = Forecast()
    for _ in range(levels):
        trials = greedy_trials(spec, THETAS, LAMBDAS, chosen)
        total += forecast(trials, SCHEMA, shelf.stages)
        for trial in trials:
            for key in trial.keys:
                shelf.stage(key, {"a": [0.5]}, steps=300)
        chosen.append(Rates(1e-3, 10.0))
    assert total == forecast_greedy(spec, 3, 3, SCHEMA)
    assert total.trials == 3 + 9 * (levels - 1)
    early = replace(spec, training=replace(spec.training, patience=1))
    assert not forecast_greedy(early, 3, 3, SCHEMA).exact


def test_forecasts_add_up() -> None:
    one, other = Forecast(1, 2, 3, 4, 5, True), Forecast(10, 20, 30, 40, 50, False)
    assert one + other == Forecast(11, 22, 33, 44, 55, False)
    assert one + Forecast() == one

"""Predicted cost of trials, exact to the sample."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.trials.forecast import Forecast, forecast, forecast_greedy, stage_samples
from orchestrator.trials.learning_rates import greedy_trials, sweep_trials
from orchestrator.trials.loss_weights import WeightGrid, baseline_trials, weights_trial
from tests.orchestrator._trials import Shelf, spec_of
from trainers.data.schema import Schema
from trainers.spec.chain_spec import Rates
from trainers.spec.training import Training

SCHEMA = Schema(examples={"train": 1000, "valid": 50, "test": 50})
FIXED = Training(max_epochs=3, patience=None)
THETAS, LAMBDAS = (1e-4, 1e-3, 1e-2), (1.0, 10.0, 100.0)


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(str(tmp_path))


def test_a_stage_costs_its_budget() -> None:
    assert stage_samples(FIXED, SCHEMA) == 3000


@pytest.mark.parametrize("levels", range(1, 9))
def test_a_sweep_is_linear_in_the_number_of_tasks(shelf: Shelf, levels: int) -> None:
    spec = spec_of(*([f"task{number}"] for number in range(levels)), training=FIXED)
    trials = sweep_trials(spec, THETAS, LAMBDAS[:1] if levels == 1 else LAMBDAS)
    stages = 3 + 9 * (levels - 1)
    reused = len(trials) * levels - stages
    assert forecast(trials, SCHEMA, shelf.stages) == Forecast(
        len(trials), stages, reused, stages * 3000, reused * 3000, exact=True
    )


def test_stored_stages_are_reused_with_the_samples_that_they_took(shelf: Shelf) -> None:
    spec = spec_of(["a"], ["b"], training=FIXED)
    trials = sweep_trials(spec, THETAS, LAMBDAS)
    shelf.stage(trials[0].keys[0], {"a": [0.5]}, steps=7)  # 70 samples
    shelf.stage(trials[4].keys[1], {"a": [0.5], "b": [0.5]}, steps=11)  # 110 samples
    found = forecast(trials, SCHEMA, shelf.stages)
    assert (found.trials, found.stages, found.stages_reused) == (9, 2 + 8, 18 - 10)
    assert found.samples == 10 * 3000
    assert found.samples_reused == 3 * 70 + 110 + 4 * 3000  # the other first stages, twice each
    assert found.exact


def test_stages_that_end_early_are_an_upper_bound(shelf: Shelf) -> None:
    spec = spec_of(["a"], ["b"], training=Training(max_epochs=3, patience=5))
    trials = sweep_trials(spec, THETAS[:1], LAMBDAS[:1])
    assert not forecast(trials, SCHEMA, shelf.stages).exact
    for key in trials[0].keys:
        shelf.stage(key, {"a": [0.5]}, steps=7)
    found = forecast(trials, SCHEMA, shelf.stages)
    assert found == Forecast(1, 0, 2, 0, 140, exact=True)  # nothing is trained, so this is exact


def test_a_grid_with_baselines_counts_equal_weights_once(shelf: Shelf) -> None:
    spec = spec_of(["a"], ["b"], ["c"], training=FIXED)
    for normalised in (False, True):
        grid = WeightGrid(3, 5, normalised)
        trials = [*(weights_trial(spec, weights) for weights in grid.all()), *baseline_trials(spec, grid)]
        expected = Forecast(grid.trials + 4, grid.trials + 3, 1, (grid.trials + 3) * 3000, 3000, exact=True)
        assert forecast(trials, SCHEMA, shelf.stages) == expected


@pytest.mark.parametrize("levels", range(1, 5))
def test_a_greedy_sweep_is_the_sum_of_its_trials(shelf: Shelf, levels: int) -> None:
    """Equals the sum of the forecasts per stage, each made when the earlier stages are stored."""
    spec = spec_of(*([f"task{number}"] for number in range(levels)), training=FIXED)
    chosen: list[Rates] = []
    total = Forecast()
    for _ in range(levels):
        trials = greedy_trials(spec, THETAS, LAMBDAS, chosen)
        total += forecast(trials, SCHEMA, shelf.stages)
        for trial in trials:
            for key in trial.keys:
                shelf.stage(key, {"a": [0.5]}, steps=300)
        chosen.append(Rates(1e-3, 10.0))
    assert total == forecast_greedy(3, 3, levels, FIXED, SCHEMA)
    assert total.trials == 3 + 9 * (levels - 1)
    assert not forecast_greedy(3, 3, levels, Training(patience=1), SCHEMA).exact


def test_forecasts_add_up() -> None:
    one, other = Forecast(1, 2, 3, 4, 5, True), Forecast(10, 20, 30, 40, 50, False)
    assert one + other == Forecast(11, 22, 33, 44, 55, False)
    assert one + Forecast() == one

"""The grid of loss weights: their number, their values, and what they share with the baselines."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import pytest

from nmt.orchestrator.trials.loss_weights import WeightGrid, baseline_trials, weights_trial
from nmt.trainers.spec.training import Training
from tests.orchestrator._trials import spec_of

SIZES = list(itertools.product(range(1, 5), range(2, 13)))


@pytest.mark.parametrize(("tasks", "points"), [size for size in SIZES if size[1] ** size[0] < 3000])
def test_every_weighting_is_in_the_grid_once(tasks: int, points: int) -> None:
    grid = WeightGrid(tasks, points)
    found = list(grid.all())
    steps = [step / points for step in range(1, points + 1)]
    assert found == list(itertools.product(steps, repeat=tasks))
    assert grid.trials == len(found) == points**tasks


@pytest.mark.parametrize(("tasks", "points"), SIZES)
def test_the_number_of_proportions(tasks: int, points: int) -> None:
    """Compared with a count of the full grid's weightings divided by their greatest common divisor."""
    proportions = set()
    for steps in itertools.product(range(1, points + 1), repeat=tasks):
        divisor = math.gcd(*steps)
        proportions.add(tuple(step // divisor for step in steps))
    assert WeightGrid(tasks, points, normalised=True).trials == len(proportions)


@pytest.mark.parametrize(("tasks", "points"), [(1, 5), (2, 12), (3, 10), (4, 6)])
def test_normalised_weights_sum_to_one_and_differ_in_proportion(tasks: int, points: int) -> None:
    grid = WeightGrid(tasks, points, normalised=True)
    found = list(grid.all())
    assert len(found) == grid.trials
    whole = set(itertools.product(range(1, points + 1), repeat=tasks))
    proportions = set()
    for weights in found:
        assert math.fsum(weights) == pytest.approx(1.0, abs=1e-12)
        exact = [Fraction(weight).limit_denominator(tasks * points) for weight in weights]
        first = tuple(weight / exact[0] for weight in exact)
        proportions.add(first)
        assert any(tuple(first[i] * step for i in range(tasks)) in whole for step in range(1, points + 1))
    assert len(proportions) == len(found)


def test_the_papers_weights() -> None:
    """The weights 0.1 : 0.9, 0.2 : 0.8, … of two tasks are in the normalised grid of nine points."""
    found = set(WeightGrid(2, 9, normalised=True).all())
    assert {(step / 10, (10 - step) / 10) for step in range(1, 10)} <= found


def test_known_numbers() -> None:
    assert WeightGrid(3, 5).trials == 125
    assert WeightGrid(8, 10).trials == 10**8
    assert WeightGrid(2, 5, normalised=True).trials == 19
    assert WeightGrid(3, 10, normalised=True).trials == 1000 - 125 - 27 - 8 + 1 - 1 + 1  # d = 1, 2, 3, 5, 6, 7, 10


@pytest.mark.parametrize("normalised", [False, True])
def test_some_are_drawn_with_the_seed(normalised: bool) -> None:
    grid = WeightGrid(3, 5, normalised)
    whole = set(grid.all())
    found = grid.sample(40, seed=1)
    assert len(found) == len(set(found)) == 40
    assert set(found) < whole
    assert found == grid.sample(40, seed=1)
    assert found != grid.sample(40, seed=2)
    assert grid.sample(20, seed=1) == found[:20]  # a larger limit extends a smaller one


@pytest.mark.parametrize("normalised", [False, True])
def test_no_more_weightings_than_the_grid_has(normalised: bool) -> None:
    grid = WeightGrid(2, 3, normalised)
    for number in (grid.trials, grid.trials + 1, 10**9):
        assert grid.sample(number, seed=0) == list(grid.all())
    assert len(set(grid.sample(grid.trials - 1, seed=0)) & set(grid.all())) == grid.trials - 1


def test_a_sample_of_a_grid_too_large_to_enumerate() -> None:
    for normalised in (False, True):
        found = WeightGrid(8, 10, normalised).sample(50, seed=3)
        assert len(set(found)) == 50
        assert all(0 < weight <= 1 and len(weights) == 8 for weights in found for weight in weights)


@pytest.mark.parametrize("points", [2, 5, 10])
@pytest.mark.parametrize("normalised", [False, True])
def test_equal_weights_are_a_point_of_the_grid(points: int, normalised: bool) -> None:
    spec = spec_of(["a"], ["b"], ["c"])
    grid = WeightGrid(3, points, normalised)
    equal = baseline_trials(spec, grid)[0]
    keys = [weights_trial(spec, weights).keys for weights in grid.all()]
    assert keys.count(equal.keys) == 1
    assert len(set(keys)) == grid.trials
    assert (equal.label, equal.source, equal.method) == ("equal weights", "baseline", "equal_weights")
    assert equal.weights is not None
    assert len(set(equal.weights)) == 1


def test_a_weighting_is_one_stage_over_all_tasks() -> None:
    spec = spec_of(["a"], ["b", "c"], training=Training(eta_theta=0.01, patience=None, method="nmt+famo"))
    trial = weights_trial(spec, (0.2, 0.4, 1.0))
    assert (trial.label, trial.short, trial.source) == ("0.2 : 0.4 : 1", "0.2:0.4:1", "grid")
    assert [[task.name for task in level] for level in trial.spec.levels] == [["a", "b", "c"]]
    assert (trial.spec.training.method, trial.spec.training.weights) == ("weighted_sum", (0.2, 0.4, 1.0))
    assert trial.spec.training.max_epochs == spec.training.max_epochs
    assert trial.params == {
        "method": "weighted_sum",
        "eta_theta": "0.01",
        "eta_lambda": "none",
        "weights": "0.2:0.4:1",
    }
    trial.spec.check()


def test_a_single_task_model_has_one_task() -> None:
    spec = spec_of(["a"], ["b", "c"])
    equal, *alone = baseline_trials(spec, WeightGrid(3, 5))
    assert [trial.label for trial in alone] == ["a alone", "b alone", "c alone"]
    assert [trial.weights for trial in alone] == [(1, 0, 0), (0, 1, 0), (0, 0, 1)]
    assert [[task.name for task in trial.spec.tasks] for trial in alone] == [["a"], ["b"], ["c"]]
    assert {trial.method for trial in alone} == {"single_task"}
    assert len({trial.keys for trial in (equal, *alone)}) == 4
    for trial in alone:
        trial.spec.check()
        assert set(trial.params) == set(equal.params)


def test_keys_of_the_grid_ignore_options_that_it_does_not_use() -> None:
    """A weighted sum uses neither η_λ nor the order of the levels."""
    weights = (0.2, 0.4, 1.0)
    one = weights_trial(spec_of(["a"], ["b"], ["c"], training=Training(eta_lambda=1.0)), weights)
    other = weights_trial(spec_of(["a", "b"], ["c"], training=Training(eta_lambda=9.0)), weights)
    assert one.keys == other.keys

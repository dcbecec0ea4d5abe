"""Trials of a sweep: which stages they share, and their order."""

from __future__ import annotations

import itertools

import pytest

from nmt.orchestrator.trials.learning_rates import greedy_trials, sweep_trials
from nmt.trainers.spec.chain_spec import ChainSpec, Rates
from nmt.trainers.spec.recipe import RECIPES, RecipeName
from nmt.trainers.spec.training import Training
from tests.orchestrator._trials import spec_of

THETAS, LAMBDAS = (1e-4, 1e-3, 1e-2), (1.0, 10.0, 100.0)


def chain(levels: int, recipe: RecipeName = "joint") -> ChainSpec:
    return spec_of(*([f"task{number}"] for number in range(levels)), training=Training(recipe=recipe))


@pytest.mark.parametrize("levels", range(2, 9))
def test_nine_trials_share_stages_0_and_1(levels: int) -> None:
    """3 + 3 + 9 (m − 1) stages instead of 9 (m + 1)."""
    trials = sweep_trials(chain(levels), THETAS, LAMBDAS)
    assert len(trials) == 9
    assert all(len(trial.keys) == levels + 1 for trial in trials)
    assert len({key for trial in trials for key in trial.keys}) == 3 + 3 + 9 * (levels - 1)


@pytest.mark.parametrize("levels", range(1, 9))
def test_nine_trials_without_stage_0_share_their_first_stages(levels: int) -> None:
    """3 + 9 (m − 1) stages instead of 9 m: the paper's chain; a chain of one level has no stage 0 either."""
    for recipe in RECIPES if levels == 1 else ("paper",):
        trials = sweep_trials(chain(levels, recipe), THETAS, LAMBDAS)
        assert len(trials) == 9
        assert all(len(trial.keys) == levels for trial in trials)
        assert len({key for trial in trials for key in trial.keys}) == 3 + 9 * (levels - 1)


@pytest.mark.parametrize(("thetas", "lambdas"), list(itertools.product((1, 2, 3), repeat=2)))
def test_other_numbers_of_rates(thetas: int, lambdas: int) -> None:
    trials = sweep_trials(chain(3), THETAS[:thetas], LAMBDAS[:lambdas])
    assert len({key for trial in trials for key in trial.keys}) == thetas * (2 + 2 * lambdas)


def test_every_pair_is_tried_once() -> None:
    trials = sweep_trials(chain(2), THETAS, LAMBDAS)
    assert {(trial.eta_theta, trial.eta_lambda) for trial in trials} == set(itertools.product(THETAS, LAMBDAS))
    assert len({trial.label for trial in trials}) == 9
    assert {trial.source for trial in trials} == {"sweep"}
    assert trials[0].label == "η_θ 0.0001, η_λ 1"
    assert trials[0].short == "θ 0.0001 λ 1"
    expected = {"method": "nmt", "eta_theta": "0.0001", "eta_lambda": "1", "weights": "none"}
    assert trials[0].params == expected


def test_concurrent_trials_do_not_wait_for_each_other() -> None:
    """Trials with the same stages 0 and 1 are as far apart as there are values of η_θ."""
    trials = sweep_trials(chain(3), THETAS, LAMBDAS)
    for start in range(len(trials) - len(THETAS) + 1):
        for stage in (0, 1):
            assert len({trial.keys[stage] for trial in trials[start : start + len(THETAS)]}) == len(THETAS)


def test_all_other_options_are_those_of_the_file() -> None:
    spec = spec_of(["a"], ["b"], training=Training(max_epochs=7, seed=3, method="nmt+famo"))
    for trial in sweep_trials(spec, THETAS, LAMBDAS):
        training = trial.spec.training
        assert (training.max_epochs, training.seed, training.method, trial.method) == (7, 3, "nmt+famo", "nmt+famo")
        assert trial.spec.rates is None


@pytest.mark.parametrize(("recipe", "before"), [("joint", 1), ("paper", 0)])
def test_a_greedy_sweep_chooses_level_by_level(recipe: RecipeName, before: int) -> None:
    spec, chosen = chain(3, recipe), [Rates(1e-3, 1.0), Rates(1e-2, 10.0)]
    counts, seen = [], []
    for level in range(3):
        trials = greedy_trials(spec, THETAS, LAMBDAS, chosen[:level])
        stages = before + level + 1
        counts.append(len(trials))
        assert {trial.stages for trial in trials} == {stages}
        assert all(len(trial.keys) == stages for trial in trials)
        if level:
            assert len({trial.keys[:-1] for trial in trials}) == 1  # all start at the chosen checkpoint
        assert len({trial.keys[-1] for trial in trials}) == len(trials)
        seen.append(trials)
    assert counts == [3, 9, 9]
    first, second, third = seen
    assert len({trial.keys[0] for trial in first}) == 3  # stage 0 has the rates of the first level
    assert second[0].keys[:-1] == first[1].keys  # η_θ 0.001 was chosen
    place = [(trial.eta_theta, trial.eta_lambda) for trial in second].index((1e-2, 10.0))
    assert third[0].keys[:-1] == second[place].keys
    assert first[0].label == "stage 1, η_θ 0.0001"
    assert third[0].label == "stage 3, η_θ 0.0001, η_λ 1"


def test_params_of_a_greedy_trial_have_the_rates_of_every_stage() -> None:
    for recipe, thetas in (("joint", "0.001,0.001,0.01,0.0001"), ("paper", "0.001,0.01,0.0001")):
        trials = greedy_trials(chain(3, recipe), THETAS, LAMBDAS, [Rates(1e-3, 1.0), Rates(1e-2, 10.0)])
        expected = {"method": "nmt", "eta_theta": thetas, "eta_lambda": "10,1", "weights": "none"}
        assert trials[0].params == expected
    first = greedy_trials(chain(3), THETAS, LAMBDAS, [])[0]
    assert first.params == {"method": "nmt", "eta_theta": "0.0001", "eta_lambda": "none", "weights": "none"}


def test_equal_greedy_choices_give_the_keys_of_a_plain_chain() -> None:
    """So each finds the stages of the other."""
    greedy = greedy_trials(chain(2), THETAS, LAMBDAS, [Rates(1e-3, 5.0)])
    sweep = {(trial.eta_theta, trial.eta_lambda): trial.keys for trial in sweep_trials(chain(2), THETAS, LAMBDAS)}
    for trial in greedy:
        if trial.eta_theta == 1e-3:
            assert trial.keys == sweep[trial.eta_theta, trial.eta_lambda]

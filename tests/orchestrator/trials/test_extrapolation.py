"""Cost of a whole grid, extrapolated from a part of it."""

from __future__ import annotations

from nmt.orchestrator.trials.cost import Cost
from nmt.orchestrator.trials.extrapolation import Extrapolation, extrapolate
from nmt.orchestrator.trials.trial import Source, Status, Trial, TrialResult
from nmt.trainers.spec.chain_spec import ChainSpec, ModelSpec
from nmt.trainers.spec.task import Task
from nmt.trainers.spec.training import Training

SPEC = ChainSpec(
    levels=((Task("pay", "binary_cross_entropy"),),),
    model=ModelSpec("scorer", {"units": [4]}),
    training=Training().settle(),
    batch_size=10,
    data_fingerprint="0123",
)


def result(samples: int, reused: int = 0, source: Source = "grid", status: Status = "finished") -> TrialResult:
    trial = Trial("0.5 : 1", source, SPEC, "weighted_sum", (0.5, 1.0))
    return TrialResult(trial, (), Cost(trials=1, samples=samples, samples_reused=reused), status)


def test_the_rest_costs_the_mean_of_the_trained_trials() -> None:
    assert extrapolate(8, [result(100), result(0, reused=200)]) == Extrapolation(8, 1200, 2)


def test_baselines_and_unfinished_trials_do_not_count() -> None:
    found = extrapolate(8, [result(100), result(999, source="baseline"), result(999, status="diverged")])
    assert found == Extrapolation(8, 800, 1)


def test_a_complete_grid_and_an_empty_one_are_not_extrapolated() -> None:
    assert extrapolate(2, [result(100), result(100)]) is None
    assert extrapolate(0, [result(100, source="sweep")]) is None
    assert extrapolate(8, [result(100, status="failed")]) is None

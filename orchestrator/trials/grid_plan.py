"""The verb ``grid``: the p^m loss weights that NMT does without, on the same model, data, steps and evaluation."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.errors import RequestError
from orchestrator.experiment.prepared import PreparedExperiment
from orchestrator.trials.forecast import Forecast, forecast, stage_samples
from orchestrator.trials.loss_weights import WeightGrid, baseline_trials, weights_trial
from orchestrator.trials.trial import Trial
from trainers.store.stage_store import StageStore

MAX_TRIALS = 10_000
"""Trainings that are run without being told how many."""


@dataclass(frozen=True)
class GridPlan:
    """What a grid will do.

    Attributes:
        grid: The weights.
        trials: Weightings that are trained.
        baselines: Baselines that are trained beside them.
        expected: What the weightings and baselines will cost.
        whole: What the whole grid would cost, were nothing in the storage.
    """

    grid: WeightGrid
    trials: tuple[Trial, ...]
    baselines: tuple[Trial, ...]
    expected: Forecast
    whole: Forecast

    @property
    def limited(self) -> bool:
        """Whether only some of the grid is trained; the rest is extrapolated."""
        return len(self.trials) < self.grid.trials

    @property
    def name(self) -> str:
        """``grid of 125``, ``grid 20 of 125``; short, since MLflow cuts long names."""
        some = f"{len(self.trials)} " if self.limited else ""
        return f"grid {some}of {self.grid.trials:,}"


def whole_grid(prepared: PreparedExperiment, grid: WeightGrid) -> Forecast:
    """What a grid costs from nothing: each training takes one stage's budget."""
    training = prepared.spec.training
    samples = grid.trials * stage_samples(training, prepared.schema)
    return Forecast(grid.trials, grid.trials, 0, samples, 0, training.patience is None)


def plan_grid(prepared: PreparedExperiment) -> GridPlan:
    """Plan a grid.

    Raises:
        RequestError: There is one task only, or more trainings than anybody would want to start.
    """
    experiment, spec = prepared.experiment, prepared.spec
    options = experiment.grid
    if len(spec.tasks) == 1:
        raise RequestError("tasks: a grid weighs tasks against each other, and there is only one")
    grid = WeightGrid(len(spec.tasks), options.points, options.normalised)
    number = grid.trials if options.limit is None else min(options.limit, grid.trials)
    if number > MAX_TRIALS:
        raise RequestError(
            f"grid: {options.points} weights for each of {len(spec.tasks)} tasks are {grid.trials:,} trainings; give "
            "grid.limit (--limit N) to train N of them and extrapolate the cost, or fewer grid.points"
        )
    trials = tuple(weights_trial(spec, weights) for weights in grid.sample(number, experiment.training.seed))
    baselines = baseline_trials(spec, grid) if options.baselines else ()
    expected = forecast((*trials, *baselines), prepared.schema, StageStore(experiment.storage))
    return GridPlan(grid, trials, baselines, expected, whole_grid(prepared, grid))

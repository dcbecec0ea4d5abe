"""Plan of a grid: which of the p^m loss weights to train, and what they will cost."""

from __future__ import annotations

from dataclasses import dataclass

from nmt.orchestrator.errors import RequestError
from nmt.orchestrator.experiment.prepared import PreparedExperiment
from nmt.orchestrator.trials.forecast import Forecast, forecast, stage_samples
from nmt.orchestrator.trials.loss_weights import WeightGrid, baseline_trials, weights_trial
from nmt.orchestrator.trials.trial import Trial
from nmt.trainers.store.stage_store import StageStore

MAX_TRIALS = 10_000
"""Most trials that run without an explicit limit."""


@dataclass(frozen=True)
class GridPlan:
    """Plan of a grid.

    Attributes:
        grid: The weights.
        trials: Weightings to train.
        baselines: Baselines to train.
        expected: Predicted cost of the weightings and baselines.
        whole: Predicted cost of the whole grid with nothing in the storage.
    """

    grid: WeightGrid
    trials: tuple[Trial, ...]
    baselines: tuple[Trial, ...]
    expected: Forecast
    whole: Forecast

    @property
    def limited(self) -> bool:
        """Whether only part of the grid is trained; the cost of the rest is extrapolated."""
        return len(self.trials) < self.grid.trials

    @property
    def name(self) -> str:
        """Name of the run, ``grid of 125`` or ``grid 20 of 125``; short, since MLflow cuts long names."""
        some = f"{len(self.trials)} " if self.limited else ""
        return f"grid {some}of {self.grid.trials:,}"


def whole_grid(prepared: PreparedExperiment, grid: WeightGrid) -> Forecast:
    """Predict the cost of a whole grid with nothing in the storage: one stage's budget per trial."""
    training = prepared.spec.training
    samples = grid.trials * stage_samples(training, prepared.schema)
    return Forecast(grid.trials, grid.trials, 0, samples, 0, training.patience is None)


def plan_grid(prepared: PreparedExperiment) -> GridPlan:
    """Plan a grid.

    Raises:
        RequestError: There is only one task, or there are more trials than :data:`MAX_TRIALS`.
    """
    experiment, spec = prepared.experiment, prepared.spec
    options = experiment.grid
    if len(spec.tasks) == 1:
        raise RequestError("tasks: a grid weighs tasks against each other, and there is only one")
    grid = WeightGrid(len(spec.tasks), options.points, options.normalised)
    number = grid.trials if options.limit is None else min(options.limit, grid.trials)
    if number > MAX_TRIALS:
        raise RequestError(
            f"grid: {options.points} weights for each of {len(spec.tasks)} tasks are {grid.trials:,} trials, at most "
            f"{MAX_TRIALS:,} are allowed; set grid.limit (--limit N) to train N of them and extrapolate the cost, or "
            "fewer grid.points"
        )
    trials = tuple(weights_trial(spec, weights) for weights in grid.sample(number, experiment.training.seed))
    baselines = baseline_trials(spec, grid) if options.baselines else ()
    expected = forecast((*trials, *baselines), prepared.schema, StageStore(experiment.storage))
    return GridPlan(grid, trials, baselines, expected, whole_grid(prepared, grid))

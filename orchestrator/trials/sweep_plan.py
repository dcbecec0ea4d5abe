"""Plan of a sweep: which pairs of learning rates to try, and what they will cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from nmt.orchestrator.errors import RequestError
from nmt.orchestrator.experiment.prepared import PreparedExperiment
from nmt.orchestrator.trials.forecast import Forecast, forecast, forecast_greedy
from nmt.orchestrator.trials.learning_rates import greedy_trials, sweep_trials
from nmt.orchestrator.trials.trial import Trial
from nmt.trainers.methods.names import is_constrained
from nmt.trainers.store.stage_store import StageStore


@dataclass(frozen=True)
class SweepPlan:
    """Plan of a sweep.

    Attributes:
        eta_theta: Learning rates of the parameters.
        eta_lambda: Learning rates of the multipliers.
        greedy: Whether the rates are chosen level by level.
        trials: All trials; those of the first level for a greedy sweep.
        expected: Predicted cost.
    """

    eta_theta: tuple[float, ...]
    eta_lambda: tuple[float, ...]
    greedy: bool
    trials: tuple[Trial, ...]
    expected: Forecast

    @property
    def name(self) -> str:
        """Name in tables, ``3 × 3 learning rates``."""
        greedy = ", greedy" if self.greedy else ""
        return f"{len(self.eta_theta)} × {len(self.eta_lambda)} learning rates{greedy}"

    @property
    def params(self) -> Mapping[str, str]:
        """Comparable params of the sweep's MLflow run."""
        return {
            "eta_theta": ", ".join(f"{value:g}" for value in self.eta_theta),
            "eta_lambda": ", ".join(f"{value:g}" for value in self.eta_lambda),
            "weights": "none",
        }


def plan_sweep(prepared: PreparedExperiment) -> SweepPlan:
    """Plan a sweep.

    Raises:
        RequestError: There is nothing to sweep, or the method has no multipliers.
    """
    experiment, spec = prepared.experiment, prepared.spec
    training, sweep = spec.training, experiment.sweep
    if not is_constrained(training.method):
        raise RequestError(
            f"training.method: {training.method!r} has no priorities and so no η_λ to sweep; set it to nmt, "
            "nmt+famo or nmt+torchjd:NAME, or use nmt grid"
        )
    if not sweep.eta_theta and not sweep.eta_lambda:
        raise RequestError(
            "sweep: no values to try; give sweep.eta_theta and sweep.eta_lambda, such as "
            "sweep: {eta_theta: [1.0e-4, 1.0e-3], eta_lambda: [1.0, 10.0]}"
        )
    thetas = sweep.eta_theta or (training.eta_theta,)
    lambdas = sweep.eta_lambda or (training.eta_lambda,)
    if len(spec.levels) == 1 and spec.live is None:
        lambdas = lambdas[:1]  # nothing is ever protected
    if sweep.greedy:
        trials = greedy_trials(spec, thetas, lambdas, ())
        expected = forecast_greedy(spec, len(thetas), len(lambdas), prepared.schema)
    else:
        trials = sweep_trials(spec, thetas, lambdas)
        expected = forecast(trials, prepared.schema, StageStore(experiment.storage))
    return SweepPlan(thetas, lambdas, sweep.greedy, trials, expected)

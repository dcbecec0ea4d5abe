"""The verb ``sweep``: NMT's two learning rates on Ray Tune, stages shared, the winner chosen by priority."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from orchestrator.errors import RequestError
from orchestrator.forecast import Forecast, forecast, forecast_greedy
from orchestrator.group import GroupSession
from orchestrator.group_outcome import GroupOutcome
from orchestrator.learning_rates import greedy_trials, sweep_trials
from orchestrator.output import Output
from orchestrator.prepared_experiment import PreparedExperiment
from orchestrator.trial import Trial, TrialResult
from orchestrator.tuning.runner import TrialRunner
from trainers.chain_spec import Rates
from trainers.methods.names import is_constrained
from trainers.stage_store import StageStore


@dataclass(frozen=True)
class SweepPlan:
    """What a sweep will do.

    Attributes:
        eta_theta: Learning rates of the parameters.
        eta_lambda: Learning rates of the multipliers.
        greedy: Whether stages are settled one after the other.
        trials: Every trial; of a greedy sweep those of its first stage.
        expected: What it will cost.
    """

    eta_theta: tuple[float, ...]
    eta_lambda: tuple[float, ...]
    greedy: bool
    trials: tuple[Trial, ...]
    expected: Forecast

    @property
    def name(self) -> str:
        """``3 × 3 learning rates``."""
        greedy = ", greedy" if self.greedy else ""
        return f"{len(self.eta_theta)} × {len(self.eta_lambda)} learning rates{greedy}"

    @property
    def params(self) -> Mapping[str, str]:
        """What the sweep's run in MLflow is compared by."""
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
    training, sweep = experiment.training, experiment.sweep
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
    if len(spec.levels) == 1:
        lambdas = lambdas[:1]  # nothing is ever protected
    if sweep.greedy:
        trials = greedy_trials(spec, thetas, lambdas, ())
        expected = forecast_greedy(len(thetas), len(lambdas), len(spec.levels), training, prepared.schema)
    else:
        trials = sweep_trials(spec, thetas, lambdas)
        expected = forecast(trials, prepared.schema, StageStore(experiment.storage))
    return SweepPlan(thetas, lambdas, sweep.greedy, trials, expected)


def run_sweep(prepared: PreparedExperiment, plan: SweepPlan, runner: TrialRunner, output: Output) -> GroupOutcome:
    """Run a sweep.

    Raises:
        RequestError: The cluster cannot hold one trial.
        RunError: Ray cannot be started.
        KeyboardInterrupt: The user ended it; finished stages are kept.
    """
    params = {"method": prepared.experiment.training.method, **plan.params}
    greedy = " greedy" if plan.greedy else ""
    name = f"sweep {len(plan.eta_theta)}×{len(plan.eta_lambda)}{greedy}"  # MLflow cuts long names
    with GroupSession("sweep", name, prepared, params, plan.expected, runner, output) as session:
        if plan.greedy:
            _run_greedily(prepared, plan, session)
        else:
            session.run(plan.trials)
        return session.close()


def _run_greedily(prepared: PreparedExperiment, plan: SweepPlan, session: GroupSession) -> None:
    chosen: list[Rates] = []
    for _ in prepared.spec.levels:
        results = session.run(greedy_trials(prepared.spec, plan.eta_theta, plan.eta_lambda, chosen))
        best = session.winner
        if best is None or not _of(best, results):
            return  # nothing is finished, so there is no checkpoint to go on from
        training = best.trial.spec.training_of(len(chosen))
        chosen.append(Rates(training.eta_theta, training.eta_lambda))


def _of(best: TrialResult, results: Sequence[TrialResult]) -> bool:
    return any(result is best for result in results)

"""The verb ``sweep``: pairs of NMT's two learning rates on Ray Tune, with shared stages."""

from __future__ import annotations

from nmt.orchestrator.cluster.tuning.runner import TrialRunner
from nmt.orchestrator.experiment.prepared import PreparedExperiment
from nmt.orchestrator.terminal.output import Output
from nmt.orchestrator.trials.group_outcome import GroupOutcome
from nmt.orchestrator.trials.learning_rates import greedy_trials
from nmt.orchestrator.trials.sweep_plan import SweepPlan
from nmt.orchestrator.verbs.trial_group import GroupSession
from nmt.trainers.spec.chain_spec import Rates


def run_sweep(prepared: PreparedExperiment, plan: SweepPlan, runner: TrialRunner, output: Output) -> GroupOutcome:
    """Run a sweep.

    Raises:
        RequestError: The cluster cannot hold one trial.
        RunError: Ray cannot be started.
        KeyboardInterrupt: The user interrupted it; finished stages are kept.
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
        if best is None or not any(result is best for result in results):
            return  # no trial of this stage finished, so there is no checkpoint to continue from
        chosen = [*(best.trial.spec.rates or ())[: len(chosen) + 1]]

"""The verb ``grid``: p^m loss weights on the same model, data, steps and evaluation as NMT."""

from __future__ import annotations

from nmt.orchestrator.cluster.tuning.runner import TrialRunner
from nmt.orchestrator.experiment.prepared import PreparedExperiment
from nmt.orchestrator.terminal.output import Output
from nmt.orchestrator.trials.extrapolation import GRID_TRIALS
from nmt.orchestrator.trials.grid_plan import GridPlan
from nmt.orchestrator.trials.group_outcome import GroupOutcome
from nmt.orchestrator.verbs.trial_group import GroupSession
from nmt.trainers.methods.names import WEIGHTED_SUM


def run_grid(prepared: PreparedExperiment, plan: GridPlan, runner: TrialRunner, output: Output) -> GroupOutcome:
    """Run a grid.

    Raises:
        RequestError: The cluster cannot hold one trial.
        RunError: Ray cannot be started.
        KeyboardInterrupt: The user interrupted it; finished trials are kept.
    """
    params = {
        "method": WEIGHTED_SUM,
        "eta_theta": f"{prepared.experiment.training.eta_theta:g}",
        "eta_lambda": "none",
        "weights": f"{plan.grid.points} a task",
    }
    tags = {GRID_TRIALS: str(plan.grid.trials), "nmt.extrapolated": str(plan.limited).lower()}
    with GroupSession("grid", plan.name, prepared, params, plan.expected, runner, output, tags) as session:
        session.run((*plan.trials, *plan.baselines))
        return session.close()

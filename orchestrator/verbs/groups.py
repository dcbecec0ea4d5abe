"""Groups of trials from a prepared experiment: what the command and the Python functions have in common."""

from __future__ import annotations

from collections.abc import Sequence

from nmt.orchestrator.cluster.tuning.runner import TrialRunner
from nmt.orchestrator.experiment.prepared import PreparedExperiment
from nmt.orchestrator.terminal.current_output import current_output
from nmt.orchestrator.trials.grid_plan import plan_grid
from nmt.orchestrator.trials.group_outcome import GroupOutcome
from nmt.orchestrator.trials.sweep_plan import plan_sweep
from nmt.orchestrator.verbs.compare import CompareOutcome, run_compare, trials_to_compare
from nmt.orchestrator.verbs.cost_curve import CostCurveOutcome, run_cost_curve
from nmt.orchestrator.verbs.grid import run_grid
from nmt.orchestrator.verbs.sweep import run_sweep


def train_sweep(prepared: PreparedExperiment, address: str | None, verbose: bool) -> GroupOutcome:
    """Train the pairs of learning rates; failed trials are in the outcome.

    Args:
        prepared: The experiment.
        address: Ray cluster to join; by default Ray is started on this machine.
        verbose: Whether to show Ray's own log.
    """
    planned = plan_sweep(prepared)
    with TrialRunner(prepared.experiment, prepared.folder, address, verbose) as runner:
        return run_sweep(prepared, planned, runner, current_output())


def train_grid(prepared: PreparedExperiment, address: str | None, verbose: bool) -> GroupOutcome:
    """Train the grid of loss weights and its baselines; arguments as for :func:`train_sweep`."""
    planned = plan_grid(prepared)
    with TrialRunner(prepared.experiment, prepared.folder, address, verbose) as runner:
        return run_grid(prepared, planned, runner, current_output())


def train_comparison(prepared: PreparedExperiment, address: str | None, verbose: bool) -> CompareOutcome:
    """Train a sweep, a grid and named methods; arguments as for :func:`train_sweep`.

    Raises:
        RequestError: A method cannot be built.
    """
    trials = trials_to_compare(prepared)
    with TrialRunner(prepared.experiment, prepared.folder, address, verbose) as runner:
        return run_compare(prepared, trials, runner, current_output())


def train_cost_curve(
    prepared: PreparedExperiment, numbers: Sequence[int], address: str | None, verbose: bool
) -> CostCurveOutcome:
    """Train a sweep of the first tasks for each of some numbers of tasks; arguments as for :func:`train_sweep`."""
    with TrialRunner(prepared.experiment, prepared.folder, address, verbose) as runner:
        return run_cost_curve(prepared, numbers, runner, current_output())

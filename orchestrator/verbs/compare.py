"""The verb ``compare``: NMT's sweep, the grid of loss weights, and named methods."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from nmt.orchestrator.cluster.tuning.runner import TrialRunner
from nmt.orchestrator.comparison.build import Parts, build_comparison
from nmt.orchestrator.comparison.files import comparison_files
from nmt.orchestrator.comparison.results import Comparison
from nmt.orchestrator.errors import RequestError
from nmt.orchestrator.experiment.prepared import PreparedExperiment
from nmt.orchestrator.terminal.output import Output
from nmt.orchestrator.trials.forecast import forecast
from nmt.orchestrator.trials.grid_plan import plan_grid
from nmt.orchestrator.trials.group_outcome import GroupOutcome
from nmt.orchestrator.trials.sweep_plan import plan_sweep
from nmt.orchestrator.trials.trial import Trial
from nmt.orchestrator.verbs.grid import run_grid
from nmt.orchestrator.verbs.sweep import run_sweep
from nmt.orchestrator.verbs.trial_group import GroupSession
from nmt.trainers.methods.names import is_constrained
from nmt.trainers.store.stage_store import StageStore


@dataclass(frozen=True)
class CompareOutcome:
    """Outcome of a comparison.

    Attributes:
        comparison: The comparison.
        groups: Sweep, grid, and named methods; the run of the last is the comparison's.
        folder: Folder of its files.
    """

    comparison: Comparison
    groups: tuple[GroupOutcome, GroupOutcome, GroupOutcome]
    folder: str

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready content."""
        sweep, grid, methods = self.groups
        return {
            **self.comparison.to_dict(),
            "folder": self.folder,
            "sweep": sweep.to_dict(),
            "grid": grid.to_dict(),
            "methods": methods.to_dict(),
        }


def method_trials(prepared: PreparedExperiment, methods: Sequence[str]) -> tuple[Trial, ...]:
    """Return one trial per method, with the experiment's own learning rates.

    Raises:
        ValueError: A method cannot be built.
        ImportError: A method needs a package that is not installed.
    """
    experiment, trials = prepared.experiment, []
    for method in methods:
        training = replace(experiment.training, method=method, weights=None)
        other = experiment.model_copy(update={"training": training})
        spec = other.chain(prepared.spec.data_fingerprint, prepared.spec.ingest)
        if is_constrained(method):
            spec = replace(spec, live=prepared.spec.live)
        spec.check()
        trials.append(Trial(method, "method", spec, method))
    return tuple(trials)


def trials_to_compare(prepared: PreparedExperiment) -> tuple[Trial, ...]:
    """Return one trial per method that the experiment names.

    Raises:
        RequestError: A method cannot be built, or needs a package that is not installed.
    """
    try:
        return method_trials(prepared, prepared.experiment.compare.methods)
    except (ValueError, ImportError) as error:
        raise RequestError(f"compare.methods: {error}") from error


def run_compare(
    prepared: PreparedExperiment, methods: Sequence[Trial], runner: TrialRunner, output: Output
) -> CompareOutcome:
    """Run a comparison.

    Args:
        prepared: The experiment.
        methods: Trials of the named methods.
        runner: Runs the trials.
        output: Shows progress.

    Raises:
        RequestError: The sweep or the grid has no trials, or the cluster cannot hold one trial.
        RunError: Ray cannot be started.
        KeyboardInterrupt: The user interrupted it; finished stages are kept.
    """
    sweep_plan, grid_plan = plan_sweep(prepared), plan_grid(prepared)
    sweep = run_sweep(prepared, sweep_plan, runner, output)
    grid = run_grid(prepared, grid_plan, runner, output)
    expected = forecast(methods, prepared.schema, StageStore(prepared.experiment.storage))
    tags = {"nmt.sweep_run": sweep.run_id or "", "nmt.grid_run": grid.run_id or ""}
    params = {
        "method": ", ".join(trial.method for trial in methods) or "none",
        "eta_theta": f"{prepared.experiment.training.eta_theta:g}",
        "eta_lambda": f"{prepared.experiment.training.eta_lambda:g}",
        "weights": "none",
    }
    with GroupSession("comparison", "comparison", prepared, params, expected, runner, output, tags) as session:
        results = session.run(methods)
        comparison = build_comparison(prepared, Parts(sweep_plan, sweep, grid_plan, grid, results))
        folder = session.attach(comparison_files(comparison))
        return CompareOutcome(comparison, (sweep, grid, session.close()), folder)

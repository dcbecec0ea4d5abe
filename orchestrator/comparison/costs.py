"""Points of the cost curve: measured for the experiment's tasks, predicted for other numbers of tasks."""

from __future__ import annotations

from collections.abc import Sequence

from nmt.orchestrator.comparison.results import CostPoint, MethodRow
from nmt.orchestrator.experiment.prepared import PreparedExperiment
from nmt.orchestrator.trials.forecast import stage_samples
from nmt.orchestrator.trials.loss_weights import WeightGrid
from nmt.orchestrator.trials.sweep_plan import SweepPlan

FEWEST_TASKS, MOST_TASKS = 2, 8
"""Range of the numbers of tasks whose cost is predicted; it reaches further if the experiment has more tasks."""

POINTS = (5, 10)
"""Weights per task of the grids that are predicted beside the experiment's own."""


def cost_points(
    prepared: PreparedExperiment, plan: SweepPlan, rows: Sequence[MethodRow], *, whole: bool
) -> tuple[CostPoint, ...]:
    """Return the points of the cost curve: NMT first, then the experiment's grid, then others.

    Where stages have no fixed length, a prediction takes the mean samples per stage of the trained ones.

    Args:
        prepared: The experiment.
        plan: The sweep.
        rows: Rows of the comparison: what was trained.
        whole: Whether every trial of the sweep has finished, so that its cost is measured in full.
    """
    tasks, levels = len(prepared.spec.tasks), len(prepared.spec.levels)
    most = max(MOST_TASKS, tasks)
    sweep = next((row for row in rows if row.source == "sweep"), None)
    grid = next((row for row in rows if row.source == "grid"), None)
    own = WeightGrid(tasks, prepared.experiment.grid.points, prepared.experiment.grid.normalised)
    budget = stage_samples(prepared.spec.training, prepared.schema)
    per_stage, per_training = float(budget), float(budget)
    if sweep is not None and sweep.planned_samples:
        per_stage = sweep.planned_samples / sweep_stages(plan, levels) if whole else per_stage
    if grid is not None and grid.planned_samples:
        per_training = grid.planned_samples / grid.planned_trials
    points = []
    for number in range(FEWEST_TASKS, most + 1):
        if whole and number == tasks and sweep is not None and sweep.planned_samples:
            points.append(CostPoint("NMT", tasks, sweep.planned_trials, sweep.planned_samples, measured=True))
        else:
            trials = len(plan.eta_theta) * len(plan.eta_lambda)
            points.append(
                CostPoint("NMT", number, trials, round(per_stage * sweep_stages(plan, number)), measured=False)
            )
    for each in dict.fromkeys((own.points, *POINTS)):
        normalised = own.normalised and each == own.points
        name = f"grid, p = {each}{', normalised' if normalised else ''}"
        for number in range(FEWEST_TASKS, most + 1):
            trials = WeightGrid(number, each, normalised).trials
            if number == tasks and each == own.points and grid is not None and _is_whole(grid):
                points.append(CostPoint(name, number, trials, grid.planned_samples, measured=True))
            else:
                points.append(CostPoint(name, number, trials, round(per_training * trials), measured=False))
    return tuple(points)


def _is_whole(row: MethodRow) -> bool:
    return bool(row.planned_samples) and not row.extrapolated


def sweep_stages(plan: SweepPlan, levels: int) -> int:
    r"""Return the number of stages that a sweep trains from scratch.

    :math:`|\eta_\theta| (1 + s) + |\eta_\theta| |\eta_\lambda| (m - 1)`, with s = 1 for a joint start and 0 without:
    neither stage 0 nor stage 1 depends on η_λ.

    Args:
        plan: The sweep.
        levels: m, the number of levels of a chain.
    """
    joint = plan.trials[0].spec.training.joint_weight > 0 and levels > 1  # the plan's own chain may have one level
    return len(plan.eta_theta) * (1 + joint + len(plan.eta_lambda) * (levels - 1))

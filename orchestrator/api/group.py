"""``nmt.sweep``, ``nmt.grid`` and ``nmt.compare``: groups of trials."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nmt.orchestrator.api.request import Request, to_prepared
from nmt.orchestrator.cluster.tuning.placement import check_trial
from nmt.orchestrator.experiment.prepared import PreparedExperiment
from nmt.orchestrator.trials.group_outcome import GroupOutcome
from nmt.orchestrator.verbs.compare import CompareOutcome
from nmt.orchestrator.verbs.groups import train_comparison, train_grid, train_sweep


def sweep(
    experiment: Request,
    *,
    set: Mapping[str, Any] | None = None,
    fresh: bool = False,
    greedy: bool | None = None,
    address: str | None = None,
    verbose: bool = False,
) -> GroupOutcome:
    """Try pairs of the two learning rates on Ray Tune; stages that trials share are trained once.

    Args:
        experiment: An experiment file, its content as a dict, or an ``nmt.Experiment``.
        set: Overrides, such as ``{"sweep.eta_theta": [1e-3, 3e-3]}``.
        fresh: Whether to train again what the storage has.
        greedy: Whether to settle one stage after the other, instead of what the experiment says.
        address: Ray cluster to join; by default Ray is started on this machine.
        verbose: Whether to show Ray's own log.

    Raises:
        RequestError: The experiment or its data is invalid, or the cluster cannot hold one trial.
        RunError: A trial failed for another reason than its learning rate; finished stages are kept.
        KeyboardInterrupt: The user interrupted it; finished stages are kept.
    """
    prepared = _prepare(experiment, {**(set or {}), **_given({"sweep.greedy": greedy})}, address, fresh)
    outcome = train_sweep(prepared, address, verbose)
    outcome.check()
    return outcome


def grid(
    experiment: Request,
    *,
    set: Mapping[str, Any] | None = None,
    fresh: bool = False,
    points: int | None = None,
    normalised: bool | None = None,
    limit: int | None = None,
    address: str | None = None,
    verbose: bool = False,
) -> GroupOutcome:
    """Train the p^m grid of loss weights on Ray Tune, with equal weights and single-task models as baselines.

    Args:
        experiment: An experiment file, its content as a dict, or an ``nmt.Experiment``.
        set: Overrides.
        fresh: Whether to train again what the storage has.
        points: Weights per task, instead of the experiment's.
        normalised: Whether weights of the same proportions are trained once.
        limit: Weightings to train, drawn with the seed; the cost of the rest is extrapolated.
        address: Ray cluster to join; by default Ray is started on this machine.
        verbose: Whether to show Ray's own log.

    Raises:
        RequestError, RunError, KeyboardInterrupt: As for :func:`sweep`.
    """
    prepared = _prepare(experiment, {**(set or {}), **_grid_keys(points, normalised, limit)}, address, fresh)
    outcome = train_grid(prepared, address, verbose)
    outcome.check()
    return outcome


def compare(
    experiment: Request,
    *,
    set: Mapping[str, Any] | None = None,
    fresh: bool = False,
    methods: Sequence[str] | None = None,
    points: int | None = None,
    normalised: bool | None = None,
    limit: int | None = None,
    address: str | None = None,
    verbose: bool = False,
) -> CompareOutcome:
    """Compare NMT's sweep with the grid of loss weights and with named methods.

    Args:
        experiment: An experiment file, its content as a dict, or an ``nmt.Experiment``.
        set: Overrides.
        fresh: Whether to train again what the storage has.
        methods: Further methods, such as ``["famo", "torchjd:UPGrad"]``, instead of the experiment's.
        points: Weights per task, instead of the experiment's.
        normalised: Whether weights of the same proportions are trained once.
        limit: Weightings to train, drawn with the seed; the cost of the rest is extrapolated.
        address: Ray cluster to join; by default Ray is started on this machine.
        verbose: Whether to show Ray's own log.

    Raises:
        RequestError, RunError, KeyboardInterrupt: As for :func:`sweep`.
    """
    named = _given({"compare.methods": None if methods is None else list(methods)})
    prepared = _prepare(experiment, {**(set or {}), **_grid_keys(points, normalised, limit), **named}, address, fresh)
    outcome = train_comparison(prepared, address, verbose)
    for group in outcome.groups:
        group.check()
    return outcome


def _prepare(request: Request, overrides: Mapping[str, Any], address: str | None, fresh: bool) -> PreparedExperiment:
    return to_prepared(request, overrides, lambda experiment: check_trial(experiment, address), fresh)


def _grid_keys(points: int | None, normalised: bool | None, limit: int | None) -> dict[str, Any]:
    return _given({"grid.points": points, "grid.normalised": normalised, "grid.limit": limit})


def _given(keys: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in keys.items() if value is not None}

"""``nmt.plan``, ``nmt.run`` and ``nmt.refresh``: one chain."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nmt.orchestrator.api.callbacks import Callbacks
from nmt.orchestrator.api.request import Request, to_experiment, to_prepared
from nmt.orchestrator.experiment.sections import Experiment
from nmt.orchestrator.refresh.refresh import Refreshed, refresh_experiment
from nmt.orchestrator.terminal.current_output import current_output
from nmt.orchestrator.verbs.plan import Plan, plan_chain
from nmt.orchestrator.verbs.run import ChainOutcome, run_experiment


def plan(experiment: Request, *, set: Mapping[str, Any] | None = None) -> Plan:
    """Return what would run and what it would cost at most; trains nothing.

    Args:
        experiment: An experiment file, its content as a dict, or an ``nmt.Experiment``.
        set: Overrides, such as ``{"training.eta_theta": 1e-3}``.

    Raises:
        RequestError: The experiment or its data is invalid.
    """
    return plan_chain(to_prepared(experiment, set))


def run(
    experiment: Request,
    *,
    set: Mapping[str, Any] | None = None,
    fresh: bool = False,
    address: str | None = None,
    verbose: bool = False,
    callbacks: Sequence[object] = (),
) -> ChainOutcome:
    """Run one chain on Ray Train: every task in order of priority.

    Args:
        experiment: An experiment file, its content as a dict, or an ``nmt.Experiment``.
        set: Overrides, such as ``{"training.eta_theta": 1e-3}``.
        fresh: Whether to train again what the storage has.
        address: Ray cluster to join; by default Ray is started on this machine.
        verbose: Whether to show Ray's own log.
        callbacks: Hooks (:class:`~nmt.orchestrator.api.callbacks.Callback`).

    Raises:
        RequestError: The experiment, its data or a callback is invalid, or the cluster cannot hold the workers.
        RunError: The run failed; finished stages are kept, and the same call resumes from them.
        KeyboardInterrupt: The user interrupted it; finished stages are kept.
    """
    output = current_output()
    hooks = Callbacks(callbacks, output)
    prepared = to_prepared(experiment, set, fresh=fresh)
    return run_experiment(
        prepared,
        output,
        address=address,
        verbose=verbose,
        sync_command=_sync_command(experiment, prepared.experiment),
        watch=hooks.handle,
    )


def refresh(
    experiment: Request,
    *,
    set: Mapping[str, Any] | None = None,
    name: str | None = None,
    alias: str | None = None,
    address: str | None = None,
    verbose: bool = False,
    callbacks: Sequence[object] = (),
) -> Refreshed:
    """Train on today's data from the model of the day before; a day that is finished is not trained again.

    Args:
        experiment: An experiment file, its content as a dict, or an ``nmt.Experiment``; its data are today's.
        set: Overrides, such as ``{"data.path": "days/2026-11-26"}``.
        name: Register the day's model under this name.
        alias: Alias that shall point to the version; the version that has it is protected.
        address: Ray cluster to join; by default Ray is started on this machine.
        verbose: Whether to show Ray's own log.
        callbacks: Hooks (:class:`~nmt.orchestrator.api.callbacks.Callback`).

    Raises:
        RequestError, RunError, KeyboardInterrupt: As for :func:`run`.
    """
    output = current_output()
    hooks = Callbacks(callbacks, output)
    found = to_experiment(experiment, set)
    return refresh_experiment(
        found,
        output,
        name=name,
        alias=alias,
        address=address,
        verbose=verbose,
        sync_command=_sync_command(experiment, found),
        watch=hooks.handle,
    )


def _sync_command(request: Request, experiment: Experiment) -> str:
    """Return the command that later logs what the tracking store lacks."""
    if isinstance(request, str | Path):
        return shlex.join(["nmt", "sync", str(request)])
    return shlex.join(["nmt", "sync", "--storage", experiment.storage])

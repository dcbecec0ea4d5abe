"""Trials of a sweep: chains that differ in the two learning rates, and share stages that do not depend on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from nmt.orchestrator.trials.trial import Trial
from nmt.trainers.spec.chain_spec import ChainSpec, Rates


def sweep_trials(spec: ChainSpec, eta_theta: Sequence[float], eta_lambda: Sequence[float]) -> tuple[Trial, ...]:
    """Return one trial per pair of learning rates.

    η_λ varies slowest, so that trials which share their first stages are far apart: when one needs a shared stage,
    another has usually finished it.

    Args:
        spec: The chain.
        eta_theta: Learning rates of the parameters.
        eta_lambda: Learning rates of the multipliers.
    """
    return tuple(
        Trial(
            label=_label(rates),
            source="sweep",
            spec=replace(spec, training=replace(spec.training, eta_theta=theta, eta_lambda=lam)),
            method=spec.training.method,
        )
        for rates in [Rates(theta, lam) for lam in eta_lambda for theta in eta_theta]
        for theta, lam in [(rates.eta_theta, rates.eta_lambda)]
    )


def greedy_trials(
    spec: ChainSpec, eta_theta: Sequence[float], eta_lambda: Sequence[float], chosen: Sequence[Rates]
) -> tuple[Trial, ...]:
    """Return one trial per pair of learning rates for the next stage of a chain whose earlier rates are chosen.

    Args:
        spec: The chain.
        eta_theta: Learning rates of the parameters.
        eta_lambda: Learning rates of the multipliers; the first level, where it protects nothing, uses only the
            first one.
        chosen: Learning rates chosen for the earlier levels; stage 0 has the first level's.
    """
    level = len(chosen)
    rest = len(spec.levels) - level - 1
    protects = level > 0 or spec.live is not None
    pairs = [Rates(theta, lam) for lam in (eta_lambda if protects else eta_lambda[:1]) for theta in eta_theta]
    return tuple(
        Trial(
            label=f"stage {level + 1}, {_label(rates) if protects else f'η_θ {rates.eta_theta:g}'}",
            source="sweep",
            spec=replace(spec, rates=(*chosen, rates, *[rates] * rest)),
            method=spec.training.method,
            stages=int(spec.has_joint_start) + level + 1,
        )
        for rates in pairs
    )


def _label(rates: Rates) -> str:
    return f"η_θ {rates.eta_theta:g}, η_λ {rates.eta_lambda:g}"

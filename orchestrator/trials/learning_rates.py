"""The trials of a sweep: chains that differ in their two learning rates, and share what does not depend on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from orchestrator.trials.trial import Trial
from trainers.spec.chain_spec import ChainSpec, Rates


def sweep_trials(spec: ChainSpec, eta_theta: Sequence[float], eta_lambda: Sequence[float]) -> tuple[Trial, ...]:
    """Every pair of learning rates.

    Trials that share their first stages stand as far apart as can be: by the time that one needs a stage, another one
    has finished it.

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
    """Every pair of learning rates for the next stage of a chain whose earlier stages are settled.

    Args:
        spec: The chain.
        eta_theta: Learning rates of the parameters.
        eta_lambda: Learning rates of the multipliers; a stage that protects nothing has only the first one's trials.
        chosen: Learning rates of the stages that are settled.
    """
    stage = len(chosen)
    rest = len(spec.levels) - stage - 1
    pairs = [Rates(theta, lam) for lam in (eta_lambda if stage else eta_lambda[:1]) for theta in eta_theta]
    return tuple(
        Trial(
            label=f"stage {stage + 1}, {_label(rates) if stage else f'η_θ {rates.eta_theta:g}'}",
            source="sweep",
            spec=replace(spec, rates=(*chosen, rates, *[rates] * rest)),
            method=spec.training.method,
            stages=stage + 1,
        )
        for rates in pairs
    )


def _label(rates: Rates) -> str:
    return f"η_θ {rates.eta_theta:g}, η_λ {rates.eta_lambda:g}"

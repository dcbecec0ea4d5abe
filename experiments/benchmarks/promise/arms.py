"""What the benchmark trains for each seed: a chain by each recipe, single-task models, and fixed weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from nmt.trainers.methods.names import WEIGHTED_SUM
from nmt.trainers.spec.chain_spec import ChainSpec
from nmt.trainers.spec.recipe import RECIPES
from nmt.trainers.spec.task import Task

FIRST_WEIGHTS = (0.99, 0.95, 0.9, 0.8, 0.65, 0.5, 0.3)
"""Weights of the first level; the other tasks share the rest equally."""

Variants = Mapping[str, Mapping[str, Any]]
"""Name → settings in which a further chain differs from the experiment's own."""


@dataclass(frozen=True)
class Arm:
    """One way to train a model.

    Attributes:
        kind: ``joint``, ``paper`` or ``variant`` (a chain), ``single`` (a model of one task), ``weights``.
        name: Name in the tables, unique.
        spec: What is trained.
        budget: Of fixed weights ``stage`` or ``chain``: the most samples that the model may see.
    """

    kind: str
    name: str
    spec: ChainSpec
    budget: str = ""


def build_arms(spec: ChainSpec, variants: Variants | None = None) -> Mapping[str, Arm]:
    """Return the arms of an experiment by name.

    A chain by recipe ``joint`` has the experiment's own settings. The chain by recipe ``paper`` takes the paper's
    values for what the recipe determines, and the experiment's for the rest. Models with fixed weights and of single
    tasks have the same network, data, optimiser, rates, patience and restarts. With the budget of a chain, a stage of
    fixed weights is repeated as often as the chain has stages, each time from the best model so far with a fresh
    optimiser.

    Args:
        spec: The experiment's chain.
        variants: Further chains.

    Raises:
        ValueError: A variant has the name of another arm.
    """
    paper = RECIPES["paper"]
    settings = spec.training
    printed = replace(
        settings,
        joint_weight=paper.joint_weight,
        later_weight=paper.later_weight,
        violations=paper.violations,
        eta_lambda=paper.eta_lambda,
        relative=paper.relative,
        backtracks=paper.backtracks,
        constrained_backtracks=paper.constrained_backtracks,
        constrained_patience=settings.patience,
        retreats=paper.retreats,
    )
    arms = [Arm("joint", "joint", spec)]
    for name, values in (variants or {}).items():
        arms.append(Arm("variant", name, replace(spec, training=replace(settings, **values))))
    arms.append(Arm("paper", "paper", replace(spec, training=printed)))
    arms += [Arm("single", f"{task.name} alone", _one_level(spec, (task,), None)) for task in spec.tasks]
    for share in FIRST_WEIGHTS:
        weights = weights_of(spec, share)
        for budget, rounds in (("stage", 1), ("chain", len(spec.stages))):
            alone = replace(_one_level(spec, spec.tasks, weights), rounds=rounds)
            arms.append(Arm("weights", f"{share:g}, {budget}", alone, budget))
    taken = [name for name in variants or {} if any(arm.name == name and arm.kind != "variant" for arm in arms)]
    if taken:
        raise ValueError(f"variants {taken} have the names of other arms; give them names of their own")
    return {arm.name: arm for arm in arms}


def group_arms(arms: Mapping[str, Arm]) -> list[tuple[str, ...]]:
    """Return the names of the arms in groups that share stages, to be trained one after the other; the longest first.

    Args:
        arms: The arms.
    """
    groups: dict[str, list[str]] = {}
    for name, arm in arms.items():
        groups.setdefault({"variant": "joint", "weights": name.partition(",")[0]}.get(arm.kind, name), []).append(name)
    return [tuple(names) for names in sorted(groups.values(), key=len, reverse=True)]


def weights_of(spec: ChainSpec, share: float) -> tuple[float, ...]:
    """Return one weight per task: the first level shares ``share`` equally, the other tasks share the rest."""
    first = len(spec.levels[0])
    others = len(spec.tasks) - first
    return (*(share / first,) * first, *((1 - share) / others,) * others)


def _one_level(spec: ChainSpec, tasks: tuple[Task, ...], weights: tuple[float, ...] | None) -> ChainSpec:
    settings = replace(spec.training, method=WEIGHTED_SUM, weights=weights, method_options={})
    return replace(spec, levels=(tasks,), training=settings, rates=None)

"""Comparisons that nobody ran: plausible fronts for pictures, and exact numbers for cells."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace

from nmt.orchestrator.comparison.results import ComparedModel, ComparedTask, Comparison, CostPoint, MethodRow
from nmt.orchestrator.trials.cost import Cost
from nmt.orchestrator.trials.guarantee import Guarantee
from nmt.orchestrator.trials.trial import Source
from nmt.trainers.records import Verdict
from tests.orchestrator._records import chain, deviation, verdict

HIGH = {"pay": 0.8043, "amount": 0.7418, "relevance": 0.7391}


def tasks(*names: str, metric: str = "pair_accuracy", higher: bool = True) -> tuple[ComparedTask, ...]:
    """A level per task, all with the same metric."""
    return tuple(ComparedTask(name, level, metric, higher) for level, name in enumerate(names, 1))


def model(
    test: Mapping[str, float],
    source: Source = "grid",
    label: str = "0.2 : 0.4 : 1",
    *,
    method: str | None = None,
    rates: tuple[float, float | None] = (1e-3, None),
    weights: tuple[float, ...] | None = None,
    guarantee: Guarantee = "unknown",
    worst_task: str | None = None,
    winner: bool = False,
    cost: Cost | None = None,
) -> ComparedModel:
    """A model with the given test metrics; validation metrics are the same."""
    return ComparedModel(
        label=label,
        source=source,
        method=method or {"sweep": "nmt", "method": label}.get(source, "weighted_sum"),
        eta_theta=rates[0],
        eta_lambda=rates[1],
        weights=weights,
        valid=dict(test),
        test=dict(test),
        test_loss=dict.fromkeys(test, 0.5),
        guarantee=guarantee,
        verdicts=() if worst_task is None else verdicts_on(worst_task, guarantee),
        winner=winner,
        cost=cost or Cost(trials=1, stages=1, steps=1000, samples=100_000, worker_seconds=12.0),
        run_id="0123456789abcdef",
    )


def verdicts_on(task: str, guarantee: Guarantee, auc: float = -0.001) -> tuple[Verdict, ...]:
    """Verdicts on one protected task, beyond its limit on the validation split or within; the test split is within."""
    beyond = 0.004 if guarantee == "broken" else 0.0
    return tuple(
        replace(verdict(task, 0.001 + worse, 0.002, split=split), metric=deviation("auc", auc, 0.003))
        for split, worse in (("valid", beyond), ("test", 0.0))
    )


def row(name: str, source: Source, models: Sequence[ComparedModel], planned: int | None = None) -> MethodRow:
    """A row over its models, of ``planned`` trials in all; the winner among them is chosen."""
    cost = sum((one.cost for one in models), Cost())
    counted = cost.samples + cost.samples_reused
    trials = planned or cost.trials
    return MethodRow(
        name=name,
        source=source,
        cost=cost,
        chosen=next((one for one in models if one.winner), None),
        planned_trials=trials,
        planned_samples=counted if trials == cost.trials or not models else counted * trials // cost.trials,
    )


def comparison(
    names: Sequence[str] = ("pay", "amount", "relevance"),
    *,
    points: int = 5,
    limit: int | None = 20,
    higher: bool = True,
    guarantee: Guarantee = "held",
    lead: float = 0.0,
    with_chain: bool = True,
    seed: int = 0,
) -> Comparison:
    """A sweep of 3 × 3, a grid of ``points`` weights per task of which ``limit`` are trained, baselines and famo.

    Args:
        names: Tasks by priority.
        points: Weights per task, p.
        limit: Weightings that are trained; all p^m for ``None``.
        higher: Direction of every metric; where lower is better it is a loss.
        guarantee: Guarantee of the sweep's winner.
        lead: How far the sweep lies beyond the grid's front; negative for inside.
        with_chain: Whether the winning chain's records are there.
        seed: Seed of the noise.
    """
    draw = random.Random(seed)
    described = tasks(*names, metric="pair_accuracy" if higher else "loss", higher=higher)
    best = {name: HIGH.get(name, 0.7 + 0.15 * draw.random()) for name in names}

    def metrics(shares: Mapping[str, float], ahead: float) -> dict[str, float]:
        """A task with share 1 is at its best; one with little share loses much."""
        gain = {name: best[name] - 0.02 * (1 - shares[name]) ** 2 + ahead + draw.gauss(0, 4e-4) for name in names}
        return gain if higher else {name: 1 - value for name, value in gain.items()}

    values = [round(index / points, 2) for index in range(1, points + 1)]
    weightings = (
        list(itertools.product(values, repeat=len(names)))
        if limit is None
        else [tuple(draw.choice(values) for _ in names) for _ in range(limit)]
    )
    grid = []
    for weights in weightings:
        total = sum(weights)
        shares = {name: min(1.0, 1.8 * weight / total) for name, weight in zip(names, weights, strict=True)}
        grid.append(
            model(
                metrics(shares, 0.0),
                "grid",
                " : ".join(f"{w:g}" for w in weights),
                weights=weights,
                guarantee="broken",
                worst_task=names[0],
            )
        )
    if grid:
        grid[-1] = replace(grid[-1], winner=True)
    sweep = []
    stage = 100_000
    for index, (eta_theta, eta_lambda) in enumerate(itertools.product((1e-4, 5e-4, 1e-3), (0.01, 0.05, 0.1))):
        wanted = {name: max(0.4, 0.95 - 0.1 * rank - 0.05 * (8 - index) / 8) for rank, name in enumerate(names)}
        reused = index % 3 != 0
        sweep.append(
            model(
                metrics(wanted, lead - 0.0008 * (8 - index) / 8),
                "sweep",
                f"η_θ {eta_theta:g}, η_λ {eta_lambda:g}",
                rates=(eta_theta, eta_lambda),
                guarantee=guarantee if index == 8 else "held",
                worst_task=names[0],
                winner=index == 8,
                cost=Cost(
                    trials=1,
                    stages=len(names) - reused,
                    stages_reused=int(reused),
                    steps=1000 * (len(names) - reused),
                    samples=stage * (len(names) - reused),
                    samples_reused=stage * reused,
                    worker_seconds=11.7 * (len(names) - reused),
                    wall_seconds=11.7 * (len(names) - reused),
                ),
            )
        )
    equal = model(
        metrics(dict.fromkeys(names, 0.6), 0.0),
        "baseline",
        "equal weights",
        guarantee="broken",
        worst_task=names[0],
        winner=True,
    )
    single = [
        model({name: metrics(dict.fromkeys(names, 0.93), 0.0)[name]}, "baseline", f"{name} alone", winner=True)
        for name in names
    ]
    famo = model(
        metrics(dict.fromkeys(names, 0.66), 0.0),
        "method",
        "famo",
        guarantee="broken",
        worst_task=names[-1],
        winner=True,
    )
    upgrad = model(
        metrics(dict.fromkeys(names, 0.63), 0.0),
        "method",
        "torchjd:UPGrad",
        guarantee="broken",
        worst_task=names[0],
        winner=True,
    )
    rows = [
        row("NMT, 3 × 3 learning rates", "sweep", sweep),
        row(f"grid, {points} weights a task", "grid", grid, points ** len(names)),
        row("equal weights", "baseline", [equal]),
        *(row(one.label, "baseline", [one]) for one in single if len(names) > 1),
        row("famo", "method", [famo]),
        row("torchjd:UPGrad", "method", [upgrad]),
    ]
    return Comparison(
        name="kuairand-pay",
        data="KuaiRand-1K, 1.2 M exposures",
        tasks=described,
        models=(*sweep, *grid, equal, *(single if len(names) > 1 else []), famo, upgrad),
        rows=tuple(rows),
        costs=costs(len(names), points, max(len(names), 8)),
        chain=chain([[name] for name in names], steps=80 if len(names) < 10 else 10) if with_chain else (),
        exact_samples=True,
    )


def costs(measured: int, points: int, most: int) -> tuple[CostPoint, ...]:
    """NMT and a grid up to ``most`` tasks; up to ``measured`` (for the grid: up to 3) they were counted."""
    counts = range(1, most + 1)
    nmt = [CostPoint("NMT", m, 9, 9 * 100_000 * m, m <= measured) for m in counts]
    grid = [CostPoint(f"grid, p = {points}", m, points**m, points**m * 100_000, m <= min(3, measured)) for m in counts]
    return (*nmt, *grid)


def without(found: Comparison, *sources: Source) -> Comparison:
    """The comparison without the models and rows of some sources."""
    return replace(
        found,
        models=tuple(one for one in found.models if one.source not in sources),
        rows=tuple(one for one in found.rows if one.source not in sources),
    )


def nothing_chosen(found: Comparison) -> Comparison:
    """The comparison in which no trial was finished."""
    rows = tuple(replace(one, chosen=None, cost=Cost(), planned_samples=0) for one in found.rows)
    return replace(found, models=(), rows=rows, chain=(), costs=())


def with_nan(found: Comparison) -> Comparison:
    """The comparison in which the first grid model lacks a metric and the second has NaN."""
    first, second = [index for index, one in enumerate(found.models) if one.source == "grid"][:2]
    models = list(found.models)
    name = found.tasks[0].name
    models[first] = replace(models[first], test={k: v for k, v in models[first].test.items() if k != name})
    models[second] = replace(models[second], test={**models[second].test, name: math.nan})
    return replace(found, models=tuple(models))

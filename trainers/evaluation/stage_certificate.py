"""Measuring the certificate of a stage that has just ended."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from nmt.trainers.certificate import Certificate, feasibility, gradient_norm, not_attainable, slackness, stationarity
from nmt.trainers.data.feed import Feed
from nmt.trainers.evaluation.evaluation import Evaluation
from nmt.trainers.evaluation.full_gradient import full_gradients
from nmt.trainers.evaluation.learner import Learner
from nmt.trainers.records import Optimum, Row
from nmt.trainers.spec.stage_spec import StageSpec

MOST_TERMS = 8
"""Gradients of protected tasks that are computed and kept at the same time. Backward passes and memory stay bounded
whatever the number of tasks: at most one row of parameters for each of them, and one for the objective."""

FREE_TERMS = 2
"""Up to so many of them, the certificate takes as many examples as are asked for, however short the stage was."""

SHARE = 0.25
"""Of more, its backward passes are at most this share of the stage's steps, which have a backward pass each."""


def certify(
    learner: Learner,
    spec: StageSpec,
    optima: Sequence[Optimum],
    multipliers: Mapping[str, float],
    evaluation: Evaluation,
    rows: Sequence[Row],
    steps: int,
) -> Certificate:
    r"""The certificate at the model's present parameters; every worker calls this.

    Feasibility and slackness come from the full pass of ``evaluation``; gradients from as many global batches as hold
    ``training.certificate_examples``, or from the whole training split where it has fewer. A task with λ = 0 has no
    part in the Lagrangian and costs no backward pass. Where more than :data:`FREE_TERMS` tasks have a part, a stage
    of S steps takes no more global batches than :math:`n (t + 1) \le S / 4` for t gradients beside the objective's (at
    least one batch): the certificate stays a small share of the training, whatever the number of tasks, and its
    ``examples`` say what it is made of. Where more than :data:`MOST_TERMS` tasks have one, those with the
    largest λ have a gradient each and the rest have one together, :math:`\sum_i \lambda_i \nabla L_i`: the numerator of
    the stationarity stays exact and its denominator becomes smaller, so that the number never flatters. The L2 penalty
    of embeddings is no part of any loss and is left out. λ here is the shadow price that the method tells: with
    ``nmt+famo`` the effective multiplier, whose Lagrangian its steps descend. What an aggregator of torchjd
    (``nmt+torchjd:…``) settles at need not be a stationary point of any such Lagrangian.

    Args:
        learner: The model at the accepted θ*, its data and its losses.
        spec: The stage.
        optima: Optima of its protected tasks, in their order.
        multipliers: Protected task → λ at the end of the stage; the effective one where a method changes the ratio, see
            :meth:`~nmt.trainers.methods.method.Method.shadow_prices`.
        evaluation: Of the training split at θ*.
        rows: The stage's history.
        steps: Optimisation steps S of the stage.
    """
    names = [task.name for task in spec.protected]
    price = torch.tensor([multipliers[name] for name in names], dtype=torch.float64)
    objective = torch.tensor(spec.objective_by_task, dtype=torch.float64)
    coefficients, weights, grouped = _terms(price, objective)
    batches = _batches(learner.feed, spec.execution.certificate_examples)
    if len(weights) > FREE_TERMS:
        batches = min(batches, max(1, int(SHARE * steps) // len(coefficients)))
    quotient = norm = math.nan
    if batches:
        gradients = full_gradients(learner, spec.tasks, coefficients, batches)
        quotient = stationarity(gradients[-1], gradients[:-1], weights)
        norm = gradient_norm(gradients[-1], gradients[:-1], weights)
    limits = {
        task.name: (evaluation.losses[task.name], optimum.train, task.tolerance)
        for task, optimum in zip(spec.protected, optima, strict=True)
    }
    return Certificate(
        feasibility={name: feasibility(*limit) for name, limit in limits.items()},
        slackness={name: slackness(multipliers[name], *limit) for name, limit in limits.items()},
        shadow_prices=dict(multipliers),
        stationarity=quotient,
        gradient_norm=norm,
        not_attainable=not_attainable(
            names,
            [row.step for row in rows],
            [[row.multipliers[name] for name in names] for row in rows],
            [[row.violations[name] for name in names] for row in rows],
        ),
        examples=learner.feed.examples_in(batches),
        grouped=grouped,
    )


def _batches(feed: Feed, examples: int) -> int:
    """The least number of global batches that hold so many training examples; all of an epoch where it has fewer."""
    return next((n for n in range(feed.steps_per_epoch()) if feed.examples_in(n) >= examples), feed.steps_per_epoch())


def _terms(price: Tensor, objective: Tensor) -> tuple[Tensor, Tensor, int]:
    """The gradients to compute.

    Args:
        price: Shadow price of each protected task.
        objective: Weight in the objective of each task of the stage, protected ones first.

    Returns:
        Coefficients of the tasks' losses, shape ``(terms + 1, tasks)``, the objective in
        the last row; the weight of each term, shape ``(terms,)``; and the number of tasks that share a term.
    """
    active = [task for task in price.argsort(descending=True, stable=True).tolist() if price[task] != 0]
    alone, rest = (active, []) if len(active) <= MOST_TERMS else (active[: MOST_TERMS - 1], active[MOST_TERMS - 1 :])
    terms = len(alone) + bool(rest)
    coefficients = torch.zeros(terms + 1, len(objective), dtype=torch.float64)
    for row, task in enumerate(alone):
        coefficients[row, task] = 1.0
    if rest:
        coefficients[-2, rest] = price[rest]
    coefficients[-1] = objective
    weights = torch.ones(terms, dtype=torch.float64)
    weights[: len(alone)] = price[alone]
    return coefficients, weights, len(rest)

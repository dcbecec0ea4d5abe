"""Checks that a step's numbers are finite, and the search for the samples behind those that are not."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from nmt.trainers.data.batch import Batch
from nmt.trainers.evaluation.frozen_buffers import frozen_buffers
from nmt.trainers.evaluation.learner import Learner
from nmt.trainers.faults import NumericalError
from nmt.trainers.losses.samples import Samples
from nmt.trainers.multipliers import Multipliers
from nmt.trainers.spec.task import Task
from nmt.trainers.workers.process_group import gather_objects

LISTED = 10
"""Examples of a worker that a message lists."""

ADVICE = (
    "Look at these examples in the prepared data; where many are listed the training diverged: lower "
    "training.eta_theta, or set training.clip_norm. The last checkpoint before this step is kept"
)


def are_finite(losses: Tensor, parameters: Sequence[nn.Parameter]) -> Tensor:
    """Whether global losses, and the gradients in ``parameters``, are finite: a scalar on their device.

    Gradients are looked at by their extremes, or their largest magnitude, which neither overflow nor hide a NaN.
    """
    gradients = [p.grad for p in parameters if p.grad is not None and p.grad.numel()]
    if not gradients:
        return losses.isfinite().all()
    if gradients[0].is_cuda:  # one kernel for all of them; on a CPU it takes eight times as long as the extremes
        largest = list(torch._foreach_norm(gradients, float("inf")))
    else:
        largest = [extreme for gradient in gradients for extreme in gradient.aminmax()]
    return losses.isfinite().all() & torch.stack(largest).isfinite().all()


def _sum_is_finite(losses: Tensor, parameters: Sequence[nn.Parameter]) -> bool:
    """Whether everything adds up to a finite number, and so is finite: on a CPU a third of the time of a look at each.

    Large numbers may overflow in the sum: that it is not finite says nothing.
    """
    total = losses.sum()
    for parameter in parameters:
        if parameter.grad is not None:
            total = total + parameter.grad.sum()
    return bool(total.isfinite())


def check_step(
    step: int, losses: Tensor, samples: Samples, batch: Batch, learner: Learner, tasks: Sequence[Task]
) -> None:
    """Raise if a step's losses or gradients are not finite, before θ has moved; every worker calls this.

    Args:
        step: Number of the step within its stage, from 1.
        losses: Global losses, shape ``(tasks,)``.
        samples: This worker's samples.
        batch: This worker's part of the minibatch.
        learner: The model, with gradients that have been all-reduced, and its losses.
        tasks: The stage's tasks.

    Raises:
        NumericalError: With step, task, worker and examples.
    """
    parameters = learner.trainable()
    if _sum_is_finite(losses, parameters) or are_finite(losses, parameters):
        return
    finite = losses.isfinite().tolist()
    broken = [place for place, good in enumerate(finite) if not good]
    if broken:
        first = broken[0]
        where = _where(gather_objects(batch.index[~samples.sums[:, first].isfinite()].tolist()))
        raise NumericalError(
            f"step {step}: the loss of task {tasks[first].name!r} is {float(losses[first])}"
            f"{_also(tasks, broken[1:])}; it comes from {where}. {ADVICE}"
        )
    with frozen_buffers(learner.model), torch.enable_grad():
        search = {task.name: _find_culprits(learner, batch, task) for task in tasks}
    everyone = gather_objects(search)
    guilty_tasks = [task.name for task in tasks if any(found.get(task.name) for found in everyone)]
    name = guilty_tasks[0] if guilty_tasks else None
    if name is None:
        cause = "no single task's gradient is; their combination overflows"
    else:
        cause = f"it is that of task {name!r}, from {_where([found.get(name, []) for found in everyone])}"
    raise NumericalError(f"step {step}: the gradient is not finite, though the losses are: {cause}. {ADVICE}")


def check_multipliers(step: int, multipliers: Multipliers, violations: Tensor) -> None:
    """Raise if a violation or a multiplier is not finite.

    Raises:
        NumericalError: With step and task.
    """
    measured = violations.isfinite()
    finite = multipliers.values.isfinite() & measured
    if finite.all():
        return
    place = int((~finite).nonzero()[0])
    if not measured[place]:
        raise NumericalError(
            f"step {step}: the violation of task {multipliers.names[place]!r} is {float(violations[place])}. {ADVICE}"
        )
    raise NumericalError(
        f"step {step}: the multiplier of task {multipliers.names[place]!r} became {float(multipliers.values[place])} "
        f"at a violation of {float(violations[place]):g}; lower training.eta_lambda ({multipliers.rate:g})"
    )


def _find_culprits(learner: Learner, batch: Batch, task: Task) -> list[int]:
    """Numbers of examples whose gradient is not finite: one, found by halving; all, if only their sum is not.

    Each half has a pass of its own: in one pass over the whole batch, a gradient of zero times an infinite slope
    elsewhere is NaN everywhere.
    """

    parameters = learner.trainable()

    def broken(low: int, high: int) -> bool:
        part = batch.part(low, high)
        total = learner.losses(learner.model(part), part, [task]).sums.sum()
        gradients = torch.autograd.grad(total, parameters, allow_unused=True)
        return not all(gradient.isfinite().all() for gradient in gradients if gradient is not None)

    low, high = 0, batch.examples
    if low == high or not broken(low, high):
        return []
    while high - low > 1:
        middle = (low + high) // 2
        try:
            if broken(low, middle):
                high = middle
            elif broken(middle, high):
                low = middle
            else:
                break
        except ValueError:  # batch normalisation takes no single example
            break
    return batch.index[low:high].tolist()


def _where(everyone: Sequence[Sequence[int]]) -> str:
    parts = [
        f"worker {rank}, training example{'s' if len(found) > 1 else ''} {_listed(found)}"
        for rank, found in enumerate(everyone)
        if found
    ]
    return "; ".join(parts) if parts else "no single example: the sum over the batch overflows"


def _listed(numbers: Sequence[int]) -> str:
    shown = ", ".join(str(number) for number in numbers[:LISTED])
    return f"{shown} and {len(numbers) - LISTED} more" if len(numbers) > LISTED else shown


def _also(tasks: Sequence[Task], places: Sequence[int]) -> str:
    return f" (and of {', '.join(repr(tasks[place].name) for place in places)})" if places else ""

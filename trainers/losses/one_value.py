"""Outputs that are one value per row: all but those of multi-class tasks."""

from __future__ import annotations

from torch import Tensor


def one_value(output: Tensor, label: Tensor) -> Tensor:
    """``output``, after a look at its shape: a row of class logits would be broadcast against labels of other rows.

    Args:
        output: Shape ``(rows, tasks)`` or ``(rows, 1)`` in a loss, ``(rows,)`` in a metric.
        label: Shape ``(rows, tasks)`` in a loss, ``(rows,)`` in a metric.

    Raises:
        ValueError: There are several values for each row of a task.
    """
    if output.dim() != label.dim():
        raise ValueError(
            f"one value per row is needed, and the model gives {output.shape[-1]} for each; give the task an output of "
            "shape (rows,), or take a loss and metric of classes (cross_entropy, accuracy)"
        )
    return output

"""Shape of outputs with one value per row: those of all but multi-class tasks."""

from __future__ import annotations

from torch import Tensor


def require_one_value(output: Tensor, label: Tensor) -> Tensor:
    """Return ``output`` if it has one value per row; class logits would be broadcast against the labels of other rows.

    Args:
        output: Shape ``(rows, tasks)`` or ``(rows, 1)`` in a loss, ``(rows,)`` in a metric.
        label: Shape ``(rows, tasks)`` in a loss, ``(rows,)`` in a metric.

    Raises:
        ValueError: The output has several values per row.
    """
    if output.dim() != label.dim():
        raise ValueError(
            f"one value per row is needed, and the model's output has {output.shape[-1]}; give the task an output of "
            "shape (rows,), or use a loss and metric for classes (cross_entropy, accuracy)"
        )
    return output

"""What a model's output means to those who use it: a probability, probabilities of classes, a value, a score."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from torch import Tensor

Answer = Literal["probability", "class probabilities", "value", "score", "output"]

ANSWERS: Mapping[str, Answer] = {
    "binary_cross_entropy": "probability",
    "cross_entropy": "class probabilities",
    "squared_error": "value",
    "pairwise_logistic": "score",
}
"""``loss`` of a task → what its prediction is; the output as it is for a user's own loss."""


def answer_of(loss: str) -> Answer:
    """Return what the prediction of a task with this loss is."""
    return ANSWERS.get(loss, "output")


def to_answer(output: Tensor, answer: Answer) -> Tensor:
    """Return the prediction for a model's output, float32.

    Args:
        output: Shape ``(rows,)`` or ``(rows, classes)``.
        answer: What it is to be.
    """
    output = output.float()
    if answer == "probability":
        return output.sigmoid()
    return output.softmax(-1) if answer == "class probabilities" else output

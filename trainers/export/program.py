"""A model as a program of torch.export: tensors in, predictions out, any number of rows."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from nmt.trainers.data.batch import Batch
from nmt.trainers.export.answers import to_answer
from nmt.trainers.export.model_folder import TrainedModel


class Program(nn.Module):
    """Maps encoded tensors to one prediction per task, in the order of the tasks.

    Args:
        model: The model.
    """

    def __init__(self, model: TrainedModel) -> None:
        super().__init__()
        self.network = model.build()
        self._answers = tuple(model.answers.items())

    def forward(self, categorical: Tensor, numeric: Tensor, packed: Tensor) -> tuple[Tensor, ...]:
        """Return the predictions.

        Args:
            categorical: Ids, int32, shape ``(rows, categorical columns)``.
            numeric: float32, shape ``(rows, numeric columns)``.
            packed: uint8, shape ``(rows, bytes)``.
        """
        rows = categorical.shape[0]
        labels = torch.empty(rows, 0, device=categorical.device)
        index = torch.arange(rows, device=categorical.device)
        outputs = self.network(Batch(categorical, numeric, packed, labels, index))
        return tuple(to_answer(outputs[name], answer) for name, answer in self._answers)


def export_program(model: TrainedModel) -> ExportedProgram:
    """Export a model with :func:`torch.export.export`; the number of rows stays free.

    Raises:
        ValueError: The network cannot be exported: its steps depend on values, or on the number of rows.
    """
    encoder = model.encoder
    arguments = (
        torch.ones(3, len(encoder.categorical), dtype=torch.int32),
        torch.zeros(3, len(encoder.numeric)),
        torch.zeros(3, sum(bits // 8 for bits in encoder.packed.values()), dtype=torch.uint8),
    )
    free = {0: Dim("rows", min=1)}
    try:
        return torch.export.export(Program(model).eval(), arguments, dynamic_shapes=(free, free, free))
    except Exception as error:  # torch.export raises errors of many kinds
        raise ValueError(
            f"the network {model.network.name!r} cannot be exported as a program: {str(error).splitlines()[0]}; "
            "leave --program out, the folder of the model needs none"
        ) from error

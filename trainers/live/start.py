"""Where a chain starts from the live model's parameters."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

import torch
from torch import Tensor, nn

from nmt.trainers.data.schema import Schema
from nmt.trainers.encoding.encoder import Encoder
from nmt.trainers.export.model_folder import TrainedModel
from nmt.trainers.live.columns import LiveColumns
from nmt.trainers.models.features import Features
from nmt.trainers.spec.chain_spec import ModelSpec
from nmt.trainers.spec.task import Task


def why_not_start(
    live: TrainedModel, network: ModelSpec, tasks: Sequence[Task], schema: Schema, encoder: Encoder
) -> str:
    """Return why a chain cannot start from the live model's parameters; empty where it can.

    Args:
        live: The live model.
        network: The chain's network.
        tasks: The chain's tasks.
        schema: Columns of today's data.
        encoder: How today's raw rows were encoded.
    """
    mine, theirs = (json.dumps(asdict(found), sort_keys=True) for found in (network, live.network))
    if mine != theirs:
        return f"its network is {live.network.name} {dict(live.network.options)}, the file's {network.name} " + (
            f"{dict(network.options)}"
        )
    kinds = [sorted((task.name, task.loss, schema.labels.get(task.label)) for task in tasks)]
    kinds.append(sorted((task.name, task.loss, live.schema.labels.get(task.label)) for task in live.tasks))
    if kinds[0] != kinds[1]:
        return f"its tasks are {_names(live.tasks)}, the file's {_names(tasks)}"
    if live.schema.features != schema.features:
        return f"its columns are {', '.join(live.schema.features)}, today's {', '.join(schema.features)}"
    other = [name for name, column in encoder.numeric.items() if column.log1p != live.encoder.numeric[name].log1p]
    return f"columns {', '.join(other)} have a logarithm in one of the two only" if other else ""


def start_from(model: nn.Module, live: nn.Module, columns: LiveColumns, sizes: Sequence[int]) -> None:
    """Give a model the live model's parameters and statistics.

    An embedding's row is that of the same token; a new token starts as the live model's OOV, so that the two models
    give the same outputs.

    Args:
        model: The model to train, of the same network, tasks and columns.
        live: The live model's network.
        columns: Its columns among today's, all of them in the same order.
        sizes: Its vocabulary sizes.

    Raises:
        ValueError: A parameter has another shape.
    """
    theirs = live.state_dict()
    embeddings = {
        f"{name}.embedding.weight".lstrip(".") for name, part in model.named_modules() if isinstance(part, Features)
    }
    rows = _rows(columns, sizes)
    state: dict[str, Tensor] = {}
    for name, value in model.state_dict().items():
        found = theirs[name] if name not in embeddings else theirs[name][rows.to(theirs[name].device)]
        if found.shape != value.shape:
            raise ValueError(
                f"parameter {name} has shape {tuple(value.shape)} today and {tuple(found.shape)} in the live model; "
                "set protect.start: false"
            )
        state[name] = found
    model.load_state_dict(state)


def _rows(columns: LiveColumns, sizes: Sequence[int]) -> Tensor:
    """Row of the live model's embedding for each row of today's."""
    if not columns.ids:
        return torch.zeros(1, dtype=torch.int64)
    first = [sum(sizes[:place]) for place in range(len(sizes))]
    return torch.cat([ids + start for ids, start in zip(columns.ids, first, strict=True)])


def _names(tasks: Sequence[Task]) -> str:
    return ", ".join(f"{task.name} ({task.loss})" for task in tasks)

"""Problems whose steps are timed: synthetic data of a known shape, tasks and a model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor, nn

from nmt.trainers.data.memory import MemoryFeed
from nmt.trainers.data.prepared import write
from nmt.trainers.data.schema import Numeric, Schema
from nmt.trainers.models.build import build_model
from nmt.trainers.spec.chain_spec import ModelSpec
from nmt.trainers.spec.execution import Execution
from nmt.trainers.spec.settings import Settings
from nmt.trainers.spec.task import Task
from nmt.trainers.spec.training import Training

TIKTOK = {
    "uid": 60_000,
    "item_id": 100_000,
    "author_id": 40_000,
    "item_city": 460,
    "channel": 6,
    "music_id": 20_000,
    "device_id": 60_000,
    "video_duration": 60,
}
"""TikTok's columns, with vocabularies of the ids that are frequent enough to have an embedding."""

SMALL_MMOE = ModelSpec(
    "mmoe", {"embedding_dim": 16, "experts": 4, "expert_units": [256, 128], "gate_units": [64], "tower_units": [64]}
)
"""MMoE for TikTok's columns, narrow enough for a step of 4,096 rows in a fraction of a second on one core."""

WIDE_TRUNK = ModelSpec("shared_bottom", {"embedding_dim": 1, "bottom_units": [1024, 512], "tower_units": [16]})
"""Shared-Bottom whose trunk costs more than the heads of 64 tasks."""

NO_CHECKPOINTS = Execution(checkpoint_every=0)

PAPER = Training(recipe="paper", eta_lambda=0.05, patience=None, l2_embedding=1e-6).settle()
"""The paper's update: multipliers ascend at every step, by the violations on the training minibatch."""


@dataclass(frozen=True)
class Problem:
    """A training problem.

    Attributes:
        folder: Prepared data set.
        tasks: Tasks in order of priority; the last one is the objective, the others are protected.
        model: The model.
        batch_size: Rows of a global batch.
        training: How a stage is trained.
        execution: How it runs.
        device: Device of model and data.
    """

    folder: str
    tasks: tuple[Task, ...]
    model: ModelSpec
    batch_size: int
    training: Settings = PAPER
    execution: Execution = NO_CHECKPOINTS
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def conditions(self) -> dict[str, Any]:
        """Model and batch size, needed to repeat a benchmark."""
        return {"model": self.model.name, **self.model.options, "batch": self.batch_size}

    def feed(self) -> MemoryFeed:
        """Open a feed that holds all data in this process."""
        labels = [task.label for task in self.tasks]
        return MemoryFeed(self.folder, labels, self.batch_size, self.training.seed, device=self.device)

    def build(self) -> nn.Module:
        """Build the model with its initial parameters, which are the same at every call."""
        schema = self.feed().schema
        return build_model(self.model, schema, self.tasks, self.training.seed).to(self.device).train()


def binary_tasks(number: int) -> tuple[Task, ...]:
    """Return binary tasks with a tolerance that keeps their multipliers near their initial values."""
    return tuple(Task(name=f"task_{place}", loss="binary_cross_entropy", tolerance=0.01) for place in range(number))


def write_synthetic(
    folder: Path, tasks: int, rows: int, categorical: Mapping[str, int] | None = None, numeric: int = 0
) -> str:
    """Write a prepared data set of random rows; each label depends weakly on the features.

    Args:
        folder: Folder to write; must not exist.
        tasks: Number of labels.
        rows: Training rows; the other splits have an eighth of that each.
        categorical: Column → size of its vocabulary; small ids are frequent, as in logs.
        numeric: Number of numeric columns.

    Returns:
        The folder.
    """
    rng = np.random.default_rng(0)
    categorical = dict(categorical or {})
    labels = [task.label for task in binary_tasks(tasks)]
    schema = Schema(
        categorical=categorical,
        numeric={f"x_{place}": Numeric() for place in range(numeric)},
        labels=dict.fromkeys(labels, 2),
        source="synthetic",
    )
    directions = rng.normal(size=(numeric + len(categorical), tasks))

    def split(number: int) -> Iterator[pa.Table]:
        ids = {name: (size * rng.random(number) ** 3).astype(np.int32) for name, size in categorical.items()}
        values = {name: rng.normal(size=number).astype(np.float32) for name in schema.numeric}
        features = np.stack([*(ids[name] / categorical[name] for name in ids), *values.values()], 1)
        logits = features @ directions / np.sqrt(features.shape[1]) - 1
        drawn = (logits + rng.logistic(size=logits.shape) > 0).astype(np.float32)
        yield pa.table({**ids, **values, **{name: drawn[:, place] for place, name in enumerate(labels)}})

    held_out = max(1, rows // 8)
    write(folder, schema, {"train": split(rows), "valid": split(held_out), "test": split(held_out)})
    return str(folder)


def parameter_groups(model: nn.Module, embedding_decay: float) -> list[dict[str, Any]]:
    """Return the parameter groups of a model, with weight decay on the embeddings alone."""
    embeddings = [p for module in model.modules() if isinstance(module, nn.Embedding) for p in module.parameters()]
    known = {id(parameter) for parameter in embeddings}
    others = [parameter for parameter in model.parameters() if id(parameter) not in known]
    return [{"params": others}, {"params": embeddings, "weight_decay": embedding_decay}]


def fixed_weights(tasks: int) -> Tensor:
    """Return equal weights that sum to 1, as in the combination of losses at λ = 1."""
    return torch.full((tasks,), 1.0 / tasks)

"""The model to train and the live model that it must not fall behind, as a worker needs them."""

from __future__ import annotations

import torch
from torch import nn

from nmt.trainers.data.prepared import read_encoder
from nmt.trainers.data.schema import Schema
from nmt.trainers.export.model_folder import TrainedModel
from nmt.trainers.faults import DamagedError
from nmt.trainers.live.columns import match_columns
from nmt.trainers.live.network import LiveNetwork
from nmt.trainers.live.start import start_from
from nmt.trainers.live.store import read_live
from nmt.trainers.models.build import build_model
from nmt.trainers.spec.chain_spec import ChainSpec


def build_models(
    spec: ChainSpec, schema: Schema, folder: str, storage: str, device: torch.device | str = "cpu"
) -> tuple[nn.Module, nn.Module | None]:
    """Build the model that a chain trains, with its first parameters, and the live model, if there is one.

    Args:
        spec: The chain.
        schema: Columns of its data.
        folder: The prepared data.
        storage: Folder or URI of the finished stages.
        device: Where to train.

    Raises:
        DamagedError: The live model is missing or damaged in the storage.
        ValueError: A network cannot be built, or a column of the live model is missing.
    """
    model = build_model(spec.model, schema, spec.tasks, spec.training.seed)
    if spec.previous is not None:
        _start(model, *_read(storage, spec.previous.digest, schema, folder))
    if spec.live is None:
        return model.to(device), None
    kept, live = _read(storage, spec.live.digest, schema, folder)
    if spec.live.start:
        _start(model, kept, live)
    return model.to(device), live.to(device)


def _read(storage: str, digest: str, schema: Schema, folder: str) -> tuple[TrainedModel, LiveNetwork]:
    """Return a kept model, and its network as it reads today's batches."""
    kept = read_live(storage, digest)
    try:
        return kept, LiveNetwork(kept, match_columns(kept, schema, read_encoder(folder, schema)))
    except ValueError as error:
        raise DamagedError(str(error)) from error


def _start(model: nn.Module, kept: TrainedModel, live: LiveNetwork) -> None:
    start_from(model, live.network, live.columns, list(kept.schema.categorical.values()))

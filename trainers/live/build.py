"""The model to train and the live model that it must not fall behind, as a worker needs them."""

from __future__ import annotations

import torch
from torch import nn

from nmt.trainers.data.prepared import read_encoder
from nmt.trainers.data.schema import Schema
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
    if spec.live is None:
        return model.to(device), None
    kept = read_live(storage, spec.live.digest)
    try:
        columns = match_columns(kept, schema, read_encoder(folder, schema))
    except ValueError as error:
        raise DamagedError(str(error)) from error
    live = LiveNetwork(kept, columns)
    if spec.live.start:
        start_from(model, live.network, columns, list(kept.schema.categorical.values()))
    return model.to(device), live.to(device)

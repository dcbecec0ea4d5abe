"""Today's encoded columns as the live model reads them; no raw rows are needed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nmt.trainers.data.schema import Schema
from nmt.trainers.encoding.encoder import Encoder
from nmt.trainers.encoding.tokens import TokenColumn
from nmt.trainers.export.model_folder import TrainedModel


@dataclass(frozen=True)
class LiveColumns:
    """Where the live model finds its columns in today's data, and what their values are to it.

    Attributes:
        categorical: Place of each of its categorical columns in today's data.
        ids: For each of them, its id of each of today's ids, int64.
        numeric: Place of each of its numeric columns.
        logarithms: For each of them 1 where today's values lack the ``log1p`` that it was trained with, −1 where they
            have one that it was not trained with, 0 where the two agree.
        packed: Bytes of its packed columns among today's bytes.
    """

    categorical: tuple[int, ...]
    ids: tuple[Tensor, ...]
    numeric: tuple[int, ...]
    logarithms: tuple[int, ...]
    packed: tuple[int, ...]


def match_columns(live: TrainedModel, schema: Schema, encoder: Encoder) -> LiveColumns:
    """Match the live model's columns with today's, by name; tokens with tokens.

    Today's OOV, and a token that the live model does not know, are its OOV. A missing number has become today's mean
    when the data were prepared, and stays it.

    Args:
        live: The live model.
        schema: Columns of today's data.
        encoder: How today's raw rows were encoded.

    Raises:
        ValueError: A column is missing or of another kind.
    """
    theirs = live.schema
    kinds = (
        ("categorical", theirs.categorical, schema.categorical),
        ("numeric", theirs.numeric, schema.numeric),
        ("packed", theirs.packed, schema.packed),
    )
    for kind, wanted, found in kinds:
        if missing := [name for name in wanted if name not in found]:
            raise ValueError(
                f"the live model reads the {kind} columns {', '.join(missing)}, which today's data lack (they have "
                f"{', '.join(found) or 'none'}); add the columns, or protect a model of these data"
            )
    if wrong := [name for name, bits in theirs.packed.items() if schema.packed[name] != bits]:
        widths = ", ".join(f"{name} {theirs.packed[name]} and {schema.packed[name]} bits" for name in wrong)
        raise ValueError(f"packed columns of the live model and of today's data differ: {widths}; prepare them alike")
    return LiveColumns(
        categorical=_places(schema.categorical, theirs.categorical),
        ids=tuple(_ids(name, encoder.categorical[name], live.encoder.categorical[name]) for name in theirs.categorical),
        numeric=_places(schema.numeric, theirs.numeric),
        logarithms=tuple(
            int(live.encoder.numeric[name].log1p) - int(encoder.numeric[name].log1p) for name in theirs.numeric
        ),
        packed=_bytes(schema, tuple(theirs.packed)),
    )


def _places(here: Iterable[str], wanted: Iterable[str]) -> tuple[int, ...]:
    place = {name: index for index, name in enumerate(here)}
    return tuple(place[name] for name in wanted)


def _ids(name: str, here: TokenColumn, live: TokenColumn) -> Tensor:
    """Ids of the live model by today's ids: PAD is PAD, OOV is OOV, a token is the same token or OOV."""
    try:
        tokens = live.ids(here.tokens).to_numpy()
    except ValueError as error:
        raise ValueError(f"column {name!r} {error}") from error
    return torch.from_numpy(np.concatenate([[0], tokens, [live.size - 1]]).astype(np.int64))


def _bytes(schema: Schema, wanted: Sequence[str]) -> tuple[int, ...]:
    first, start = {}, 0
    for name, bits in schema.packed.items():
        first[name] = start
        start += -(-bits // 8)
    return tuple(first[name] + byte for name in wanted for byte in range(-(-schema.packed[name] // 8)))

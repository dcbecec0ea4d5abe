"""Prepared data whose vocabularies go on from an earlier day's: every token keeps its id, new ones are appended."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from nmt.trainers.data.prepared import read_schema, write
from nmt.trainers.data.schema import SPLITS, Schema
from nmt.trainers.encoding.encoder import Encoder
from nmt.trainers.encoding.tokens import TokenColumn
from nmt.trainers.store.file_system import is_file, locate, parquet_files


@dataclass(frozen=True)
class Growth:
    """How vocabularies grow.

    Attributes:
        encoder: How raw rows are encoded afterwards.
        ids: Categorical column → its id after the growth, by its id in today's own vocabulary.
        new: Categorical column → number of tokens that the earlier vocabulary lacks.
    """

    encoder: Encoder
    ids: Mapping[str, npt.NDArray[np.int32]]
    new: Mapping[str, int]


def plan_growth(earlier: Encoder, today: Encoder) -> Growth:
    """Append today's new tokens to an earlier day's vocabularies.

    A token that the earlier day knew and today's source found too rare for an id of its own is OOV in today's rows. It
    keeps its id, for rows to predict.

    Args:
        earlier: The earlier day's encoder.
        today: Today's, with the same columns.

    Raises:
        ValueError: The columns differ, or the tokens of one cannot be compared.
    """
    if earlier.columns != today.columns:
        raise ValueError(f"earlier days had the columns {', '.join(earlier.columns)}, today {', '.join(today.columns)}")
    columns: dict[str, TokenColumn] = {}
    ids: dict[str, npt.NDArray[np.int32]] = {}
    counts: dict[str, npt.NDArray[np.int64]] = {}
    for name, own in today.categorical.items():
        try:
            columns[name] = grown = earlier.categorical[name].extended(own)
        except ValueError as error:
            raise ValueError(f"column {name!r} {error}") from error
        ids[name] = np.concatenate([[0], grown.ids(own.tokens).to_numpy(), [grown.size - 1]]).astype(np.int32)
        if name in today.counts:
            counts[name] = np.zeros(len(grown.tokens), np.int64)
            counts[name][ids[name][1:-1] - 1] = today.counts[name]
    new = {name: column.size - earlier.categorical[name].size for name, column in columns.items()}
    return Growth(replace(today, categorical=columns, counts=counts), ids, new)


def grow(folder: str, schema: Schema, growth: Growth, target: Path) -> Schema:
    """Write prepared data again with grown vocabularies, whole or not at all; memory holds one shard.

    Args:
        folder: Path or URI of the prepared data.
        schema: Their schema.
        growth: How their vocabularies grow.
        target: Folder to write; data that it already holds are kept.

    Returns:
        The schema as written.
    """
    if is_file(*locate(f"{target}/schema.json")):
        return read_schema(str(target))
    sizes = {name: column.size for name, column in growth.encoder.categorical.items()}
    splits = {split: _shards(folder, split, growth) for split in SPLITS}
    return write(target, replace(schema, categorical=sizes), splits, growth.encoder)


def _shards(folder: str, split: str, growth: Growth) -> Iterator[pa.Table]:
    filesystem, root = locate(folder)
    for path in parquet_files(filesystem, f"{root}/{split}"):
        table = pq.read_table(path, filesystem=filesystem)
        for name, ids in growth.ids.items():
            place = table.column_names.index(name)
            table = table.set_column(place, name, pa.array(ids[table[name].to_numpy()]))
        yield table

"""The shards of a block: its rows encoded as ids and numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from nmt.experiments.data.official import vocabulary
from nmt.experiments.data.official.block_job import BlockJob
from nmt.experiments.data.official.statistics import feature_values
from nmt.experiments.data.official.vocabularies import vocabulary_path
from nmt.trainers.data.prepared import Shard, write_shard
from nmt.trainers.data.schema import SPLITS


def encode_block(job: BlockJob) -> list[Shard]:
    """Write a shard of each split, and remove the block's temporary file of rows."""
    recipe = job.recipe
    table = job.read_rows()
    split = job.split(table.num_rows)
    columns: dict[str, Any] = {}
    for index, name in enumerate(recipe.categorical):
        columns[name] = vocabulary.look_up_ids(table[name].combine_chunks(), vocabulary_path(job.work, index))
    for name in recipe.numeric:
        values = feature_values(table, name, recipe)
        columns[name] = np.where(np.isnan(values), job.schema.numeric[name].mean, values).astype(np.float32)
    for name in recipe.labels:
        columns[name] = table[name].to_numpy().astype(np.float32)
    encoded = pa.table(columns)
    shards = [
        write_shard(job.target, name, job.number, part, job.schema)
        for index, name in enumerate(SPLITS)
        if (part := encoded.filter(pa.array(split == index))).num_rows
    ]
    job.rows_path.unlink()
    return shards

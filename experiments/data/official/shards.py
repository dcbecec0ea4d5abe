"""Rows to shards: ids and numbers."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pyarrow as pa

from experiments.data.official.job import Job
from experiments.data.official.statistics import numbers_of_feature
from experiments.data.official.vocabularies import vocabulary_path
from experiments.data.prepared import vocabulary
from trainers.data.prepared import Shard, write_shard
from trainers.data.schema import SPLITS


def encode_block(job: Job) -> list[Shard]:
    """Write a shard of each split."""
    recipe = job.recipe
    table = job.get()
    split = job.split(table.num_rows)
    columns: dict[str, Any] = {}
    for place, name in enumerate(recipe.categorical):
        columns[name] = vocabulary.ids(table[name].combine_chunks(), vocabulary_path(job.work, place))
    for name in recipe.numeric:
        values = numbers_of_feature(table, name, recipe)
        columns[name] = np.where(np.isnan(values), job.schema.numeric[name].mean, values).astype(np.float32)
    for name in recipe.labels:
        columns[name] = table[name].to_numpy().astype(np.float32)
    encoded = pa.table(columns)
    shards = [
        write_shard(job.target, name, job.number, part, job.schema)
        for place, name in enumerate(SPLITS)
        if (part := encoded.filter(pa.array(split == place))).num_rows
    ]
    os.unlink(job.rows)
    return shards

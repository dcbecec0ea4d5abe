"""Raw rows of some days, prepared as a user's table, and the model that yesterday's rows trained."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from nmt.experiments.data import table
from nmt.trainers.data.memory import MemoryFeed
from nmt.trainers.data.prepared import read_encoder
from nmt.trainers.data.schema import Schema
from nmt.trainers.encoding.encoder import Encoder
from nmt.trainers.export.model_folder import TrainedModel
from nmt.trainers.live.build import build_models
from nmt.trainers.live.store import keep_live
from nmt.trainers.records import StageRecord
from nmt.trainers.reporter import NullReporter, Reporter
from nmt.trainers.spec.chain_spec import ChainSpec, ModelSpec
from nmt.trainers.spec.live import Live
from nmt.trainers.spec.task import Task
from nmt.trainers.spec.training import Training
from nmt.trainers.stage.chain import run_chain
from nmt.trainers.store.stage_store import StageStore

TASKS = (Task("click", "binary_cross_entropy"), Task("buy", "binary_cross_entropy"))
NETWORK = ModelSpec("shared_bottom", {"embedding_dim": 4, "bottom_units": [8], "tower_units": [4]})
SPLITS = {"train": 1200, "valid": 400, "test": 400}


def rows(users: int, seed: int = 0) -> pa.Table:
    """Rows of users ``u0`` to ``u{users - 1}``, whose tastes are the same on every day."""
    rng = np.random.default_rng(seed)
    n = sum(SPLITS.values())
    taste = np.random.default_rng(9).normal(size=(200, 2))
    user, shop = rng.integers(0, users, n), rng.integers(0, 6, n)
    price = rng.lognormal(size=n)
    logits = taste[user] + np.stack([0.3 * shop - np.log1p(price), -0.2 * shop], 1)
    click, buy = (logits + rng.logistic(size=(n, 2)) > 0).T
    return pa.table(
        {
            "split": np.repeat(list(SPLITS), list(SPLITS.values())),
            "user": [f"u{number}" for number in user],
            "shop": shop,
            "price": price,
            "age": rng.normal(40, 10 + users / 10, n),
            "bits": pa.array([rng.bytes(1) for _ in range(n)], pa.binary()),
            "click": click.astype(float),
            "buy": buy.astype(float),
        }
    )


@dataclass(frozen=True)
class Day:
    """A prepared day."""

    raw: pa.Table
    folder: Path
    schema: Schema
    encoder: Encoder


def day(folder: Path, raw: pa.Table, **options: Any) -> Day:
    """Prepare rows."""
    folder.mkdir(parents=True)
    pq.write_table(raw, folder / "rows.parquet")
    given: dict[str, Any] = {
        "categorical": ["user", "shop"],
        "numeric": ["price", "age"],
        "packed": {"bits": 8},
        "labels": {"click": 2, "buy": 2},
        "log1p": ["price"],
        **options,
    }
    prepared = Path(table.prepare(str(folder / "rows.parquet"), folder / "cache", **given))
    feed = MemoryFeed(str(prepared), ["click"], 32, 0)
    return Day(raw, prepared, feed.schema, read_encoder(str(prepared), feed.schema))


def spec_of(prepared: Day, live: Live | None = None, **training: Any) -> ChainSpec:
    """A chain of both tasks, each a level."""
    given: dict[str, Any] = {"max_epochs": 2, "eta_theta": 0.01, "patience": None, **training}
    return ChainSpec(
        levels=tuple((task,) for task in TASKS),
        model=NETWORK,
        training=replace(Training(**given).settle(), l2_embedding=0.0),
        batch_size=64,
        data_fingerprint=prepared.schema.fingerprint,
        live=live,
    )


def train(
    spec: ChainSpec, prepared: Day, storage: Path, reporter: Reporter | None = None
) -> tuple[tuple[StageRecord, ...], TrainedModel]:
    """Run a chain, and return its records and its model."""
    feed = MemoryFeed(str(prepared.folder), [task.label for task in spec.tasks], spec.batch_size, spec.training.seed)
    model, live = build_models(spec, feed.schema, str(prepared.folder), str(storage))
    store = StageStore(str(storage))
    records = run_chain(spec, model, feed, store, reporter or NullReporter(), live=live)
    state = store.state(records[-1].key)
    return records, TrainedModel(spec.tasks, spec.model, feed.schema, prepared.encoder, state)


def live_of(model: TrainedModel, storage: Path, start: bool) -> Live:
    """The model as the live one of a chain."""
    return Live(keep_live(str(storage), model), tuple(task.name for task in model.tasks), start)

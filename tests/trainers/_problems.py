"""Small problems whose answers are known, and small data sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nmt.trainers.data.batch import Batch
from nmt.trainers.data.memory import MemoryFeed
from nmt.trainers.data.prepared import read_schema, write
from nmt.trainers.data.schema import Numeric, Schema
from nmt.trainers.models.build import build_model
from nmt.trainers.records import Candidate, Optimum, Row, StageRecord, Verdict
from nmt.trainers.reporter import Event
from nmt.trainers.spec.chain_spec import ChainSpec, ModelSpec
from nmt.trainers.spec.execution import Execution
from nmt.trainers.spec.settings import Settings
from nmt.trainers.spec.task import Task

# --- quadratics with known saddles -----------------------------------------------------------------------------------


def two_bowls(theta: Tensor) -> Tensor:
    """L1 = x², L2 = (x − 1)² + (y − 2)²."""
    x, y = theta
    return torch.stack([x**2, (x - 1) ** 2 + (y - 2) ** 2])


def three_bowls(theta: Tensor) -> Tensor:
    """L1 = x², L2 = (x − 1)² + y², L3 = (x − 1)² + (y − 1)² + (z − 3)²."""
    x, y, z = theta
    return torch.stack([x**2, (x - 1) ** 2 + y**2, (x - 1) ** 2 + (y - 1) ** 2 + (z - 3) ** 2])


# --- a data set with every kind of column -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Prepared:
    """A prepared data set, and what was written.

    Attributes:
        folder: Where it is.
        schema: Its schema.
        columns: Split → column → value of every row; packed columns as bits, NaN where a value is missing.
        example: Split → example of every row.
    """

    folder: Path
    schema: Schema
    columns: Mapping[str, Mapping[str, NDArray[Any]]]
    example: Mapping[str, NDArray[np.int64]]


def mixed_rows(folder: Path) -> Prepared:
    """Rows with two categorical, two numeric, two packed columns and two labels, in uneven Parquet shards."""
    counts = {"train": 53, "valid": 17, "test": 8}
    return _mixed(folder, {split: np.ones(rows, dtype=np.int64) for split, rows in counts.items()}, None)


def mixed_lists(folder: Path) -> Prepared:
    """The same columns, in lists of 1 to 6 rows under arbitrary query numbers."""
    rng = np.random.default_rng(3)
    sizes = {split: rng.integers(1, 7, size=lists) for split, lists in {"train": 41, "valid": 13, "test": 5}.items()}
    return _mixed(folder, sizes, "query")


def _mixed(folder: Path, sizes: Mapping[str, NDArray[np.int64]], query: str | None) -> Prepared:
    rng = np.random.default_rng(1)
    schema = Schema(
        categorical={"colour": 4, "shop": 9},
        numeric={"price": Numeric(mean=2.0, std=4.0), "age": Numeric(mean=-1.0, std=0.5)},
        packed={"words": 16, "flags": 8},
        labels={"bought": 2, "amount": 0},
        query=query,
    )
    columns: dict[str, dict[str, NDArray[Any]]] = {}
    example: dict[str, NDArray[np.int64]] = {}
    tables: dict[str, list[pa.Table]] = {}
    for split, lengths in sizes.items():
        n = int(lengths.sum())
        example[split] = np.repeat(np.arange(len(lengths)), lengths)
        content: dict[str, NDArray[Any]] = {name: rng.integers(0, size, n) for name, size in schema.categorical.items()}
        for name in (*schema.numeric, "amount"):
            content[name] = rng.normal(size=n).astype(np.float32)
            content[name][rng.random(n) < 0.2] = np.nan
        content["bought"] = rng.integers(0, 2, n).astype(np.float32)
        content["bought"][rng.random(n) < 0.3] = np.nan
        content |= {name: rng.integers(0, 2, (n, bits)).astype(np.uint8) for name, bits in schema.packed.items()}
        columns[split] = content
        stored: dict[str, Any] = dict(content)
        for name in (*schema.numeric, *schema.labels):
            stored[name] = pa.array(content[name], from_pandas=True)  # NaN becomes null
        for name in schema.packed:
            stored[name] = [np.packbits(bits).tobytes() for bits in content[name]]
        if query is not None:
            stored[query] = rng.permutation(1000)[: len(lengths)][example[split]]
        cut = int(np.searchsorted(example[split], len(lengths) // 3))  # a list is never cut
        table = pa.table(stored)
        tables[split] = [table.slice(0, cut), table.slice(cut)]
    return Prepared(folder, write(folder, schema, tables), columns, example)


# --- two tasks that pull one score in different directions ------------------------------------------------------------

CONFLICT_ROWS = {"train": 180, "valid": 120, "test": 90}


def conflict(folder: Path, n: Mapping[str, int] = CONFLICT_ROWS) -> Path:
    """Rows with three numeric columns and labels ``first``, ``second`` (and ``third``), logits at wide angles.

    Labels of the first two are missing here and there.
    """
    rng = np.random.default_rng(5)
    directions = {"first": (2.0, 0.0, 0.5), "second": (-0.5, 2.0, 0.0), "third": (-1.0, -1.0, 1.0)}
    names = ("x", "y", "z")
    tables = {}
    for split, rows in n.items():
        x = rng.normal(size=(rows, 3)).astype(np.float32)
        content: dict[str, Any] = {name: x[:, column] for column, name in enumerate(names)}
        for task, direction in directions.items():
            label = (x @ np.array(direction) + rng.logistic(size=rows) > 0).astype(np.float32)
            if task != "third":
                label[rng.random(rows) < 0.15] = np.nan
            content[task] = pa.array(label, from_pandas=True)
        tables[split] = [pa.table(content)]
    schema = Schema(numeric=dict.fromkeys(names, Numeric(0.1, 1.2)), labels=dict.fromkeys(directions, 2))
    write(folder, schema, tables)
    return folder


def ranking(folder: Path) -> Path:
    """Lists of 2 to 6 items: two numeric columns, labels ``pay`` (binary) and ``amount`` (real, often missing)."""
    rng = np.random.default_rng(6)
    tables = {}
    for split, lists in {"train": 60, "valid": 40, "test": 20}.items():
        sizes = rng.integers(2, 7, lists)
        rows = int(sizes.sum())
        x = rng.normal(size=(rows, 2)).astype(np.float32)
        pay = (x[:, 0] + 0.5 * rng.normal(size=rows) > 0).astype(np.float32)
        amount = (x[:, 1] - x[:, 0] + 0.5 * rng.normal(size=rows)).astype(np.float32)
        amount[rng.random(rows) < 0.4] = np.nan
        content = {
            "query": np.repeat(np.arange(lists) * 7, sizes),
            "x": x[:, 0],
            "y": x[:, 1],
            "pay": pay,
            "amount": pa.array(amount, from_pandas=True),
        }
        tables[split] = [pa.table(content)]
    schema = Schema(numeric={"x": Numeric(), "y": Numeric()}, labels={"pay": 2, "amount": 0}, query="query")
    write(folder, schema, tables)
    return folder


# --- chains -----------------------------------------------------------------------------------------------------------


def binary(name: str, tolerance: float = 0.0, **others: Any) -> Task:
    """A task with binary cross-entropy."""
    return Task(name=name, loss="binary_cross_entropy", tolerance=tolerance, **others)


class Options(NamedTuple):
    """How stages are trained, and how they run."""

    settings: Settings
    execution: Execution


def paper(**options: Any) -> Options:
    """The paper's chain and multipliers, unless said otherwise: absolute violations of minibatches, no stage 0.

    As in the recipe ``paper``, a stage with protected tasks has the patience of one without, and as many backtracks.
    """
    update: dict[str, Any] = {
        "relative": False,
        "violations": "minibatch",
        "joint_weight": 0.0,
        "later_weight": 0.0,
        "eta_lambda": 0.05,
        "evaluations_per_epoch": 6,
        "backtracks": 2,
        "l2_embedding": 0.0,
        **options,
    }
    update.setdefault("constrained_backtracks", update["backtracks"])
    update.setdefault("constrained_patience", update.get("patience", Settings.patience))
    execution = {f.name: update.pop(f.name) for f in fields(Execution) if f.name in update}
    return Options(Settings(**update), Execution(**execution))


def chain_spec(
    data: Path,
    levels: Sequence[Sequence[Task]],
    options: Options,
    model: str = "scorer",
    batch_size: int = 32,
    **model_options: Any,
) -> ChainSpec:
    """A chain over a prepared data set; without options, the model is one linear score."""
    if model == "scorer":
        model_options = {"embedding_dim": 2, "units": [], **model_options}
    return ChainSpec(
        levels=tuple(tuple(level) for level in levels),
        model=ModelSpec(model, model_options),
        training=options.settings,
        execution=options.execution,
        batch_size=batch_size,
        data_fingerprint=read_schema(str(data)).fingerprint,
    )


def feed_and_model(spec: ChainSpec, data: Path, rank: int = 0, workers: int = 1) -> tuple[MemoryFeed, nn.Module]:
    """What a worker needs to run a chain."""
    feed = MemoryFeed(
        str(data), [task.label for task in spec.tasks], spec.batch_size, spec.training.seed, rank, workers
    )
    return feed, build_model(spec.model, feed.schema, spec.tasks, spec.training.seed)


class Recorder:
    """A reporter that keeps everything."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def report(self, event: Event) -> None:
        self.events.append(event)

    def kinds(self) -> list[str]:
        """Names of the events' classes, without the measurements in between."""
        names = [type(event).__name__ for event in self.events]
        return [name for name in names if name not in ("Progress", "Evaluated")]


# --- models of a user's own -------------------------------------------------------------------------------------------


class TwoTowers(nn.Module):
    """A shared layer and one tower per task, as a user would write it; computes in double precision when ``double``.

    A gate that nobody reads is there too, as in the last layer of a PLE.
    """

    def __init__(self, schema: Schema, tasks: Sequence[Task], units: int = 4, double: bool = False) -> None:
        super().__init__()
        self.shared = nn.Linear(len(schema.numeric), units)
        self.towers = nn.ModuleDict({task.name: nn.Linear(units, 1) for task in tasks})
        self.unread_gate = nn.Linear(units, 2)
        if double:
            self.double()

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        hidden = self.shared(batch.numeric.to(self.shared.weight.dtype)).tanh()
        return {name: tower(hidden).squeeze(1) for name, tower in self.towers.items()}


class Noisy(nn.Module):
    """A linear score behind dropout."""

    def __init__(self, schema: Schema, tasks: Sequence[Task], dropout: float = 0.3) -> None:
        super().__init__()
        self.names = [task.name for task in tasks]
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(len(schema.numeric), 1)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        return dict.fromkeys(self.names, self.linear(self.dropout(batch.numeric)).squeeze(1))


class Normalised(nn.Module):
    """A linear score behind batch normalisation, whose running statistics are buffers."""

    def __init__(self, schema: Schema, tasks: Sequence[Task]) -> None:
        super().__init__()
        self.names = [task.name for task in tasks]
        self.norm = nn.BatchNorm1d(len(schema.numeric))
        self.linear = nn.Linear(len(schema.numeric), 1)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        return dict.fromkeys(self.names, self.linear(self.norm(batch.numeric)).squeeze(1))


# --- minibatches made by hand -----------------------------------------------------------------------------------------


def rows_batch(labels: Tensor, **columns: Tensor) -> Batch:
    """A minibatch of rows with the given labels, shape ``(rows, tasks)``, and feature columns."""
    n = len(labels)
    empty = {
        "categorical": torch.zeros(n, 0, dtype=torch.int64),
        "numeric": torch.zeros(n, 0),
        "packed": torch.zeros(n, 0, dtype=torch.uint8),
    }
    return Batch(**{**empty, **columns}, labels=labels, index=torch.arange(n))


def lists_batch(labels: Tensor, lengths: Sequence[int], spare: int = 0) -> Batch:
    """A minibatch of lists; ``longest`` is larger by ``spare`` than it must be, as when the shard has a longer list."""
    size = torch.tensor(lengths)
    empty = rows_batch(labels)
    return Batch(
        categorical=empty.categorical,
        numeric=empty.numeric,
        packed=empty.packed,
        labels=labels,
        index=torch.arange(len(lengths)),
        query=torch.arange(len(lengths)).repeat_interleave(size),
        position=torch.cat([torch.arange(n) for n in lengths]),
        longest=max(lengths) + spare,
    )


# --- records made by hand ---------------------------------------------------------------------------------------------


def verdict(task: str = "first", difference: float = 0.0, allowed: float = 0.0, **others: Any) -> Verdict:
    """A verdict on the validation split."""
    numbers = {"optimum": 0.5, "value": 0.5 + difference, "standard_error": 0.0, "split": "valid", **others}
    return Verdict(task=task, difference=difference, allowed=allowed, held=difference <= allowed, **numbers)


def record(key: str = "key", **others: Any) -> StageRecord:
    """The record of a second stage."""
    content: dict[str, Any] = {
        "key": key,
        "parent": "parent",
        "stage": 1,
        "number": 2,
        "level": ("second",),
        "objective": {"second": 1.0},
        "protected": ("first",),
        "optima": (Optimum("second", 0.1, 7, 1 / 3, 5),),
        "verdicts": (verdict(), verdict(split="test", difference=0.25)),
        "multipliers": {"first": 2.5},
        "losses": {"train": {"first": 0.1, "second": 0.2}, "valid": {"first": 0.3, "second": 0.4}},
        "metrics": {"valid": {"first": 0.75}},
        "metric_names": {"first": "auc", "second": "auc"},
        "accepted_step": 4,
        "steps": 6,
        "samples": 48,
        "steps_per_epoch": 3,
        "ended_by": "plateau",
        "wall_seconds": 1.5,
        "workers": 1,
        "candidates": (Candidate(3, {"first": 0.1}, {"first": 0.5}, (verdict(),), True, True),),
        "rows": (Row(1, {"first": 0.1, "second": 0.2}, {"first": -0.4}, {"first": 1e-300}),),
    }
    return StageRecord(**{**content, **others})

"""Predictions for raw test rows equal the outputs that training evaluated, for every kind of task."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch import nn

from nmt.experiments.data import table
from nmt.trainers.data.batch import Batch
from nmt.trainers.data.memory import MemoryFeed
from nmt.trainers.data.prepared import read_encoder
from nmt.trainers.data.schema import Schema
from nmt.trainers.export.model_folder import TrainedModel
from nmt.trainers.export.predictor import Predictor
from nmt.trainers.export.program import export_program
from nmt.trainers.models.build import build_model
from nmt.trainers.models.features import Features
from nmt.trainers.reporter import NullReporter
from nmt.trainers.spec.chain_spec import ChainSpec, ModelSpec
from nmt.trainers.spec.task import Task
from nmt.trainers.spec.training import Training
from nmt.trainers.stage.chain import run_chain
from nmt.trainers.store.stage_store import StageStore

TASKS = (
    Task("click", "binary_cross_entropy"),
    Task("stars", "cross_entropy"),
    Task("dwell", "squared_error"),
    Task("rank", "pairwise_logistic", label="click"),
)
OPTIONS: dict[str, Any] = {
    "categorical": ["user", "shop", "flag", "day", "code"],
    "numeric": ["price", "age"],
    "labels": {"click": 2, "stars": 3, "dwell": 0},
    "packed": {"bits": 16},
    "query": "visit",
    "min_count": 3,
    "log1p": ["price"],
}


def raw_rows(seed: int = 0) -> pa.Table:
    """Rows with missing values, tokens that only the test split has, and empty texts."""
    rng = np.random.default_rng(seed)
    n = 600
    split = np.repeat(["train", "valid", "test"], [400, 100, 100])

    def with_gaps(values: list[Any], share: float = 0.1) -> list[Any]:
        return [None if gap else value for value, gap in zip(values, rng.random(n) < share, strict=True)]

    users = [f"u{rng.integers(20)}" if part == "train" else f"u{rng.integers(30)}" for part in split]
    click = rng.integers(0, 2, n).astype(float)
    days = np.datetime64("2022-05-01") + rng.integers(0, 5, n)
    return pa.table(
        {
            "split": split,
            "visit": np.repeat(np.arange(n // 4), 4),
            "user": with_gaps([user if rng.random() > 0.05 else "" for user in users]),
            "shop": pa.array(with_gaps(rng.integers(0, 12, n).tolist()), pa.int32()),
            "flag": with_gaps((rng.random(n) < 0.5).tolist()),
            "day": pa.array(days),
            "code": pa.array(with_gaps(rng.choice([0.5, 1.25, math.nan], n).tolist()), pa.float32()),
            "price": with_gaps(rng.lognormal(size=n).tolist()),
            "age": with_gaps(rng.integers(1, 90, n).tolist()),
            "bits": pa.array([rng.bytes(2) for _ in range(n)], pa.binary()),
            "click": click,
            "stars": rng.integers(0, 3, n),
            "dwell": rng.normal(size=n) + click,
        }
    )


@dataclass(frozen=True)
class Trained:
    """A trained chain, its data, and what its last stage evaluated on the test split."""

    model: TrainedModel
    test: pa.Table
    outputs: dict[str, torch.Tensor]


class OneLayer(nn.Module):
    """A user's own model, whose outputs are class logits where the label has classes."""

    def __init__(self, schema: Schema, tasks: Sequence[Task]) -> None:
        super().__init__()
        self.features = Features(schema, 4)
        classes = {task.name: schema.labels[task.label] if task.loss == "cross_entropy" else 1 for task in tasks}
        self.layers = nn.ModuleDict({name: nn.Linear(self.features.width, n) for name, n in classes.items()})

    def forward(self, batch: Batch) -> dict[str, torch.Tensor]:
        found = self.features(batch)
        outputs = {name: layer(found) for name, layer in self.layers.items()}
        return {name: output.squeeze(1) if output.shape[1] == 1 else output for name, output in outputs.items()}


@pytest.fixture(scope="module", params=["shared_bottom", "mmoe", f"{__name__}:OneLayer"])
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder = tmp_path_factory.mktemp("trained")
    rows = raw_rows()
    pq.write_table(rows, folder / "rows.parquet")
    prepared = table.prepare(str(folder / "rows.parquet"), folder / "cache", **OPTIONS)
    sizes: dict[str, Any] = {
        "shared_bottom": {"embedding_dim": 4, "bottom_units": [8], "tower_units": [4]},
        "mmoe": {"embedding_dim": 4, "expert_units": [8], "gate_units": [4], "tower_units": [4]},
    }.get(request.param, {})
    tasks = TASKS if not sizes else tuple(task for task in TASKS if task.loss != "cross_entropy")
    spec = ChainSpec(
        levels=((tasks[0],), tasks[1:]),
        model=ModelSpec(request.param, sizes),
        training=Training(max_epochs=1, patience=None).settle(),
        batch_size=32,
        data_fingerprint="0",
    )
    feed = MemoryFeed(str(prepared), [task.label for task in tasks], spec.batch_size, 0)
    store = StageStore(str(folder / "runs"))
    network = build_model(spec.model, feed.schema, spec.tasks, 0)
    last = run_chain(spec, network, feed, store, NullReporter())[-1]
    model = TrainedModel(
        spec.tasks, spec.model, feed.schema, read_encoder(str(prepared), feed.schema), store.state(last.key)
    )
    outputs = dict(store.outputs(last.key).outputs["test"])
    return Trained(model, rows.filter(pa.array(np.asarray(rows["split"]) == "test")), outputs)


def expected(trained: Trained, task: str) -> np.ndarray[Any, Any]:
    output = trained.outputs[task]
    answer = {"click": torch.sigmoid, "stars": lambda logits: logits.softmax(1)}.get(task, lambda same: same)
    return np.asarray(answer(output))


def as_array(column: pa.ChunkedArray) -> np.ndarray[Any, Any]:
    return np.asarray(column.to_pylist(), dtype=np.float32)


def test_raw_rows_give_what_training_evaluated(trained: Trained, tmp_path: Path) -> None:
    trained.model.write(tmp_path / "model")
    found = Predictor.load(tmp_path / "model").predict(trained.test)
    assert found.problems == ()
    assert found.table.column_names == [task.name for task in trained.model.tasks]
    assert set(trained.outputs) == {task.name for task in trained.model.tasks}
    for task in trained.model.tasks:
        np.testing.assert_allclose(as_array(found.table[task.name]), expected(trained, task.name), atol=1e-6)


@pytest.mark.parametrize("kind", ["pandas", "mappings", "columns", "large and dictionary types"])
def test_other_kinds_of_rows_give_the_same(trained: Trained, kind: str) -> None:
    rows = trained.test
    if kind == "large and dictionary types":
        rows = rows.set_column(rows.column_names.index("user"), "user", rows["user"].dictionary_encode())
        rows = rows.set_column(rows.column_names.index("shop"), "shop", rows["shop"].cast(pa.large_string()))
    given = {
        "pandas": lambda: rows.to_pandas(),
        "mappings": lambda: rows.to_pylist(),
        "columns": lambda: rows.to_pydict(),
    }.get(kind, lambda: rows)()
    predictor = Predictor(trained.model)
    assert predictor.predictions(given).table.equals(predictor.predictions(trained.test).table)


def test_a_data_frame_gives_a_data_frame_with_its_index(trained: Trained) -> None:
    frame = trained.test.to_pandas().iloc[::-1]
    predictor = Predictor(trained.model)
    found = predictor.predict(frame)
    assert list(found.index) == list(frame.index)
    assert list(found.columns) == [task.name for task in trained.model.tasks]
    whole = predictor.predict(trained.test).table
    assert found.iloc[::-1]["click"].tolist() == pytest.approx(whole["click"].to_pylist(), abs=1e-6)


def test_the_exported_program_gives_the_same_for_any_number_of_rows(trained: Trained, tmp_path: Path) -> None:
    torch.export.save(export_program(trained.model), tmp_path / "program.pt2")
    program = torch.export.load(tmp_path / "program.pt2").module()
    for count in (1, 7, 100):
        encoded = trained.model.encoder.encode(trained.test.slice(0, count))
        found = program(
            *(torch.from_numpy(part.copy()) for part in (encoded.categorical, encoded.numeric, encoded.packed))
        )
        for task, part in zip(trained.model.tasks, found, strict=True):
            np.testing.assert_allclose(part.detach(), expected(trained, task.name)[:count], atol=1e-6)


def test_bad_rows_get_no_prediction_and_the_others_do(trained: Trained) -> None:
    rows = trained.test.to_pylist()
    rows[3]["price"] = -2.0
    rows[5]["bits"] = b"1"
    rows[8]["age"] = math.inf
    found = Predictor(trained.model).predict(rows)
    assert [(problem.row, problem.column) for problem in found.problems] == [(3, "price"), (8, "age"), (5, "bits")]
    assert "-2.0: values from 0 up are allowed" in found.problems[0].text
    whole = Predictor(trained.model).predict(trained.test).table
    for name in whole.column_names:
        column = found.table[name].to_pylist()
        assert [row for row, value in enumerate(column) if value is None] == [3, 5, 8]
        assert column[:3] == whole[name].to_pylist()[:3]


def test_missing_columns_are_named_with_those_that_are_there(trained: Trained) -> None:
    with pytest.raises(ValueError, match=r"the data lack user, price, which the model reads; they have split, visit,"):
        Predictor(trained.model).predict(trained.test.drop_columns(["user", "price"]))


@pytest.mark.parametrize(
    ("column", "values", "words"),
    [
        ("price", pa.array(["one"] * 100), r"column 'price' holds string; numbers are needed"),
        ("user", pa.array([[1]] * 100), r"column 'user' holds list<.*>; give one token a row"),
        ("bits", pa.array([1] * 100), r"column 'bits' holds int64; give bytes"),
        ("day", pa.array([True] * 100), r"column 'day' holds bool, training had date32"),
    ],
)
def test_types_that_cannot_hold_the_values_are_refused(
    trained: Trained, column: str, values: pa.Array, words: str
) -> None:
    rows = trained.test.set_column(trained.test.column_names.index(column), column, values)
    with pytest.raises(ValueError, match=words):
        Predictor(trained.model).predict(rows)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda folder: (folder / "model.json").unlink(), "is not the folder of a model: it has no model.json"),
        (lambda folder: (folder / "model.json").write_text("{"), "model.json is damaged"),
        (lambda folder: (folder / "model.json").write_text('{"version": 99}'), "has version 99, this program reads 1"),
        (lambda folder: (folder / "weights.pt").write_bytes(b""), "is damaged"),
        (lambda folder: (folder / "vocabulary.parquet").unlink(), "is damaged"),
        (lambda folder: (folder / "encoder.json").write_text('{"version": 7}'), "has version 7"),
    ],
)
def test_a_damaged_folder_is_refused(trained: Trained, tmp_path: Path, damage: Any, words: str) -> None:
    trained.model.write(tmp_path)
    damage(tmp_path)
    with pytest.raises((ValueError, FileNotFoundError), match=words):
        Predictor.load(tmp_path)


def test_no_rows_give_no_predictions(trained: Trained) -> None:
    assert Predictor(trained.model).predict(trained.test.slice(0, 0)).table.num_rows == 0

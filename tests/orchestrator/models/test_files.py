"""Predictions and evaluations of rows in files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest
import torch
from sklearn.metrics import log_loss, roc_auc_score
from typer.testing import CliRunner

from nmt.orchestrator.cli.app import app
from nmt.orchestrator.errors import RequestError
from nmt.orchestrator.models import predict
from nmt.orchestrator.models import rows as rows_module
from nmt.orchestrator.models.evaluate import evaluate_files
from nmt.orchestrator.models.predict import predict_files
from nmt.trainers.data.schema import Numeric, Schema
from nmt.trainers.encoding.encoder import Encoder
from nmt.trainers.encoding.numbers import NumberColumn
from nmt.trainers.encoding.tokens import TokenColumn
from nmt.trainers.export.model_folder import TrainedModel
from nmt.trainers.export.predictor import Predictor
from nmt.trainers.models.build import build_model
from nmt.trainers.spec.chain_spec import ModelSpec
from nmt.trainers.spec.task import Task


def model(seed: int = 0, query: str | None = None) -> TrainedModel:
    """An untrained model of two tasks on a token and a number."""
    tasks = (
        (Task("pay", "pairwise_logistic"),)
        if query
        else (Task("like", "binary_cross_entropy", label="is_like"), Task("dwell", "squared_error"))
    )
    schema = Schema({"user": 5}, {"age": Numeric(40.0, 10.0)}, labels={task.label: 0 for task in tasks}, query=query)
    network = ModelSpec("shared_bottom", {"embedding_dim": 2, "bottom_units": [4], "tower_units": [2]})
    encoder = Encoder(
        {"user": TokenColumn(pa.string(), pa.array(["a", "b", "c"]))}, {"age": NumberColumn(True, 3.0)}, query=query
    )
    torch.manual_seed(seed)
    state = {
        name: torch.randn_like(value) for name, value in build_model(network, schema, tasks, 0).state_dict().items()
    }
    return TrainedModel(tasks, network, schema, encoder, state)


def table(n: int = 200) -> pa.Table:
    rng = np.random.default_rng(1)
    return pa.table(
        {
            "id": np.arange(n),
            "user": rng.choice(["a", "b", "c", "new"], n),
            "age": rng.integers(1, 90, n).astype(float),
            "is_like": rng.integers(0, 2, n).astype(float),
            "dwell": rng.normal(size=n),
            "split": rng.choice(["train", "test"], n),
        }
    )


@pytest.fixture
def rows(tmp_path: Path) -> pa.Table:
    found = table()
    pq.write_table(found, tmp_path / "rows.parquet")
    return found


@pytest.mark.parametrize("kind", ["parquet", "csv", "folder", "hive"])
def test_every_kind_of_file_gives_the_same_predictions(
    tmp_path: Path, rows: pa.Table, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows_module, "ROWS", 64)  # several batches
    data = tmp_path / {"parquet": "rows.parquet", "csv": "rows.csv"}.get(kind, "folder")
    if kind == "csv":
        pacsv.write_csv(rows, data)
    elif kind in ("folder", "hive"):
        for number, part in enumerate((rows.slice(0, 90), rows.slice(90))):
            place = data / (f"day={number}" if kind == "hive" else ".")
            place.mkdir(parents=True, exist_ok=True)
            pq.write_table(part, place / f"part-{number}.parquet")
        (data / "_SUCCESS").touch()
        pq.write_table(rows, data / ".hidden.parquet")
    predictor = Predictor(model())
    done = predict_files(predictor, str(data), str(tmp_path / "out.parquet"), keep=["id"])
    assert (done.rows, done.bad_rows, done.columns) == (200, 0, ["id", "like", "dwell", "problem"])
    found = pq.read_table(tmp_path / "out.parquet")
    assert found["id"].to_pylist() == rows["id"].to_pylist()
    expected = predictor.predict(rows).table
    for name in ("like", "dwell"):
        np.testing.assert_allclose(found[name].to_numpy(), expected[name].to_numpy(), atol=1e-7)


def test_bad_rows_are_reported_and_not_lost(tmp_path: Path, rows: pa.Table, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows_module, "ROWS", 64)
    ages = rows["age"].to_pylist()
    ages[70], ages[150] = -5.0, float("inf")
    pq.write_table(rows.set_column(2, "age", pa.array(ages)), tmp_path / "bad.parquet")
    done = predict_files(Predictor(model()), str(tmp_path / "bad.parquet"), str(tmp_path / "out.csv"))
    assert done.bad_rows == 2
    assert [(problem["row"], problem["column"]) for problem in done.problems] == [(70, "age"), (150, "age")]
    found = pacsv.read_csv(tmp_path / "out.csv")
    assert found.num_rows == 200
    missing = pc.is_null(found["like"]).to_pylist()
    assert [row for row, value in enumerate(missing) if value] == [70, 150]
    assert found["problem"][70].as_py() == "age: -5.0: values from 0 up are allowed"


@pytest.mark.ray
def test_several_workers_write_the_same_file(tmp_path: Path, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = table(5000)
    ages = rows["age"].to_pylist()
    ages[3], ages[4000] = -5.0, float("inf")
    rows = rows.set_column(2, "age", pa.array(ages))
    for number in range(3):
        place = tmp_path / "rows" / f"day={number}"
        place.mkdir(parents=True)
        pq.write_table(rows.slice(2000 * number, 2000), place / "part.parquet", row_group_size=700)
    (tmp_path / "rows" / "_SUCCESS").touch()
    predictor = Predictor(model())
    written = []
    for workers in (1, 2):
        out, where = str(tmp_path / f"{workers}.parquet"), address if workers > 1 else None
        done = predict_files(predictor, str(tmp_path / "rows"), out, keep=["id", "day"], workers=workers, address=where)
        assert (done.rows, done.bad_rows, done.workers) == (5000, 2, workers)
        assert [(problem["row"], problem["column"]) for problem in done.problems] == [(3, "age"), (4000, "age")]
        written.append(pq.read_table(out))
    assert written[0].equals(written[1])
    assert written[1]["id"].to_pylist() == list(range(5000))

    pq.write_table(rows.drop_columns(["age"]).append_column("age", pa.array(["old"] * 5000)), place / "part.parquet")
    with pytest.raises(RequestError, match=r"rows: .*[Ff]ailed to parse string: 'old'"):
        predict_files(predictor, str(tmp_path / "rows"), str(tmp_path / "none.csv"), workers=2, address=address)
    assert not (tmp_path / "none.csv").exists()
    with pytest.raises(RequestError, match="--workers is 0; give at least 1"):
        predict_files(predictor, str(tmp_path / "rows"), str(tmp_path / "none.csv"), workers=0)


def test_large_data_are_predicted_by_several_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predict, "available_cpus", lambda: 4)
    assert predict.default_workers(predict.RAY_BYTES - 1, None) == 1
    assert predict.default_workers(predict.RAY_BYTES, None) == 3
    monkeypatch.setattr(predict, "available_cpus", lambda: 64)
    assert predict.default_workers(0, "127.0.0.1:6379") == predict.MAX_LOCAL_WORKERS


@pytest.mark.parametrize(
    ("change", "options", "words"),
    [
        (lambda t: t.drop_columns(["user"]), {}, r"the data lack user, which the model reads; they have id, age,"),
        (lambda t: t.slice(0, 0), {}, r"has no rows"),
        (lambda t: t, {"keep": ["day"]}, r"--keep names day; the data have id, user"),
        (lambda t: t, {"keep": ["dwell"]}, r"dwell would be written twice; give --prefix"),
        (lambda t: t.set_column(2, "age", pa.array(["x"] * 200)), {}, r"column 'age' holds string; numbers are needed"),
    ],
)
def test_what_cannot_be_predicted_is_refused_and_nothing_is_written(
    tmp_path: Path, change: Any, options: dict[str, Any], words: str
) -> None:
    pq.write_table(change(table()), tmp_path / "rows.parquet")
    with pytest.raises(RequestError, match=words):
        predict_files(Predictor(model()), str(tmp_path / "rows.parquet"), str(tmp_path / "out.parquet"), **options)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["rows.parquet"]


def test_class_probabilities_are_columns_of_a_csv_even_if_a_batch_has_none(tmp_path: Path) -> None:
    kind = pa.list_(pa.float32(), 3)
    with rows_module.RowWriter(str(tmp_path / "out.csv")) as writer:
        writer.write(pa.table({"stars": pa.array([None, None], kind)}))
        writer.write(pa.table({"stars": pa.array([[0.5, 0.25, 0.25], None], kind)}))
    found = pacsv.read_csv(tmp_path / "out.csv")
    assert found.column_names == ["stars_0", "stars_1", "stars_2"]
    assert found["stars_1"].to_pylist() == [None, None, 0.25, None]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("rows.txt", b"x", "no file of a known format"),
        ("absent.parquet", None, "cannot be read"),
        ("rows.parquet", b"PAR1", "cannot be read"),
    ],
)
def test_files_that_cannot_be_read(tmp_path: Path, name: str, content: bytes | None, words: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(RequestError, match=words):
        predict_files(Predictor(model()), str(tmp_path / name), str(tmp_path / "out.parquet"))


def test_an_evaluation_agrees_with_scikit_learn(tmp_path: Path, rows: pa.Table) -> None:
    predictor = Predictor(model())
    like, dwell = evaluate_files(predictor, str(tmp_path / "rows.parquet"), where="split=test")
    test = rows.filter(pc.equal(rows["split"], "test"))
    found = predictor.predict(test).table
    label = test["is_like"].to_numpy()
    assert (like.rows, like.metric) == (test.num_rows, "auc")
    assert like.loss == pytest.approx(log_loss(label, found["like"].to_numpy().astype(float)), abs=1e-6)
    assert like.value == pytest.approx(roc_auc_score(label, found["like"].to_numpy()), abs=1e-6)
    assert dwell.metric == "rmse"
    assert not dwell.higher_is_better
    error = found["dwell"].to_numpy() - test["dwell"].to_numpy()
    assert dwell.value == pytest.approx(float(np.sqrt((error**2).mean())), rel=1e-6)


def test_models_are_compared_row_by_row(tmp_path: Path, rows: pa.Table) -> None:
    one, other = Predictor(model(0)), Predictor(model(1))
    data = str(tmp_path / "rows.parquet")
    like, dwell = evaluate_files(one, data, other)
    alone = {task.task: task for task in evaluate_files(other, data)}
    assert like.loss_difference == pytest.approx(like.loss - alone["like"].loss, abs=1e-6)
    assert like.metric_difference == pytest.approx(like.value - alone["like"].value, abs=1e-6)
    d = (one.predict(rows).table["dwell"].to_numpy() - rows["dwell"].to_numpy()) ** 2
    d = d - (other.predict(rows).table["dwell"].to_numpy() - rows["dwell"].to_numpy()) ** 2
    assert dwell.loss_error == pytest.approx(float(d.std(ddof=1) / np.sqrt(len(d))), rel=1e-4)
    same = evaluate_files(one, data, one)[0]
    assert (same.loss_difference, same.loss_error, same.metric_difference) == (0.0, 0.0, 0.0)


def test_lists_need_not_be_adjacent(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    sorted_rows = pa.table(
        {
            "visit": np.repeat([3, 1, 2, 9], 5),
            "user": rng.choice(["a", "b", "c"], 20),
            "age": rng.integers(1, 90, 20).astype(float),
            "pay": np.tile([1.0, 0, 0, 1, 0], 4),
        }
    )
    pq.write_table(sorted_rows, tmp_path / "sorted.parquet")
    pq.write_table(sorted_rows.take(pa.array(rng.permutation(20))), tmp_path / "mixed.parquet")
    predictor = Predictor(model(query="visit"))
    (one,), (other,) = (evaluate_files(predictor, str(tmp_path / f"{name}.parquet")) for name in ("sorted", "mixed"))
    assert one.loss == pytest.approx(other.loss, rel=1e-6)
    assert one.value == pytest.approx(other.value, rel=1e-6)
    pq.write_table(sorted_rows.drop_columns(["visit"]), tmp_path / "none.parquet")
    with pytest.raises(RequestError, match="the data have no column visit"):
        evaluate_files(predictor, str(tmp_path / "none.parquet"))


def test_without_labels_there_is_nothing_to_evaluate(tmp_path: Path) -> None:
    pq.write_table(table().drop_columns(["is_like", "dwell"]), tmp_path / "rows.parquet")
    with pytest.raises(RequestError, match="has none of the labels is_like, dwell"):
        evaluate_files(Predictor(model()), str(tmp_path / "rows.parquet"))


def test_the_commands_say_it_as_json_and_as_text(tmp_path: Path, rows: pa.Table) -> None:
    model().write(tmp_path / "model")
    data, folder = str(tmp_path / "rows.parquet"), str(tmp_path / "model")
    run = CliRunner().invoke(app, ["predict", folder, data, str(tmp_path / "out.parquet"), "--json"])
    assert json.loads(run.stdout)["rows"] == 200
    run = CliRunner().invoke(app, ["evaluate", folder, data, "--against", folder, "--json"])
    assert [task["task"] for task in json.loads(run.stdout)["tasks"]] == ["like", "dwell"]
    run = CliRunner().invoke(app, ["evaluate", folder, data])
    assert "like" in run.stdout
    assert "auc" in run.stdout


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("nowhere", "nowhere is no model of nmt: it has no model.json (no such folder)"),
        ("models:/ranker@champion", "models:/ranker@champion is not at sqlite"),
        ("models:/ranker/7", "models:/ranker/7 is not at sqlite"),
    ],
)
def test_a_model_that_is_not_there(tmp_path: Path, rows: pa.Table, database: Path, address: str, words: str) -> None:
    data, out = str(tmp_path / "rows.parquet"), str(tmp_path / "out.parquet")
    run = CliRunner().invoke(app, ["predict", address, data, out, "--tracking", f"sqlite:///{database}"])
    assert isinstance(run.exception, RequestError)
    assert words in str(run.exception)
    assert "\n" not in str(run.exception)

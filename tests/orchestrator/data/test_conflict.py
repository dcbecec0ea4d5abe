"""Conflict between tasks, against autograd and NumPy."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from nmt.orchestrator.data import conflict
from nmt.orchestrator.data.conflict import conflicts
from nmt.trainers.data.prepared import write
from nmt.trainers.data.schema import SPLITS, Numeric, Schema

ROWS = 500


def folder(tmp_path: Path, labels: dict[str, np.ndarray], classes: dict[str, int] | None = None) -> tuple[Path, Schema]:
    """A prepared folder with features of every kind."""
    rng = np.random.default_rng(0)
    table = pa.table(
        {
            "token": rng.integers(1, 8, ROWS),
            "x": rng.normal(3, 2, ROWS),
            "bits": [rng.bytes(2) for _ in range(ROWS)],
            **{name: pa.array(values, from_pandas=True) for name, values in labels.items()},
        }
    )
    schema = Schema(
        categorical={"token": 9},
        numeric={"x": Numeric(3.0, 2.0)},
        packed={"bits": 16},
        labels=classes or dict.fromkeys(labels, 2),
    )
    place = tmp_path / "data"
    write(place, schema, {split: [table.slice(0, 200), table.slice(200)] for split in SPLITS})
    return place, schema


def binary(seed: int, rate: float = 0.3, missing: float = 0.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.where(rng.random(ROWS) < missing, np.nan, rng.random(ROWS) < rate)


def gradients(table: pa.Table, labels: list[str]) -> list[torch.Tensor]:
    """Gradients of cross-entropy in a linear model at the constant prediction, by autograd."""
    tokens = np.eye(9)[table["token"].to_numpy()]
    x = (table["x"].to_numpy() - 3) / 2
    bits = np.unpackbits(np.frombuffer(b"".join(table["bits"].to_pylist()), np.uint8).reshape(ROWS, 2), axis=1)
    features = torch.tensor(np.hstack([tokens, x[:, None], bits]))
    found = []
    for name in labels:
        values = table[name].to_numpy()
        known = torch.tensor(~np.isnan(values))
        y = torch.tensor(values)[known]
        weight = torch.zeros(features.shape[1], dtype=torch.float64, requires_grad=True)
        logits = features[known] @ weight + torch.logit(y.mean())
        torch.nn.functional.binary_cross_entropy_with_logits(logits, y).backward()
        assert weight.grad is not None
        found.append(weight.grad)
    return found


@pytest.mark.parametrize("memory", [1, 1 << 20])
@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_the_cosine_is_that_of_autograd(
    tmp_path: Path, missing: float, memory: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pyarrow.parquet as pq

    monkeypatch.setattr(conflict, "GRADIENT_BYTES", memory)
    labels = {"a": binary(1, missing=missing), "b": binary(2), "c": binary(3, 0.6, missing)}
    place, schema = folder(tmp_path, labels)
    table = pq.read_table(place / "train")
    expected = dict(zip(labels, gradients(table, list(labels)), strict=True))
    found = conflicts(str(place), schema)
    assert len(found) == 3
    assert [pair.cosine for pair in found] == sorted(pair.cosine for pair in found)
    for pair in found:
        one, other = (expected[name] for name in pair.tasks)
        assert pair.cosine == pytest.approx(float(torch.cosine_similarity(one, other, 0)), abs=1e-6)
        both = ~np.isnan(labels[pair.tasks[0]]) & ~np.isnan(labels[pair.tasks[1]])
        values = [labels[name][both] for name in pair.tasks]
        assert pair.correlation == pytest.approx(np.corrcoef(*values)[0, 1], abs=1e-12)
        assert pair.both == both.sum()


def test_opposite_and_equal_labels(tmp_path: Path) -> None:
    one = binary(1)
    place, schema = folder(tmp_path, {"a": one, "b": 1 - one, "c": one.copy()})
    found = {pair.tasks: pair for pair in conflicts(str(place), schema)}
    assert found["a", "b"].correlation == pytest.approx(-1)
    assert found["a", "b"].cosine == pytest.approx(-1)
    assert found["a", "c"].correlation == pytest.approx(1)
    assert found["a", "c"].cosine == pytest.approx(1)


def test_labels_without_a_conflict_are_nan_or_left_out(tmp_path: Path) -> None:
    labels = {"a": binary(1), "constant": np.ones(ROWS), "many": np.arange(ROWS) % 3.0, "amount": np.arange(ROWS) * 1.0}
    place, schema = folder(tmp_path, labels, {"a": 2, "constant": 2, "many": 3, "amount": 0})
    found = {pair.tasks: pair for pair in conflicts(str(place), schema)}
    assert set(found) == {("a", "constant"), ("a", "amount"), ("constant", "amount")}
    assert math.isnan(found["a", "constant"].correlation)
    assert math.isnan(found["a", "constant"].cosine)
    assert not math.isnan(found["a", "amount"].cosine)

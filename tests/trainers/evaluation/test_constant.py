"""The best constant prediction has the loss that a hand calculation gives."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from torch import nn

from nmt.trainers.data.memory import MemoryFeed
from nmt.trainers.data.prepared import write
from nmt.trainers.data.schema import SPLITS, Numeric, Schema
from nmt.trainers.evaluation.constant import constant_losses
from nmt.trainers.evaluation.learner import Learner
from nmt.trainers.losses.task_losses import TaskLosses
from nmt.trainers.spec.task import Task

TASKS = (
    Task("like", "binary_cross_entropy"),
    Task("kind", "cross_entropy"),
    Task("dwell", "squared_error"),
    Task("own", "tests.trainers._own_losses:absolute_error"),  # its best constant is not known
)
LABELS = {
    "train": {"like": [1, 0, 0, 0, np.nan], "kind": [0, 1, 1, 2, 1], "dwell": [1.0, 2.0, 3.0, np.nan, 6.0]},
    "valid": {"like": [1, 0, 1, np.nan], "kind": [0, 2, np.nan, 1], "dwell": [0.0, 3.0, np.nan, 5.0]},
    "test": {"like": [0, 0], "kind": [1, 1], "dwell": [3.0, 3.0]},
}


def feed(folder: Path) -> MemoryFeed:
    splits = {}
    for split in SPLITS:
        labels = {name: pa.array(values, from_pandas=True) for name, values in LABELS[split].items()}
        rows = len(labels["like"])
        splits[split] = [pa.table({"x": np.zeros(rows), "own": np.zeros(rows), **labels})]
    schema = Schema(numeric={"x": Numeric()}, labels={"like": 2, "kind": 3, "dwell": 0, "own": 0})
    write(folder, schema, splits)
    return MemoryFeed(str(folder), [task.label for task in TASKS], 2, 0)


def test_against_a_hand_calculation(tmp_path: Path) -> None:
    found = constant_losses(Learner(nn.Linear(1, 1), feed(tmp_path / "data"), TaskLosses(TASKS)))
    assert set(found) == {"valid", "test"}
    rate = 0.25
    assert found["valid"]["like"] == pytest.approx(-(2 * math.log(rate) + math.log(1 - rate)) / 3, rel=1e-6)
    assert found["test"]["like"] == pytest.approx(-math.log(1 - rate), rel=1e-6)
    assert found["valid"]["kind"] == pytest.approx(-(math.log(0.2) + math.log(0.2) + math.log(0.6)) / 3, rel=1e-6)
    assert found["test"]["kind"] == pytest.approx(-math.log(0.6), rel=1e-6)
    assert found["valid"]["dwell"] == pytest.approx((9 + 0 + 4) / 3, rel=1e-6)  # around the mean 3
    assert found["test"]["dwell"] == pytest.approx(0, abs=1e-9)
    assert set(found["valid"]) == {"like", "kind", "dwell"}


def test_trials_that_share_their_data_measure_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, calls = feed(tmp_path / "data"), []
    scan = data.scan
    monkeypatch.setattr(data, "scan", lambda split: calls.append(split) or scan(split))
    first = constant_losses(Learner(nn.Linear(1, 1), data, TaskLosses(TASKS)))
    assert calls == ["train", "valid", "test"]
    assert constant_losses(Learner(nn.Linear(1, 1), data, TaskLosses(TASKS))) == first
    assert len(calls) == 3
    fewer = constant_losses(Learner(nn.Linear(1, 1), data, TaskLosses(TASKS[:1])))
    assert set(fewer["valid"]) == {"like"}

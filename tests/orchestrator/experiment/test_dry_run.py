"""Broken models, losses, metrics and sources of a user's own are refused by ``nmt plan``, with their file and line."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from nmt.orchestrator.errors import RequestError
from nmt.orchestrator.experiment.prepared import PreparedExperiment, prepare
from nmt.trainers.user_code import definition_of, is_users, place_of
from tests.orchestrator._ranker import declare, write_days

HEAD = """
import torch
from torch import nn
from nmt.trainers.models.shared_bottom import SharedBottom
from nmt.trainers.losses.binary_cross_entropy import binary_cross_entropy as bce
from nmt.trainers.metrics.auc import AUC
from nmt.trainers.losses.samples import Samples

"""

MODEL = (
    HEAD
    + """class Net(SharedBottom):
    def forward(self, batch):
        outputs = super().forward(batch)
        BODY
"""
)
LOSS = HEAD + "def loss(output, label, batch):\n    {}\n"
METRIC = HEAD + "class Metric(AUC):\n    def update(self, output, label, batch):\n        {}\n"
SOURCE = HEAD + "import pandas as pd\n\ndef prepare(path, cache):\n    BODY\n"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.syspath_prepend(str(tmp_path))
    write_days(tmp_path / "days", 1)
    before = {*sys.modules}
    yield tmp_path
    for name in {*sys.modules} - before:
        if name == "broken":
            del sys.modules[name]


def attempt(place: Path, text: str, *overrides: str, **others: Any) -> PreparedExperiment:
    (place / "broken.py").write_text(text)
    file = declare(place, "broken", str(place / "days" / "days1.parquet"), **others)
    return prepare(str(file), list(overrides), lambda line: None)


def refused(place: Path, text: str, *overrides: str, **others: Any) -> str:
    with pytest.raises(RequestError) as error:
        attempt(place, text, *overrides, **others)
    message = str(error.value)
    assert "Traceback" not in message
    assert len(message.splitlines()) == 1
    return message


NET = {"model": {"name": "broken:Net", "embedding_dim": 4, "bottom_units": [8], "tower_units": [4]}}

EACH = "for name, value in outputs.items()}"
MODELS = {
    "divides by zero": (f"return {{name: value / (1 // 0) {EACH}", "ZeroDivisionError", 12),
    "sizes": ("return {'click': outputs['click'] @ torch.ones(3), 'buy': outputs['buy']}", "inconsistent tensor", 12),
    "a list": ("return list(outputs.values())", "click", 10),
    "a tensor": ("return outputs['click']", "", 10),
    "nothing": ("pass", "None", 10),
    "one task lacks": ("return {'click': outputs['click']}", "buy", 10),
    "three dimensions": (f"return {{name: value[:, None, None] {EACH}", "shape", 10),
    "rows lost": (f"return {{name: value[1:] {EACH}", "", 10),
    "unknown key": ("return {'click': outputs['clik'], 'buy': outputs['buy']}", "KeyError: 'clik'", 12),
    "unknown attribute": (f"return {{name: self.scale * value {EACH}", "scale", 12),
    "no gradient": (f"return {{name: value.detach() {EACH}", "does not require grad", 10),
    "held-out rows alone": (
        f"return outputs if self.training else {{name: value.reshape(3, -1, 7) {EACH}",
        "on the first valid batch: RuntimeError: shape",
        12,
    ),
    "index": (f"return {{name: value[batch.labels.long() + 10**6] {EACH}", "IndexError", 12),
}


@pytest.mark.parametrize("name", MODELS)
def test_models(place: Path, name: str) -> None:
    body, words, line = MODELS[name]
    message = refused(place, MODEL.replace("BODY", body), **NET)
    assert message.startswith(("model broken:Net, on the first", "loss binary_cross_entropy of", "the gradient of"))
    assert words in message
    assert f"{place}/broken.py, line {line}" in message


@pytest.mark.parametrize("body", ["raise RuntimeError('no weights')", "self.x = open('/nowhere/w')", "self.y = 1 / 0"])
def test_models_that_cannot_be_built(place: Path, body: str) -> None:
    init = (
        f"    def __init__(self, schema, tasks, **o):\n        super().__init__(schema, tasks, **o)\n        {body}\n"
    )
    message = refused(place, f"{HEAD}class Net(SharedBottom):\n{init}", **NET)
    assert "broken.py, line 12" in message


def test_the_last_batch_of_an_epoch(place: Path) -> None:
    """900 training rows: with 29 a batch, one is left for the last, and BatchNorm cannot take one row."""
    text = HEAD + (
        "class Net(SharedBottom):\n    def __init__(self, *a, **o):\n        super().__init__(*a, **o)\n"
        "        self.norm = nn.BatchNorm1d(1)\n\n"
        "    def forward(self, batch):\n        found = super().forward(batch)\n"
        "        return {n: self.norm(v[:, None])[:, 0] for n, v in found.items()}\n"
    )
    message = refused(place, text, "data.batch_size=29", **NET)
    assert "on the last train batch of an epoch, 1 examples: ValueError: Expected more than 1 value per " in message
    assert "broken.py, line 16" in message
    attempt(place, text, "data.batch_size=30", **NET)


LOSSES = {
    "divides by zero": ("return bce(output, label, batch).sums / (1 // 0)", "ZeroDivisionError"),
    "a mean": ("return bce(output, label, batch).sums.mean()", ""),
    "nothing": ("pass", "NoneType"),
    "another shape": ("return bce(output[:, :0], label, batch)", ""),
    "no gradient": ("found = bce(output.detach(), label, batch); return found", "does not require grad"),
    "unknown name": ("return entropy(output, label)", "NameError: name 'entropy'"),
    "a typo of torch": ("return Samples(torch.sums(output), label)", "has no attribute 'sums'"),
    "a sum of all": ("found = bce(output, label, batch); return Samples(found.sums.sum(0), found.counts.sum(0))", ""),
}


@pytest.mark.parametrize("name", LOSSES)
def test_losses(place: Path, name: str) -> None:
    body, words = LOSSES[name]
    tasks = (
        [{"name": "click", "loss": "broken:loss"}]
        if name == "no gradient"
        else [
            {"name": "click", "loss": "binary_cross_entropy"},
            {"name": "buy", "loss": "broken:loss"},
        ]
    )
    message = refused(place, LOSS.format(body), tasks=tasks)
    assert words in message
    if name != "no gradient":
        assert message.startswith("loss broken:loss of task buy, on the first train batch: ")
        assert f"{place}/broken.py, line " in message


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("super().update(output / (1 // 0), label, batch)", "ZeroDivisionError"),
        ("super().update(output[1:], label, batch)", ""),
        ("self.missing.append(output)", "missing"),
    ],
)
def test_metrics(place: Path, body: str, words: str) -> None:
    tasks = [{"name": "click", "loss": "binary_cross_entropy", "metric": "broken:Metric"}]
    message = refused(place, METRIC.format(body), tasks=tasks)
    assert message.startswith("metric broken:Metric of task click, on the first valid batch: ")
    assert words in message
    assert f"{place}/broken.py, line 1" in message


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("return pd.read_parquet(path)", "data.source broken:prepare returned a DataFrame; a source writes"),
        ("return None", "returned a NoneType; a source writes a prepared folder and returns its path"),
        ("return {}['rows']", "data.source broken:prepare failed: KeyError: 'rows' ("),
        ("return 1 / 0", "failed: ZeroDivisionError: division by zero ("),
        ("return str(cache)", "is not a prepared data set"),
    ],
)
def test_sources(place: Path, body: str, words: str) -> None:
    rows = place / "days" / "days1.parquet"
    data = f"data={{source: 'broken:prepare', path: {rows}, batch_size: 8}}"
    message = refused(place, SOURCE.replace("BODY", body), data)
    assert message.startswith("data: ")
    assert words in message


def test_what_is_right_passes_and_leaves_the_generator_alone(place: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    attempt(place, MODEL.replace("BODY", "return outputs"), **NET)
    assert torch.equal(torch.rand(3), expected)


def test_whose_code_a_frame_is() -> None:
    from nmt.trainers.models.shared_bottom import SharedBottom

    assert is_users(__file__)
    assert not is_users(torch.__file__)
    assert definition_of(SharedBottom) is None
    with pytest.raises(RuntimeError) as error:
        torch.ones(2) @ torch.ones(3)
    assert (place_of(error.value) or "").startswith(f"{__file__}, line ")
    with pytest.raises(RuntimeError) as error:
        raise RuntimeError("[gloo/transport/tcp/pair.cc:589] Connection closed by peer [127.0.0.1]")
    assert place_of(error.value) is None  # it is the other worker that failed
